# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages about virtual processors."""

from __future__ import annotations

from lab.xenapi.database import Ref
from lab.xenapi.failures import Failure
from lab.xenapi.operations import operation
from lab.xenapi.registry import Call, message
from lab.xenapi.vm_records import refresh_overhead


@message("VM.set_VCPUs_max")
def set_vcpus_max(call: Call, vm: Ref, value: int) -> None:
    with operation(call, vm, "changing_VCPUs"), call.db.lock:
        if value < 1 or value < call.db.get("VM", vm, "VCPUs_at_startup"):
            raise Failure("INVALID_VALUE", "VCPUs_max", str(value))
        call.db.set("VM", vm, VCPUs_max=value)
        refresh_overhead(call.db, vm)


@message("VM.set_VCPUs_at_startup")
def set_vcpus_at_startup(call: Call, vm: Ref, value: int) -> None:
    with operation(call, vm, "changing_VCPUs"), call.db.lock:
        if not 1 <= value <= call.db.get("VM", vm, "VCPUs_max"):
            raise Failure("INVALID_VALUE", "VCPUs_at_startup", str(value))
        call.db.set("VM", vm, VCPUs_at_startup=value)


@message("VM.set_VCPUs_number_live")
def set_vcpus_number_live(call: Call, vm: Ref, number: int) -> None:
    """Processors come and go in the running guest; the next start has as many."""
    db = call.db
    with operation(call, vm, "changing_VCPUs_live"), db.lock:
        if not 1 <= number <= db.get("VM", vm, "VCPUs_max"):
            raise Failure("INVALID_VALUE", "VCPUs_number", str(number))
        vcpus = range(number)
        db.set("VM", vm, VCPUs_at_startup=number)
        db.set(
            "VM_metrics",
            db.get("VM", vm, "metrics"),
            VCPUs_number=number,
            VCPUs_CPU={vcpu: vcpu for vcpu in vcpus},
            VCPUs_flags={vcpu: ["online"] for vcpu in vcpus},
        )


@message("VM.add_to_VCPUs_params_live")
def add_to_vcpus_params_live(call: Call, vm: Ref, key: str, value: str) -> None:
    db = call.db
    with operation(call, vm, "changing_VCPUs_live"), db.lock:
        params = db.get("VM", vm, "VCPUs_params")
        if key in params:
            raise Failure("MAP_DUPLICATE_KEY", "VM", "VCPUs_params", vm, key)
        db.set("VM", vm, VCPUs_params={**params, key: value})
        db.set("VM_metrics", db.get("VM", vm, "metrics"), VCPUs_params={**params, key: value})
