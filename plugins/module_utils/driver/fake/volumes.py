# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: seen, resized, removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...errors import VolumeInUse, VolumeNotFound
from ...model.storage import Volume, VolumeKey, VolumeUses
from ...undo import Undo
from .datafiles import NewFile, sweep
from .poolkinds import KINDS
from .records import volume_key
from .store import INSTANCES, VOLUMES, Changes, Record, View
from .storedforms import guest_segments, is_plain, plain_data
from .volumechecks import VolumeChecksMixin, rounded_up
from .volumerecords import DATA, data_of, is_complete, to_volume


class VolumesMixin(VolumeChecksMixin):
    """What is in the pools."""

    def get_volumes(self, keys: Collection[VolumeKey], snapshots: bool = False) -> dict[VolumeKey, Volume]:
        with self._read("volumes") as view:
            pools = self._pools(view)
            found = {key: view.get(VOLUMES, str(key)) for key in keys if key.pool in pools and pools[key.pool].active}
            return {
                key: to_volume(record, pools[key.pool].path, snapshots)
                for key, record in found.items()
                if record is not None
            }

    def list_volumes(self, pool: str) -> list[Volume]:
        with self._read("volumes") as view:
            folder = self._require_active_pool(view, pool).path
            return [
                to_volume(record, folder, False)
                for record in self._volumes_of(view, pool).values()
                if is_complete(record)
            ]

    def volume_uses(self, keys: Collection[VolumeKey]) -> dict[VolumeKey, VolumeUses]:
        wanted = {str(key): key for key in keys}
        with self._read("volume_uses") as view:
            users = self._users(view, set(wanted))
            uses = {key: VolumeUses(instances=users[text]) for text, key in wanted.items()}
            for child, record in view.all(VOLUMES).items():
                if record["backing"] in wanted:
                    uses[wanted[record["backing"]]].children.append(child)
        return uses

    def resize_volume(self, key: VolumeKey, size_bytes: int) -> Undo:
        with self._read("volumes") as view:
            size_bytes = rounded_up(size_bytes, KINDS[self._require_active_pool(view, key.pool).kind]) or 0
            if self._volume(view, key)["size_bytes"] == size_bytes:
                return lambda: None
        with self._write("volume_resize") as changes:
            volume = self._volume(changes, key)
            before = volume["size_bytes"]
            self._require_resizable(changes, key, volume, size_bytes)
            data = {field: volume[field] for field in DATA if field in volume}
            if size_bytes < before:
                volume = self._shortened(changes, volume, size_bytes)
            self._set_size(changes, key, volume, size_bytes)
            made = volume.get("data")
        sweep(self._store)
        return lambda: self._resize_back(key, before, data, made)

    def set_volume_metadata(self, key: VolumeKey, metadata: Mapping[str, str]) -> Undo:
        with self._read("volumes") as view:
            if self._volume(view, key).get("metadata", {}) == metadata:
                return lambda: None
        with self._write("volume_metadata") as changes:
            volume = self._volume(changes, key)
            before = volume.get("metadata", {})
            changes.put(VOLUMES, str(key), {**volume, "metadata": dict(metadata)})

        def put_back() -> None:
            with self._write("volume_metadata") as changes:
                changes.put(VOLUMES, str(key), {**self._volume(changes, key), "metadata": before})

        return put_back

    def delete_volume(self, key: VolumeKey) -> None:
        with self._read("volumes") as view:
            is_there = view.get(VOLUMES, str(key)) is not None
        if is_there:
            with self._write("volume_delete") as changes:
                changes.delete(VOLUMES, str(key))
        sweep(self._store)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _volume(self, view: View, key: VolumeKey) -> Record:
        """The record of a volume that is complete, in a pool that is active."""
        self._require_active_pool(view, key.pool)
        record = view.get(VOLUMES, str(key))
        if record is None or not is_complete(record):
            raise VolumeNotFound(f"there is no volume {key.name!r} in the pool {key.pool!r}")
        return record

    def _require_resizable(self, changes: Changes, key: VolumeKey, volume: Record, size_bytes: int) -> None:
        more = size_bytes - volume["size_bytes"]
        if "image" in volume and more:
            raise VolumeInUse(f"{key} is an image of the cache, and stays as it is")
        if more > 0:
            self._require_pool_room(changes, key.pool, more)
        elif more < 0:
            users = self._users(changes, {str(key)})[str(key)]
            if users:
                names = ", ".join(repr(user.instance) for user in users)
                raise VolumeInUse(f"the volume {key} can only shrink while it is attached nowhere; {names} has it")
            if volume.get("snapshots") or any(other["backing"] == str(key) for other in changes.all(VOLUMES).values()):
                raise VolumeInUse(f"the volume {key} cannot shrink: it has snapshots or children that need all of it")

    def _set_size(self, changes: Changes, key: VolumeKey, volume: Record, size_bytes: int) -> None:
        """Also where instances have it, so that their guests see it."""
        changes.put(VOLUMES, str(key), {**volume, "size_bytes": size_bytes})
        for name, record in changes.all(INSTANCES).items():
            changes.put(INSTANCES, name, _with_size(record, str(key), size_bytes))

    def _shortened(self, view: View, volume: Record, size_bytes: int) -> Record:
        """A volume's record after all that is beyond this size is lost."""
        data = data_of(view, volume, volume["backing"])
        if is_plain(volume) and ("data" in volume or not data):
            had = [field for field in ("data_bytes", "allocated_bytes") if field in volume]
            return {**volume, **{field: min(volume[field], size_bytes) for field in had}}
        file = NewFile(self.folder)
        try:
            for segment in guest_segments(self.folder, data, size_bytes):
                file.write(segment)
        finally:
            file.close()
        return {**volume, **plain_data(file)}

    def _resize_back(self, key: VolumeKey, size_bytes: int, data: Record, made: str | None) -> None:
        """Take back a change of size; ``data`` is what the volume had, ``made`` the file that it had after it."""
        with self._write("volume_resize") as changes:
            volume = self._volume(changes, key)
            if volume.get("data") == made and data.get("data") in (made, None):  # else it was written to meanwhile
                volume = {**{field: value for field, value in volume.items() if field not in DATA}, **data}
            self._set_size(changes, key, volume, size_bytes)


def _with_size(record: Record, key: str, size_bytes: int) -> Record:
    """An instance's record in which the disks on this volume have its size."""
    changed = dict(record)
    for part in ("config", "running"):
        if record[part] is not None and any("volume" in disk for disk in record[part].get("disks", ())):
            disks = [
                {**disk, "size_bytes": size_bytes} if "volume" in disk and volume_key(disk) == key else disk
                for disk in record[part]["disks"]
            ]
            changed[part] = {**record[part], "disks": disks}
    return changed
