# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dynamic VHD images as a pool sends and takes them: footer, header, table, blocks in order, footer."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

BLOCK = 2 * 1024 * 1024
_SECTOR = 512
_BITMAP = 512
_UNUSED = 0xFFFFFFFF
_DYNAMIC, _DIFFERENCING = 3, 4
_FOOTER_COOKIE, _HEADER_COOKIE = b"conectix", b"cxsparse"


class BadImage(Exception):
    """What came is no VHD image that can be taken."""


def length(size: int, blocks: int) -> int:
    """How long the image of a disk of this size is, so many blocks of which are written."""
    return _table_at() + _table_length(size) + blocks * (_BITMAP + BLOCK) + _SECTOR


def image(size: int, written: list[int], read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The image of a disk, piece by piece.

    Args:
        written: The numbers of the blocks in it.
        read: Gives a block.
    """
    footer = _footer(size)
    yield footer + _header(size)
    first = _table_at() + _table_length(size)
    table = [_UNUSED] * (_table_length(size) // 4)
    for position, number in enumerate(written):
        table[number] = (first + position * (_BITMAP + BLOCK)) // _SECTOR
    yield struct.pack(f">{len(table)}I", *table)
    for number in written:
        yield b"\xff" * _BITMAP
        yield read(number).ljust(BLOCK, b"\0")
    yield footer


def pieces(read: Callable[[int], bytes]) -> Iterator[tuple[int, bytes]]:
    """What an image that comes in by ``read`` says is to be written where. One that only has differences to another is
    taken too: what it does not have stays as it is."""
    footer = read(_SECTOR)
    if footer[:8] != _FOOTER_COOKIE or _checksum(footer, 64) != footer[64:68]:
        raise BadImage("no footer in front")
    (size,), (kind,) = struct.unpack_from(">Q", footer, 48), struct.unpack_from(">I", footer, 60)
    if kind not in (_DYNAMIC, _DIFFERENCING):
        raise BadImage("neither dynamic nor differencing")
    position = _SECTOR
    (header_at,) = struct.unpack_from(">Q", footer, 16)
    position = _skip(read, position, header_at)
    header = read(1024)
    position += 1024
    if header[:8] != _HEADER_COOKIE or _checksum(header, 36) != header[36:40]:
        raise BadImage("no header")
    (table_at,) = struct.unpack_from(">Q", header, 16)
    entries, block = struct.unpack_from(">II", header, 28)
    position = _skip(read, position, table_at)
    table = struct.unpack(f">{entries}I", read(4 * entries))
    position += 4 * entries
    bitmap_length = -(-block // _SECTOR // 8 // _SECTOR) * _SECTOR
    for sector, number in sorted((sector, number) for number, sector in enumerate(table) if sector != _UNUSED):
        position = _skip(read, position, sector * _SECTOR)
        bitmap, data = read(bitmap_length), read(block)
        position += bitmap_length + block
        end = min(block, size - number * block)
        for start, stop in _runs(bitmap, block // _SECTOR):
            if start < end:
                yield number * block + start, data[start : min(stop, end)]


def _runs(bitmap: bytes, sectors: int) -> Iterator[tuple[int, int]]:
    """From where to where a block was written, in bytes."""
    first = None
    for index in range(sectors + 1):
        is_written = index < sectors and bool(bitmap[index // 8] & (0x80 >> index % 8))
        if is_written and first is None:
            first = index
        elif not is_written and first is not None:
            yield first * _SECTOR, index * _SECTOR
            first = None


def _skip(read: Callable[[int], bytes], position: int, wanted: int) -> int:
    if wanted < position:
        raise BadImage("parts in disorder")
    while position < wanted:
        position += len(read(min(wanted - position, BLOCK)))
    return position


def _table_at() -> int:
    return _SECTOR + 1024


def _table_length(size: int) -> int:
    entries = -(-size // BLOCK)
    return -(-4 * entries // _SECTOR) * _SECTOR


def _footer(size: int) -> bytes:
    fields = struct.pack(
        *(">8sIIQI4sI4sQQIII16sB427s", _FOOTER_COOKIE, 2, 0x00010000, _SECTOR, 0, b"lab ", 1, b"Wi2k", size, size),
        *(_geometry(size), _DYNAMIC, 0, bytes(range(16)), 0, b""),
    )
    return fields[:64] + _checksum(fields, 64) + fields[68:]


def _header(size: int) -> bytes:
    entries = _table_length(size) // 4
    fields = struct.pack(
        *(">8sQQIIII984s", _HEADER_COOKIE, 0xFFFFFFFFFFFFFFFF, _table_at(), 0x00010000, entries, BLOCK, 0, b""),
    )
    return fields[:36] + _checksum(fields, 36) + fields[40:]


def _geometry(size: int) -> int:
    cylinders = min(size // _SECTOR // (16 * 63), 65535)
    return cylinders << 16 | 16 << 8 | 63


def _checksum(part: bytes, at: int) -> bytes:
    return (~(sum(part) - sum(part[at : at + 4])) & 0xFFFFFFFF).to_bytes(4, "big")
