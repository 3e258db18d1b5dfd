# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks on their way to and from a pool: what of them travels, and what is no image."""

from __future__ import annotations

import random
import struct
import tracemalloc
from itertools import chain

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.sparse import (
    FRAME_BYTES,
    VhdStream,
    chunks_of,
    extents_of,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import TransferError
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Hole
from lab.xenapi import vhd

MIB = 1 << 20


def disk_of(extents, size):
    """What an empty disk is after they are written."""
    disk = bytearray(size)
    for offset, data in extents:
        disk[offset : offset + len(data)] = data
    return bytes(disk)


def data_of(segments):
    return b"".join(bytes(part.length) if isinstance(part, Hole) else part for part in segments)


@pytest.mark.parametrize("seed", range(12))
def test_any_segments_arrive_whole(seed):
    chance = random.Random(seed)
    segments = []
    for _number in range(chance.randrange(1, 12)):
        length = chance.choice((1, 511, 512, 5000, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 300_000))
        kind = chance.randrange(3)
        segments.append(Hole(length) if kind == 0 else bytes(length) if kind == 1 else chance.randbytes(length))
    whole = data_of(segments)
    extents = list(extents_of(segments))
    assert all(offset % 512 == len(data) % 512 == 0 for offset, data in extents)
    assert [offset for offset, _data in extents] == sorted(offset for offset, _data in extents)
    assert disk_of(extents, len(whole) + 512)[: len(whole)] == whole


def test_zeros_do_not_travel():
    segments = [bytes(MIB), b"x" * 100, Hole(3 * MIB), bytes(MIB - 100), b"y" * FRAME_BYTES]
    assert sum(len(data) for _offset, data in extents_of(segments)) <= 3 * FRAME_BYTES
    assert list(extents_of([bytes(MIB), Hole(MIB)])) == []
    assert list(extents_of([])) == []


def test_pieces_on_the_wire():
    wire = b"".join(chunks_of(extents_of([Hole(FRAME_BYTES), b"a" * 512])))
    assert wire == struct.pack("<QI", FRAME_BYTES, 512) + b"a" * 512 + bytes(12)


def image_of(content, size=None):
    """As a pool sends it."""
    blocks = {at // vhd.BLOCK: content[at : at + vhd.BLOCK] for at in range(0, len(content), vhd.BLOCK)}
    written = [number for number, block in blocks.items() if any(block)]
    return b"".join(vhd.image(size or len(content), written, blocks.__getitem__))


CONTENT = bytes(2 * MIB) + random.Random(1).randbytes(MIB) + bytes(5 * MIB)


@pytest.mark.parametrize("piece", [1000, 512, 4 * MIB])
def test_a_whole_image(piece):
    image = image_of(CONTENT)
    stream = VhdStream((image[at : at + piece] for at in range(0, len(image), piece)), "it")
    assert stream.size_bytes == len(CONTENT)
    segments = list(stream.segments())
    assert data_of(segments) == CONTENT
    assert sum(len(part) for part in segments if isinstance(part, bytes)) == MIB


def test_an_empty_disk():
    assert list(VhdStream([image_of(bytes(4 * MIB))], "it").segments()) == [Hole(4 * MIB)]


def test_sectors_that_were_never_written_are_zeros():
    image = bytearray(image_of(CONTENT))
    bitmap_at = image.index(b"\xff" * 512, 2048)
    image[bitmap_at] = 0b01111111
    assert data_of(VhdStream([bytes(image)], "it").segments())[2 * MIB : 2 * MIB + 512] == bytes(512)


@pytest.mark.parametrize("length", [0, 100, 600, 1600, 5000, MIB, -512, -1000])
def test_images_cut_short(length):
    image = image_of(CONTENT)[:length]
    with pytest.raises(TransferError, match="it is"):
        list(VhdStream([image] if image else [], "it").extents())


@pytest.mark.parametrize(
    ("at", "value"),
    [
        pytest.param(0, b"QFI\xfb", id="another format"),
        pytest.param(48, b"\x7f", id="size"),
        pytest.param(60, struct.pack(">I", 4), id="differencing"),
        pytest.param(512, b"nothing!", id="no header"),
        pytest.param(512 + 28, struct.pack(">I", 0xFFFFFFF0), id="table without end"),
        pytest.param(512 + 32, struct.pack(">I", 0), id="blocks of nothing"),
        pytest.param(1536 + 4, struct.pack(">I", 1), id="a block before the table"),
    ],
)
@pytest.mark.parametrize("is_summed", [False, True])
def test_damaged_images(at, value, is_summed):
    """Also those that somebody has made so, with checksums that are right."""
    image = bytearray(image_of(CONTENT))
    image[at : at + len(value)] = value
    if is_summed:
        for start, length, checksum_at in ((0, 512, 64), (512, 1024, 36)):
            part = image[start : start + length]
            part[checksum_at : checksum_at + 4] = bytes(4)
            total = ~sum(part) & 0xFFFFFFFF
            image[start + checksum_at : start + checksum_at + 4] = total.to_bytes(4, "big")
    with pytest.raises(TransferError, match="it is"):
        list(VhdStream([bytes(image)], "it").extents())


def patched(image, *changes):
    """An image with other values in its footers and header, and the checksums that belong to them."""
    image = bytearray(image)
    for at, layout, value in changes:
        struct.pack_into(layout, image, at, value)
    for start, length, at in ((0, 512, 64), (512, 1024, 36)):
        part = image[start : start + length]
        part[at : at + 4] = bytes(4)
        struct.pack_into(">I", image, start + at, ~sum(part) & 0xFFFFFFFF)
    return bytes(image)


def test_a_table_that_would_fill_the_memory():
    """Of a disk of 1 TiB in the smallest blocks, 64 MiB of table for whoever sends some bytes."""
    image = patched(image_of(CONTENT), (48, ">Q", 1 << 40), (512 + 28, ">I", 1 << 24), (512 + 32, ">I", 1 << 16))
    with pytest.raises(TransferError, match="table that does not fit"):
        VhdStream(iter([image]), "it")


def test_a_full_table_takes_little_memory():
    entries = 1 << 21
    image = patched(image_of(CONTENT)[:1536], (48, ">Q", entries << 21), (512 + 28, ">I", entries))
    pieces = chain([image], (struct.pack(">16384I", *range(at, at + 16384)) for at in range(0, entries, 16384)))
    tracemalloc.start()
    try:
        with pytest.raises(TransferError):
            for _extent in VhdStream(pieces, "it").extents():
                pass
        assert tracemalloc.get_traced_memory()[1] < 200 * MIB
    finally:
        tracemalloc.stop()


def test_half_a_sector():
    with pytest.raises(TransferError, match="half a sector"):
        VhdStream(iter([patched(image_of(CONTENT), (48, ">Q", len(CONTENT) - 100))]), "it")


def test_blocks_that_overlap():
    image = bytearray(image_of(CONTENT + CONTENT))
    table = list(struct.unpack_from(">8I", image, 1536))
    first, second = [number for number, sector in enumerate(table) if sector != 0xFFFFFFFF]
    for shift in (0, 1, 4096):
        table[second] = table[first] + shift
        struct.pack_into(">8I", image, 1536, *table)
        with pytest.raises(TransferError, match="in disorder"):
            list(VhdStream(iter([bytes(image)]), "it").extents())
