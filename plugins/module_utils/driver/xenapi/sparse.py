# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks on their way to and from a pool: sparse, in bounded memory.

A pool is told of pieces, each with its place in the disk, and takes what is not told as zeros, since new disks are
empty. It sends disks as dynamic VHD images, in which blocks that were never written are left out.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ...errors import TransferError
from ...transfer.content import PIECE_BYTES, Hole, Segment

SECTOR = 512
FRAME_BYTES = 1 << 16
"""Zeros are looked for in pieces of this size, which are aligned to it."""

_CHUNK = struct.Struct("<QI")
_END = _CHUNK.pack(0, 0)
_ZEROS = bytes(FRAME_BYTES)

_FOOTER_COOKIE, _HEADER_COOKIE = b"conectix", b"cxsparse"
_FOOTER_BYTES, _HEADER_BYTES = 512, 1024
_FOOTER = struct.Struct(">8x4x4xQ24xQ4xII")
"""Where the header is, the disk's size, the kind of image and the checksum."""
_FOOTER_CHECKSUM, _HEADER_CHECKSUM = 64, 36
_HEADER = struct.Struct(">8x8xQ4xIII")
"""Where the table is, how many entries it has, the size of a block and the checksum."""
_DYNAMIC = 3
_UNUSED = 0xFFFFFFFF
_BLOCKS = (1 << 16, 1 << 24)
"""Between which sizes a block's has to be."""
_MOST_ENTRIES = 1 << 21
"""Of a table, which is kept in memory: 4 TiB in blocks of the usual 2 MiB, twice what a VHD image can hold."""


class Extent(NamedTuple):
    """Data with its place in a disk."""

    offset: int
    data: bytes


def extents_of(segments: Iterable[Segment]) -> Iterator[Extent]:
    """What of raw data has to be written into an empty disk: whole sectors, in order."""
    start, frame = 0, bytearray()
    for segment in segments:
        if isinstance(segment, Hole):
            end = start + len(frame) + segment.length
            if end - start < FRAME_BYTES:
                frame.extend(bytes(segment.length))
                continue
            yield from _worth_sending(start, bytes(frame))
            start = end - end % FRAME_BYTES
            frame = bytearray(end - start)
            continue
        frame.extend(segment)
        whole = len(frame) - len(frame) % FRAME_BYTES
        if whole:
            yield from _worth_sending(start, bytes(memoryview(frame)[:whole]))
            frame = frame[whole:]
            start += whole
    yield from _worth_sending(start, bytes(frame))


def _worth_sending(offset: int, data: bytes) -> Iterator[Extent]:
    """The parts that are not zeros, as long as they can be."""
    first = None
    for position in range(0, len(data), FRAME_BYTES):
        frame = data[position : position + FRAME_BYTES]
        if frame == _ZEROS[: len(frame)]:
            if first is not None:
                yield Extent(offset + first, _whole_sectors(data[first:position]))
            first = None
        elif first is None:
            first = position
    if first is not None:
        yield Extent(offset + first, _whole_sectors(data[first:]))


def _whole_sectors(data: bytes) -> bytes:
    return data if len(data) % SECTOR == 0 else data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")


def chunks_of(extents: Iterable[Extent]) -> Iterator[bytes]:
    """A body for ``/import_raw_vdi`` with ``chunked``: each piece behind its place and length, in the end nothing at
    the beginning."""
    for extent in extents:
        yield _CHUNK.pack(extent.offset, len(extent.data)) + extent.data
    yield _END


