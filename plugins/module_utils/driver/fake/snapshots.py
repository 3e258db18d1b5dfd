# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of volumes: records of what they were, with the files that their data was in."""

from __future__ import annotations

import time

from ...errors import AlreadyExists, Unsupported, VolumeInUse
from ...model.storage import VolumeKey
from ...undo import Undo
from .creation import CreationMixin
from .datafiles import sweep
from .poolkinds import CHILD_FORMATS
from .store import VOLUMES, Record, View
from .volumechecks import find_snapshot
from .volumerecords import STATE, is_complete


class SnapshotsMixin(CreationMixin):
    """States of volumes to go back to."""

    def create_volume_snapshot(self, key: VolumeKey, snapshot: str) -> Undo:
        with self._write("volume_snapshot") as changes:
            volume = self._volume(changes, key)
            if volume["format"] not in CHILD_FORMATS:
                raise Unsupported(
                    f"a {volume['format']} volume has no snapshots; {' and '.join(CHILD_FORMATS)} ones have"
                )
            if any(item["name"] == snapshot for item in _snapshots(volume)):
                raise AlreadyExists(f"the volume {key} has a snapshot {snapshot!r} already")
            self._require_pool_room(changes, key.pool, volume.get("allocated_bytes", 0))
            taken = {**_state(volume), "name": snapshot, "created_s": time.time()}
            changes.put(VOLUMES, str(key), {**volume, "snapshots": [*_snapshots(volume), taken]})
        return lambda: self.delete_volume_snapshot(key, snapshot)

    def delete_volume_snapshot(self, key: VolumeKey, snapshot: str) -> None:
        with self._read("volumes") as view:
            if not self._has_snapshot(view, key, snapshot):
                return
        with self._write("volume_snapshot_delete") as changes:
            if not self._has_snapshot(changes, key, snapshot):
                return
            volume = self._volume(changes, key)
            kept = [item for item in _snapshots(volume) if item["name"] != snapshot]
            record = {field: value for field, value in volume.items() if field != "snapshots"}
            changes.put(VOLUMES, str(key), {**record, "snapshots": kept} if kept else record)
        sweep(self._store)

    def revert_volume(self, key: VolumeKey, snapshot: str) -> None:
        with self._write("volume_revert") as changes:
            volume = self._volume(changes, key)
            state = _state(find_snapshot(volume, snapshot))
            users = [user.instance for user in self._users(changes, {str(key)})[str(key)] if user.active]
            if users:
                raise VolumeInUse(f"the volume {key} is in use by the active instance {users[0]!r}; stop it first")
            children = [child for child, other in changes.all(VOLUMES).items() if other["backing"] == str(key)]
            if children:
                raise VolumeInUse(f"the volume {key} has children that need what is in it now: {', '.join(children)}")
            more = state["size_bytes"] - volume["size_bytes"]
            if more > 0:
                self._require_pool_room(changes, key.pool, more)
            kept = {field: value for field, value in volume.items() if field not in STATE}
            self._set_size(changes, key, {**kept, **state}, state["size_bytes"])
        sweep(self._store)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _has_snapshot(self, view: View, key: VolumeKey, snapshot: str) -> bool:
        volume = view.get(VOLUMES, str(key))
        if volume is None or not is_complete(volume):
            return False
        return any(item["name"] == snapshot for item in _snapshots(volume))


def _snapshots(volume: Record) -> list[Record]:
    return list(volume.get("snapshots", ()))


def _state(record: Record) -> Record:
    """What a volume is made up of at one moment."""
    return {field: record[field] for field in STATE if field in record}
