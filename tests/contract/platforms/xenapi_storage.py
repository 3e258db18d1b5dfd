# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of the pool of XenServer hosts, through its API and the server's own store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import NFS, Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.platforms.storage_side import StorageSide
from lab.xenapi import volumes
from lab.xenapi.vdi_store import store_of

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

_SMALL_POOL = "small"


class XenApiStorage(StorageSide):
    """Storage repositories."""

    disc_pool = "ISO library"
    image_format = "vhd"

    def __init__(self, platform: XenApiPlatform) -> None:
        self._platform = platform

    def new_pool(self, name: str) -> Pool:
        return Pool(name, kind=NFS, server="10.88.1.20", export=f"/export/{name}", shared=True)

    def make_small_pool(self) -> str:
        where = {"server": "10.88.1.20", "serverpath": "/export/small"}
        with self._platform.session() as api:
            [pool] = api.pool.get_all()
            master = api.pool.get_master(pool)
            api.SR.create(master, where, str(self.room_bytes), _SMALL_POOL, "", "nfs", "user", True, {})
        return _SMALL_POOL

    def make_discs(self) -> list[VolumeKey]:
        db = self._platform.server.db
        [library] = db.find("SR", name_label=self.disc_pool)
        names = ["disc1.iso", "disc2.iso"]
        with db.lock:
            for name in names:
                store_of(db).create(name, volumes.group_of(db, library), 2 * MIB)
                volumes.introduce_volume(db, library, name, name_label=name, read_only=True)
        return [VolumeKey(self.disc_pool, name) for name in names]

    def fill(self, key: VolumeKey, byte: int, offset: int, length: int) -> None:
        db, vdi = self._platform.server.db, self._vdi(key)
        with db.lock:
            store_of(db).write(volumes.content_name(db, vdi), offset, bytes([byte]) * length)
            volumes.written(db, vdi)

    def data(self, key: VolumeKey) -> bytes:
        db, vdi = self._platform.server.db, self._vdi(key)
        size = int(db.get("VDI", vdi, "virtual_size"))
        return store_of(db).read(volumes.content_name(db, vdi), 0, size)

    def _vdi(self, key: VolumeKey) -> str:
        db = self._platform.server.db
        [sr] = db.find("SR", name_label=key.pool)
        [vdi] = db.find("VDI", name_label=key.name, SR=sr, is_a_snapshot=False)
        return str(vdi)
