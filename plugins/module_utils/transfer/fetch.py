# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens what volumes and images are filled with: files and URLs, checked on their way.

::

    with open_content(FetchOptions(url="https://...", checksum="sha256:..."), driver.progress) as content:
        driver.create_volume(volume, content)

From the source to ``segments()`` goes: the checksum of what is there, unpacking, the look at the header, zero blocks as
holes, the limit on size, the SHA-256 of what is stored; all of it piece by piece, with bounded memory.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain

from ..errors import ChecksumMismatch, TransferError, UnsafeImage
from ..model.units import format_size
from .checksum import SHA256, Checksum, Digest, Part, find_checksum, name_in, parse_checksum
from .content import Hole, ImageFacts, Segment
from .decompress import MAGIC_BYTES, compression_of, decompress
from .download import Download
from .headers import HEAD_BYTES, ISO, RAW, TAIL_BYTES, inspect
from .options import FetchOptions
from .progress import SILENT, Meter, Progress
from .sparse import descriptor_pieces, descriptor_segments, length_of, open_to_read, without_zeros
from .web import origin

__all__ = ["FetchOptions", "OpenContent", "known_checksum", "open_content"]

_LISTING_BYTES = 4 << 20
_TABLES_BYTES = 16 << 20


class OpenContent:
    """Content that is being read.

    Attributes:
        checksum: ``ALGORITHM:HEX`` that its source is verified against; None when there is none.
        sha256: Of what ``segments`` has yielded, as hexadecimal digits; known once it has yielded all, where it was
            asked for.
    """

    def __init__(
        self, what: str, facts: ImageFacts, length: int | None, checksum: str | None, segments: Iterator[Segment]
    ) -> None:
        self.what = what
        self.facts = facts
        self.length = length
        self.checksum = checksum
        self.sha256: str | None = None
        self._segments = segments

    def segments(self) -> Iterator[Segment]:
        """All of it, once, in order; see ``Content``."""
        return self._segments


@contextmanager
def open_content(options: FetchOptions, progress: Progress = SILENT) -> Iterator[OpenContent]:
    """What a file or a URL has for a volume; its header has been read and found harmless.

    Args:
        progress: Is told how much has come of a source that is compressed. Of others whoever takes the content can
            tell that as well, since its length is known.

    Raises:
        TransferError: it cannot be had. ChecksumMismatch is raised at the end of ``segments``.
        UnsafeImage: its header asks for what no guest must have, or its disk is larger than allowed.
        LibraryMissing: it is compressed in a way that nothing here can read.
        ValueError: ``options.checksum`` is none.
    """
    with ExitStack() as stack:
        try:
            yield _open(options, progress, stack)
        except UnsafeImage as error:
            raise UnsafeImage(f"{options.what} cannot be used: {error}") from error


def known_checksum(options: FetchOptions) -> Checksum | None:
    """The checksum that ``options`` ask for, looked up where it is published; None when they ask for none.

    Raises:
        TransferError: it cannot be looked up.
        ValueError: it is not a checksum.
    """
    if options.checksum is None:
        return None
    checksum = parse_checksum(options.checksum)
    if not checksum.url:
        return checksum
    return checksum._replace(hex=_published(checksum, options), url="")


def _published(checksum: Checksum, options: FetchOptions) -> str:
    """Credentials of the image's host go to the list only where that is on the same host."""
    here = replace(options, url=checksum.url)
    if options.url is None or origin(options.url) != origin(checksum.url):
        here = replace(here, username=None, password=None, headers={})
    listing = bytearray()
    with Download(here, verified=False) as download:
        for piece in download.pieces():
            listing += piece
            if len(listing) > _LISTING_BYTES:
                raise TransferError(f"{here.what} is too long for a list of checksums")
    name = name_in(options.url) if options.url else os.path.basename(options.path or "")
    try:
        return find_checksum(listing.decode(errors="replace"), checksum.algorithm, name)
    except TransferError as error:
        raise TransferError(f"{here.what}: {error}") from error


# -- from the source to segments ------------------------------------------------------------------------------------


def _open(options: FetchOptions, progress: Progress, stack: ExitStack) -> OpenContent:
    checksum = known_checksum(options)
    source = _Source(checksum, stack)
    if options.url is not None:
        download = stack.enter_context(Download(options, verified=checksum is not None))
        return _of_stream(download.pieces(), download.length, options, source, progress, stack)
    path = options.path or ""
    descriptor = stack.enter_context(open_to_read(path))
    length = os.lseek(descriptor, 0, os.SEEK_END)
    if options.decompress and compression_of(os.pread(descriptor, MAGIC_BYTES, 0)) is not None:
        pieces = descriptor_pieces(descriptor, path, 0, length)
        return _of_stream(pieces, length, options, source, progress, stack)
    # Looked at is what will be stored, and not what the file has at another moment.
    head, segments = _peek_segments(descriptor_segments(descriptor, path), HEAD_BYTES)
    tail = os.pread(descriptor, TAIL_BYTES, max(length - TAIL_BYTES, 0))
    facts = inspect(head, length, tail, options.max_size_bytes)
    return _content(segments, facts, length, options, source, stack)


