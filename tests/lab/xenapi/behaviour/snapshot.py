# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM.snapshot, VM.checkpoint and VM.revert."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from lab.xenapi import vdi_rules, vm_devices, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL, model
from lab.xenapi.failures import Failure
from lab.xenapi.operations import operation, refresh
from lab.xenapi.registry import Call, message, registered
from lab.xenapi.suspend_images import create_suspend_image
from lab.xenapi.vm_copy import copy_devices, copy_disks, copy_guest_metrics, copy_vm

# What a VM keeps of itself when it is reverted.
_KEPT = frozenset(
    "uuid power_state allowed_operations current_operations resident_on scheduled_to_be_resident_on domid metrics"
    " guest_metrics suspend_VDI parent snapshot_info snapshot_metadata snapshot_of snapshot_time is_a_snapshot"
    " protection_policy snapshot_schedule tags affinity blobs ha_always_run last_booted_record".split()
)


@message("VM.snapshot")
def snapshot(call: Call, vm: Ref, new_name: str, ignore_vdis: list[Ref]) -> Ref:
    """A template, halted, of the VM as it is now, its disks being snapshots."""
    with operation(call, vm, "snapshot") as current:
        current.work(call.world.settings.copy_s)
        with call.db.lock:
            return _take(call.db, vm, new_name, ignore_vdis, "Halted")


@message("VM.snapshot_with_quiesce")
def snapshot_with_quiesce(call: Call, vm: Ref, new_name: str) -> Ref:
    raise Failure("VM_SNAPSHOT_WITH_QUIESCE_NOT_SUPPORTED", vm, "the guest has no agent for it")


@message("VM.checkpoint")
def checkpoint(call: Call, vm: Ref, new_name: str) -> Ref:
    """A snapshot that holds the memory as well: it is suspended."""
    db = call.db
    with operation(call, vm, "checkpoint") as current:
        current.work(call.world.settings.suspend_s)
        with db.lock:
            memory = _memory_image(db, vm)
            try:
                return _take(db, vm, new_name, [], "Suspended", suspend_VDI=memory)
            except Failure:
                volumes.remove_volume(db, memory)
                raise


def _memory_image(db: Database, vm: Ref) -> Ref:
    """A VDI with the memory of the VM: of a suspended one a snapshot of what it has."""
    suspended = db.get("VM", vm, "suspend_VDI")
    if suspended != NULL:
        return volumes.duplicate(db, suspended)
    return create_suspend_image(db, vm)


def _take(db: Database, vm: Ref, name: str, ignored: list[Ref], state: str, **fields: Any) -> Ref:
    now = datetime.now(timezone.utc)

    def copier(vdi: Ref) -> Ref:
        vdi_rules.check(db, vdi, "snapshot")
        return volumes.duplicate(db, vdi, is_a_snapshot=True, snapshot_of=vdi, snapshot_time=now)

    vbds = [vbd for vbd in db.get("VM", vm, "VBDs") if db.get("VBD", vbd, "VDI") not in ignored]
    disks = copy_disks(db, vbds, copier)
    saved = {key: value for key, value in db.record("VM", vm).items() if key in _reverted()}
    taken = copy_vm(
        db,
        vm,
        disks,
        keep_macs=True,
        name_label=name,
        power_state=state,
        is_a_template=True,
        is_a_snapshot=True,
        snapshot_of=vm,
        snapshot_time=now,
        snapshot_info={
            "power-state-at-snapshot": db.get("VM", vm, "power_state"),
            "disk-snapshot-type": "crash_consistent",
        },
        snapshot_metadata=json.dumps(saved, sort_keys=True),
        parent=db.get("VM", vm, "parent"),
        guest_metrics=copy_guest_metrics(db, vm),
        **fields,
    )
    db.set("VM", vm, parent=taken)
    refresh(db, taken)
    refresh(db, vm)
    return taken


def _reverted() -> list[str]:
    """The fields that revert brings back; none of them is a date."""
    return [name for name, field in model().classes["VM"].fields.items() if not field.reverse and name not in _KEPT]


@message("VM.revert")
def revert(call: Call, snapshot: Ref) -> None:
    """Make the VM what it was: its disks are replaced by clones of the snapshot's, so they have new references."""
    db = call.db
    vm = db.get("VM", snapshot, "snapshot_of")
    with operation(call, snapshot, "revert"):
        if not db.exists("VM", vm):
            raise Failure("VM_REVERT_FAILED", vm, snapshot)
        if db.get("VM", vm, "power_state") != "Halted":
            registered()["VM.hard_shutdown"](call, vm)
        with db.lock:
            _replace_disks(db, vm, snapshot)
            _revert_fields(db, vm, snapshot)
            vm_devices.refresh_devices(db, vm)
            refresh(db, vm)


def _replace_disks(db: Database, vm: Ref, snapshot: Ref) -> None:
    vbds = db.get("VM", snapshot, "VBDs")
    origins = {vbd: db.get("VDI", db.get("VBD", vbd, "VDI"), "snapshot_of") for vbd in vbds if _is_disk(db, vbd)}
    relatives = {origin: db.find("VDI", snapshot_of=origin) for origin in origins.values() if origin != NULL}
    clones = copy_disks(db, vbds, lambda vdi: volumes.duplicate(db, vdi))
    replaced = [
        vdi
        for vdi in (db.get("VBD", vbd, "VDI") for vbd in db.get("VM", vm, "VBDs") if _is_disk(db, vbd))
        if vdi in relatives
    ]
    vm_devices.destroy_devices(db, vm)
    for vdi in replaced:
        volumes.remove_volume(db, vdi)
    copy_devices(db, snapshot, vm, clones, keep_macs=True)
    for vbd, origin in origins.items():
        for relative in relatives.get(origin, []):
            db.set("VDI", relative, snapshot_of=clones[vbd])


def _is_disk(db: Database, vbd: Ref) -> bool:
    return db.get("VBD", vbd, "type") != "CD" and not db.get("VBD", vbd, "empty")


def _revert_fields(db: Database, vm: Ref, snapshot: Ref) -> None:
    saved = json.loads(db.get("VM", snapshot, "snapshot_metadata"))
    memory = db.get("VM", snapshot, "suspend_VDI")
    old_memory = db.get("VM", vm, "suspend_VDI")
    if db.exists("VDI", old_memory):
        volumes.remove_volume(db, old_memory)
    db.set(
        "VM",
        vm,
        **saved,
        parent=snapshot,
        power_state=db.get("VM", snapshot, "power_state"),
        suspend_VDI=NULL if memory == NULL else volumes.duplicate(db, memory),
    )
