# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where all workers of one ansible-playbook pin their lines, so that each of them can show those of all."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from . import terminal
from .lines import fitted

_INTERVAL_S = 0.2
_QUIET_S = 0.5
"""After a task ended, for what Ansible has to say of it."""
_STALE_S = 15.0
_MOST_LINES = 10
_NOTE = ".lines"


class Board:
    """A folder with a note of each task that has something to show.

    Args:
        folder: Shared by all workers, and private to the user.
        name: Of this task's note; notes are shown in the order of their names.
        show: Sends text to the terminal; what several workers send arrives in order and whole.
    """

    def __init__(self, folder: str, name: str, show: Callable[[str], None]) -> None:
        self._folder = folder
        self._note = os.path.join(folder, name + _NOTE)
        self._show = show
        self._used = False

    def pin(self, lines: list[str]) -> None:
        """Have these lines shown, in place of the task's earlier ones, with those of all other tasks."""
        if not lines and not self._used:
            return
        self._used = True
        _write(self._note, lines)
        with self._lock(wait_s=0) as lock:
            if lock is not None and time.time() >= os.fstat(lock).st_mtime:
                self._paint()
                _quiet_until(lock, _INTERVAL_S)

    def leave(self) -> None:
        """Take the lines away, and leave the terminal to others for a moment."""
        if not self._used:
            return
        with suppress(FileNotFoundError):
            os.unlink(self._note)
        with self._lock(wait_s=1) as lock:
            self._show(terminal.ERASE)
            if lock is not None:
                _quiet_until(lock, _QUIET_S)

    def _paint(self) -> None:
        size = terminal.size()
        if size is None:
            return
        lines = [line for path in notes(self._folder) for line in _read(path)]
        most = max(1, min(_MOST_LINES, size.lines - 3))
        shown = [fitted(line, size.columns - 1) for line in lines[:most]]
        if len(lines) > most:
            shown[-1] = fitted(f"and {len(lines) - most + 1} more", size.columns - 1)
        self._show(terminal.below(shown))

    @contextmanager
    def _lock(self, wait_s: float) -> Iterator[int | None]:
        """The right to show something; None when another has it for longer."""
        file = os.open(os.path.join(self._folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield file if _locked(file, time.monotonic() + wait_s) else None
        finally:
            os.close(file)


def notes(folder: str) -> list[str]:
    """The notes that are pinned, the oldest first; those of workers that died without a word do not count."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        with suppress(FileNotFoundError):
            if name.endswith(_NOTE) and time.time() - os.stat(path).st_mtime < _STALE_S:
                found.append(path)
    return found


def _locked(file: int, deadline_s: float) -> bool:
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(0.02)


def _quiet_until(lock: int, seconds: float) -> None:
    then = time.time() + seconds
    os.utime(lock, (then, then))


def _write(path: str, lines: list[str]) -> None:
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(lines, file)
    os.replace(f"{path}.new", path)


def _read(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return [str(line) for line in json.load(file)]
    except (FileNotFoundError, ValueError):
        return []
