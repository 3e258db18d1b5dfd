# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes as the guests read and write them whose disks they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...errors import VolumeNotFound
from ...model.storage import VolumeKey
from ...transfer.content import Hole, Segment
from ...transfer.sparse import length_of
from .datafiles import NewFile
from .store import VOLUMES, Changes, Record, View
from .storedforms import guest_segments, plain_data
from .volumerecords import data_of, is_complete


def read_as_guest(folder: str, view: View, key: VolumeKey) -> Iterator[Segment]:
    """All of it.

    Raises:
        VolumeNotFound: there is none.
    """
    volume = _volume(view, key)
    yield from guest_segments(folder, data_of(view, volume, volume["backing"]), volume["size_bytes"])


def write_as_guest(folder: str, changes: Changes, key: VolumeKey, offset: int, data: bytes) -> None:
    """Put data in the place of what is there.

    Raises:
        VolumeNotFound: there is no such volume.
        ValueError: it ends before the data does.
    """
    volume = _volume(changes, key)
    if offset + len(data) > volume["size_bytes"]:
        raise ValueError(f"the volume {key} has {volume['size_bytes']} bytes; {offset + len(data)} are more than that")
    file = NewFile(folder)
    try:
        for segment in _overlaid(read_as_guest(folder, changes, key), offset, data):
            file.write(segment)
    finally:
        file.close()
    changes.put(VOLUMES, str(key), {**volume, **plain_data(file)})


def _volume(view: View, key: VolumeKey) -> Record:
    volume = view.get(VOLUMES, str(key))
    if volume is None or not is_complete(volume):
        raise VolumeNotFound(f"there is no volume {key.name!r} in the pool {key.pool!r}")
    return volume


def _overlaid(segments: Iterable[Segment], offset: int, data: bytes) -> Iterator[Segment]:
    at, end = 0, offset + len(data)
    for segment in segments:
        before, after = offset - at, at + length_of(segment) - end
        if before >= length_of(segment) or after >= length_of(segment):
            yield segment
        else:
            if before > 0:
                yield _part(segment, 0, before)
            if before >= 0:
                yield data
            if after > 0:
                yield _part(segment, length_of(segment) - after, length_of(segment))
        at += length_of(segment)


def _part(segment: Segment, start: int, end: int) -> Segment:
    return Hole(end - start) if isinstance(segment, Hole) else segment[start:end]
