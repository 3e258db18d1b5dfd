# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wanted volumes: what is wrong with them, and what the driver decides about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ...errors import ImageNotFound, InvalidInput, Problem, SnapshotNotFound, VolumeInUse, VolumeNotFound
from ...model.storage import FALLOC, FULL, METADATA, OFF, Volume, VolumeSource
from ...model.units import format_size
from ...transfer.content import ImageFacts
from ..volumesource import source_problems
from .poolkinds import CHILD_FORMATS, ISO_FORMAT, KINDS, QCOW2, RAW, VHD, Kind
from .pools import PoolsMixin
from .store import VOLUMES, Record, View, is_file_name
from .volumerecords import is_complete

_FORMATS = (QCOW2, RAW, VHD, ISO_FORMAT)
_PREALLOCATIONS = (OFF, METADATA, FALLOC, FULL)


class Source(NamedTuple):
    """A volume, or a snapshot of it, that another one is made from.

    Attributes:
        key: Of the volume, in the store.
        volume: Its record.
        state: The record of what is copied: the volume's own, or its snapshot's.
    """

    key: str
    volume: Record
    state: Record


class VolumeChecksMixin(PoolsMixin):
    """What can be known before a volume is made."""

    def check_volume(self, volume: Volume) -> list[Problem]:
        return list(_problems(volume))

    def complete_volume(self, volume: Volume, facts: ImageFacts | None = None) -> Volume:
        with self._read("volume_source") as view:
            return self._completed(view, fitted(volume, facts))

    def _completed(self, view: View, volume: Volume) -> Volume:
        kind = KINDS[self._require_active_pool(view, volume.pool).kind]
        source = volume.source
        found = self._find_source(view, volume)
        size_bytes, volume_format = volume.size_bytes, volume.format
        if source is not None and found is not None:
            source = replace(source, copy_on_write=_is_child(source, kind))
            smallest = found.state["size_bytes"]
            if size_bytes is not None and size_bytes < smallest:
                raise InvalidInput([Problem("size", f"what it is made from needs {format_size(smallest)}")])
            size_bytes = size_bytes or smallest
            volume_format = volume_format or _format_of_copy(source, found, kind)
        elif source is None:
            volume_format = volume_format or (RAW if volume.shareable and RAW in kind.formats else kind.formats[0])
            if size_bytes is None:
                raise InvalidInput([Problem("size", "is needed for a new volume without a source")])
        completed = replace(
            volume,
            source=source,
            size_bytes=rounded_up(size_bytes, kind),
            format=volume_format,
            preallocation=volume.preallocation or (FULL if kind.is_thick else OFF),
            shareable=bool(volume.shareable),
            metadata=dict(volume.metadata or {}),
        )
        problems = [*_problems(completed), *_pool_problems(completed, kind)]
        if problems:
            raise InvalidInput(problems)
        return completed

    def _find_source(self, view: View, volume: Volume) -> Source | None:
        """What a volume is made from, when that is a volume or an image."""
        source = volume.source
        name = (source.volume or source.image) if source is not None else None
        if source is None or name is None:
            return None
        pool = source.pool or volume.pool
        self._require_active_pool(view, pool)
        key = f"{pool}/{name}"
        record = view.get(VOLUMES, key)
        if record is None or not is_complete(record) or (source.image is not None and "image" not in record):
            if source.image is not None:
                raise ImageNotFound(f"there is no image {name!r} in the cache of the pool {pool!r}")
            raise VolumeNotFound(f"there is no volume {name!r} in the pool {pool!r}")
        users = [user for user in self._users(view, {key})[key] if not user.read_only]
        if users and source.copy_on_write:
            raise VolumeInUse(
                f"nothing can lean on the volume {key}, which the instance {users[0].instance!r} writes to when it "
                "runs; have a whole copy, or detach it there first"
            )
        writers = sorted(user.instance for user in users if user.active)
        if writers and source.snapshot is None:
            raise VolumeInUse(
                f"the volume {key} may be written to by the active instance {writers[0]!r}; "
                "stop it, or make the new volume from a snapshot"
            )
        return Source(key, record, find_snapshot(record, source.snapshot) if source.snapshot else record)


