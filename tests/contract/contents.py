# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of storage fill volumes with."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import ChecksumMismatch
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import (
    PIECE_BYTES,
    Content,
    Hole,
    ImageFacts,
    Segment,
)

WELL = "well"
WRONG = "wrong"
KILLED = "killed"

_CLUSTER = 65536


class Stretch(NamedTuple):
    """Random bytes somewhere in a disk; the same ones for the same seed."""

    offset: int
    length: int
    seed: int = 1


@dataclass(frozen=True)
class TestContent:
    """Data with holes, the same at each reading, made as it is read.

    Attributes:
        length: Bytes in all.
        stretches: Where there is data, in order; all else is holes.
        ends: ``well``; ``wrong``, its checksum turns out so; ``killed``: who reads it dies of SIGKILL, in its middle.
        told_length: Whether it says beforehand how long it is.
        told_size: Whether that of the disk in it is known beforehand; not of raw data that is still to be unpacked.
    """

    __test__ = False

    length_bytes: int
    stretches: tuple[Stretch, ...] = ()
    ends: str = WELL
    told_length: bool = True
    told_size: bool = True
    what: str = "test content"

    @property
    def facts(self) -> ImageFacts:
        return ImageFacts("raw", self.length_bytes if self.told_size else None)

    @property
    def length(self) -> int | None:
        return self.length_bytes if self.told_length else None

    def segments(self) -> Iterator[Segment]:
        position = 0
        for stretch in self.stretches:
            if stretch.offset > position:
                yield Hole(stretch.offset - position)
            yield from _random_pieces(stretch)
            position = stretch.offset + stretch.length
            if self.ends == KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
        if position < self.length_bytes:
            yield Hole(self.length_bytes - position)
        if self.ends == WRONG:
            raise ChecksumMismatch("test content: its checksum is wrong, because the test says so")

    def data(self) -> bytes:
        """All of it, as a guest sees it."""
        return b"".join(bytes(part.length) if isinstance(part, Hole) else part for part in self.segments())


def _random_pieces(stretch: Stretch) -> Iterator[bytes]:
    chance = random.Random(stretch.seed)
    for start in range(0, stretch.length, PIECE_BYTES):
        yield chance.randbytes(min(PIECE_BYTES, stretch.length - start))


@dataclass(frozen=True)
class Watched:
    """Content in the middle of which something happens, once."""

    content: Content
    happens: Callable[[], object]

    @property
    def what(self) -> str:
        return self.content.what

    @property
    def facts(self) -> ImageFacts:
        return self.content.facts

    @property
    def length(self) -> int | None:
        return self.content.length

    def segments(self) -> Iterator[Segment]:
        for number, segment in enumerate(self.content.segments()):
            yield segment
            if number == 0:
                self.happens()


def sparse(length: int = 8 * MIB, ends: str = WELL, told_length: bool = True) -> TestContent:
    """Data at its beginning, in its middle over a border of pieces, and at its very end; holes between."""
    middle = length // 2 - 1000
    stretches = (Stretch(0, 4096, 1), Stretch(middle, MIB + 5000, 2), Stretch(length - 512, 512, 3))
    return TestContent(length, stretches, ends, told_length)


def dense(length: int) -> TestContent:
    """Data without any hole."""
    return TestContent(length, (Stretch(0, length, 4),))


@dataclass(frozen=True)
class ImageContent:
    """A whole image file of a known format, small enough to be held."""

    file: bytes
    facts: ImageFacts
    what: str = "test image"

    @property
    def length(self) -> int | None:
        return len(self.file)

    def segments(self) -> Iterator[Segment]:
        for start in range(0, len(self.file), PIECE_BYTES):
            yield self.file[start : start + PIECE_BYTES]


def qcow2_image(size_bytes: int, first: bytes = b"anyvirt") -> ImageContent:
    """A qcow2 file of one cluster of data, which begins with ``first``; all else in its disk is zeros."""
    header, refcount_table, refcounts, level_1, level_2, data = range(6)
    copied = 1 << 63
    clusters = {
        header: struct.pack(
            ">4sIQIIQIIQQIIQQQQII",
            *(b"QFI\xfb", 3, 0, 0, 16, size_bytes, 0, 1, level_1 * _CLUSTER, refcount_table * _CLUSTER, 1, 0, 0),
            *(0, 0, 0, 4, 104),
        ),
        refcount_table: struct.pack(">Q", refcounts * _CLUSTER),
        refcounts: struct.pack(">6H", *[1] * 6),
        level_1: struct.pack(">Q", copied | level_2 * _CLUSTER),
        level_2: struct.pack(">Q", copied | data * _CLUSTER),
        data: first,
    }
    file = b"".join(clusters[number].ljust(_CLUSTER, b"\0") for number in range(6))
    return ImageContent(file, ImageFacts("qcow2", size_bytes))


class Sum(NamedTuple):
    """What came: how much, its hash with holes as zeros, and how much of it was data."""

    length: int
    sha256: str
    data_bytes: int


def total(segments: Iterable[Segment]) -> Sum:
    """Read all segments, holding one at a time."""
    digest, length, data_bytes = hashlib.sha256(), 0, 0
    for segment in segments:
        if isinstance(segment, Hole):
            assert segment.length > 0
            for start in range(0, segment.length, PIECE_BYTES):
                digest.update(bytes(min(PIECE_BYTES, segment.length - start)))
            length += segment.length
        else:
            assert 0 < len(segment) <= PIECE_BYTES
            digest.update(segment)
            length += len(segment)
            data_bytes += len(segment)
    return Sum(length, digest.hexdigest(), data_bytes)
