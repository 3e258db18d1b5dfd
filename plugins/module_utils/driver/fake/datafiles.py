# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with the bytes of volumes, sparse as these are.

A file is written once, by one process that keeps it locked meanwhile, and never changed: so copies, children, snapshots
and reverts only refer to it. Records say which files are needed; the others are swept away.
"""

from __future__ import annotations

import fcntl
import glob
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ...transfer.content import PIECE_BYTES, Hole, Segment
from ...transfer.sparse import ZEROS, length_of
from .store import FOLDER_MODE, SHARED, SUFFIX, VOLUMES, Record, Store, View, words_for_os_errors

FOLDER = "data"


class NewFile:
    """A file that is being written, locked until it is closed.

    Attributes:
        name: What records call it.
        length: Bytes so far, holes included.
        allocated: How many of them are no holes.
    """

    def __init__(self, folder: str) -> None:
        self.length = 0
        self.allocated = 0
        self._folder = os.path.join(folder, FOLDER)
        with words_for_os_errors():
            self._file = self._make()

    def _make(self) -> int:
        while True:
            self.name = os.urandom(16).hex()
            self._path = os.path.join(self._folder, self.name)
            os.makedirs(self._folder, FOLDER_MODE, exist_ok=True)
            try:
                file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:  # somebody found the folder empty, and removed it
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # it was swept away before it was locked

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
            os.rmdir(self._folder)

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

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor

    def read(self, at: int, length: int) -> bytes:
        """Up to so many bytes."""
        return os.pread(self._file, length, at)

    def segments(self, start: int, end: int) -> Iterator[Segment]:
        """What is between two offsets; beyond its end it is a hole."""
        at = start
        while at < end:
            data_at = min(_seek(self._file, at, os.SEEK_DATA, end), end)
            if data_at > at:
                yield Hole(data_at - at)
            at = data_at
            hole_at = min(_seek(self._file, at, os.SEEK_HOLE, end), end)
            while at < hole_at:
                piece = self.read(at, min(PIECE_BYTES, hole_at - at))
                yield piece
                at += len(piece)

    def used(self, size_bytes: int, end: int) -> Iterator[int]:
        """The numbers of the parts of this size, up to an offset, in which there is anything."""
        at = 0
        while at < end:
            at = min(_seek(self._file, at, os.SEEK_DATA, end), end)
            hole_at = min(_seek(self._file, at, os.SEEK_HOLE, end), end)
            yield from range(at // size_bytes, -(-hole_at // size_bytes))
            at = -(-hole_at // size_bytes) * size_bytes

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def open_data(folder: str, name: str | None) -> OpenFile:
    """The file that records call so; an empty one for None."""
    with words_for_os_errors():
        return OpenFile(os.open(os.devnull if name is None else _path(folder, name), os.O_RDONLY | os.O_CLOEXEC))


def passing_copy(folder: str, segments: Iterable[Segment]) -> OpenFile:
    """A file with this in it, for as long as it is open."""
    file = NewFile(folder)
    try:
        for segment in segments:
            file.write(segment)
        return open_data(folder, file.name)
    finally:
        file.discard()
        file.close()


def sweep(store: Store) -> None:
    """Remove the files that no record needs, and nobody is writing."""
    if not os.path.isdir(os.path.join(store.folder, FOLDER)):
        return
    with store.writing() as changes:
        needed = _needed(changes) | _needed_elsewhere(store.folder)
        try:
            names = os.listdir(os.path.join(store.folder, FOLDER))
        except FileNotFoundError:  # another process has swept meanwhile
            return
        for name in names:
            if name not in needed and not is_being_written(store.folder, name):
                with suppress(FileNotFoundError):
                    os.unlink(_path(store.folder, name))
        with suppress(OSError):  # those that are needed keep the folder
            os.rmdir(os.path.join(store.folder, FOLDER))


def _needed(view: View) -> set[str]:
    return set(itertools.chain.from_iterable(map(_files_of, view.all(VOLUMES).values())))


def _needed_elsewhere(folder: str) -> set[str]:
    """Files that other hosts need, where any storage is shared."""
    hosts = os.path.dirname(folder)
    shared = os.path.join(os.path.dirname(hosts), SHARED)
    if not os.path.isdir(shared):
        return set()
    names: set[str] = set()
    for store in (shared, *glob.glob(os.path.join(glob.escape(hosts), "*"))):
        for path in glob.glob(os.path.join(glob.escape(store), VOLUMES, "*", "*" + SUFFIX)):
            with suppress(FileNotFoundError), open(path, "rb") as file:
                names |= _files_of(json.loads(file.read()))
    return names


def _files_of(volume: Record) -> set[str]:
    records = (volume, *volume.get("snapshots", ()))
    return {record[field] for record in records for field in ("data", "making") if record.get(field)}


def _seek(file: int, at: int, what: int, end: int) -> int:
    try:
        return os.lseek(file, at, what)
    except OSError:  # there is no more of it
        return end


def _path(folder: str, name: str) -> str:
    """Where a file is: with the host that wrote it, which may be another one where storage is shared."""
    own = os.path.join(folder, FOLDER, name)
    if os.path.exists(own):
        return own
    return next(iter(glob.glob(os.path.join(glob.escape(os.path.dirname(folder)), "*", FOLDER, name))), own)
