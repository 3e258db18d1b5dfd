# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of the VHD format as it takes to give volumes the form that real ones have, and to read what was uploaded."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from ...errors import HypervisorError
from ...transfer.content import Hole, Segment
from .qcow2 import Read

PART_BYTES = BLOCK = 1 << 21
_SECTOR = 512
_FOOTER = struct.Struct(">8sIIQI4sI4sQQIII16sB")
_HEADER = struct.Struct(">8sQQIIII16sII")
_NOWHERE = 0xFFFFFFFF
_FIXED, _DYNAMIC = 2, 3
_ANY_SHAPE = 0xFFFF10FF
"""The largest geometry there is stands for sizes that are no multiple of any."""
_HEADER_AT, _TABLE_AT = 512, 1536


def encoded(size_bytes: int, blocks: Sequence[int], read: Read) -> Iterator[bytes]:
    """A dynamic image of a disk; ``blocks`` are the numbers of those in which there is anything."""
    entries = _parts(size_bytes, BLOCK)
    footer = _footer(size_bytes)
    yield footer
    yield _checked(_HEADER.pack(b"cxsparse", 2**64 - 1, _TABLE_AT, 0x10000, entries, BLOCK, 0, b"", 0, 0), 36, 1024)
    at = {number: (_table_end(entries) + order * _block_bytes()) // _SECTOR for order, number in enumerate(blocks)}
    table = struct.pack(f">{entries}I", *(at.get(number, _NOWHERE) for number in range(entries)))
    yield table.ljust(_table_end(entries) - _TABLE_AT, b"\xff")
    for number in blocks:
        yield b"\xff" * _SECTOR
        yield read(number * BLOCK, BLOCK // 2).ljust(BLOCK // 2, b"\0")
        yield read(number * BLOCK + BLOCK // 2, BLOCK // 2).ljust(BLOCK // 2, b"\0")
    yield footer


def encoded_length(size_bytes: int, blocks: Sequence[int]) -> int:
    """How many bytes ``encoded`` yields."""
    return _table_end(_parts(size_bytes, BLOCK)) + len(blocks) * _block_bytes() + _SECTOR


def decoded(read: Read, length: int) -> Iterator[Segment]:
    """The disk that is in an image of so many bytes.

    Raises:
        HypervisorError: the image is in a form that is not known here.
    """
    _cookie, _features, _version, at, *_made, _original, size_bytes, _shape, kind = _FOOTER.unpack_from(
        read(length - _SECTOR, _SECTOR).ljust(_SECTOR, b"\0")
    )[:12]
    if kind == _FIXED:
        yield from _pieces(read, 0, size_bytes)
        return
    if kind != _DYNAMIC:
        raise HypervisorError("the fake hypervisor cannot read this VHD image: it is neither fixed nor dynamic")
    header = _HEADER.unpack_from(read(at, 1024).ljust(1024, b"\0"))
    table_at, entries, block = header[2], header[4], header[5]
    bitmap = _parts(_parts(block // _SECTOR, 8), _SECTOR) * _SECTOR
    for number, sector in enumerate(struct.unpack(f">{entries}I", read(table_at, 4 * entries))):
        left = min(block, size_bytes - number * block)
        if left <= 0:
            return
        if sector == _NOWHERE:
            yield Hole(left)
        else:
            yield from _pieces(read, sector * _SECTOR + bitmap, left)


def _pieces(read: Read, start: int, length: int) -> Iterator[Segment]:
    for at in range(0, length, BLOCK // 2):
        part = min(BLOCK // 2, length - at)
        yield read(start + at, part).ljust(part, b"\0")


def _footer(size_bytes: int) -> bytes:
    maker = (0, b"avf\0", 0x10000, b"\0\0\0\0")
    text = _FOOTER.pack(
        b"conectix", 2, 0x10000, _HEADER_AT, *maker, size_bytes, size_bytes, _ANY_SHAPE, _DYNAMIC, 0, b"", 0
    )
    return _checked(text, 64, _SECTOR)


def _checked(text: bytes, at: int, length: int) -> bytes:
    """With its checksum, at this place in it."""
    checksum = ~sum(text) & 0xFFFFFFFF
    return (text[:at] + struct.pack(">I", checksum) + text[at + 4 :]).ljust(length, b"\0")


def _table_end(entries: int) -> int:
    return _TABLE_AT + max(1, _parts(4 * entries, _SECTOR)) * _SECTOR


def _block_bytes() -> int:
    return _SECTOR + BLOCK


def _parts(amount: int, size: int) -> int:
    return -(-amount // size)
