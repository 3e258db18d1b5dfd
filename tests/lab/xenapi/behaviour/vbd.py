# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VBD messages: a VM's disks and CD drives."""

from __future__ import annotations

from typing import Any

from lab.xenapi import device_rules, vm_devices
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.device_names import AUTODETECT, VBD_NUMBERS, vbd_number
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message

_MIGRATING = ("migrate_send", "pool_migrate")


@message("VBD.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    """A new disk or drive; it is never plugged by this."""
    db, vm, vdi = call.db, args["VM"], args["VDI"]
    with db.lock:
        operations = db.get("VM", vm, "current_operations")
        _check_disk(db, vdi, args["type"], args["mode"], args["empty"])
        for task, operation in operations.items():
            if operation in _MIGRATING:
                raise Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm, operation, task)
        number = _free_number(db, vm, args["userdevice"])
        userdevice = str(number) if args["userdevice"] == AUTODETECT else args["userdevice"]
        fields = {**args, "userdevice": userdevice, "VDI": NULL if args["empty"] else vdi}
        vbd = db.create("VBD", **{**fields, "device": "", "currently_attached": False})
        vm_devices.refresh_disk(db, vbd)
        return vbd


def _check_disk(db: Database, vdi: Ref, kind: str, mode: str, empty: bool) -> None:
    if not empty:
        device_rules.check_disk_type(db, vdi)
    if kind == "CD" and mode != "RO":
        raise Failure("VBD_CDS_MUST_BE_READONLY")
    if kind != "CD" and empty:
        raise Failure("VBD_NOT_REMOVABLE_MEDIA", "in constructor")
    if kind == "CD" and not empty:
        device_rules.check_iso(db, vdi)
    if mode == "RW" and not empty and db.get("VDI", vdi, "read_only"):
        raise Failure("VDI_READONLY", vdi)


def _free_number(db: Database, vm: Ref, userdevice: str) -> int:
    free = free_numbers(db, vm)
    wanted = next(iter(free), None) if userdevice == AUTODETECT else vbd_number(userdevice)
    if wanted is None:
        raise Failure("INVALID_DEVICE", userdevice)
    if wanted not in free:
        raise Failure("DEVICE_ALREADY_EXISTS", userdevice)
    return wanted


def free_numbers(db: Database, vm: Ref) -> list[int]:
    used = {vbd_number(db.get("VBD", vbd, "userdevice")) for vbd in db.get("VM", vm, "VBDs")}
    return [number for number in VBD_NUMBERS if number not in used]


@message("VM.get_allowed_VBD_devices")
def get_allowed_vbd_devices(call: Call, vm: Ref) -> list[str]:
    return [str(number) for number in free_numbers(call.db, vm)]


@message("VBD.destroy")
def destroy(call: Call, vbd: Ref) -> None:
    db = call.db
    with db.lock:
        if db.get("VBD", vbd, "currently_attached"):
            uuid, vm = db.get("VBD", vbd, "uuid"), db.get("VM", db.get("VBD", vbd, "VM"), "uuid")
            raise Failure("OPERATION_NOT_ALLOWED", f"VBD '{uuid}' still attached to '{vm}'")
        vm_devices.destroy_vbd(db, vbd)


@message("VBD.plug")
def plug(call: Call, vbd: Ref) -> None:
    with call.db.lock:
        device_rules.check_vbd(call.db, vbd, "plug")
        vm_devices.attach_vbd(call.db, vbd)


@message("VBD.unplug")
def unplug(call: Call, vbd: Ref) -> None:
    """The guest is asked to let go of it; one that does not is waited for."""
    with call.db.lock:
        device_rules.check_vbd(call.db, vbd, "unplug")
        guest = call.world.guests.get(call.db.get("VBD", vbd, "VM"))
        if guest is None or not guest.keeps_disks:
            vm_devices.detach_vbd(call.db, vbd)
            return
    call.sleep(call.world.settings.detach_timeout_s)
    raise Failure("DEVICE_DETACH_TIMEOUT", "VBD", vbd)


@message("VBD.unplug_force")
def unplug_force(call: Call, vbd: Ref) -> None:
    with call.db.lock:
        device_rules.check_vbd(call.db, vbd, "unplug_force")
        vm_devices.detach_vbd(call.db, vbd)


@message("VBD.assert_attachable")
def assert_attachable(call: Call, vbd: Ref) -> None:
    device_rules.check_vbd(call.db, vbd, "attach")


@message("VBD.insert")
def insert(call: Call, vbd: Ref, vdi: Ref) -> None:
    db = call.db
    with db.lock:
        device_rules.check_vbd(db, vbd, "insert")
        device_rules.check_iso(db, vdi)
        db.set("VBD", vbd, VDI=vdi, empty=False)
        vm_devices.refresh_disk(db, vbd)


@message("VBD.eject")
def eject(call: Call, vbd: Ref) -> None:
    db = call.db
    with db.lock:
        device_rules.check_vbd(db, vbd, "eject")
        vdi = db.get("VBD", vbd, "VDI")
        db.set("VBD", vbd, VDI=NULL, empty=True)
        vm_devices.refresh_disk(db, vbd, vdi)


@message("VBD.set_mode")
def set_mode(call: Call, vbd: Ref, value: str) -> None:
    db = call.db
    with db.lock:
        vm = db.get("VBD", vbd, "VM")
        state = db.get("VM", vm, "power_state")
        if state != "Halted":
            raise Failure("VM_BAD_POWER_STATE", vm, "halted", state.lower())
        _check_disk(db, db.get("VBD", vbd, "VDI"), db.get("VBD", vbd, "type"), value, db.get("VBD", vbd, "empty"))
        db.set("VBD", vbd, mode=value)
        vm_devices.refresh_disk(db, vbd)
