# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of the fake hypervisor: files in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB
from contract.platforms.storage_side import StorageSide

_SMALL_POOL = "small"


class FakeStorage(StorageSide):
    """Pools are records, and so are volumes, with a file for the data."""

    def __init__(self, folder: Path) -> None:
        self._host = folder / "hosts" / "fake1"

    def new_pool(self, name: str) -> Pool:
        return Pool(name, kind=DIR, path=f"/pools/{name}")

    def make_small_pool(self) -> str:
        pools = {"default": {"size": 1000 * GIB}, _SMALL_POOL: {"size": self.room_bytes}}
        self._host.mkdir(parents=True, exist_ok=True)
        (self._host / "host.json").write_text(json.dumps({"pools": pools}))
        return _SMALL_POOL

    def fill(self, key: VolumeKey, byte: int, offset: int, length: int) -> None:
        with self._file(key).open("r+b") as file:
            file.seek(offset)
            file.write(bytes([byte]) * length)

    def data(self, key: VolumeKey) -> bytes:
        return self._file(key).read_bytes()

    def _file(self, key: VolumeKey) -> Path:
        return self._host / "data" / key.pool / key.name
