# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake's memory: one small JSON file for each record, below one folder for each host.

* A record is replaced whole (written beside, then renamed), so a reader never sees half of one.
* A lock file is held for each operation, shared to read and exclusive to write; the kernel drops it with the process.
* Several records changed by one operation are first written to a journal. Whoever takes the lock next after a process
  was killed between two of them finishes what the journal says, so an operation has happened whole or not at all.
* The lock file holds a stamp that grows with each change, and each record's file carries as its time of change the
  stamp of its last one. So a driver that looks again reads only what has changed since.

Nothing is forced out to the disk: a killed process loses nothing, a machine that loses its power may lose the last
seconds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ...errors import HypervisorError, HypervisorUnavailable, InsufficientCapacity, PermissionDenied

INSTANCES = "instances"
VOLUMES = "volumes"
POOLS = "pools"
GROUPS = "security_groups"
FIREWALL = "firewall"
JOBS = "jobs"
KINDS = (INSTANCES, VOLUMES, POOLS, GROUPS, FIREWALL, JOBS)
"""Kinds of record, each a folder. A volume's key is ``POOL/NAME``, the others' their name."""

SHARED = "shared"
"""The folder of the store that hosts have in common, beside that of all hosts."""

LOCK = "lock"
JOURNAL = "journal.json"
TEMPORARY = "write.tmp"
SUFFIX = ".json"
FOLDER_MODE = 0o700
_STAMP_LENGTH = 21
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

Record = dict[str, Any]
Signature = tuple[int, int, int]


class DamagedRecord(HypervisorError):
    """A file of the store that is not what the store wrote."""


class _Cached(NamedTuple):
    signature: Signature
    record: Record


def is_file_name(name: str) -> bool:
    """Whether a record can be kept under that name."""
    return (
        bool(name)
        and not name.startswith(".")
        and name.isprintable()
        and "/" not in name
        and len(name.encode("utf-8", "surrogatepass")) <= 240
    )


class View:
    """What the store holds, while its lock is held. Records are shared: whoever changes one copies it first."""

    def __init__(self, store: Store, stamp: int) -> None:
        self._store = store
        self._stamp = stamp

    def get(self, kind: str, key: str) -> Record | None:
        """The record, or None when there is none."""
        return self._store.load(kind, key, self._stamp)

    def all(self, kind: str) -> dict[str, Record]:
        """All records of a kind by their key, in the order of their keys."""
        return self._store.load_all(kind, self._stamp)


class Changes(View):
    """A view that can be changed; the changes are made when the operation ends well, and not at all otherwise."""

    def __init__(self, store: Store, stamp: int) -> None:
        super().__init__(store, stamp)
        self.made: dict[tuple[str, str], Record | None] = {}

    def get(self, kind: str, key: str) -> Record | None:
        if (kind, key) in self.made:
            return self.made[kind, key]
        return super().get(kind, key)

    def all(self, kind: str) -> dict[str, Record]:
        records = super().all(kind)
        changed = {key: record for (its_kind, key), record in self.made.items() if its_kind == kind}
        if not changed:
            return records
        return {key: record for key, record in sorted({**records, **changed}.items()) if record is not None}

    def before(self, kind: str, key: str) -> Record | None:
        """The record as it was before this operation."""
        return super().get(kind, key)

    def put(self, kind: str, key: str, record: Record) -> None:
        """Add or replace a record; nothing is written for one that is as it was."""
        if self.get(kind, key) != record:
            self.made[kind, key] = record

    def delete(self, kind: str, key: str) -> None:
        """Remove a record; harmless when there is none."""
        if self.get(kind, key) is not None:
            self.made[kind, key] = None


