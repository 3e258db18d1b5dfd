# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making and removing VDIs with their contents, and counting what SRs hold."""

from __future__ import annotations

import uuid
from typing import Any

from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.srs import check_attached, check_room, check_space, check_supports, driver_of
from lab.xenapi.vdi_rules import refresh
from lab.xenapi.vdi_store import BLOCK, store_of

LARGEST = 2040 * 1024**3  # what a VHD can hold

_COPIED = (
    "name_label",
    "name_description",
    "type",
    "sharable",
    "other_config",
    "xenstore_data",
    "on_boot",
    "allow_caching",
)
_SIZE_WORDS = f"VDI Invalid size [opterr=VDI size must be between 1 MB and {LARGEST // 1024**2} MB]"


def rounded(size: int) -> int:
    """The virtual size that a VHD gets when this one is asked for."""
    if not 0 <= size <= LARGEST:
        raise Failure("SR_BACKEND_FAILURE_79", "", _SIZE_WORDS, "")
    return max(BLOCK, -(-size // BLOCK) * BLOCK)


def create_volume(db: Database, sr: Ref, virtual_size: int, **fields: Any) -> Ref:
    """A new, empty VDI of at least `virtual_size` bytes. The caller holds the database's lock."""
    size = rounded(virtual_size)
    check_space(db, sr, size)
    name = str(uuid.uuid4())
    store_of(db).create(name, group_of(db, sr), size)
    return introduce_volume(db, sr, name, **{**fields, "uuid": name})


def duplicate(db: Database, source: Ref, **fields: Any) -> Ref:
    """A VDI on the same SR that shares the content of `source`, with what the pool keeps about it copied.

    In `sm_config`, the storage driver's own, the copy has another parent.
    """
    sr = db.get("VDI", source, "SR")
    size = db.get("VDI", source, "virtual_size")
    check_space(db, sr, size)
    name = str(uuid.uuid4())
    store_of(db).clone(content_name(db, source), name)
    copied = {field: db.get("VDI", source, field) for field in _COPIED}
    copied["sm_config"] = {**db.get("VDI", source, "sm_config"), "vhd-parent": str(uuid.uuid4())}
    return introduce_volume(db, sr, name, **{**copied, **fields, "uuid": name})


def _copy_target(db: Database, source: Ref, sr: Ref) -> Ref:
    """An empty VDI on `sr` with what a full copy takes over from its source."""
    check_attached(db, sr)
    check_supports(db, sr, "create")
    copied = {field: db.get("VDI", source, field) for field in _COPIED}
    return create_volume(db, sr, db.get("VDI", source, "virtual_size"), **copied)


def copy_content(db: Database, source: Ref, target: Ref) -> None:
    """Write the source's content into the target, sharing nothing; SR_FULL where it does not fit."""
    store, sr = store_of(db), db.get("VDI", target, "SR")
    check_room(db, sr, store.allocated(content_name(db, source)))
    store.copy(content_name(db, source), content_name(db, target))
    written(db, target)


def full_copy(db: Database, source: Ref, sr: Ref) -> Ref:
    """A VDI on `sr` with the same content, sharing nothing with its source."""
    target = _copy_target(db, source, sr)
    try:
        copy_content(db, source, target)
    except Failure:
        remove_volume(db, target)
        raise
    return target


def introduce_volume(db: Database, sr: Ref, location: str, **fields: Any) -> Ref:
    """The record for content that the SR has already."""
    size = store_of(db).size(location)
    vdi = db.create("VDI", **{**_DEFAULTS, **fields, "location": location, "SR": sr, "virtual_size": size})
    _count(db, sr, size)
    written(db, vdi)
    refresh(db, vdi)
    return vdi


def remove_volume(db: Database, vdi: Ref) -> None:
    """Destroy a VDI with its content and the VBDs that pointed to it."""
    sr, name = db.get("VDI", vdi, "SR"), content_name(db, vdi)
    forget_volume(db, vdi)
    store_of(db).destroy(name)
    _count(db, sr, 0)


def forget_volume(db: Database, vdi: Ref) -> None:
    """Remove the VDI's record, its content staying where it is."""
    sr, size = db.get("VDI", vdi, "SR"), db.get("VDI", vdi, "virtual_size")
    for vbd in db.get("VDI", vdi, "VBDs"):
        db.destroy("VBD", vbd)
    for snapshot in db.get("VDI", vdi, "snapshots"):
        db.set("VDI", snapshot, snapshot_of=NULL)
    db.destroy("VDI", vdi)
    _count(db, sr, -size)


def resize_volume(db: Database, vdi: Ref, size: int) -> None:
    sr, old = db.get("VDI", vdi, "SR"), db.get("VDI", vdi, "virtual_size")
    new = rounded(size)
    check_space(db, sr, new - old)
    store_of(db).resize(content_name(db, vdi), new)
    db.set("VDI", vdi, virtual_size=new)
    _count(db, sr, new - old)
    written(db, vdi)


def group_of(db: Database, sr: Ref) -> str:
    """The name of the SR in the store of contents: what lies on an SR outlives the pool's knowledge of it."""
    return str(db.get("SR", sr, "uuid"))


def content_name(db: Database, vdi: Ref) -> str:
    """The name of the VDI's content in the store of contents."""
    return str(db.get("VDI", vdi, "location"))


def content_digest(db: Database, vdi: Ref) -> str:
    """A hash of what is stored in the VDI; "" where the server keeps nothing of it."""
    store, name = store_of(db), content_name(db, vdi)
    return store.digest(name) if store.exists(name) else ""


def written(db: Database, vdi: Ref) -> None:
    """Count anew what a VDI takes, after something was written into it."""
    sr = db.get("VDI", vdi, "SR")
    thin = driver_of(db, sr).thin
    size = store_of(db).owned(content_name(db, vdi)) if thin else db.get("VDI", vdi, "virtual_size")
    if db.get("VDI", vdi, "physical_utilisation") != size:
        db.set("VDI", vdi, physical_utilisation=size)
    _count(db, sr, 0)


def _count(db: Database, sr: Ref, more: int) -> None:
    """Bring the SR's sums up to date, `more` bytes of virtual size having come or gone."""
    allocation = db.get("SR", sr, "virtual_allocation") + more
    used = store_of(db).occupied(group_of(db, sr)) if driver_of(db, sr).thin else allocation
    if (allocation, used) != (db.get("SR", sr, "virtual_allocation"), db.get("SR", sr, "physical_utilisation")):
        db.set("SR", sr, virtual_allocation=allocation, physical_utilisation=used)


_DEFAULTS: dict[str, Any] = {
    "type": "user",
    "sharable": False,
    "read_only": False,
    "managed": True,
    "missing": False,
    "storage_lock": False,
    "parent": NULL,
    "other_config": {},
}
