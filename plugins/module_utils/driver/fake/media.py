# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CD drives: what is in them."""

from __future__ import annotations

from ...errors import HypervisorError, NotFound, Unsupported
from ...model import power_state
from ...model.instance import CDROM
from ...model.storage import VolumeKey
from ...undo import Undo
from .attach import AttachMixin, find_disk
from .store import Record, View

_MEDIUM = ("volume", "pool", "path", "image", "size_bytes", "format", "owned", "role")
"""Fields of a disk that speak of what is in the drive."""


class MediaMixin(AttachMixin):
    """Inserting and ejecting."""

    def change_media(self, instance: str, device: str, key: VolumeKey | None) -> Undo:
        with self._read("attachment", instance) as view:
            record, _seen = self._instance(view, instance)
            if all(_holds(disk, key) for disk in _drive(record, device).values()):
                return lambda: None
        with self._write("media_change", instance) as changes:
            record, seen = self._instance(changes, instance)
            before = _drive(record, device)
            live = self._require_settled(record, seen)
            if live and self._faults.guest(instance).locks_tray and any("volume" in disk for disk in before.values()):
                raise HypervisorError(
                    f"the guest of instance {instance!r} ({power_state.name(seen.state)}) has locked the tray of "
                    f"{device}; eject it there first"
                )
            medium = {} if key is None else self._medium(changes, key)
            self._change_disk(changes, record, {part: {**_empty(disk), **medium} for part, disk in before.items()})
        return lambda: self._change_back(instance, "media_change", before, _MEDIUM)

    def _medium(self, view: View, key: VolumeKey) -> Record:
        volume = self._volume(view, key)
        if "lock" in volume:
            raise Unsupported(f"the volume {key} is encrypted, and CD drives open none; attach it as a disk")
        return {
            "pool": key.pool,
            "volume": key.name,
            "size_bytes": volume["size_bytes"],
            "format": volume["format"],
        }


def _drive(record: Record, device: str) -> dict[str, Record]:
    """The drive as the parts of the record have it."""
    disks: dict[str, Record] = {part: record[part]["disks"][at] for part, at in find_disk(record, device).items()}
    if any(disk["kind"] != CDROM for disk in disks.values()):
        raise NotFound(f"{device} of instance {record['name']!r} is no CD drive")
    return disks


def _empty(disk: Record) -> Record:
    """The drive with nothing in it."""
    return {**{field: value for field, value in disk.items() if field not in _MEDIUM}, "owned": False, "role": "data"}


def _holds(disk: Record, key: VolumeKey | None) -> bool:
    if key is None:
        return not any(field in disk for field in ("volume", "path"))
    return (disk.get("pool"), disk.get("volume")) == key
