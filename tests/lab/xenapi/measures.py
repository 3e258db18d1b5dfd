# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured of VMs and hosts: the values that their data sources have now and that archives record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lab.xenapi.database import Database, Ref
from lab.xenapi.device_names import vbd_name, vbd_number

if TYPE_CHECKING:
    from lab.xenapi.guest import Guest

_OPERATION_BYTES = 4096  # how much a guest reads or writes at once
_HOST_LOAD = 0.05
_HOST_RATE = 10_000.0


def vm_values(db: Database, vm: Ref, guest: Guest | None) -> Iterator[tuple[str, float]]:
    """What is measured of a VM; the control domain has no guest of ours in it."""
    metrics = db.get("VM", vm, "metrics")
    memory = db.get("VM_metrics", metrics, "memory_actual") or db.get("VM", vm, "memory_dynamic_max")
    for vcpu in range(db.get("VM_metrics", metrics, "VCPUs_number") or db.get("VM", vm, "VCPUs_at_startup")):
        yield f"cpu{vcpu}", guest.cpu_share if guest is not None else _HOST_LOAD
    yield "memory", memory
    yield "memory_target", memory
    if guest is None:
        return
    if guest.has_tools:
        yield "memory_internal_free", memory // 1024 // 2
    for vbd in db.get("VM", vm, "VBDs"):
        number = vbd_number(db.get("VBD", vbd, "userdevice"))
        if number is not None and db.get("VBD", vbd, "currently_attached"):
            name = f"vbd_{vbd_name(number)}"
            yield f"{name}_read", guest.vbd_read_rate
            yield f"{name}_write", guest.vbd_write_rate
            yield f"{name}_iops_read", guest.vbd_read_rate / _OPERATION_BYTES
            yield f"{name}_iops_write", guest.vbd_write_rate / _OPERATION_BYTES
    for vif in db.get("VM", vm, "VIFs"):
        if db.get("VIF", vif, "currently_attached"):
            name = f"vif_{db.get('VIF', vif, 'device')}"
            yield f"{name}_rx", guest.vif_rx_rate
            yield f"{name}_tx", guest.vif_tx_rate
            yield f"{name}_rx_errors", 0
            yield f"{name}_tx_errors", 0


def host_values(db: Database, host: Ref) -> Iterator[tuple[str, float]]:
    """What is measured of a host."""
    metrics = db.get("host", host, "metrics")
    for number in range(len(db.get("host", host, "host_CPUs"))):
        yield f"cpu{number}", _HOST_LOAD
    yield "cpu_avg", _HOST_LOAD
    yield "loadavg", _HOST_LOAD
    yield "memory_total_kib", db.get("host_metrics", metrics, "memory_total") // 1024
    yield "memory_free_kib", db.get("host_metrics", metrics, "memory_free") // 1024
    for pif in db.get("host", host, "PIFs"):
        device = db.get("PIF", pif, "device")
        yield f"pif_{device}_rx", _HOST_RATE
        yield f"pif_{device}_tx", _HOST_RATE
