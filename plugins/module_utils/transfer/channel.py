# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes reports of progress out of the module's process: a small file that always holds the present state.

Whoever wants to watch makes the file and names it in the environment. It is one line of JSON, written anew a few times
a second and read as often as the reader likes.
"""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from typing import NamedTuple

from .progress import SILENT, Progress, Report

ENVIRONMENT = "ANYVIRT_PROGRESS_FILE"
"""Names the file; it must exist, so that nothing can be made or emptied with this variable."""

INTERVAL_S = 0.25
MAX_REPORTS = 10
MAX_WHAT = 120
MAX_BYTES = 32768
"""A state is never longer."""


class State(NamedTuple):
    """What is going on in a module. ``time_s`` is its own clock, of which only differences mean anything."""

    time_s: float
    reports: list[Report]


class Channel:
    """Writes the present state to a file; safe for many threads. When it cannot, it stays silent for ever after."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: int | None = None
        self._works = True
        self._running: dict[str, Report] = {}
        self._written: set[str] = set()
        self._next_s = 0.0

    def tell(self, report: Report) -> None:
        """Take a report in; it is written at once, or with one of the next if the last was just now."""
        with self._lock:
            if not self._works:
                return
            if report.ended:
                self._running.pop(report.what, None)
            else:
                self._running[report.what] = report
            now = time.monotonic()
            if now >= self._next_s or (report.ended and report.what in self._written):
                self._next_s = now + INTERVAL_S
                self._write(State(now, list(self._running.values())[:MAX_REPORTS]))

    def _write(self, state: State) -> None:
        try:
            if self._file is None:
                self._file = _open_existing(self._path)
            os.pwrite(self._file, encode(state), 0)
            self._written = {report.what for report in state.reports}
        except OSError:
            self._works = False


def _open_existing(path: str) -> int:
    file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{path} is no ordinary file")
    return file


def encode(state: State) -> bytes:
    """One line. A shorter one may be written over a longer, so what follows the first line means nothing."""
    reports = [
        [report.what[:MAX_WHAT], report.done, report.total, report.unit, report.note[:MAX_WHAT]]
        for report in state.reports
    ]
    return json.dumps([state.time_s, reports]).encode() + b"\n"


def decode(data: bytes) -> State | None:
    """What ``encode`` made; None for what is not that, or not yet all of it."""
    line, newline, _rest = data.partition(b"\n")
    if not newline:
        return None
    try:
        time_s, reports = json.loads(line)
        return State(
            float(time_s),
            [
                Report(str(what), int(done), None if total is None else int(total), str(unit), note=str(note))
                for what, done, total, unit, note in reports[:MAX_REPORTS]
            ],
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def asked_for() -> Progress:
    """Where this module reports to: to whoever asked through the environment, else to nobody."""
    path = os.environ.pop(ENVIRONMENT, "")  # not for the programs that the module starts
    return Progress(Channel(path).tell) if path else SILENT
