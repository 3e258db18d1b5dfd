# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's storage as a test finds it: local and shared SRs, an ISO library, an image to clone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.xenapi import volumes
from lab.xenapi.behaviour import sr as sr_messages
from lab.xenapi.database import Database, Ref
from lab.xenapi.sr_drivers import DRIVERS
from lab.xenapi.vdi_store import store_of

if TYPE_CHECKING:
    from lab.xenapi.settings import PoolSettings

LOCAL, SHARED, ISO_LIBRARY = "Local storage", "shared", "ISO library"
GOLDEN_IMAGE, TOOLS_ISO = "golden-image", "tools.iso"

_MIB = 1024**2
_ISO_LIBRARY_BYTES = 64 * _MIB
_GOLDEN_BYTES = 8 * _MIB
_TOOLS_BYTES = 2 * _MIB


@dataclass(frozen=True)
class Storage:
    """What was built: `local` by host."""

    local: dict[Ref, Ref]
    shared: Ref
    iso_library: Ref
    tools_iso: Ref
    golden_image: Ref


def build_storage(db: Database, settings: PoolSettings, hosts: list[Ref]) -> Storage:
    """Make the SRs with their PBDs and the VDIs on them; `hosts` are those of the pool, the master first."""
    for driver in DRIVERS.values():
        db.create(
            "SM",
            name_label=driver.label,
            name_description=driver.description,
            type=driver.type,
            vendor="anyvirt lab",
            version="1.0",
            required_api_version="1.0",
            configuration=dict.fromkeys(driver.device_config, ""),
            capabilities=driver.capabilities,
            features=dict.fromkeys(driver.capabilities, 1),
        )
    size = settings.sr_bytes
    local = {
        host: _make_sr(db, LOCAL, "ext", [host], {"device": f"/dev/disk/by-id/scsi-lab{number}-part3"}, size)
        for number, host in enumerate(hosts, start=1)
    }
    server = {"server": "10.88.1.10", "serverpath": "/export/xen"}
    shared = _make_sr(db, SHARED, "nfs", hosts, server, size)
    library = _make_sr(db, ISO_LIBRARY, "iso", hosts, {"location": "10.88.1.10:/export/iso"}, _ISO_LIBRARY_BYTES)
    for pool in db.refs("pool"):
        db.set("pool", pool, default_SR=shared, suspend_image_SR=shared, crash_dump_SR=shared)
    for host in hosts:
        db.set("host", host, suspend_image_sr=shared, crash_dump_sr=shared)
    return Storage(local, shared, library, _make_iso(db, library), _make_golden_image(db, shared))


def golden_content() -> bytes:
    """What the golden image holds: in its middle and at its end too, so that a short or shifted copy is noticed."""
    line = b"anyvirt golden image "
    block = b"".join(hashlib.sha256(line + str(number).encode()).digest() for number in range(2048))
    return block.ljust(5 * _MIB, b"\0") + block.rjust(3 * _MIB, b"\0")


def _make_sr(db: Database, label: str, kind: str, hosts: list[Ref], device_config: dict[str, str], size: int) -> Ref:
    driver = DRIVERS[kind]
    sr = db.create(
        "SR",
        name_label=label,
        name_description=driver.description,
        type=kind,
        content_type=driver.content_type,
        shared=driver.shared,
        physical_size=size,
    )
    for host in hosts:
        db.create("PBD", SR=sr, host=host, device_config=device_config, currently_attached=True)
    sr_messages.refresh(db, sr)
    return sr


def _make_iso(db: Database, library: Ref) -> Ref:
    store, group = store_of(db), volumes.group_of(db, library)
    store.create(TOOLS_ISO, group, _TOOLS_BYTES)
    store.write(TOOLS_ISO, 32768, b"\x01CD001\x01".ljust(2048, b"\0"))
    return volumes.introduce_volume(
        db, library, TOOLS_ISO, name_label=TOOLS_ISO, name_description="Drivers and agent for guests", read_only=True
    )


def _make_golden_image(db: Database, sr: Ref) -> Ref:
    vdi = volumes.create_volume(
        db, sr, _GOLDEN_BYTES, name_label=GOLDEN_IMAGE, name_description="A system disk to clone", type="system"
    )
    store_of(db).write(volumes.content_name(db, vdi), 0, golden_content())
    volumes.written(db, vdi)
    return vdi
