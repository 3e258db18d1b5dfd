# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of the fake hypervisor: files in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.datafiles import NewFile
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.store import VOLUMES, Store, View
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import PIECE_BYTES
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
        content = bytearray(self.data(key))
        content[offset : offset + length] = bytes([byte]) * length
        store = Store(str(self._host))
        with store.writing() as changes:
            record = changes.get(VOLUMES, str(key))
            assert record is not None
            file = NewFile(str(self._host))  # others may refer to the old one
            for start in range(0, len(content), PIECE_BYTES):
                file.write(bytes(content[start : start + PIECE_BYTES]))
            new: dict[str, object] = {"data": file.name, "data_bytes": file.length, "allocated_bytes": file.allocated}
            new["data_format"] = "raw"
            changes.put(VOLUMES, str(key), {**record, **new})
            file.close()

    def data(self, key: VolumeKey) -> bytes:
        with Store(str(self._host)).reading() as view:
            return self._data(view, str(key))

    def _data(self, view: View, key: str) -> bytes:
        record = view.get(VOLUMES, key)
        assert record is not None
        size = int(record["size_bytes"])
        if "data" in record:
            stored = (self._host / "data" / record["data"]).read_bytes()[: int(record["data_bytes"])]
        else:
            stored = self._data(view, record["backing"]) if record["backing"] else b""
        return bytes(stored[:size]).ljust(size, b"\0")
