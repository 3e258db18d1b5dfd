# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a live migration goes, as a function of the clock: disks first, then the memory again and again, each time what
the guest has changed meanwhile (pre-copy), until little enough is left to stop the guest for.

A job is a record with

* ``memory_bytes``, ``disk_bytes``: what there is to send; ``rate``: bytes that go over the wire in a second;
* ``dirty_rate``: bytes of memory that the guest changes in a second;
* ``max_downtime_ms``, ``auto_converge``, ``compression``: as wished for;
* ``paused_s``, ``post_copy_s``: seconds after its beginning at which it was steered so; None: it was not;
* ``fails_at``: the percentage of the first pass at which the connection breaks; None: it does not.
"""

from __future__ import annotations

from typing import NamedTuple

from ...model.migration import MigrationProgress
from .store import Record

SWITCH_S = 0.005
"""How long a guest stands still at least while it changes hosts."""

DEFAULT_DOWNTIME_MS = 300
"""As in QEMU."""

COMPRESSION = 2.0
"""By how much compressed memory is smaller."""

_THROTTLE_FIRST, _THROTTLE_MORE, _THROTTLE_MOST = 0.2, 0.1, 0.99
"""How much auto-converge slows a guest down after the second pass, by how much more after each further one, and at
most; as in QEMU."""


class Course(NamedTuple):
    """How far a job is at one moment.

    Attributes:
        arrived: All of it is on the destination.
        broken: The connection broke before that.
        away_s: When the guest began to run on the destination; None: it does not yet.
        still_s: Since when the guest has stood still, or stood still before it ran on the destination; None: it runs.
        sent_memory: Bytes of memory sent, more than there are where passes repeat.
        next_s: Seconds until the job is over or does not go on as it does; at least some.
    """

    progress: MigrationProgress
    arrived: bool = False
    broken: bool = False
    away_s: float | None = None
    still_s: float | None = None
    sent_memory: int = 0
    next_s: float = 0.0

    @property
    def downtime_ms(self) -> int | None:
        """How long the guest stood still; None while it has not moved."""
        if self.away_s is None or self.still_s is None:
            return None
        return round((self.away_s - self.still_s) * 1000)


def course(job: Record, at_s: float) -> Course:
    """How far a job is so many seconds after it began."""
    return _Simulation(job, max(0.0, at_s)).run()


class _Simulation:
    """Goes through a job's passes up to a moment."""

    def __init__(self, job: Record, at_s: float) -> None:
        self._at_s = at_s
        self._memory: float = job["memory_bytes"]
        self._disks: float = job["disk_bytes"]
        self._wire: float = max(1.0, job["rate"])
        self._rate = self._wire * (COMPRESSION if job["compression"] else 1.0)
        self._dirty: float = job["dirty_rate"]
        self._most_s = (job["max_downtime_ms"] or DEFAULT_DOWNTIME_MS) / 1000
        self._converges: bool = job["auto_converge"]
        self._disks_s = self._disks / self._wire
        self._paused_s: float | None = job["paused_s"]
        self._post_copy_s: float | None = job["post_copy_s"]
        if self._post_copy_s is not None:
            self._post_copy_s = max(self._post_copy_s, self._disks_s)
        self._breaks_s: float | None = None
        if job["fails_at"] is not None:
            self._breaks_s = (self._disks_s + self._memory / self._rate) * job["fails_at"] / 100
        self._sent = 0.0
        self._iteration = 1

    def run(self) -> Course:
        if self._at_s < self._disks_s:
            return self._going("disks", self._memory, self._disks - self._at_s * self._wire, self._disks_s)
        begins_s, left = self._disks_s, self._memory
        while True:
            ends_s = begins_s + left / self._rate
            if self._post_copy_s is not None and self._post_copy_s < ends_s:
                return self._post_copied(begins_s, left)
            if self._at_s < ends_s:
                rest = left - (self._at_s - begins_s) * self._rate
                self._sent += left - rest
                return self._going("memory", rest, 0.0, ends_s)
            self._sent += left
            left = min(self._memory, self._dirty * self._running_s(begins_s, ends_s))
            stopped = self._paused_s is not None and self._paused_s <= ends_s
            if stopped or left / self._rate <= self._most_s:
                return self._finishing(ends_s, left)
            begins_s = ends_s
            self._iteration += 1
            if self._converges and self._iteration > 2:
                throttle = _THROTTLE_FIRST + _THROTTLE_MORE * (self._iteration - 3)
                self._dirty *= 1 - min(throttle, _THROTTLE_MOST)

    def _running_s(self, begins_s: float, ends_s: float) -> float:
        """How long the guest ran, and changed its memory, between two moments."""
        until_s = ends_s if self._paused_s is None else min(self._paused_s, ends_s)
        return max(0.0, until_s - begins_s)

    def _going(self, phase: str, memory_left: float, disks_left: float, until_s: float) -> Course:
        paused = self._paused_s is not None and self._paused_s <= self._at_s
        if self._is_broken(until_s):
            return Course(self._progress("memory", memory_left, disks_left), broken=True)
        return Course(
            self._progress("paused" if paused else phase, memory_left, disks_left, 0.0 if paused else self._dirty),
            still_s=self._paused_s if paused else None,
            sent_memory=round(self._sent),
            next_s=self._next_s(until_s),
        )

    def _finishing(self, since_s: float, left: float) -> Course:
        """The guest stands still, and the rest goes over."""
        still_s = since_s if self._paused_s is None else min(self._paused_s, since_s)
        over_s = since_s + max(SWITCH_S, left / self._rate)
        broken = self._is_broken(over_s)
        if self._at_s >= over_s and not broken:
            self._sent += left
            done = self._progress("finishing", 0.0, 0.0)
            return Course(done, True, False, over_s, still_s, round(self._sent))
        rest = max(0.0, left - (self._at_s - since_s) * self._rate)
        return Course(
            self._progress("finishing", rest, 0.0),
            broken=broken,
            still_s=still_s,
            sent_memory=round(self._sent),
            next_s=self._next_s(over_s),
        )

    def _post_copied(self, begins_s: float, left: float) -> Course:
        """The guest runs on the destination, and fetches what it has not got yet."""
        at_s = self._post_copy_s or 0.0
        if self._at_s < at_s:
            rest = left - (self._at_s - begins_s) * self._rate
            return self._going("memory", rest, 0.0, at_s)
        sent = max(0.0, at_s - begins_s) * self._rate
        rest = min(self._memory, left - sent + self._dirty * self._running_s(begins_s, at_s))
        over_s = at_s + SWITCH_S + rest / self._rate
        gone = min(rest, max(0.0, self._at_s - at_s - SWITCH_S) * self._rate)
        self._sent += sent + gone
        return Course(
            self._progress("post_copy", rest - gone, 0.0),
            arrived=self._at_s >= over_s,
            away_s=at_s + SWITCH_S,
            still_s=at_s,
            sent_memory=round(self._sent),
            next_s=self._next_s(over_s),
        )

    def _is_broken(self, over_s: float) -> bool:
        """Whether the connection broke before it was over, even if nobody has looked since."""
        return self._breaks_s is not None and self._breaks_s <= self._at_s and self._breaks_s < over_s

    def _next_s(self, until_s: float) -> float:
        return max(0.001, min(until_s, self._breaks_s or until_s) - self._at_s)

    def _progress(self, phase: str, memory: float, disks: float, dirty_rate: float = 0.0) -> MigrationProgress:
        total, left = self._memory + self._disks, memory + disks
        return MigrationProgress(
            phase=phase,
            percent=100.0 if total <= 0 else round(100 * (1 - left / total), 1),
            total_bytes=round(total),
            done_bytes=round(total - left),
            left_bytes=round(left),
            rate=round(self._wire),
            dirty_rate=round(dirty_rate),
            iteration=self._iteration,
            expected_downtime_ms=round(max(SWITCH_S, left / self._rate) * 1000),
            elapsed_s=round(self._at_s, 3),
        )
