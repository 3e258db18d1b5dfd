# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of the qcow2 format as it takes to give volumes their real form, and to read what was uploaded."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Callable

from ...errors import HypervisorError
from ...transfer.content import Hole, Segment

MAGIC = b"QFI\xfb"
PART_BYTES = CLUSTER = 1 << 16
_CLUSTER_BITS = 16
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_HEADER_2 = struct.Struct(">4sIQIIQIIQQIIQ")
_REFCOUNT_ORDER = 4
_PER_TABLE = CLUSTER // 8
_PER_REFCOUNT_BLOCK = CLUSTER // 2
_ALONE = 1 << 63
_COMPRESSED = 1 << 62
_ZEROS = 1
_OFFSET = 0x00FFFFFFFFFFFE00
_DIRTY_OR_CORRUPT = 0b11
_SECTOR = 512

Read = Callable[[int, int], bytes]
"""Bytes of a file: offset and length."""


def encoded(size_bytes: int, clusters: Sequence[int], read: Read, backing: str | None = None) -> Iterator[bytes]:
    """An image of a disk.

    Args:
        clusters: The numbers, in ascending order, of the clusters in which there is anything.
        read: Gives the disk's bytes.
        backing: The name of what it leans on.
    """
    tables = sorted({number // _PER_TABLE for number in clusters})
    l1_entries = _parts(size_bytes, _PER_TABLE * CLUSTER)
    l1_clusters = max(1, _parts(l1_entries, _PER_TABLE))
    blocks, block_tables, total = _refcounts(1 + l1_clusters + len(tables) + len(clusters))
    l1_at = 1 + block_tables + blocks
    l2_at = l1_at + l1_clusters
    data_at = l2_at + len(tables)
    yield _header(size_bytes, l1_entries, l1_at, block_tables, backing)
    yield from _in_clusters([(1 + block_tables + number) * CLUSTER for number in range(blocks)], block_tables)
    yield struct.pack(">H", 1) * total + bytes(2 * (blocks * _PER_REFCOUNT_BLOCK - total))
    place = {number: l2_at + order for order, number in enumerate(tables)}
    first = [place[number] * CLUSTER | _ALONE if number in place else 0 for number in range(l1_entries)]
    yield from _in_clusters(first, l1_clusters)
    for _table, group in itertools.groupby(enumerate(clusters), lambda item: item[1] // _PER_TABLE):
        entries = [0] * _PER_TABLE
        for order, cluster in group:
            entries[cluster % _PER_TABLE] = (data_at + order) * CLUSTER | _ALONE
        yield from _in_clusters(entries, 1)
    for cluster in clusters:
        yield read(cluster * CLUSTER, CLUSTER).ljust(CLUSTER, b"\0")


def encoded_length(size_bytes: int, clusters: Sequence[int]) -> int:
    """How many bytes ``encoded`` yields."""
    l1_clusters = max(1, _parts(_parts(size_bytes, _PER_TABLE * CLUSTER), _PER_TABLE))
    tables = len({number // _PER_TABLE for number in clusters})
    return _refcounts(1 + l1_clusters + tables + len(clusters))[2] * CLUSTER


def decoded(read: Read) -> Iterator[Segment]:
    """The disk that is in an image.

    Raises:
        HypervisorError: the image is in a form that is not known here.
    """
    head = read(0, _HEADER.size).ljust(_HEADER.size, b"\0")
    _magic, version, _at, _length, bits, size_bytes, _crypt, l1_entries, l1_at, *_rest = _HEADER_2.unpack_from(head)
    features = _HEADER.unpack(head)[13] if version > 2 else 0
    if features & ~_DIRTY_OR_CORRUPT:
        raise HypervisorError(
            "the fake hypervisor cannot read this qcow2 image: it has features that are not known here"
        )
    cluster = 1 << bits
    per_table = cluster // 8
    first = struct.unpack(f">{l1_entries}Q", read(l1_at, 8 * l1_entries))
    for number, entry in enumerate(first):
        start = number * per_table * cluster
        left = min(per_table * cluster, size_bytes - start)
        if left <= 0:
            return
        if not entry & _OFFSET:
            yield Hole(left)
            continue
        table = struct.unpack(f">{per_table}Q", read(entry & _OFFSET, cluster))
        for place in range(_parts(left, cluster)):
            length = min(cluster, left - place * cluster)
            yield from _cluster(read, table[place], bits, length)


def _cluster(read: Read, entry: int, bits: int, length: int) -> Iterator[Segment]:
    if entry & _COMPRESSED:
        width = 62 - (bits - 8)
        at = entry & ((1 << width) - 1)
        sectors = ((entry & (_COMPRESSED - 1)) >> width) + 1
        packed = read(at, sectors * _SECTOR - at % _SECTOR)
        yield zlib.decompressobj(-12).decompress(packed, 1 << bits).ljust(length, b"\0")[:length]
    elif entry & _ZEROS or not entry & _OFFSET:
        yield Hole(length)
    else:
        yield read(entry & _OFFSET, length).ljust(length, b"\0")


def _header(size_bytes: int, l1_entries: int, l1_at: int, block_tables: int, backing: str | None) -> bytes:
    name = (backing or "").encode()
    header = _HEADER.pack(
        *(MAGIC, 3, _HEADER.size + 8 if name else 0, len(name), _CLUSTER_BITS, size_bytes, 0),
        *(l1_entries, l1_at * CLUSTER, CLUSTER, block_tables, 0, 0),
        *(0, 0, 0, _REFCOUNT_ORDER, _HEADER.size),
    )
    return (header + bytes(8) + name).ljust(CLUSTER, b"\0")


def _refcounts(others: int) -> tuple[int, int, int]:
    """How many refcount blocks and clusters of their table there are besides ``others``, and clusters altogether."""
    blocks = block_tables = 1
    while True:
        total = others + blocks + block_tables
        needed = _parts(total, _PER_REFCOUNT_BLOCK)
        if (blocks, block_tables) == (needed, _parts(needed, _PER_TABLE)):
            return blocks, block_tables, total
        blocks, block_tables = needed, _parts(needed, _PER_TABLE)


def _in_clusters(entries: Sequence[int], clusters: int) -> Iterator[bytes]:
    """A table of so many clusters."""
    for number in range(clusters):
        part = entries[number * _PER_TABLE : (number + 1) * _PER_TABLE]
        yield struct.pack(f">{len(part)}Q", *part).ljust(CLUSTER, b"\0")


def _parts(amount: int, size: int) -> int:
    """In how many pieces of a size something fits."""
    return -(-amount // size)
