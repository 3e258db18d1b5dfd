# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a volume or an image into a file where the module runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from ..driver.storage import StorageDriver, VolumeReader
from ..errors import Problem, TransferError
from ..model.storage import Image, VolumeKey
from ..transfer.checksum import SHA256, Digest
from ..transfer.content import Hole, Segment
from ..transfer.sparse import ZEROS, file_segments, open_to_read, write_segments


class Exported(NamedTuple):
    """What the file has."""

    sha256: str
    file_bytes: int
    format: str


def dest_problem(where: str, dest: str) -> Problem | None:
    """Why nothing could be written there; None when it can be tried."""
    folder = os.path.dirname(dest)
    if os.path.isdir(dest):
        return Problem(f"{where}dest", f"{dest!r} is a folder; give the name of a file in it")
    if os.path.lexists(dest) and not os.path.isfile(dest):
        return Problem(f"{where}dest", f"{dest!r} is not a file")
    if not os.path.isdir(folder):
        return Problem(f"{where}dest", f"there is no folder {folder!r} where the module runs")
    if not os.access(folder, os.W_OK):
        return Problem(f"{where}dest", f"the folder {folder!r} may not be written to")
    return None


def export_volume(driver: StorageDriver, key: VolumeKey, dest: str) -> Exported:
    """Write what is in a volume, as it is stored, sparse; the file is in its place when it is whole.

    Raises:
        VolumeInUse, VolumeNotFound: it cannot be read now.
        TransferError, InsufficientCapacity: it cannot be written; what was there before still is.
    """
    with driver.open_volume(key) as reader, _segments_of(reader) as segments, Digest(SHA256) as digest:
        length = write_segments(dest, digest.watch(segments))
        return Exported(digest.end(), length, reader.format)


def already_exported(driver: StorageDriver, key: VolumeKey, image: Image | None, dest: str) -> Exported | None:
    """What a file has, if that is just what is in the volume; None when it is not.

    Where an image's checksum is known, reading the file may be enough to see that it is the same. Otherwise both are
    read, up to the first difference: some hypervisors give an image out in another form than they took it in.
    """
    if not os.path.isfile(dest):
        return None
    if image is not None and image.checksum is not None and image.file_bytes == os.stat(dest).st_size:
        sha256 = _sha256_of(dest)
        if image.checksum == f"{SHA256}:{sha256}":
            return Exported(sha256, image.file_bytes, image.format or "")
    return _compare(driver, key, dest)


def _sha256_of(path: str) -> str:
    with Digest(SHA256) as digest:
        for segment in file_segments(path):
            digest.add(segment)
        return digest.end()


def _compare(driver: StorageDriver, key: VolumeKey, dest: str) -> Exported | None:
    with driver.open_volume(key) as reader, open_to_read(dest) as descriptor, Digest(SHA256) as digest:
        length = os.fstat(descriptor).st_size
        if reader.length not in (None, length):
            return None
        at = 0
        with _segments_of(reader) as segments:
            for segment in segments:
                for expected in _pieces(segment):
                    if os.pread(descriptor, len(expected), at) != expected:
                        return None
                    at += len(expected)
                digest.add(segment)
        return Exported(digest.end(), length, reader.format) if at == length else None


@contextmanager
def _segments_of(reader: VolumeReader) -> Iterator[Iterator[Segment]]:
    """What it reads. Reading ends with the block, even while an error's traceback still holds on to it."""
    segments = reader.segments()
    try:
        yield segments
    finally:
        close = getattr(segments, "close", None)
        if close is not None:
            close()


def _pieces(segment: Segment) -> Iterator[bytes]:
    if not isinstance(segment, Hole):
        yield segment
        return
    left = segment.length
    while left:
        piece = ZEROS if left >= len(ZEROS) else ZEROS[:left]
        yield piece
        left -= len(piece)


def taken_back(dest: str, was_there: bool) -> None:
    """Undo an export to a file that was not there before.

    Raises:
        TransferError: there was one, which is gone for good.
    """
    if was_there:
        raise TransferError(f"what was in {dest!r} before is overwritten")
    with suppress(FileNotFoundError):
        os.unlink(dest)
