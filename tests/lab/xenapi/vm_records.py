# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making and removing the records that belong to a VM."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone
from typing import Any

from lab.xenapi import operations, vm_devices
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.placement import memory_overhead

HVM_BOOT_POLICY = "BIOS order"
MEMORY_LIMITS = ("memory_static_min", "memory_dynamic_min", "memory_dynamic_max", "memory_static_max")
"""From the lowest to the highest, as they must be."""


def create_vm(db: Database, **fields: Any) -> Ref:
    """A VM that is Halted unless `power_state` says otherwise, with its metrics. The caller holds the lock."""
    fields["other_config"] = {"mac_seed": str(uuid.uuid4()), **fields.get("other_config", {})}
    if fields.get("domain_type", "unspecified") == "unspecified":
        fields["domain_type"] = domain_type_of(fields.get("HVM_boot_policy", ""))
    metrics = db.create("VM_metrics", last_updated=now())
    overhead = memory_overhead(fields.get("memory_static_max", 0), fields.get("VCPUs_max", 0))
    fields = {**fields, "domid": -1, "resident_on": NULL, "metrics": metrics, "memory_overhead": overhead}
    vm = db.create("VM", **fields)
    operations.refresh(db, vm)
    return vm


def destroy_vm(db: Database, vm: Ref) -> None:
    """Remove the VM with its VBDs, VIFs, consoles and metrics; VDIs, snapshots and children stay."""
    vm_devices.destroy_devices(db, vm)
    destroy_consoles(db, vm)
    destroy_guest_metrics(db, vm)
    metrics, parent = db.get("VM", vm, "metrics"), db.get("VM", vm, "parent")
    if db.exists("VM_metrics", metrics):
        db.destroy("VM_metrics", metrics)
    for snapshot in db.get("VM", vm, "snapshots"):
        db.set("VM", snapshot, snapshot_of=NULL)
    for child in db.get("VM", vm, "children"):
        db.set("VM", child, parent=parent)
    db.destroy("VM", vm)


def destroy_consoles(db: Database, vm: Ref) -> None:
    for console in db.get("VM", vm, "consoles"):
        db.destroy("console", console)


def destroy_guest_metrics(db: Database, vm: Ref) -> None:
    metrics = db.get("VM", vm, "guest_metrics")
    db.set("VM", vm, guest_metrics=NULL)
    if db.exists("VM_guest_metrics", metrics):
        db.destroy("VM_guest_metrics", metrics)


def refresh_overhead(db: Database, vm: Ref) -> None:
    """Count anew what the hypervisor will take for the VM."""
    record = db.view("VM", vm)
    db.set("VM", vm, memory_overhead=memory_overhead(record["memory_static_max"], record["VCPUs_max"]))


def domain_type_of(boot_policy: str) -> str:
    return "hvm" if boot_policy else "pv"


def now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)
