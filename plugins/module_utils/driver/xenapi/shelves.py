# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual disks as the collection's volumes: pure functions and a view of all there are, no calls."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...model.storage import Volume, VolumeKey, VolumeSnapshot
from .metadata import CLONE_TAG, VolumeRecord, has_taken_over, place_id, read_volume_record
from .places import Found, is_data, is_unclaimed
from .records import Object, Objects, size_of

VHD, ISO, RAW = "vhd", "iso", "raw"
ROUNDED_TO_BYTES = 2 << 20
"""Sizes of VHD images are multiples of their block's."""

_TIME = "%Y%m%dT%H:%M:%SZ"
_NEVER = "19700101T00:00:00Z"


def rounded(size_bytes: int) -> int:
    """The size that a storage repository makes of the one that is asked for."""
    return max(ROUNDED_TO_BYTES, -(-size_bytes // ROUNDED_TO_BYTES) * ROUNDED_TO_BYTES)


@dataclass
class Shelf:
    """What is in a storage repository under one name.

    Attributes:
        volumes: Those that can be meant.
        leftovers: What killed runs have left of making one.
        waiting: What takes the place of another, which is still there: who did that has not come to its end.
    """

    volumes: list[Found] = field(default_factory=list)
    leftovers: list[Found] = field(default_factory=list)
    waiting: list[Found] = field(default_factory=list)

    @property
    def meant(self) -> Found | None:
        """The volume; None where there is none, or nothing tells which of several it is."""
        if len(self.volumes) == 1:
            return self.volumes[0]
        ours = [one for one in self.volumes if read_volume_record(one.record) is not None]
        return ours[0] if len(ours) == 1 else None


class Contents:
    """All virtual disks, as they were when they were read.

    Args:
        repositories: The storage repositories that count, by reference.
    """

    def __init__(self, vdis: Objects, repositories: Objects) -> None:
        self.vdis = vdis
        self._repositories = repositories
        self._uuids = {vdi["uuid"]: ref for ref, vdi in vdis.items()}
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self._marked: dict[str, list[Found]] = {}
        self._snapshots: dict[str, list[Found]] = {}
        for ref, vdi in vdis.items():
            if is_data(vdi) and vdi["SR"] in repositories:
                self._sort(Found(ref, vdi))
        for shelf in self._shelves.values():
            for one in filter(lambda one: has_taken_over(one.record), shelf.waiting):
                kept = read_volume_record(one.record)
                shelf.volumes = [old for old in shelf.volumes if kept is None or old.record["uuid"] != kept.replaces]
                shelf.volumes.append(one)

    def _sort(self, one: Found) -> None:
        vdi = one.record
        kept = read_volume_record(vdi)
        if is_unclaimed(vdi):
            # A machine that others copied meanwhile has disks with our mark, too.
            for key, source in vdi["other_config"].items():
                if key.startswith(CLONE_TAG) and source != vdi["uuid"] and not vdi["VBDs"]:
                    self._marked.setdefault(key[len(CLONE_TAG) :], []).append(one)
        elif vdi["is_a_snapshot"]:
            if kept is not None and kept.snapshot is not None and kept.snapshot_of is not None:
                self._snapshots.setdefault(kept.snapshot_of, []).append(one)
        else:
            shelf = self._shelves.setdefault((vdi["SR"], vdi["name_label"]), Shelf())
            if kept is not None and kept.unfinished:
                shelf.leftovers.append(one)
            elif kept is not None and kept.replaces in self._uuids:
                shelf.waiting.append(one)
            else:
                shelf.volumes.append(one)

    def shelf(self, repository: str, name: str) -> Shelf:
        """What there is of this name in the storage repository of this reference."""
        found = self._shelves.get((repository, name), Shelf())
        marked = self.unclaimed(place_id(self._repositories[repository]["uuid"], name))
        return Shelf(found.volumes, found.leftovers + marked, found.waiting)

    def names_in(self, repository: str) -> list[str]:
        """The names of the volumes there, in order."""
        return sorted(name for (where, name), shelf in self._shelves.items() if where == repository and shelf.volumes)

    def all_names_in(self, repository: str) -> list[str]:
        """The same with the names of unfinished ones."""
        return sorted(name for where, name in self._shelves if where == repository)

    def replaced_by(self, one: Found) -> str:
        """The reference of what takes its place ``one``, which is waiting."""
        kept = read_volume_record(one.record)
        return self._uuids[str(kept.replaces if kept is not None else None)]

    def unclaimed(self, mark: str) -> list[Found]:
        """Clones and snapshots that were made under this mark and of which nothing was written yet."""
        return self._marked.get(mark, [])

    def marked_sources(self, mark: str) -> list[str]:
        """What still bears this mark because something was to be made of it."""
        return [ref for ref, vdi in self.vdis.items() if vdi["other_config"].get(CLONE_TAG + mark) == vdi["uuid"]]

    def snapshots_of(self, volume: Object) -> list[Found]:
        """Its snapshots, oldest first."""
        kept = read_volume_record(volume)
        if kept is None or kept.making is None or volume["uuid"] not in (kept.vdi, kept.holder):
            return []
        return sorted(self._snapshots.get(kept.making, []), key=_age)

    def children_of(self, volume: Object) -> list[str]:
        """The volumes that were cloned from it or its snapshots, as ``pool/name``."""
        sources = {volume["uuid"], *(one.record["uuid"] for one in self.snapshots_of(volume))}
        found = []
        for vdi in self.vdis.values():
            kept = read_volume_record(vdi)
            if kept is not None and kept.parent in sources and not vdi["is_a_snapshot"]:
                found.append(self._name(vdi))
        return sorted(found)

    def backing_of(self, volume: Object) -> str | None:
        """What it was cloned from, as ``pool/name``."""
        kept = read_volume_record(volume)
        source = None if kept is None or kept.parent is None else self._uuids.get(kept.parent)
        if source is None:
            return None
        vdi = self.vdis[source]
        its = read_volume_record(vdi)
        if its is None or its.snapshot is None:
            return self._name(vdi)
        return next((self._name(one.record) for one in self.versions_of(its.snapshot_of)), None)

    def versions_of(self, making: str | None) -> Iterator[Found]:
        """The volume that was made so; while it is being reverted there are two."""
        for ref, vdi in self.vdis.items():
            kept = read_volume_record(vdi)
            is_it = kept is not None and kept.making == making and vdi["uuid"] in (kept.vdi, kept.holder)
            if making and is_it and not vdi["is_a_snapshot"]:
                yield Found(ref, vdi)

    def _name(self, vdi: Object) -> str:
        repository = self._repositories.get(vdi["SR"])
        pool = "?" if repository is None else repository["name_label"]
        return f"{pool}/{vdi['name_label']}"


def to_volume(one: Found, key: VolumeKey, contents: Contents, repository: Object, snapshots: bool) -> Volume:
    """The volume that a virtual disk is."""
    vdi = one.record
    kept = read_volume_record(vdi)
    return Volume(
        name=key.name,
        pool=key.pool,
        size_bytes=size_of(vdi, kept),
        format=ISO if repository["content_type"] == ISO else VHD,
        shareable=bool(vdi["sharable"]),
        metadata=dict(kept.metadata) if kept is not None else {},
        encrypted=False,
        allocation_bytes=max(0, int(vdi["physical_utilisation"])),
        backing=contents.backing_of(vdi),
        unfinished=kept is not None and kept.unfinished,
        is_image=kept is not None and kept.cached is not None,
        snapshots=[to_snapshot(each) for each in contents.snapshots_of(vdi)] if snapshots else None,
    )


def to_snapshot(one: Found) -> VolumeSnapshot:
    """The snapshot that a virtual disk is."""
    kept = read_volume_record(one.record)
    return VolumeSnapshot(str(kept.snapshot if kept is not None else ""), seconds_of(one.record["snapshot_time"]))


def _age(one: Found) -> int:
    kept = read_volume_record(one.record)
    return 0 if kept is None else kept.number


def seconds_of(told: Any) -> float | None:
    """A time of XenAPI in seconds since 1970."""
    text = str(told).replace("-", "")
    try:
        return None if text == _NEVER else float(calendar.timegm(time.strptime(text, _TIME)))
    except ValueError:
        return None


def is_cached(one: Found) -> bool:
    """Whether a virtual disk belongs to the image cache, though it may still be in the making."""
    kept = read_volume_record(one.record)
    return kept is not None and kept.cached is not None


def adopted(one: Found, repository: Object, making: str) -> VolumeRecord:
    """The record of a volume, made for one that has none of its own or none that names it. Copies of an instance's
    volume have all that it has: what is made for this one alone is not theirs."""
    vdi = one.record
    kept = read_volume_record(vdi)
    if kept is None:
        kept = VolumeRecord(place_id(repository["uuid"], vdi["name_label"]))
    if kept.making is None or vdi["uuid"] not in (kept.vdi, kept.holder):
        kept.making, kept.holder = making, vdi["uuid"]
    return kept


def uuids_of(found: Sequence[Found]) -> str:
    """Their uuids, for messages."""
    return ", ".join(sorted(one.record["uuid"] for one in found))