def _of_stream(
    pieces: Iterator[bytes],
    length: int | None,
    options: FetchOptions,
    source: _Source,
    progress: Progress,
    stack: ExitStack,
) -> OpenContent:
    beginning, pieces = _peek(pieces, MAGIC_BYTES)
    kind = compression_of(beginning) if options.decompress else None
    if kind is not None:
        # Whoever takes the content cannot tell how much of it is still to come.
        meter = stack.enter_context(progress.measure(f"unpack {options.what}", length))
        unpacked = decompress(kind, _metered(source.watch(pieces), meter), options.what)
        stack.callback(unpacked.close)  # it may have a program at work
        pieces = unpacked
        length = None
    head, pieces = _peek(pieces, HEAD_BYTES)
    if len(head) < HEAD_BYTES:
        facts = inspect(head, len(head), head[-TAIL_BYTES:], options.max_size_bytes)
        length = len(head)
    else:
        facts = inspect(head, length, max_size_bytes=options.max_size_bytes)
    return _content(without_zeros(pieces), facts, length, options, source, stack)


def _content(
    segments: Iterator[Segment],
    facts: ImageFacts,
    length: int | None,
    options: FetchOptions,
    source: _Source,
    stack: ExitStack,
) -> OpenContent:
    if length == 0:
        raise TransferError(f"{options.what} is empty")
    limit = _stored_limit(facts, options)
    if limit is not None and length is not None and length > limit:
        raise _too_much(options)
    stored = stack.enter_context(Digest(SHA256)) if options.with_sha256 else None
    if not source.served_by(stored):
        segments = source.watch(segments)

    def checked() -> Generator[Segment, None, None]:
        total = 0
        for segment in segments:
            total += length_of(segment)
            if limit is not None and total > limit:
                raise _too_much(options)
            if stored is not None:
                stored.add(segment)
            yield segment
        content.sha256 = stored.end() if stored is not None else None
        source.verify(options.what, content.sha256)

    passing = checked()
    stack.callback(passing.close)
    content = OpenContent(options.what, facts, length, source.checksum, passing)
    return content


def _stored_limit(facts: ImageFacts, options: FetchOptions) -> int | None:
    """How much may be stored: a little more than the disk holds in formats that keep tables beside its data."""
    limit = options.max_size_bytes
    if limit is None or facts.format in (RAW, ISO):
        return limit
    return limit + limit // 64 + _TABLES_BYTES


def _too_much(options: FetchOptions) -> UnsafeImage:
    return UnsafeImage(f"there is more in it than the {format_size(options.max_size_bytes or 0)} that are allowed")


class _Source:
    """The checksum of what the source delivers."""

    def __init__(self, checksum: Checksum | None, stack: ExitStack) -> None:
        self._wanted = checksum
        self._stack = stack
        self._digest: Digest | None = None

    @property
    def checksum(self) -> str | None:
        """As ``ALGORITHM:HEX``."""
        return None if self._wanted is None else str(self._wanted)

    def watch(self, parts: Iterator[Part]) -> Iterator[Part]:
        """The same parts, of which the checksum is computed."""
        if self._wanted is None:
            return parts
        self._digest = self._stack.enter_context(Digest(self._wanted.algorithm))
        return self._digest.watch(parts)

    def served_by(self, stored: Digest | None) -> bool:
        """Whether nothing need be watched any more, since the digest of what is stored tells the same."""
        return self._digest is not None or (
            stored is not None and self._wanted is not None and self._wanted.algorithm == stored.algorithm
        )

    def verify(self, what: str, stored: str | None) -> None:
        """Compare it, at the end; ``stored`` serves where the source was not watched."""
        if self._wanted is None:
            return
        found = stored if self._digest is None else self._digest.end()
        if found != self._wanted.hex:
            raise ChecksumMismatch(
                f"{what} has the checksum {self._wanted.algorithm}:{found}, and {self._wanted} was asked for; "
                "nothing of it is kept"
            )


def _peek(pieces: Iterator[bytes], count: int) -> tuple[bytes, Iterator[bytes]]:
    """The first ``count`` bytes, fewer when there are no more, and all pieces, these bytes among them."""
    first: list[bytes] = []
    held = 0
    for piece in pieces:
        first.append(piece)
        held += len(piece)
        if held >= count:
            break
    return b"".join(first)[:count], chain(first, pieces)


def _peek_segments(segments: Iterator[Segment], count: int) -> tuple[bytes, Iterator[Segment]]:
    """The same of segments."""
    first: list[Segment] = []
    head = bytearray()
    for segment in segments:
        first.append(segment)
        head += bytes(min(segment.length, count - len(head))) if isinstance(segment, Hole) else segment
        if len(head) >= count:
            break
    return bytes(head[:count]), chain(first, segments)


def _metered(pieces: Iterator[bytes], meter: Meter) -> Iterator[bytes]:
    for piece in pieces:
        meter.advance(len(piece))
        yield piece
