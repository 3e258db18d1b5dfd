# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's records on their way to another pool: it keeps its uuid and all it is, with new references."""

from __future__ import annotations

from typing import Any

from lab.xenapi import device_rules, operations, placement, vm_devices
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL, model
from lab.xenapi.motion import Motion
from lab.xenapi.vm_records import destroy_vm

_LEFT_BEHIND: dict[str, Any] = {
    "affinity": NULL,
    "allowed_operations": [],
    "appliance": NULL,
    "blobs": {},
    "current_operations": {},
    "domid": -1,
    "parent": NULL,
    "protection_policy": NULL,
    "resident_on": NULL,
    "scheduled_to_be_resident_on": NULL,
    "snapshot_of": NULL,
    "snapshot_schedule": NULL,
    "suspend_SR": NULL,
    "suspend_VDI": NULL,
    "attached_PCIs": [],
}
"""What refers to the pool that the VM leaves."""


def send_records(motion: Motion, copies: dict[Ref, Ref], made: list[Ref]) -> None:
    """Make the VM and its snapshots in the other pool, with the copied disks; the VM is Halted there, with room kept
    for it where it runs. ``made`` gets their references, the VM's first. The caller holds both locks."""
    db, there = motion.db, motion.remote.db
    for machine in motion.machines:
        made.append(_make_machine(motion, machine, copies))
    for machine, new in zip(motion.machines, made, strict=True):
        twins = dict(zip(motion.machines, made, strict=True))
        links = {name: twins.get(db.get("VM", machine, name), NULL) for name in ("snapshot_of", "parent")}
        there.set("VM", new, **links)
        operations.refresh(there, new)
    if db.get("VM", motion.vm, "power_state") in ("Running", "Paused"):
        placement.reserve(there, made[0], motion.remote.host)


def discard_records(there: Database, made: list[Ref]) -> None:
    """Remove what was made of it."""
    with there.lock:
        for machine in made:
            if there.exists("VM", machine):
                placement.release(there, machine)
                destroy_vm(there, machine)


def drop_source(motion: Motion) -> None:
    """The VM and its snapshots are no more in the pool that they have left."""
    world, db = motion.call.world, motion.db
    for machine in motion.machines:
        host = db.get("VM", machine, "resident_on")
        world.sleeping.pop(machine, None)
        world.texts.pop(machine, None)
        destroy_vm(db, machine)
        if host != NULL:
            placement.rebalance(db, host)


def _make_machine(motion: Motion, machine: Ref, copies: dict[Ref, Ref]) -> Ref:
    db, there = motion.db, motion.remote.db
    plain = [name for name, field in model().classes["VM"].fields.items() if field.reverse is None]
    record = {name: db.get("VM", machine, name) for name in plain}
    fields: dict[str, Any] = {**record, **_LEFT_BEHIND}
    fields["metrics"] = there.create("VM_metrics", **_plain(db, "VM_metrics", record["metrics"]))
    if db.exists("VM_guest_metrics", record["guest_metrics"]):
        metrics = _plain(db, "VM_guest_metrics", record["guest_metrics"])
        fields["guest_metrics"] = there.create("VM_guest_metrics", **metrics)
    if record["power_state"] in ("Running", "Paused"):
        fields["power_state"] = "Halted"  # until the guest has arrived
    fields["suspend_VDI"] = copies.get(record["suspend_VDI"], NULL)
    new = there.create("VM", **fields)
    for vbd in db.get("VM", machine, "VBDs"):
        _make_vbd(db, vbd, there, new, copies)
    for vif in db.get("VM", machine, "VIFs"):
        own = {"VM": new, "network": motion.networks[vif], "metrics": NULL, "current_operations": {}}
        device_rules.refresh_vif(there, there.create("VIF", **{**_plain(db, "VIF", vif), **own}))
    vm_devices.refresh_devices(there, new)
    return new


def _make_vbd(db: Database, vbd: Ref, there: Database, vm: Ref, copies: dict[Ref, Ref]) -> None:
    fields = _plain(db, "VBD", vbd)
    vdi = copies.get(fields["VDI"], NULL)
    own = {"VM": vm, "VDI": vdi, "empty": vdi == NULL, "metrics": NULL, "current_operations": {}}
    there.create("VBD", **{**fields, **own})


def _plain(db: Database, cls: str, ref: Ref) -> dict[str, Any]:
    """The record's fields but for its uuid and those that follow from others."""
    known = model().classes[cls].fields
    return {
        name: value for name, value in db.record(cls, ref).items() if name != "uuid" and known[name].reverse is None
    }
