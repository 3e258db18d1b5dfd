# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files: read without what was never written, written without what is zero."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import InsufficientCapacity, TransferError
from .content import PIECE_BYTES, Hole, Segment

BLOCK_BYTES = 1 << 16
"""Zeros are looked for in blocks of this size: smaller holes save little and cost much."""

ZEROS = bytes(PIECE_BYTES)
_ZERO_BLOCK = bytes(BLOCK_BYTES)

_SEEK_DATA = getattr(os, "SEEK_DATA", None)
_SEEK_HOLE = getattr(os, "SEEK_HOLE", None)


def length_of(segment: Segment) -> int:
    """How many bytes a segment stands for."""
    return segment.length if isinstance(segment, Hole) else len(segment)


def without_zeros(pieces: Iterable[bytes]) -> Iterator[Segment]:
    """The same data with its zero blocks as holes. Pieces should be of ``PIECE_BYTES``, so that blocks are aligned."""
    return _joined(segment for piece in pieces for segment in _split(piece))


def _split(piece: bytes) -> Iterator[Segment]:
    """One piece; one without any zero block is passed on as it is, not copied."""
    if piece == ZEROS:
        yield Hole(PIECE_BYTES)
        return
    total = len(piece)
    start, in_hole = 0, False
    for at in range(0, total, BLOCK_BYTES):
        length = min(BLOCK_BYTES, total - at)
        zero = piece.startswith(_ZERO_BLOCK if length == BLOCK_BYTES else _ZERO_BLOCK[:length], at)
        if zero != in_hole:
            if at > start:
                yield Hole(at - start) if in_hole else piece[start:at]
            start, in_hole = at, zero
    if in_hole:
        yield Hole(total - start)
    elif total > start:
        yield piece if start == 0 else piece[start:]


def file_segments(path: str) -> Iterator[Segment]:
    """What is in a file or a block device.

    Raises:
        TransferError: there is no such file, it cannot be read, or it becomes shorter meanwhile.
    """
    with open_to_read(path) as descriptor:
        yield from descriptor_segments(descriptor, path)


@contextmanager
def open_to_read(path: str) -> Iterator[int]:
    """A descriptor of a file or block device; never of anything whose reading could wait for somebody.

    Raises:
        TransferError: there is no such file, or it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _cannot_read(path, error) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise TransferError(f"{path!r} is neither a file nor a block device")
        yield descriptor
    finally:
        os.close(descriptor)


def descriptor_segments(descriptor: int, path: str) -> Iterator[Segment]:
    """As ``file_segments``, of an open file that messages call ``path``."""
    yield from _joined(_segments(descriptor, path))


def _segments(descriptor: int, path: str) -> Iterator[Segment]:
    try:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        at = 0
        while at < end:
            start, stop = _next_data(descriptor, at, end)
            if start > at:
                yield Hole(start - at)
            yield from without_zeros(descriptor_pieces(descriptor, path, start, stop))
            at = stop
    except OSError as error:
        raise _cannot_read(path, error) from error


def _joined(segments: Iterable[Segment]) -> Iterator[Segment]:
    """With neighbouring holes made one."""
    hole = 0
    for segment in segments:
        if isinstance(segment, Hole):
            hole += segment.length
            continue
        if hole:
            yield Hole(hole)
            hole = 0
        yield segment
    if hole:
        yield Hole(hole)


def descriptor_pieces(descriptor: int, path: str, start: int, stop: int) -> Iterator[bytes]:
    """What is in an open file between two places, zeros and all."""
    at = start
    while at < stop:
        piece = os.pread(descriptor, min(PIECE_BYTES, stop - at), at)
        if not piece:
            raise TransferError(f"{path!r} became shorter while it was read")
        at += len(piece)
        yield piece


def _next_data(descriptor: int, at: int, end: int) -> tuple[int, int]:
    """Where the next data begins and ends; from ``end`` to ``end`` when there is no more."""
    if _SEEK_DATA is None or _SEEK_HOLE is None:
        return at, end
    try:
        start = os.lseek(descriptor, at, _SEEK_DATA)
        return min(start, end), min(os.lseek(descriptor, start, _SEEK_HOLE), end)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return end, end
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # block devices and some file systems know no holes
            return at, end
        raise


def _cannot_read(path: str, error: Exception) -> TransferError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return TransferError(f"cannot read {path!r}: {reason}")


def write_segments(path: str, segments: Iterable[Segment]) -> int:
    """Write a sparse file, which is in its place when it is whole and on the disk, and not before.

    A new file is for its owner only; one that is there already is replaced and its mode kept. What a killed run left
    is used by the next one.

    Returns:
        How many bytes the file has, holes included.

    Raises:
        TransferError: it cannot be written, or another process is writing it; whatever ``segments`` raises.
        InsufficientCapacity: there is no room for it.
    """
    try:
        with _part_of(path) as (descriptor, part):
            length = fill(descriptor, segments)
            os.fsync(descriptor)
            os.replace(part, path)
            _sync_folder(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InsufficientCapacity(f"there is no room for {path!r}: {error.strerror}") from error
        raise TransferError(f"cannot write {path!r}: {error.strerror or error}") from error
    return length


def fill(descriptor: int, segments: Iterable[Segment]) -> int:
    """Write an empty file, sparse; returns its length. Raises OSError, and whatever ``segments`` raises."""
    at = 0
    for segment in segments:
        if isinstance(segment, Hole):
            at += segment.length
            continue
        written = os.pwrite(descriptor, segment, at)
        at += written
        if written < len(segment):
            rest = memoryview(segment)[written:]
            while rest:
                written = os.pwrite(descriptor, rest, at)
                at, rest = at + written, rest[written:]
    os.ftruncate(descriptor, at)
    return at


@contextmanager
def _part_of(path: str) -> Iterator[tuple[int, str]]:
    """An empty file beside ``path`` that only this process writes, and its name; gone when the block ends."""
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.part")
    descriptor = _lock_new(part, path)
    try:
        os.ftruncate(descriptor, 0)
        try:
            os.fchmod(descriptor, stat.S_IMODE(os.stat(path).st_mode))
        except FileNotFoundError:
            os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
        yield descriptor, part
    finally:
        if _is_at(descriptor, part):
            os.unlink(part)
        os.close(descriptor)


def _lock_new(part: str, path: str) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(part, flags, stat.S_IRUSR | stat.S_IWUSR)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
                raise TransferError(f"cannot write {path!r}: {part!r} is in the way")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, part):  # and not what another process has just put into its place
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise TransferError(f"another process is writing {path!r}") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _sync_folder(path: str) -> None:
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
