# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VDI messages: create, destroy, resize, clone, copy, snapshot and the setters."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from lab.xenapi import vdi_rules, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message
from lab.xenapi.srs import check_attached, check_supports
from lab.xenapi.vdi_store import store_of


@message("VDI.create")
def create(call: Call, args: dict[str, Any]) -> Ref:
    db, sr = call.db, args["SR"]
    with db.lock:
        check_attached(db, sr)
        check_supports(db, sr, "create")
        return volumes.create_volume(db, **{name: value for name, value in args.items() if name != "SR"}, sr=sr)


@message("VDI.destroy")
def destroy(call: Call, vdi: Ref) -> None:
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "destroy")
        volumes.remove_volume(call.db, vdi)


@message("VDI.forget")
def forget(call: Call, vdi: Ref) -> None:
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "forget")
        volumes.forget_volume(call.db, vdi)


@message("VDI.introduce")
def introduce(
    call: Call, uuid: str, name_label: str, name_description: str, sr: Ref, kind: str, sharable: bool,
    read_only: bool, other_config: dict[str, str], location: str, xenstore_data: dict[str, str],
    sm_config: dict[str, str], managed: bool, virtual_size: int, physical_utilisation: int, metadata_of_pool: Ref,
    is_a_snapshot: bool, snapshot_time: datetime, snapshot_of: Ref,
) -> Ref:  # fmt: skip
    db = call.db
    with db.lock:
        check_attached(db, sr)
        check_supports(db, sr, "introduce")
        _check_uuid(uuid)
        if any(db.get("VDI", vdi, "location") == location for vdi in db.get("SR", sr, "VDIs")):
            raise Failure("LOCATION_NOT_UNIQUE", sr, location)
        if db.by_uuid("VDI", uuid) is not None:
            raise Failure("DB_UNIQUENESS_CONSTRAINT_VIOLATION", "VDI", "uuid", uuid)
        if location not in store_of(db).names(volumes.group_of(db, sr)):
            raise Failure("VDI_LOCATION_MISSING", sr, location)
        return volumes.introduce_volume(
            db, sr, location, uuid=uuid, name_label=name_label, name_description=name_description, type=kind,
            sharable=sharable, read_only=read_only, other_config=other_config, xenstore_data=xenstore_data,
            sm_config=sm_config, is_a_snapshot=is_a_snapshot, snapshot_time=snapshot_time, snapshot_of=snapshot_of,
            metadata_of_pool=metadata_of_pool,
        )  # fmt: skip


def _check_uuid(uuid: str) -> None:
    try:
        UUID(uuid)
    except ValueError:
        raise Failure("UUID_INVALID", "VDI", uuid) from None


@message("VDI.update")
def update(call: Call, vdi: Ref) -> None:
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "update")


@message("VDI.resize")
def resize(call: Call, vdi: Ref, size: int) -> None:
    db = call.db
    with db.lock:
        vdi_rules.check(db, vdi, "resize")
        current = db.get("VDI", vdi, "virtual_size")
        if size < current:
            words = f"VDI Invalid size [opterr=shrinking not allowed: current size: {current}, new size: {size}]"
            raise Failure("SR_BACKEND_FAILURE_79", "", words, "")
        volumes.resize_volume(db, vdi, size)


@message("VDI.resize_online")
def resize_online(call: Call, vdi: Ref, size: int) -> None:
    raise Failure("MESSAGE_REMOVED")


@message("VDI.clone")
def clone(call: Call, vdi: Ref, driver_params: dict[str, str]) -> Ref:
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "clone")
        return volumes.duplicate(call.db, vdi)


@message("VDI.snapshot")
def snapshot(call: Call, vdi: Ref, driver_params: dict[str, str]) -> Ref:
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "snapshot")
        return volumes.duplicate(
            call.db, vdi, is_a_snapshot=True, snapshot_of=vdi, snapshot_time=datetime.now(timezone.utc)
        )


@message("VDI.copy")
def copy(call: Call, vdi: Ref, sr: Ref, base_vdi: Ref, into_vdi: Ref) -> Ref:
    """Copy everything to another SR or into an existing VDI; a `base_vdi` would only save work."""
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "copy")
        if into_vdi == NULL:
            return volumes.full_copy(call.db, vdi, sr)
        _check_target(call.db, vdi, into_vdi)
        volumes.copy_content(call.db, vdi, into_vdi)
        return into_vdi


def _check_target(db: Database, source: Ref, target: Ref) -> None:
    if db.get("VDI", target, "read_only"):
        raise Failure("VDI_READONLY", target)
    if vdi_rules.attached_vbds(db, target):
        raise Failure("VDI_IN_USE", target, "copy")
    needed = db.get("VDI", source, "virtual_size")
    if db.get("VDI", target, "virtual_size") < needed:
        raise Failure("VDI_TOO_SMALL", target, str(needed))


@message("VDI.set_name_label")
def set_name_label(call: Call, vdi: Ref, value: str) -> None:
    call.db.set("VDI", vdi, name_label=value)


@message("VDI.set_name_description")
def set_name_description(call: Call, vdi: Ref, value: str) -> None:
    call.db.set("VDI", vdi, name_description=value)


@message("VDI.set_read_only")
def set_read_only(call: Call, vdi: Ref, value: bool) -> None:
    call.db.set("VDI", vdi, read_only=value)


@message("VDI.set_sharable")
def set_sharable(call: Call, vdi: Ref, value: bool) -> None:
    call.db.set("VDI", vdi, sharable=value)


@message("VDI.set_allow_caching")
def set_allow_caching(call: Call, vdi: Ref, value: bool) -> None:
    call.db.set("VDI", vdi, allow_caching=value)


@message("VDI.set_on_boot")
def set_on_boot(call: Call, vdi: Ref, value: str) -> None:
    with call.db.lock:
        vdi_rules.check(call.db, vdi, "set_on_boot")
        call.db.set("VDI", vdi, on_boot=value)
        vdi_rules.refresh(call.db, vdi)


@message("VDI.read_database_pool_uuid")
def read_database_pool_uuid(call: Call, vdi: Ref) -> str:
    return ""