def fitted(volume: Volume, facts: ImageFacts | None) -> Volume:
    """A volume with the format and, if known, the size of what it is filled with."""
    if facts is None:
        return volume
    if volume.format not in (None, facts.format) and (volume.format, facts.format) != (RAW, ISO_FORMAT):
        wrong = f"what it is filled with is {facts.format}, and is not converted; leave the format out"
        raise InvalidInput([Problem("format", wrong)])
    least = facts.size_bytes
    if volume.size_bytes is not None and least is not None and volume.size_bytes < least:
        raise InvalidInput([Problem("size", f"what it is filled with needs {format_size(least)}")])
    return replace(volume, format=volume.format or facts.format, size_bytes=volume.size_bytes or least)


def rounded_up(size_bytes: int | None, kind: Kind) -> int | None:
    """The next size that a pool of this kind can make."""
    return None if size_bytes is None else -(-size_bytes // kind.grain_bytes) * kind.grain_bytes


def find_snapshot(volume: Record, name: str) -> Record:
    """The record of a volume's snapshot.

    Raises:
        SnapshotNotFound: it has none of that name.
    """
    for snapshot in volume.get("snapshots", ()):
        if snapshot["name"] == name:
            found: Record = snapshot
            return found
    raise SnapshotNotFound(f"the volume {volume['pool']}/{volume['name']} has no snapshot {name!r}")


def _is_child(source: VolumeSource, kind: Kind) -> bool:
    if source.copy_on_write is not None:
        return source.copy_on_write
    return source.image is not None and any(name in kind.formats for name in CHILD_FORMATS)


def _format_of_copy(source: VolumeSource, found: Source, kind: Kind) -> str:
    own: str = found.volume["format"]
    if source.copy_on_write:
        return next((name for name in kind.formats if name in CHILD_FORMATS), kind.formats[0])
    return own if own in kind.formats else kind.formats[0]


def _problems(volume: Volume) -> Iterator[Problem]:
    """What is wrong in any pool."""
    for option, value in (("name", volume.name), ("pool", volume.pool)):
        if not is_file_name(value):
            yield Problem(option, f"{value!r} cannot be its name")
    if volume.format is not None and volume.format not in _FORMATS:
        yield Problem("format", f"the fake driver has no {volume.format!r}, only {', '.join(_FORMATS)}")
    if volume.size_bytes is not None and volume.size_bytes <= 0:
        yield Problem("size", "must be more than zero")
    if volume.preallocation not in (None, *_PREALLOCATIONS):
        yield Problem("preallocation", f"{volume.preallocation!r} is not one of {', '.join(_PREALLOCATIONS)}")
    if volume.preallocation == METADATA and volume.format not in (None, QCOW2):
        yield Problem("preallocation", f"{METADATA} is for {QCOW2} volumes only")
    if volume.shareable and volume.format not in (None, RAW):
        yield Problem("shareable", f"only {RAW} volumes can be written to by several instances at once")
    if volume.encryption is not None:
        if not volume.encryption.passphrase:
            yield Problem("encryption.passphrase", "is needed")
        if volume.source is not None:
            yield Problem("encryption", "can only be given to a new blank volume")
        if volume.format not in (None, QCOW2, RAW):
            yield Problem("encryption", f"there are no encrypted {volume.format} volumes")
    if volume.source is not None:
        yield from _source_problems(volume, volume.source)


def _source_problems(volume: Volume, source: VolumeSource) -> Iterator[Problem]:
    yield from source_problems(source)
    if source.copy_on_write:
        if source.snapshot is not None:
            yield Problem("source.copy_on_write", "nothing can lean on a snapshot; make a whole copy of it")
        if volume.format is not None and volume.format not in CHILD_FORMATS:
            yield Problem("source.copy_on_write", f"a {volume.format} volume cannot be a child of another")
        if volume.preallocation not in (None, OFF, METADATA):
            yield Problem("preallocation", "a copy-on-write child cannot be allocated in advance")


def _pool_problems(volume: Volume, kind: Kind) -> Iterator[Problem]:
    """What is wrong in a pool of this kind."""
    if not kind.makes_volumes:
        yield Problem("pool", f"{volume.pool!r} has the volumes that its server has; make them there")
    if volume.format is not None and volume.format not in kind.formats:
        yield Problem("format", f"the pool {volume.pool!r} holds {' and '.join(kind.formats)}, not {volume.format}")
    if volume.source is None and volume.format == ISO_FORMAT:
        yield Problem("source", "is needed: a blank CD makes no sense")
