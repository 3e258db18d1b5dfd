# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with the bytes of volumes, sparse as these are.

A file is written once, by one process that keeps it locked meanwhile, and never changed: so copies, children, snapshots
and reverts only refer to it. Records say which files are needed; the others are swept away.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress

from ...transfer.content import PIECE_BYTES, Hole, Segment
from ...transfer.sparse import ZEROS, length_of
from .store import FOLDER_MODE, VOLUMES, Store, View, words_for_os_errors

FOLDER = "data"


class NewFile:
    """A file that is being written, locked until it is closed.

    Attributes:
        name: What records call it.
        length: Bytes so far, holes included.
        allocated: How many of them are no holes.
    """

    def __init__(self, folder: str) -> None:
        self.name = os.urandom(16).hex()
        self.length = 0
        self.allocated = 0
        folder = os.path.join(folder, FOLDER)
        with words_for_os_errors():
            os.makedirs(folder, FOLDER_MODE, exist_ok=True)
            self._path = os.path.join(folder, self.name)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, segment: Segment) -> None:
        """Add data or a hole; data that is nothing but zeros becomes a hole as well."""
        with words_for_os_errors():
            if isinstance(segment, Hole) or ZEROS.startswith(segment):
                self.length += length_of(segment)
                os.ftruncate(self._file, self.length)
                return
            view = memoryview(segment)
            os.lseek(self._file, self.length, os.SEEK_SET)
            while view:
                view = view[os.write(self._file, view) :]
            self.length += len(segment)
            self.allocated += len(segment)

    def discard(self) -> None:
        """It is not wanted after all."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        with suppress(OSError):  # other files keep the folder
            os.rmdir(os.path.dirname(self._path))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def is_being_written(folder: str, name: str) -> bool:
    """Whether some process has it locked."""
    with words_for_os_errors():
        try:
            file = os.open(_path(folder, name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


class OpenFile:
    """A file that is being read; stays readable though it be swept away meanwhile."""

    def __init__(self, folder: str, name: str) -> None:
        with words_for_os_errors():
            self._file = os.open(_path(folder, name), os.O_RDONLY | os.O_CLOEXEC)

    def segments(self, start: int, end: int) -> Iterator[Segment]:
        """What is between two offsets; beyond its end it is a hole."""
        at = start
        while at < end:
            data_at = _seek(self._file, at, os.SEEK_DATA, end)
            if data_at > at:
                yield Hole(min(data_at, end) - at)
            at = data_at
            hole_at = min(_seek(self._file, at, os.SEEK_HOLE, end), end)
            while at < hole_at:
                piece = os.pread(self._file, min(PIECE_BYTES, hole_at - at), at)
                yield piece
                at += len(piece)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def sweep(store: Store) -> None:
    """Remove the files that no record needs."""
    if not os.path.isdir(os.path.join(store.folder, FOLDER)):
        return
    with store.writing() as changes:
        needed = _needed(changes)
        for name in os.listdir(os.path.join(store.folder, FOLDER)):
            if name not in needed:
                with suppress(FileNotFoundError):
                    os.unlink(_path(store.folder, name))
        with suppress(OSError):  # those that are needed keep the folder
            os.rmdir(os.path.join(store.folder, FOLDER))


def _needed(view: View) -> set[str]:
    names: set[str] = set()
    for volume in view.all(VOLUMES).values():
        for record in (volume, *volume.get("snapshots", ())):
            names.update(record[field] for field in ("data", "making") if record.get(field))
    return names


def _seek(file: int, at: int, what: int, end: int) -> int:
    try:
        return os.lseek(file, at, what)
    except OSError:  # there is no more of it
        return end


def _path(folder: str, name: str) -> str:
    return os.path.join(folder, FOLDER, name)
