# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a qcow2 image says of itself: its snapshots, and what it leans on, as its format's specification lays it out."""

from __future__ import annotations

import struct
from typing import Callable

from ...model.storage import VolumeSnapshot

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">60xIQ")
"""Number of snapshots, and where their table begins."""
_BACKING = struct.Struct(">QI")
"""Where the name of the file that the image leans on is, and how long it is."""
_BACKING_AT = 8
_CLUSTER_BITS = struct.Struct(">20xI")
_MOST_NAME = 1023
_ENTRY = struct.Struct(">12xHHIIQ4xI")
"""Lengths of id and name, seconds and nanoseconds of its making, the guest's clock, length of the extra data."""
_MOST_SNAPSHOTS = 65536
_MOST_BYTES = 1 << 20
_ALIGNMENT = 8
_VERSION = struct.Struct(">4xI")
_INCOMPATIBLE = struct.Struct(">72xQ")
"""What a reader has to know of, in versions from 3 on."""
_EXTERNAL_DATA = 1 << 2


def read_snapshots(read: Callable[[int, int], bytes]) -> list[VolumeSnapshot]:
    """The snapshots, oldest first; none of what is no qcow2 image.

    Args:
        read: Returns so many bytes (fewer at its end) of the image from an offset on.
    """
    head = read(0, _HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        return []
    count, offset = _HEADER.unpack(head)
    if not 0 < count <= _MOST_SNAPSHOTS:
        return []
    table = read(offset, _MOST_BYTES)
    found, position = [], 0
    for _unused in range(count):
        if position + _ENTRY.size > len(table):
            break
        id_length, name_length, seconds, nanoseconds, _clock, extra = _ENTRY.unpack_from(table, position)
        name_at = position + _ENTRY.size + extra + id_length
        name = table[name_at : name_at + name_length].decode(errors="replace")
        found.append(VolumeSnapshot(name, seconds + nanoseconds / 1e9))
        position = name_at + name_length
        position += -position % _ALIGNMENT
    return sorted(found, key=lambda snapshot: snapshot.created_s or 0.0)


def has_data_elsewhere(read: Callable[[int, int], bytes]) -> bool:
    """Whether it has only the tables of an image, whose data is in a raw file beside it."""
    head = read(0, _INCOMPATIBLE.size)
    if len(head) < _INCOMPATIBLE.size or not head.startswith(_MAGIC) or _VERSION.unpack_from(head)[0] < 3:
        return False
    return bool(_INCOMPATIBLE.unpack(head)[0] & _EXTERNAL_DATA)


def with_backing(head: bytes, path: str) -> bytes:
    """The first bytes of an image that leans on another file, changed so that this is at ``path``.

    Args:
        head: At least the image's first cluster, in which the name of that file has to be.

    Raises:
        ValueError: there is no room for it.
    """
    offset, length = _BACKING.unpack_from(head, _BACKING_AT)
    (bits,) = _CLUSTER_BITS.unpack_from(head)
    name = path.encode(errors="surrogateescape")
    end = 1 << bits if 9 <= bits <= 21 else 0
    if not offset or len(name) > _MOST_NAME or max(offset + len(name), offset + length) > min(end, len(head)):
        raise ValueError(f"there is no room for the name {path!r} in the header of the image")
    changed = bytearray(head)
    changed[offset : offset + length] = bytes(length)
    changed[offset : offset + len(name)] = name
    _BACKING.pack_into(changed, _BACKING_AT, offset, len(name))
    return bytes(changed)


def read_backing(read: Callable[[int, int], bytes]) -> str | None:
    """The name of the file that the image leans on, as it is written there; None when there is none."""
    head = read(0, _HEADER.size)
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        return None
    offset, length = _BACKING.unpack_from(head, _BACKING_AT)
    if not offset or not 0 < length <= _MOST_NAME:
        return None
    return read(offset, length).decode(errors="surrogateescape")
