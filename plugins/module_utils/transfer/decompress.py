# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compressed streams, told by their first bytes, and what was compressed into them."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import Callable, Protocol

from ..errors import TransferError
from .content import PIECE_BYTES

GZIP = "gzip"
XZ = "xz"
BZIP2 = "bzip2"
ZSTD = "zstd"

MAGIC_BYTES = 6
_MAGICS = {b"\x1f\x8b": GZIP, b"\xfd7zXZ\0": XZ, b"BZh": BZIP2, b"\x28\xb5\x2f\xfd": ZSTD}
_XZ_MEMORY_BYTES = 256 << 20
"""What one stream may make us hold; ``xz -9`` needs a quarter of it."""


class Decompressor(Protocol):
    """One compressed member of a stream: as in the standard library's bz2, lzma and compression.zstd."""

    @property
    def eof(self) -> bool:
        """The member is whole."""

    @property
    def needs_input(self) -> bool:
        """There is nothing to be had without more input."""

    @property
    def unused_data(self) -> bytes:
        """What was given and lies behind its end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most so much of what ``data``, and what was given before, stands for."""


class _Gzip:
    """The same for zlib, which has another way to say it."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._waiting = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._inflate.decompress(self._waiting + data, max(max_length, 0))
        self._waiting = self._inflate.unconsumed_tail
        self.needs_input = not self._waiting and len(piece) < max_length
        return piece


def _xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


_MEMBERS: dict[str, Callable[[], Decompressor]] = {GZIP: _Gzip, XZ: _xz, BZIP2: bz2.BZ2Decompressor}


def compression_of(head: bytes) -> str | None:
    """How a stream with these first bytes is compressed; None when it is not."""
    for magic, kind in _MAGICS.items():
        if head.startswith(magic):
            return kind
    return None


def decompress(kind: str, pieces: Iterable[bytes], what: str) -> Generator[bytes, None, None]:
    """What was compressed, in pieces of ``PIECE_BYTES``, the last one shorter; takes all of ``pieces``.

    Raises:
        TransferError: it is damaged, or ends in the middle; it is called ``what``.
        LibraryMissing: of a ``zstd`` stream, when there is nothing that could read it.
    """
    if kind == ZSTD:
        from .zstd import unpack

        parts = unpack(pieces, what)
    else:
        parts = members(_MEMBERS[kind], pieces, kind, what)
    yield from _repack(parts)


def members(begin: Callable[[], Decompressor], pieces: Iterable[bytes], kind: str, what: str) -> Iterator[bytes]:
    """All members of a stream, one after the other."""
    member: Decompressor | None = None
    between = False
    try:
        for piece in pieces:
            data = piece
            while data or (member is not None and not member.needs_input):
                if member is None:
                    data = data.lstrip(b"\0") if between else data  # padding
                    if not data:
                        break
                    member = begin()
                part = member.decompress(data, PIECE_BYTES)
                data = b""
                if part:
                    yield part
                if member.eof:
                    data, member, between = member.unused_data, None, True
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise TransferError(f"{what}: its {kind} data is damaged: {error}") from error
    if member is not None:
        raise TransferError(f"{what}: its {kind} data ends in the middle")


def _repack(parts: Iterable[bytes]) -> Iterator[bytes]:
    """In pieces of one size, so that zero blocks are found where they were."""
    waiting: list[bytes] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part)
        while held >= PIECE_BYTES:
            whole = b"".join(waiting) if len(waiting) > 1 else waiting[0]
            yield whole[:PIECE_BYTES]
            held -= PIECE_BYTES
            waiting = [whole[PIECE_BYTES:]] if held else []
    if held:
        yield b"".join(waiting)
