# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksum of sparse data tells data apart, and not how they are cut."""

from __future__ import annotations

import random
from collections.abc import Iterable

from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import TIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Hole, Segment
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.sparse import BLOCK_BYTES
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.sparsedigest import SparseDigest

LENGTH = 5 * BLOCK_BYTES + 1000


def digest_of(segments: Iterable[Segment]) -> str:
    with SparseDigest() as digest:
        for segment in segments:
            digest.add(segment)
        return digest.end()


def sample(chance: random.Random) -> bytes:
    """Blocks, some of them zero, one of them zero in part."""
    blocks = [bytes(BLOCK_BYTES), chance.randbytes(BLOCK_BYTES), bytes(BLOCK_BYTES), b"x" + bytes(BLOCK_BYTES - 1)]
    chance.shuffle(blocks)
    return b"".join(blocks) + chance.randbytes(BLOCK_BYTES + 1000)


def cut(data: bytes, chance: random.Random) -> Iterable[Segment]:
    """The same data in pieces of chance; pieces of zeros are holes by chance."""
    at = 0
    while at < len(data):
        length = min(len(data) - at, chance.choice([1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 5]))
        piece = data[at : at + length]
        yield Hole(length) if not piece.strip(b"\0") and chance.random() < 0.7 else piece
        at += length


def test_it_does_not_matter_how_data_are_cut_and_where_holes_are():
    chance = random.Random(6)
    for _unused in range(20):
        data = sample(chance)
        whole = digest_of([data])
        assert {digest_of(cut(data, chance)) for _again in range(5)} == {whole}


def test_each_byte_and_its_place_and_the_length_matter():
    data = bytearray(LENGTH)
    data[BLOCK_BYTES] = 1
    variants = [bytes(data), bytes(LENGTH), bytes(data[1:]), bytes(data) + b"\0", bytes(data[:-1])]
    moved = bytearray(LENGTH)
    moved[2 * BLOCK_BYTES] = 1
    variants.append(bytes(moved))
    assert len({digest_of([variant]) for variant in variants}) == len(variants)


def test_nothing_has_a_checksum_as_well():
    assert digest_of([]) == digest_of([]) != digest_of([Hole(1)])


def test_terabytes_that_were_never_written_take_no_time():
    assert digest_of([Hole(TIB), b"end"]) != digest_of([Hole(TIB - 1), b"end"])
