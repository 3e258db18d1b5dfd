# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Content that is kept in a temporary file where the module runs, until it is known to be whole and right."""

from __future__ import annotations

import errno
import math
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from ..errors import InsufficientCapacity, TransferError
from ..model.units import format_shortage
from .content import Hole, ImageFacts, Segment
from .fetch import FetchOptions, OpenContent
from .progress import Meter, Progress
from .sparse import descriptor_segments, fill, length_of

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ELSEWHERE = "to use another folder, set the environment variable TMPDIR where the module runs"


class StagedContent:
    """Verified content in a sparse file that has no name: it is gone when it is closed, or its process dies.

    Attributes:
        length: Bytes, holes included.
        data_bytes: Bytes without the holes.

    Args:
        content: Is read to its end.
        options: What it was opened with.

    Raises:
        TransferError, ChecksumMismatch, UnsafeImage: as ``content`` does.
        InsufficientCapacity: the temporary folder has no room for it.
    """

    def __init__(self, content: OpenContent, options: FetchOptions, progress: Progress) -> None:
        self.data_bytes = 0
        folder, self._file = _new_file()
        try:
            _require_room(folder, content, options)
            with _meter_of(content, progress) as meter:
                self.length = fill(self._file.fileno(), self._counted(content, meter))
            os.fsync(self._file.fileno())  # some file systems say only now that they are full
        except OSError as error:
            self.close()
            if error.errno in _NO_ROOM:
                raise InsufficientCapacity(
                    f"{content.what} is kept in the temporary folder {folder!r} until it is whole, and that is full "
                    f"({error.strerror}); {_ELSEWHERE}"
                ) from error
            raise TransferError(
                f"cannot write to the temporary folder {folder!r}: {error.strerror or error}"
            ) from error
        except BaseException:
            self.close()
            raise
        self._what = content.what
        self.facts: ImageFacts = content.facts._replace(size_bytes=content.facts.size_bytes or self.length)
        self._checksum = content.checksum
        self._sha256 = content.sha256

    @contextmanager
    def open(self) -> Iterator[OpenContent]:
        """The content once more, from the file; as often as needed."""
        segments = descriptor_segments(self._file.fileno(), self._what)
        content = OpenContent(self._what, self.facts, self.length, self._checksum, segments)
        content.sha256 = self._sha256
        yield content

    def close(self) -> None:
        """Give its room back."""
        self._file.close()

    def _counted(self, content: OpenContent, meter: Meter) -> Iterator[Segment]:
        for segment in content.segments():
            if not isinstance(segment, Hole):
                self.data_bytes += len(segment)
            meter.advance(length_of(segment))
            yield segment


def _new_file() -> tuple[str, IO[bytes]]:
    """A file for this process only, without a name, and the folder that it takes room in."""
    try:
        folder = tempfile.gettempdir()
        return folder, tempfile.TemporaryFile(buffering=0, dir=folder)
    except OSError as error:
        raise TransferError(
            f"there can be no temporary file where the module runs: {error.strerror or error}; {_ELSEWHERE}"
        ) from error


def _require_room(folder: str, content: OpenContent, options: FetchOptions) -> None:
    """Fail before anything is fetched, where it is known beforehand how much that is."""
    if content.length is None:
        return
    needed = content.length if options.url is not None else int(min(content.length, _stored_bytes(options)))
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    if needed > free:
        raise InsufficientCapacity(
            f"{content.what} is kept in the temporary folder {folder!r} until it is whole, which may need "
            f"{format_shortage(needed, free)} there; {_ELSEWHERE}"
        )


def _stored_bytes(options: FetchOptions) -> float:
    """How much of a local source is not holes; no bound where that is not known."""
    try:
        found = os.stat(options.path or "")
    except OSError:
        return math.inf
    return found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else math.inf


def _meter_of(content: OpenContent, progress: Progress) -> Meter:
    """Of compressed content it is told already how far its reading has come."""
    what = f"fetch {content.what}"
    return Progress().measure(what) if content.length is None else progress.measure(what, content.length)