class VhdStream:
    """A dynamic VHD image, read from its beginning to its end.

    Args:
        pieces: Its bytes.
        what: How messages call it.

    Attributes:
        size_bytes: Of the disk in it.
    """

    def __init__(self, pieces: Iterable[bytes], what: str) -> None:
        self._pieces = iter(pieces)
        self._waiting = bytearray()
        self._position = 0
        self._what = what
        footer = self._read(_FOOTER_BYTES)
        header_at, self.size_bytes, kind, _checksum = _FOOTER.unpack_from(footer)
        self._require(footer.startswith(_FOOTER_COOKIE) and _is_whole(footer, _FOOTER_CHECKSUM), "no VHD image")
        self._require(kind == _DYNAMIC, "a VHD image that is not dynamic")
        self._require(self.size_bytes % SECTOR == 0, "a VHD image of half a sector")
        self._skip_to(header_at)
        header = self._read(_HEADER_BYTES)
        table_at, entries, self._block_bytes, _checksum = _HEADER.unpack_from(header)
        self._require(header.startswith(_HEADER_COOKIE) and _is_whole(header, _HEADER_CHECKSUM), "a broken VHD image")
        least, most = _BLOCKS
        self._require(least <= self._block_bytes <= most and self._block_bytes % SECTOR == 0, "a VHD of odd blocks")
        needed = -(-self.size_bytes // self._block_bytes)
        self._require(needed <= entries <= _MOST_ENTRIES, "a VHD image with a table that does not fit")
        self._skip_to(table_at)
        self._table = array("I", self._read(4 * entries)[: 4 * needed])
        if sys.byteorder == "little":
            self._table.byteswap()

    def extents(self) -> Iterator[Extent]:
        """The data in it, in the order in which the image has it, once.

        Raises:
            TransferError: it ends too early, or is broken.
        """
        bitmap_bytes = -(-self._block_bytes // SECTOR // 8 // SECTOR) * SECTOR
        table = self._table
        used = [number for number, sector in enumerate(table) if sector != _UNUSED]
        for number in sorted(used, key=table.__getitem__):
            self._skip_to(table[number] * SECTOR)
            bitmap = self._read(bitmap_bytes)
            offset = number * self._block_bytes
            length = min(self._block_bytes, self.size_bytes - offset)
            written, position = bitmap[: self._block_bytes // SECTOR // 8], 0
            while position < self._block_bytes:
                data = self._read(min(PIECE_BYTES, self._block_bytes - position))
                if position < length:
                    yield Extent(offset + position, _masked(data[: length - position], written, position))
                position += len(data)
        self._require_end()

    def segments(self) -> Iterator[Segment]:
        """The disk, in order, once. Raises TransferError as ``extents``, and where the image is in another order."""
        position = 0
        for offset, data in self.extents():
            self._require(offset >= position, "a VHD image whose blocks are in disorder")
            for extent in _worth_sending(offset, data):
                if extent.offset > position:
                    yield Hole(extent.offset - position)
                yield extent.data
                position = extent.offset + len(extent.data)
        if position < self.size_bytes:
            yield Hole(self.size_bytes - position)

    def _require_end(self) -> None:
        """What comes behind all blocks is the footer once more, and so tells that nothing is missing."""
        end = bytes(self._waiting)
        for piece in self._pieces:
            end = (end + piece)[-_FOOTER_BYTES:]
        self._require(end[-_FOOTER_BYTES:].startswith(_FOOTER_COOKIE), "a VHD image that ends too early")

    def _skip_to(self, position: int) -> None:
        self._require(position >= self._position, "a VHD image whose parts are in disorder")
        while position > self._position:
            self._read(min(PIECE_BYTES, position - self._position))

    def _read(self, length: int) -> bytes:
        while len(self._waiting) < length:
            piece = next(self._pieces, b"")
            self._require(bool(piece), "a VHD image that ends too early")
            self._waiting += piece
        data = bytes(memoryview(self._waiting)[:length])
        del self._waiting[:length]
        self._position += length
        return data

    def _require(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            raise TransferError(f"{self._what} is {otherwise}")


def _is_whole(part: bytes, checksum_at: int) -> bool:
    """Whether the checksum in a footer or header is right: the complement of the sum of all other bytes."""
    told = int.from_bytes(part[checksum_at : checksum_at + 4], "big")
    return told == ~(sum(part) - sum(part[checksum_at : checksum_at + 4])) & 0xFFFFFFFF


def _masked(data: bytes, written: bytes, position: int) -> bytes:
    """The data with zeros where the bitmap says that nothing was written."""
    first, count = position // SECTOR, len(data) // SECTOR
    bits = written[first // 8 : -(-(first + count) // 8)]
    if bits.count(0xFF) == len(bits):
        return data
    masked = bytearray(data)
    for sector in range(first, first + count):
        if not written[sector // 8] & (0x80 >> sector % 8):
            at = (sector - first) * SECTOR
            masked[at : at + SECTOR] = bytes(SECTOR)
    return bytes(masked)
