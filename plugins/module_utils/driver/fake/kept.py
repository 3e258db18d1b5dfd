# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""States of volumes that a resize keeps until it is confirmed or reverted: snapshots, or copies of raw volumes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ...errors import SnapshotNotFound
from ...model.resize import ResizeRecord, read_resize
from ...model.storage import VolumeKey
from .poolkinds import CHILD_FORMATS
from .records import volume_key
from .store import VOLUMES, Changes, Record
from .volumerecords import STATE, is_complete

SNAPSHOT = "anyvirt-resize"
"""The name of such a snapshot."""

_COPY_SUFFIX = ".before-resize"


def keep(changes: Changes, owner: str, key: str, volume: Record) -> str:
    """Keep what a volume is; what that is called."""
    state = {field: volume[field] for field in STATE if field in volume}
    if volume["format"] in CHILD_FORMATS:
        snapshots = [*_others(volume), {**state, "name": SNAPSHOT, "created_s": time.time()}]
        changes.put(VOLUMES, key, {**volume, "snapshots": snapshots})
        return SNAPSHOT
    name = _copy_name(volume)
    copy: Record = {**state, "pool": volume["pool"], "name": name, "owner": owner, "backing": volume["backing"]}
    copy.update({field: volume[field] for field in ("format", "lock") if field in volume})
    changes.put(VOLUMES, str(VolumeKey(volume["pool"], name)), copy)
    return name


def bring_back(changes: Changes, key: str, kept: str) -> None:
    """Make a volume what it was when that was kept.

    Raises:
        SnapshotNotFound: what was kept is gone, or the volume, or it was kept of another one.
    """
    volume = changes.get(VOLUMES, key)
    found = None
    if volume is not None and is_complete(volume):
        snapshots = (item for item in volume.get("snapshots", ()) if item["name"] == kept)
        if kept == SNAPSHOT:
            found = next(snapshots, None)
        elif kept == _copy_name(volume):  # otherwise it is of another volume, whose place this one has taken
            found = changes.get(VOLUMES, _copy_key(volume, kept))
    if volume is None or found is None:
        raise SnapshotNotFound(f"what was kept of the volume {key} before it was resized, {kept!r}, is gone")
    rest = {field: value for field, value in volume.items() if field not in STATE}
    changes.put(VOLUMES, key, {**rest, **{field: found[field] for field in STATE if field in found}})


def forget_resize(changes: Changes, record: Record) -> None:
    """Delete what is kept for taking back a resize of an instance, if there is one."""
    if record.get("resize"):
        for key, kept in kept_of(record, read_resize(record["resize"])):
            _forget(changes, key, kept)


def kept_of(record: Record, resize: ResizeRecord) -> Iterator[tuple[str, str]]:
    """What is kept, each with the key of its volume."""
    keys = {disk["device"]: volume_key(disk) for disk in record["config"].get("disks", []) if "volume" in disk}
    for device, kept in resize.kept:
        if device in keys:
            yield keys[device], kept


def _forget(changes: Changes, key: str, kept: str) -> None:
    """Delete what was kept of a volume; fine when it is gone."""
    volume = changes.get(VOLUMES, key)
    if kept != SNAPSHOT:
        changes.delete(VOLUMES, f"{key.partition('/')[0]}/{kept}")
    elif volume is not None:
        left = _others(volume)
        rest = {field: value for field, value in volume.items() if field != "snapshots"}
        changes.put(VOLUMES, key, {**rest, "snapshots": left} if left else rest)


def _others(volume: Record) -> list[Record]:
    return [item for item in volume.get("snapshots", ()) if item["name"] != SNAPSHOT]


def _copy_name(volume: Record) -> str:
    return str(volume["name"]) + _COPY_SUFFIX


def _copy_key(volume: Record, kept: str) -> str:
    return f"{volume['pool']}/{kept}"
