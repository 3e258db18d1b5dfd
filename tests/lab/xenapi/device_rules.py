# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which operations a VM's disks and network interfaces allow at the moment, and why not the others."""

from __future__ import annotations

from collections.abc import Callable

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.srs import is_visible

VBD_OPERATIONS = ("attach", "eject", "insert", "plug", "unplug", "unplug_force")
VIF_OPERATIONS = ("attach", "plug", "unplug")

_HOTPLUG = ("plug", "unplug", "unplug_force")
_GOING_DOWN = ("clean_shutdown", "hard_shutdown", "suspend", "pause")
_NO_VBD_OF = ("ha_statefile", "redo_log", "rrd", "pvs_cache", "cbt_metadata")


def is_hvm(db: Database, vm: Ref) -> bool:
    kind = db.get("VM", vm, "domain_type")
    return bool(kind == "hvm" or (kind == "unspecified" and db.get("VM", vm, "HVM_boot_policy") != ""))


def has_tools(db: Database, vm: Ref) -> bool:
    """Whether the guest's drivers have reported themselves since it started."""
    metrics = db.get("VM", vm, "guest_metrics")
    return db.exists("VM_guest_metrics", metrics) and bool(db.get("VM_guest_metrics", metrics, "PV_drivers_detected"))


def check_vbd(db: Database, vbd: Ref, operation: str) -> None:
    _raise(_vbd_refusal(db, vbd, operation))


def check_vif(db: Database, vif: Ref, operation: str) -> None:
    _raise(_vif_refusal(db, vif, operation))


def refresh_vbd(db: Database, vbd: Ref) -> None:
    _refresh(db, "VBD", vbd, VBD_OPERATIONS, _vbd_refusal)


def refresh_vif(db: Database, vif: Ref) -> None:
    _refresh(db, "VIF", vif, VIF_OPERATIONS, _vif_refusal)


def check_disk_type(db: Database, vdi: Ref) -> None:
    """Raise VDI_INCOMPATIBLE_TYPE for what the pool keeps for itself."""
    kind = db.get("VDI", vdi, "type")
    if kind in _NO_VBD_OF:
        raise Failure("VDI_INCOMPATIBLE_TYPE", vdi, kind)


def check_iso(db: Database, vdi: Ref) -> None:
    """Raise VDI_IS_NOT_ISO for a VDI that no CD drive can hold."""
    content = db.get("SR", db.get("VDI", vdi, "SR"), "content_type")
    if content != "iso":
        raise Failure("VDI_IS_NOT_ISO", vdi, content)


def sharing_refusal(db: Database, vbd: Ref, vdi: Ref) -> Failure | None:
    """Why the VDI cannot be used through this VBD beside those that use it already."""
    writes = db.get("VBD", vbd, "mode") == "RW"
    others = [
        other
        for other in db.get("VDI", vdi, "VBDs")
        if other != vbd
        and db.get("VBD", other, "currently_attached")
        and db.get("VM", db.get("VBD", other, "VM"), "power_state") != "Suspended"
    ]
    written = any(db.get("VBD", other, "mode") == "RW" for other in others)
    if not db.get("VDI", vdi, "sharable") and (written or (writes and others)):
        return Failure("VDI_IN_USE", vdi, "attach")
    if writes and db.get("VDI", vdi, "read_only"):
        return Failure("VDI_READONLY", vdi)
    return None


def _vbd_refusal(db: Database, vbd: Ref, operation: str) -> Failure | None:
    vm, kind, empty = (db.get("VBD", vbd, name) for name in ("VM", "type", "empty"))
    state = db.get("VM", vm, "power_state")
    refusal = _busy(db, "VBD", vbd)
    if refusal is None and operation in ("insert", "eject"):
        refusal = _media_refusal(vm, vbd, operation, state, kind == "CD", empty)
    if refusal is None and operation in ("unplug", "unplug_force") and not db.get("VBD", vbd, "unpluggable"):
        refusal = Failure("VBD_NOT_UNPLUGGABLE", vbd)
    if refusal is None and operation in _HOTPLUG:
        refusal = _hotplug_refusal(db, "VBD", vbd, operation)
        if refusal is None and is_hvm(db, vm):
            refusal = _hvm_disk_refusal(db, vbd, operation)
    if refusal is None and operation in ("attach", "plug") and not empty:
        refusal = _vdi_refusal(db, vbd)
    return refusal


