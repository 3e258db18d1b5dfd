# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A checksum of sparse data that takes no time for what was never written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType

from .checksum import SHA256, Digest
from .content import Hole, Segment
from .sparse import BLOCK_BYTES

_ZEROS = bytes(BLOCK_BYTES)
_NUMBER_BYTES = 8


class SparseDigest:
    """The SHA-256 of all blocks that are not zero, each with its place, and of the whole length: the same for the same
    data, however it is cut and wherever its zeros are holes. It means nothing to other programs. Use it as a context
    manager.
    """

    def __init__(self) -> None:
        self._digest = Digest(SHA256)
        self._at = 0
        self._rest = b""

    def watch(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """The same segments, each added as it passes."""
        for segment in segments:
            self.add(segment)
            yield segment

    def add(self, segment: Segment) -> None:
        """So goes the data on."""
        if isinstance(segment, Hole):
            self._add_hole(segment.length)
        else:
            self._add_data(segment)

    def end(self) -> str:
        """The checksum of all that was added; nothing more can be added."""
        if self._rest.count(0) < len(self._rest):
            self._digest.add(_number(self._at) + self._rest)
        self._digest.add(_number(self._at + len(self._rest)))
        return self._digest.end()

    def _add_hole(self, length: int) -> None:
        if self._rest:
            filled = min(length, BLOCK_BYTES - len(self._rest))
            self._add_data(bytes(filled))
            length -= filled
        blocks, rest = divmod(length, BLOCK_BYTES)
        self._at += blocks * BLOCK_BYTES
        if rest:
            self._rest = bytes(rest)

    def _add_data(self, data: bytes) -> None:
        position = 0
        if self._rest:
            position = BLOCK_BYTES - len(self._rest)
            self._rest += data[:position]
            if len(self._rest) < BLOCK_BYTES:
                return
            self._add_block(self._rest)
        while len(data) - position >= BLOCK_BYTES:
            self._add_block(data[position : position + BLOCK_BYTES])
            position += BLOCK_BYTES
        self._rest = data[position:]

    def _add_block(self, block: bytes) -> None:
        if block != _ZEROS:
            self._digest.add(_number(self._at) + block)
        self._at += BLOCK_BYTES

    def __enter__(self) -> SparseDigest:
        self._digest.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._digest.__exit__(kind, error, trace)


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "big")