class Store:
    """The records of one host.

    Args:
        folder: Where they lie; made by the first change.
        patience_s: Seconds to wait for other processes' operations.
    """

    def __init__(self, folder: str, patience_s: float = 60.0) -> None:
        self.folder = folder
        self._patience_s = patience_s
        self._mutex = threading.RLock()
        self._cache: dict[str, dict[str, _Cached]] = {kind: {} for kind in KINDS}
        self._complete_at: dict[str, int] = {}

    @contextmanager
    def reading(self) -> Iterator[View]:
        """Look at records that stay as they are meanwhile. Of a folder that is not there, there are none."""
        with self._mutex, words_for_os_errors(), self._locked(fcntl.LOCK_SH) as lock:
            yield View(self, _read_stamp(lock))

    @contextmanager
    def writing(self) -> Iterator[Changes]:
        """Change records while nobody else does; made when the block ends, unless with an exception."""
        with self._mutex, words_for_os_errors(), self._locked(fcntl.LOCK_EX) as lock:
            changes = Changes(self, _read_stamp(lock))
            yield changes
            if changes.made and lock is not None:
                self._commit(lock, changes.made)

    def stamp(self) -> int:
        """Differs from the last one returned if and only if something has changed meanwhile."""
        with words_for_os_errors():
            try:
                lock = os.open(self._path(LOCK), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return 0
            try:
                return _read_stamp(lock)
            finally:
                os.close(lock)

    def damaged(self) -> list[str]:
        """What is wrong with records that cannot be read, in words."""
        found = []
        with self.reading() as view:
            for kind in KINDS:
                for key, _signature in self._scan(kind):
                    try:
                        view.get(kind, key)
                    except DamagedRecord as error:
                        found.append(str(error))
        return found

    # -- loading ----------------------------------------------------------------------------------------------------

    def load(self, kind: str, key: str, stamp: int) -> Record | None:
        """One record; for View, under the lock."""
        cached = self._cache[kind].get(key)
        if self._complete_at.get(kind) == stamp:
            return cached.record if cached else None
        if not all(is_file_name(part) for part in key.split("/")):
            return None
        path = self._path(kind, key + SUFFIX)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        return self._load_file(kind, key, path, _signature(status))

    def load_all(self, kind: str, stamp: int) -> dict[str, Record]:
        """All records of a kind; for View, under the lock."""
        cache = self._cache[kind]
        if self._complete_at.get(kind) != stamp:
            found = dict(self._scan(kind))
            for gone in cache.keys() - found.keys():
                del cache[gone]
            for key, signature in found.items():
                self._load_file(kind, key, self._path(kind, key + SUFFIX), signature)
            self._complete_at[kind] = stamp
        return {key: cache[key].record for key in sorted(cache)}

    def _load_file(self, kind: str, key: str, path: str, signature: Signature) -> Record:
        cached = self._cache[kind].get(key)
        if cached is not None and cached.signature == signature:
            return cached.record
        try:
            with open(path, "rb") as file:
                record = json.loads(file.read())
            if not isinstance(record, dict):
                raise ValueError("it holds no mapping")
        except ValueError as error:
            raise DamagedRecord(f"the fake hypervisor's record {path} is damaged: {error}") from None
        self._cache[kind][key] = _Cached(signature, record)
        return record

    def _scan(self, kind: str, below: str = "") -> Iterator[tuple[str, Signature]]:
        try:
            entries = os.scandir(self._path(kind, below) if below else self._path(kind))
        except FileNotFoundError:
            return
        with entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    yield below + entry.name[: -len(SUFFIX)], _signature(entry.stat())
                elif kind == VOLUMES and not below and entry.is_dir():
                    yield from self._scan(kind, entry.name + "/")

    # -- locking ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, how: int) -> Iterator[int | None]:
        """Hold the lock; gives the lock file's descriptor, or None to read from a folder that is not there."""
        lock = self._take_lock(how)
        try:
            if lock is not None and os.path.exists(self._path(JOURNAL)):
                if how == fcntl.LOCK_SH:
                    os.close(lock)
                    lock = None
                    lock = self._take_lock(fcntl.LOCK_EX)
                if lock is not None:
                    self._recover(lock)
            yield lock
        finally:
            if lock is not None:
                os.close(lock)

    def _take_lock(self, how: int) -> int | None:
        deadline = time.monotonic() + self._patience_s
        pause_s = 0.0005
        while True:
            lock = self._open_lock(how)
            if lock is None:
                return None
            try:
                fcntl.flock(lock, how | fcntl.LOCK_NB)
                if os.fstat(lock).st_nlink:
                    return lock
                os.close(lock)  # the folder was deleted and this lock guards nothing any more
            except BlockingIOError:
                os.close(lock)
            except BaseException:
                os.close(lock)
                raise
            if time.monotonic() > deadline:
                raise HypervisorUnavailable(
                    f"the fake hypervisor in {self.folder} is kept locked by another process; "
                    f"gave up after {self._patience_s:g} s"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.01)

    def _open_lock(self, how: int) -> int | None:
        path = self._path(LOCK)
        if how == fcntl.LOCK_SH:
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            os.makedirs(self.folder, FOLDER_MODE, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    # -- writing ----------------------------------------------------------------------------------------------------

    def _commit(self, lock: int, made: dict[tuple[str, str], Record | None]) -> None:
        before = _read_stamp(lock)
        # The stamp first: were we killed after it, others would look at what is there, and find it as it is.
        stamp = _write_stamp(lock)
        if len(made) > 1:
            journal = [[kind, key, record] for (kind, key), record in made.items()]
            self._write_file(self._path(JOURNAL), journal, stamp)
        for (kind, key), record in made.items():
            self._apply(kind, key, record, stamp)
        if len(made) > 1:
            os.unlink(self._path(JOURNAL))
        for kind in KINDS:
            if self._complete_at.get(kind) == before:
                self._complete_at[kind] = stamp

    def _recover(self, lock: int) -> None:
        """Finish what a killed process had begun."""
        path = self._path(JOURNAL)
        try:
            with open(path, "rb") as file:
                journal = json.loads(file.read())
        except FileNotFoundError:
            return
        except ValueError as error:
            raise DamagedRecord(f"the fake hypervisor's journal {path} is damaged: {error}") from None
        stamp = _write_stamp(lock)
        for kind, key, record in journal:
            self._apply(kind, key, record, stamp)
        os.unlink(path)

    def _apply(self, kind: str, key: str, record: Record | None, stamp: int) -> None:
        path = self._path(kind, key + SUFFIX)
        if record is not None:
            self._cache[kind][key] = _Cached(self._write_file(path, record, stamp), record)
            return
        with suppress(FileNotFoundError):
            os.unlink(path)
        self._cache[kind].pop(key, None)
        with suppress(OSError):  # a folder with something in it stays
            os.removedirs(os.path.dirname(path))

    def _write_file(self, path: str, content: Any, stamp: int) -> Signature:
        temporary = self._path(TEMPORARY)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            data = memoryview(json.dumps(content, sort_keys=True).encode())
            while data:
                data = data[os.write(file, data) :]
            os.utime(file, ns=(stamp, stamp))
            signature = _signature(os.fstat(file))
        finally:
            os.close(file)
        try:
            os.replace(temporary, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), FOLDER_MODE, exist_ok=True)
            os.replace(temporary, path)
        return signature

    def _path(self, *parts: str) -> str:
        return os.path.join(self.folder, *parts)


@contextmanager
def words_for_os_errors() -> Iterator[None]:
    """Turns the operating system's errors into ours."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(f"the fake hypervisor's folder: {error}") from error
    except OSError as error:
        kind = InsufficientCapacity if error.errno in _NO_SPACE else HypervisorError
        raise kind(f"the fake hypervisor's folder: {error}") from error


def _signature(status: os.stat_result) -> Signature:
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _read_stamp(lock: int | None) -> int:
    return int(os.pread(lock, _STAMP_LENGTH, 0) or b"0") if lock is not None else 0


def _write_stamp(lock: int) -> int:
    stamp = max(time.time_ns(), _read_stamp(lock) + 1)
    os.pwrite(lock, b"%0*d\n" % (_STAMP_LENGTH - 1, stamp), 0)
    return stamp
