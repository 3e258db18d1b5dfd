# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SR messages: making, finding and removing storage repositories."""

from __future__ import annotations

from uuid import UUID

from lab.xenapi import probing, vdi_rules, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.registry import Call, message
from lab.xenapi.sr_drivers import DRIVERS
from lab.xenapi.srs import check_attached, driver_of
from lab.xenapi.vdi_store import store_of

_DEFAULT_BYTES = 100 * 1024**3


@message("SR.create")
def create(
    call: Call, host: Ref, device_config: dict[str, str], physical_size: int, name_label: str, name_description: str,
    kind: str, content_type: str, shared: bool, sm_config: dict[str, str],
) -> Ref:  # fmt: skip
    """Format a new SR and plug it: on the host, or everywhere when it is shared."""
    db = call.db
    with db.lock:
        _check_type(kind)
        missing = [key for key in DRIVERS[kind].device_config if not device_config.get(key)]
        if missing:
            words = f"The request is missing the {missing[0]} parameter"
            raise Failure("SR_BACKEND_FAILURE_90", "", words, "")
        if shared and not DRIVERS[kind].shared:
            raise Failure("SR_NOT_SHARABLE", "", host)
        probing.wipe(db, kind, host, device_config)
        sr = db.create(
            "SR",
            name_label=name_label,
            name_description=name_description,
            type=kind,
            content_type=content_type or DRIVERS[kind].content_type,
            shared=shared,
            physical_size=physical_size if physical_size > 0 else _DEFAULT_BYTES,
            sm_config=sm_config,
        )
        for member in db.refs("host") if shared else [host]:
            db.create("PBD", SR=sr, host=member, device_config=device_config, currently_attached=True)
        refresh(db, sr)
        return sr


@message("SR.probe")
def probe(call: Call, host: Ref, device_config: dict[str, str], kind: str, sm_config: dict[str, str]) -> str:
    with call.db.lock:
        _check_type(kind)
        return probing.probe(call.db, kind, host, device_config)


@message("SR.introduce")
def introduce(
    call: Call, uuid: str, name_label: str, name_description: str, kind: str, content_type: str, shared: bool,
    sm_config: dict[str, str],
) -> Ref:  # fmt: skip
    """The record of an SR that exists somewhere; it has no PBD yet."""
    db = call.db
    with db.lock:
        _check_type(kind)
        try:
            UUID(uuid)
        except ValueError:
            raise Failure("UUID_INVALID", "SR", uuid) from None
        if db.by_uuid("SR", uuid) is not None:
            raise Failure("SR_UUID_EXISTS", uuid)
        sr = db.create(
            "SR",
            uuid=uuid,
            name_label=name_label,
            name_description=name_description,
            type=kind,
            content_type=content_type or DRIVERS[kind].content_type,
            shared=shared,
            sm_config=sm_config,
        )
        refresh(db, sr)
        return sr


def _check_type(kind: str) -> None:
    if kind not in DRIVERS:
        raise Failure("SR_UNKNOWN_DRIVER", kind)


@message("SR.destroy")
def destroy(call: Call, sr: Ref) -> None:
    """Remove the SR with everything on it; all PBDs but one must be gone, and none may be plugged."""
    db = call.db
    with db.lock:
        _check_unplugged(db, sr)
        if not db.get("SR", sr, "PBDs"):
            raise Failure("SR_HAS_NO_PBDS", sr)
        if db.get("SR", sr, "VDIs"):
            raise Failure("SR_NOT_EMPTY")
        for name in store_of(db).names(volumes.group_of(db, sr)):
            store_of(db).destroy(name)
        _remove(db, sr)


@message("SR.forget")
def forget(call: Call, sr: Ref) -> None:
    """Remove the pool's knowledge of the SR and of its VDIs."""
    with call.db.lock:
        _check_unplugged(call.db, sr)
        probing.remember(call.db, sr)
        for vdi in call.db.get("SR", sr, "VDIs"):
            volumes.forget_volume(call.db, vdi)
        _remove(call.db, sr)


def _check_unplugged(db: Database, sr: Ref) -> None:
    if any(db.get("PBD", pbd, "currently_attached") for pbd in db.get("SR", sr, "PBDs")):
        raise Failure("SR_HAS_PBD", sr)


def _remove(db: Database, sr: Ref) -> None:
    for pbd in db.get("SR", sr, "PBDs"):
        db.destroy("PBD", pbd)
    db.destroy("SR", sr)


@message("SR.scan")
def scan(call: Call, sr: Ref) -> None:
    """Find what lies on the SR: VDIs that were forgotten come back, without their names."""
    db = call.db
    with db.lock:
        check_attached(db, sr)
        known = {volumes.content_name(db, vdi) for vdi in db.get("SR", sr, "VDIs")}
        for name in store_of(db).names(volumes.group_of(db, sr)):
            if name not in known:
                read_only = db.get("SR", sr, "content_type") == "iso"
                volumes.introduce_volume(db, sr, name, uuid=name, read_only=read_only)


@message("SR.update")
def update(call: Call, sr: Ref) -> None:
    check_attached(call.db, sr)


@message("SR.get_supported_types")
def get_supported_types(call: Call) -> list[str]:
    return list(DRIVERS)


@message("SR.set_name_label")
def set_name_label(call: Call, sr: Ref, value: str) -> None:
    call.db.set("SR", sr, name_label=value)


@message("SR.set_name_description")
def set_name_description(call: Call, sr: Ref, value: str) -> None:
    call.db.set("SR", sr, name_description=value)


@message("SR.set_shared")
def set_shared(call: Call, sr: Ref, value: bool) -> None:
    with call.db.lock:
        if not value and len(call.db.get("SR", sr, "PBDs")) > 1:
            raise Failure("SR_HAS_MULTIPLE_PBDS", sr)
        call.db.set("SR", sr, shared=value)


@message("SR.set_physical_size")
def set_physical_size(call: Call, sr: Ref, value: int) -> None:
    call.db.set("SR", sr, physical_size=value)


@message("SR.assert_can_host_ha_statefile")
def assert_can_host_ha_statefile(call: Call, sr: Ref) -> None:
    check_attached(call.db, sr)
    if not call.db.get("SR", sr, "shared"):
        raise Failure("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr)


def refresh(db: Database, sr: Ref) -> None:
    """Bring `allowed_operations` of an SR and of its VDIs up to date."""
    attached = any(db.get("PBD", pbd, "currently_attached") for pbd in db.get("SR", sr, "PBDs"))
    driver = driver_of(db, sr)
    allowed = ["unplug", "plug", "pbd_create"]
    if attached:
        allowed += ["scan", "update"] + [
            operation for operation, needed in _VDI_OPERATIONS.items() if driver.supports(needed)
        ]
    else:
        allowed += ["destroy", "forget", "pbd_destroy"]
    if db.get("SR", sr, "allowed_operations") != allowed:
        db.set("SR", sr, allowed_operations=allowed)
    for vdi in db.get("SR", sr, "VDIs"):
        vdi_rules.refresh(db, vdi)


_VDI_OPERATIONS = {
    "vdi_create": "create",
    "vdi_destroy": "delete",
    "vdi_clone": "clone",
    "vdi_snapshot": "snapshot",
    "vdi_resize": "resize",
    "vdi_introduce": "introduce",
}
