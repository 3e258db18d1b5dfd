# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches a counting guest on its consoles: how long it stood still, what it left out, what it said twice."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lab.console import wait_until

_LINE = re.compile(rb"ANYVIRT TICK (\d+) (\d+\.\d+)\r?\n")
_LOOK_S = 0.005
_LONGEST = 200


class Tick(NamedTuple):
    """One line of the counter.

    Attributes:
        number: What it counted.
        guest_s: The guest's clock, which stands still while the guest does.
        seen_s: Our clock when the line was found, monotonic.
        where: On which of the consoles, from 0.
    """

    number: int
    guest_s: float
    seen_s: float
    where: int


class Counting:
    """Reads the console logs of one guest, one of each host, as they grow."""

    def __init__(self, logs: Sequence[Path], look_s: float) -> None:
        self.ticks: list[Tick] = []
        self._logs = logs
        self._look_s = look_s
        # What is in there already was said before anybody looked.
        self._read = [log.stat().st_size if log.exists() else 0 for log in logs]
        self._files = [log.stat().st_ino if log.exists() else 0 for log in logs]
        # One for all of them: a guest may be moved in the middle of a line.
        self._rest = b""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(self._look_s):
            last = self.ticks[-1].where if self.ticks else 0
            for where in sorted(range(len(self._logs)), key=lambda place: place != last):
                self._take_in(where, self._logs[where])

    def _take_in(self, where: int, log: Path) -> None:
        try:
            found = log.stat()
            if found.st_ino != self._files[where]:  # it was away from that host, and has come back
                self._files[where], self._read[where] = found.st_ino, 0
            if found.st_size <= self._read[where]:
                return
            with log.open("rb") as opened:
                opened.seek(self._read[where])
                data = opened.read()
        except FileNotFoundError:
            return
        seen_s = time.monotonic()
        self._read[where] += len(data)
        text = self._rest + data
        end = 0
        for line in _LINE.finditer(text):
            self.ticks.append(Tick(int(line[1]), float(line[2]), seen_s, where))
            end = line.end()
        self._rest = text[end:][-_LONGEST:]

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def goes_on(self, where: int | None = None, timeout_s: float = 20.0) -> Tick:
        """Wait for a tick that comes from now on (there); it."""
        start = len(self.ticks)

        def news() -> Tick | None:
            fresh = self.ticks[start:]
            return next((tick for tick in fresh if where is None or tick.where == where), None)

        return wait_until(news, f"a tick of the guest's counter on console {where}", timeout_s)

    @property
    def numbers(self) -> list[int]:
        """What it counted, in the order in which it was seen."""
        return [tick.number for tick in self.ticks]

    def lost_and_repeated(self) -> list[str]:
        """Where the count is not one more than before."""
        pairs = zip(self.ticks, self.ticks[1:])
        return [f"{one} then {two}" for one, two in pairs if two.number != one.number + 1]

    def longest_stand_s(self) -> float:
        """For how long at most the guest's own clock stood still between two ticks."""
        pairs = zip(self.ticks, self.ticks[1:])
        return max(
            ((two.seen_s - one.seen_s) - (two.guest_s - one.guest_s) for one, two in pairs),
            default=0.0,
        )

    def places(self) -> list[int]:
        """On which consoles it counted, one after the other."""
        found: list[int] = []
        for tick in self.ticks:
            if not found or found[-1] != tick.where:
                found.append(tick.where)
        return found


@contextmanager
def counting(*logs: Path, look_s: float = _LOOK_S) -> Iterator[Counting]:
    """Watch the counter within the block, and look so often whether it has said something."""
    watched = Counting(logs, look_s)
    try:
        yield watched
    finally:
        watched.stop()
