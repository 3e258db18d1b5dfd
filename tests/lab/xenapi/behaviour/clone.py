# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM.clone, VM.copy and VM.provision."""

from __future__ import annotations

from lab.xenapi import vdi_rules, volumes
from lab.xenapi.behaviour import vbd as vbd_messages
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.operations import operation, refresh
from lab.xenapi.provision_disks import DescribedDisk, described_disks
from lab.xenapi.registry import Call, message
from lab.xenapi.srs import check_attached, check_supports
from lab.xenapi.vm_copy import DiskCopier, clone_other_config, copy_disks, copy_vm

_DISKS = "disks"


@message("VM.clone")
def clone(call: Call, vm: Ref, new_name: str) -> Ref:
    """A VM whose disks share blocks with the original's; of a template it is a template until it is provisioned."""

    def copier(vdi: Ref) -> Ref:
        vdi_rules.check(call.db, vdi, "clone")
        return volumes.duplicate(call.db, vdi)

    return _copied(call, vm, new_name, "clone", copier)


@message("VM.copy")
def copy(call: Call, vm: Ref, new_name: str, sr: Ref) -> Ref:
    """A VM with full copies of the disks, on `sr`, or on the SRs where they are when that is NULL."""

    def copier(vdi: Ref) -> Ref:
        vdi_rules.check(call.db, vdi, "copy")
        return volumes.full_copy(call.db, vdi, call.db.get("VDI", vdi, "SR") if sr == NULL else sr)

    if sr != NULL:
        check_attached(call.db, sr)
        check_supports(call.db, sr, "create")
    return _copied(call, vm, new_name, "copy", copier)


def _copied(call: Call, vm: Ref, new_name: str, how: str, copier: DiskCopier) -> Ref:
    db = call.db
    with operation(call, vm, how) as current:
        current.work(call.world.settings.copy_s)
        with db.lock:
            memory = _copied_memory(db, vm, copier)
            try:
                disks = copy_disks(db, db.get("VM", vm, "VBDs"), copier)
            except Failure:
                if memory != NULL:
                    volumes.remove_volume(db, memory)
                raise
            new = copy_vm(
                db,
                vm,
                disks,
                keep_macs=False,
                name_label=new_name,
                power_state=db.get("VM", vm, "power_state"),
                other_config=clone_other_config(db, vm),
                suspend_VDI=memory,
            )
            refresh(db, new)
            return new


def _copied_memory(db: Database, vm: Ref, copier: DiskCopier) -> Ref:
    """What a suspended VM has in memory, for the new one; else NULL."""
    suspended = db.get("VM", vm, "suspend_VDI")
    return NULL if suspended == NULL else copier(suspended)


@message("VM.provision")
def provision(call: Call, vm: Ref) -> None:
    """Make a template a VM: create the disks that its `disks` key describes."""
    db = call.db
    with operation(call, vm, "provision"), db.lock:
        config = db.get("VM", vm, "other_config")
        made: list[Ref] = []
        try:
            for disk in described_disks(config.get(_DISKS, "")):
                made.append(_make_vdi(db, disk))
                _attach(call, vm, made[-1], disk)
        except Failure:
            for vdi in made:
                volumes.remove_volume(db, vdi)
            raise
        config.pop(_DISKS, None)
        db.set("VM", vm, is_a_template=False, other_config=config)


def _make_vdi(db: Database, disk: DescribedDisk) -> Ref:
    sr = db.by_uuid("SR", disk.sr)
    if sr is None:
        raise Failure("UUID_INVALID", "SR", disk.sr)
    check_attached(db, sr)
    check_supports(db, sr, "create")
    description = "Created by template provisioner"
    return volumes.create_volume(
        db, sr, disk.size, name_label=disk.device, name_description=description, type=disk.type
    )


def _attach(call: Call, vm: Ref, vdi: Ref, disk: DescribedDisk) -> None:
    vbd_messages.create(
        call,
        {
            "VM": vm,
            "VDI": vdi,
            "userdevice": disk.device,
            "bootable": disk.bootable,
            "mode": "RW",
            "type": "Disk",
            "unpluggable": disk.type != "system",
            "empty": False,
            "other_config": {"owner": ""},
        },
    )
