# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's disks and network interfaces as a whole: attached when it starts, detached when it halts, gone with it."""

from __future__ import annotations

from lab.xenapi import device_rules, vdi_rules
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.device_names import vbd_name, vbd_number
from lab.xenapi.failures import Failure
from lab.xenapi.srs import is_attached, is_visible


def check_devices(db: Database, vm: Ref, host: Ref = NULL) -> None:
    """Raise what keeps the VM's disks from being attached (on this host): VDI_IN_USE, VM_REQUIRES_SR, ..."""
    numbers: set[int] = set()
    for vbd in db.get("VM", vm, "VBDs"):
        numbers.add(_own_number(db, vm, vbd, numbers))
        vdi = db.get("VBD", vbd, "VDI")
        if db.get("VBD", vbd, "empty"):
            continue
        sr = db.get("VDI", vdi, "SR")
        if not is_attached(db, sr):
            raise Failure("SR_HAS_NO_PBDS", sr)
        if host != NULL and not is_visible(db, sr, host):
            raise Failure("VM_REQUIRES_SR", vm, sr)
        device_rules.check_vbd(db, vbd, "attach")


def _own_number(db: Database, vm: Ref, vbd: Ref, taken: set[int]) -> int:
    """The number of the VBD's device, which can have been set to anything since it was created."""
    userdevice = db.get("VBD", vbd, "userdevice")
    number = vbd_number(userdevice)
    if number is None:
        raise Failure("ILLEGAL_VBD_DEVICE", vbd, userdevice)
    if number in taken:
        raise Failure("VM_DUPLICATE_VBD_DEVICE", vm, vbd, userdevice)
    return number


def required_srs(db: Database, vm: Ref) -> list[Ref]:
    """The SRs that hold the VM's disks and CDs."""
    vdis = [db.get("VBD", vbd, "VDI") for vbd in db.get("VM", vm, "VBDs") if not db.get("VBD", vbd, "empty")]
    return list(dict.fromkeys(db.get("VDI", vdi, "SR") for vdi in vdis))


def attach_devices(db: Database, vm: Ref) -> None:
    """Mark all devices of a starting VM attached. The caller has checked them and holds the database's lock."""
    for vbd in db.get("VM", vm, "VBDs"):
        attach_vbd(db, vbd)
    for vif in db.get("VM", vm, "VIFs"):
        db.set("VIF", vif, currently_attached=True)
    refresh_devices(db, vm)


def detach_devices(db: Database, vm: Ref) -> None:
    """Mark all devices of a VM detached that has halted."""
    for vbd in db.get("VM", vm, "VBDs"):
        detach_vbd(db, vbd)
    for vif in db.get("VM", vm, "VIFs"):
        db.set("VIF", vif, currently_attached=False)
    refresh_devices(db, vm)


def attach_vbd(db: Database, vbd: Ref) -> None:
    number = vbd_number(db.get("VBD", vbd, "userdevice"))
    db.set("VBD", vbd, currently_attached=True, device="" if number is None else vbd_name(number))
    refresh_disk(db, vbd)


def detach_vbd(db: Database, vbd: Ref) -> None:
    db.set("VBD", vbd, currently_attached=False, device="")
    refresh_disk(db, vbd)


def destroy_devices(db: Database, vm: Ref) -> None:
    """Remove the VM's VBDs and VIFs, not the VDIs."""
    for vbd in db.get("VM", vm, "VBDs"):
        destroy_vbd(db, vbd)
    for vif in db.get("VM", vm, "VIFs"):
        destroy_vif(db, vif)


def destroy_vbd(db: Database, vbd: Ref) -> None:
    vdi = db.get("VBD", vbd, "VDI")
    _destroy_metrics(db, "VBD", vbd)
    db.destroy("VBD", vbd)
    vdi_rules.refresh(db, vdi)


def destroy_vif(db: Database, vif: Ref) -> None:
    _destroy_metrics(db, "VIF", vif)
    db.destroy("VIF", vif)


def refresh_devices(db: Database, vm: Ref) -> None:
    """Bring the devices' `allowed_operations` up to date; to be called when the VM's power state changed."""
    for vbd in db.get("VM", vm, "VBDs"):
        refresh_disk(db, vbd)
    for vif in db.get("VM", vm, "VIFs"):
        device_rules.refresh_vif(db, vif)


def refresh_disk(db: Database, vbd: Ref, ejected: Ref = NULL) -> None:
    """Bring the `allowed_operations` of a VBD and of its VDI up to date, and of the one it held until now."""
    device_rules.refresh_vbd(db, vbd)
    for vdi in (db.get("VBD", vbd, "VDI"), ejected):
        vdi_rules.refresh(db, vdi)


def _destroy_metrics(db: Database, cls: str, device: Ref) -> None:
    metrics = db.get(cls, device, "metrics")
    if db.exists(f"{cls}_metrics", metrics):
        db.destroy(f"{cls}_metrics", metrics)
