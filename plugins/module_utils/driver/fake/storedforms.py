# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume's data in two forms: as it would lie in a real pool, and as a guest sees it.

What is uploaded is kept as it came; everything else is kept as guests see it, and takes the form of its volume's format
when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...transfer.content import PIECE_BYTES, Hole, Segment
from ...transfer.sparse import length_of
from . import qcow2, vhd
from .datafiles import NewFile, open_data, passing_copy
from .poolkinds import ISO_FORMAT, QCOW2, RAW, VHD
from .store import Record

_PLAIN = (RAW, ISO_FORMAT)
_FORMS = {QCOW2: qcow2, VHD: vhd}


class StoredForm:
    """A volume as it would lie in a real pool.

    Attributes:
        length: Bytes that ``segments`` yields, holes included.
    """

    def __init__(self, folder: str, volume: Record) -> None:
        self._volume = volume
        self._size_bytes: int = volume["size_bytes"]
        self._used: list[int] = []
        self._as_it_came = not is_plain(volume) and _is_of(volume)
        if self._as_it_came or is_plain(volume):
            self._file = open_data(folder, volume.get("data"))
            self._data_bytes: int = volume.get("data_bytes", 0)
        else:
            self._file = passing_copy(folder, guest_segments(folder, volume, self._size_bytes))
            self._data_bytes = self._size_bytes
        self.length = self._data_bytes if self._as_it_came else self._size_bytes
        if not self._as_it_came and volume["format"] in _FORMS:
            form = _FORMS[volume["format"]]
            self._used = list(self._file.used(form.PART_BYTES, min(self._data_bytes, self._size_bytes)))
            self.length = form.encoded_length(self._size_bytes, self._used)

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order."""
        volume = self._volume
        if self._as_it_came:
            yield from self._file.segments(0, self._data_bytes)
        elif volume["format"] == QCOW2:
            yield from gathered(qcow2.encoded(self._size_bytes, self._used, self._read, volume["backing"]))
        elif volume["format"] == VHD:
            yield from gathered(vhd.encoded(self._size_bytes, self._used, self._read))
        else:
            yield from _of_length(self._file.segments(0, self._data_bytes), self._size_bytes)

    def close(self) -> None:
        """Let go of its file."""
        self._file.close()

    def _read(self, at: int, length: int) -> bytes:
        return self._file.read(at, min(length, max(0, self._data_bytes - at)))


def guest_segments(folder: str, data: Record, size_bytes: int) -> Iterator[Segment]:
    """The disk of a volume with this data, as its guest sees it."""
    file = open_data(folder, data.get("data"))
    try:
        length = data.get("data_bytes", 0)
        if data.get("data_format") == QCOW2:
            found = qcow2.decoded(file.read)
        elif data.get("data_format") == VHD:
            found = vhd.decoded(file.read, length)
        else:
            found = file.segments(0, length)
        yield from _of_length(found, size_bytes)
    finally:
        file.close()


def is_plain(data: Record) -> bool:
    """Whether it is kept as guests see it."""
    return data.get("data_format", RAW) in _PLAIN


def plain_data(file: NewFile) -> Record:
    """The part of a record that tells of a file with data as guests see it."""
    known = {"data": file.name, "data_bytes": file.length, "allocated_bytes": file.allocated}
    return {**known, "data_format": RAW, "data_size_bytes": file.length}


def gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same in pieces, each as large as it may be."""
    waiting = bytearray()
    for part in parts:
        waiting += part
        while len(waiting) >= PIECE_BYTES:
            yield bytes(waiting[:PIECE_BYTES])
            del waiting[:PIECE_BYTES]
    if waiting:
        yield bytes(waiting)


def _is_of(volume: Record) -> bool:
    """Whether data that came in a form of its own is in that of its volume, and of its size."""
    return (volume["format"], volume["size_bytes"]) == (volume["data_format"], volume["data_size_bytes"])


def _of_length(segments: Iterator[Segment], length: int) -> Iterator[Segment]:
    """Cut off, or continued with a hole."""
    left = length
    for segment in segments:
        taken = min(length_of(segment), left)
        if taken:
            yield Hole(taken) if isinstance(segment, Hole) else segment[:taken]
        left -= taken
    if left:
        yield Hole(left)