def _vif_refusal(db: Database, vif: Ref, operation: str) -> Failure | None:
    refusal = _busy(db, "VIF", vif)
    if refusal is None and operation in _HOTPLUG:
        refusal = _hotplug_refusal(db, "VIF", vif, operation)
    return refusal


def _busy(db: Database, cls: str, device: Ref) -> Failure | None:
    running = db.get(cls, device, "current_operations")
    if not running:
        return None
    task, operation = next(iter(running.items()))
    return Failure("OTHER_OPERATION_IN_PROGRESS", cls, device, operation, task)


def _media_refusal(vm: Ref, vbd: Ref, operation: str, state: str, removable: bool, empty: bool) -> Failure | None:
    if not removable:
        return Failure("VBD_NOT_REMOVABLE_MEDIA", vbd)
    if empty and operation == "eject":
        return Failure("VBD_IS_EMPTY", vbd)
    if not empty and operation == "insert":
        return Failure("VBD_NOT_EMPTY", vbd)
    if state == "Suspended":
        return Failure("VM_BAD_POWER_STATE", vm, "halted, running", "suspended")
    return None


def _hotplug_refusal(db: Database, cls: str, device: Ref, operation: str) -> Failure | None:
    vm = db.get(cls, device, "VM")
    state = db.get("VM", vm, "power_state")
    if state != "Running":
        return Failure("VM_BAD_POWER_STATE", vm, "running", state.lower())
    attached = db.get(cls, device, "currently_attached")
    if attached and operation == "plug":
        return Failure("DEVICE_ALREADY_ATTACHED", device)
    if not attached and operation != "plug":
        return Failure("DEVICE_ALREADY_DETACHED", device)
    for running in db.get("VM", vm, "current_operations").values():
        if running in _GOING_DOWN:
            return Failure("OPERATION_NOT_ALLOWED", f"Current operation on VM:{vm} is {running}")
    if is_hvm(db, vm) and not has_tools(db, vm):
        return Failure("VM_MISSING_PV_DRIVERS", vm)
    return None


def _hvm_disk_refusal(db: Database, vbd: Ref, operation: str) -> Failure | None:
    if db.get("VBD", vbd, "type") == "CD":
        return Failure("OPERATION_NOT_ALLOWED", "HVM CDROMs cannot be hotplugged/unplugged, only inserted or ejected")
    if operation == "plug" and db.get("VBD", vbd, "mode") == "RO":
        return Failure("DISK_VBD_MUST_BE_READWRITE_FOR_HVM", vbd)
    return None


def _vdi_refusal(db: Database, vbd: Ref) -> Failure | None:
    vdi = db.get("VBD", vbd, "VDI")
    if not db.get("VDI", vdi, "managed"):
        return Failure("VDI_NOT_MANAGED", vdi)
    vm = db.get("VBD", vbd, "VM")
    sr = db.get("VDI", vdi, "SR")
    if db.get("VM", vm, "power_state") == "Running" and not is_visible(db, sr, db.get("VM", vm, "resident_on")):
        return Failure("SR_NOT_ATTACHED", sr)
    busy = _busy(db, "VDI", vdi)
    if busy is not None or db.get("VBD", vbd, "currently_attached"):
        return busy
    return sharing_refusal(db, vbd, vdi)


def _refresh(
    db: Database,
    cls: str,
    device: Ref,
    operations: tuple[str, ...],
    refusal: Callable[[Database, Ref, str], Failure | None],
) -> None:
    if not db.exists(cls, device):
        return
    allowed = [operation for operation in operations if refusal(db, device, operation) is None]
    if db.get(cls, device, "allowed_operations") != allowed:
        db.set(cls, device, allowed_operations=allowed)


def _raise(failure: Failure | None) -> None:
    if failure is not None:
        raise failure
