# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages about memory: limits that are ordered, static ones while Halted, dynamic ones while Running too."""

from __future__ import annotations

from lab.xenapi import placement
from lab.xenapi.database import Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.operations import operation
from lab.xenapi.registry import Call, message
from lab.xenapi.vm_records import MEMORY_LIMITS, refresh_overhead


@message("VM.set_memory_limits")
def set_memory_limits(
    call: Call, vm: Ref, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    with operation(call, vm, "changing_memory_limits"):
        _write(
            call,
            vm,
            memory_static_min=static_min,
            memory_static_max=static_max,
            memory_dynamic_min=dynamic_min,
            memory_dynamic_max=dynamic_max,
        )


@message("VM.set_memory")
def set_memory(call: Call, vm: Ref, value: int) -> None:
    """All limits but the lowest."""
    with operation(call, vm, "changing_memory_limits"):
        _write(call, vm, memory_dynamic_min=value, memory_dynamic_max=value, memory_static_max=value)


@message("VM.set_memory_static_max")
def set_memory_static_max(call: Call, vm: Ref, value: int) -> None:
    with operation(call, vm, "changing_static_range"):
        _write(call, vm, memory_static_max=value)


@message("VM.set_memory_static_min")
def set_memory_static_min(call: Call, vm: Ref, value: int) -> None:
    with operation(call, vm, "changing_static_range"):
        _write(call, vm, memory_static_min=value)


@message("VM.set_memory_static_range")
def set_memory_static_range(call: Call, vm: Ref, lowest: int, highest: int) -> None:
    with operation(call, vm, "changing_static_range"):
        _write(call, vm, memory_static_min=lowest, memory_static_max=highest)


@message("VM.set_memory_dynamic_max")
def set_memory_dynamic_max(call: Call, vm: Ref, value: int) -> None:
    with operation(call, vm, "changing_dynamic_range"):
        _write(call, vm, memory_dynamic_max=value)


@message("VM.set_memory_dynamic_min")
def set_memory_dynamic_min(call: Call, vm: Ref, value: int) -> None:
    with operation(call, vm, "changing_dynamic_range"):
        _write(call, vm, memory_dynamic_min=value)


@message("VM.set_memory_dynamic_range")
def set_memory_dynamic_range(call: Call, vm: Ref, lowest: int, highest: int) -> None:
    with operation(call, vm, "changing_dynamic_range"):
        _write(call, vm, memory_dynamic_min=lowest, memory_dynamic_max=highest)


@message("VM.set_memory_target_live")
def set_memory_target_live(call: Call, vm: Ref, target: int) -> None:
    with operation(call, vm, "changing_memory_live"):
        _write(call, vm, memory_dynamic_min=target, memory_dynamic_max=target)


@message("VM.wait_memory_target_live")
def wait_memory_target_live(call: Call, vm: Ref) -> None:
    """Guests reach their target at once."""
    with operation(call, vm, "awaiting_memory_live"):
        return


@message("VM.maximise_memory")
def maximise_memory(call: Call, vm: Ref, total: int, approximate: bool) -> int:
    """The largest static maximum with which the VM takes no more than `total` bytes of a host."""
    with call.db.lock:
        vcpus = call.db.get("VM", vm, "VCPUs_max")
    return max(total - placement.memory_overhead(total, vcpus), 0)


@message("VM.compute_memory_overhead")
def compute_memory_overhead(call: Call, vm: Ref) -> int:
    with call.db.lock:
        record = call.db.view("VM", vm)
        return placement.memory_overhead(record["memory_static_max"], record["VCPUs_max"])


def _write(call: Call, vm: Ref, **limits: int) -> None:
    db = call.db
    with db.lock:
        record = db.view("VM", vm)
        ordered = [limits.get(name, record[name]) for name in MEMORY_LIMITS]
        if ordered[0] < 0 or ordered != sorted(ordered):
            raise Failure("MEMORY_CONSTRAINT_VIOLATION_ORDER")
        db.set("VM", vm, **limits)
        refresh_overhead(db, vm)
        if record["resident_on"] != NULL:
            placement.rebalance(db, record["resident_on"])
