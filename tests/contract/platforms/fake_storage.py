# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of the fake hypervisor: files in its folder."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Pool, VolumeKey
from contract.platforms.storage_side import StorageSide

_SMALL_POOL = "small"


class FakeStorage(StorageSide):
    """Pools are records, and so are volumes, with a file for the data."""

    def __init__(self, folder: Path, host: str) -> None:
        self._root = str(folder)
        self._host = host

    def new_pool(self, name: str) -> Pool:
        return Pool(name, kind=DIR, path=f"/pools/{name}")

    def make_small_pool(self) -> str:
        dial.write_host(self._root, self._host, pools={"default": {}, _SMALL_POOL: {"size": self.room_bytes}})
        return _SMALL_POOL

    def fill(self, key: VolumeKey, byte: int, offset: int, length: int) -> None:
        dial.write_volume(self._root, key, offset, bytes([byte]) * length, self._host)

    def data(self, key: VolumeKey) -> bytes:
        return dial.read_volume(self._root, key, self._host)
