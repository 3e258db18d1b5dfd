# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VDIs that hold the memory of suspended VMs."""

from __future__ import annotations

from lab.xenapi import volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.srs import is_attached

_EXTRA_BYTES = 64 * 1024**2  # what is saved besides the memory


def suspend_sr(db: Database, vm: Ref) -> Ref:
    """Where the VM's memory goes: to its own suspend SR, the pool's or its host's; else VM_NO_SUSPEND_SR."""
    candidates = [db.get("VM", vm, "suspend_SR")]
    candidates += [db.get("pool", pool, "suspend_image_SR") for pool in db.refs("pool")]
    host = db.get("VM", vm, "resident_on")
    if db.exists("host", host):
        candidates.append(db.get("host", host, "suspend_image_sr"))
    for sr in candidates:
        if db.exists("SR", sr) and is_attached(db, sr):
            return str(sr)
    raise Failure("VM_NO_SUSPEND_SR", vm)


def create_suspend_image(db: Database, vm: Ref) -> Ref:
    """A VDI with room for the VM's memory. The caller holds the database's lock."""
    return volumes.create_volume(
        db,
        suspend_sr(db, vm),
        db.get("VM", vm, "memory_static_max") + _EXTRA_BYTES,
        name_label="Suspend image",
        name_description="Suspend image",
        type="suspend",
    )
