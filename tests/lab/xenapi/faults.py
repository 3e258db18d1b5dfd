# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults and delays that a test dials in: a call fails, a connection drops, a task never ends."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from lab.xenapi.failures import Failure

_POINT = "point:"


class ConnectionDropped(Exception):
    """The connection is to be closed without an answer."""


@dataclass
class _Rule:
    pattern: str
    kind: str  # fail, before, after, delay, hang
    times: int | None  # how often it still happens; None: always
    skip: int
    writing_only: bool
    but: tuple[str, ...] = ()
    failure: Failure | None = None
    seconds: float = 0.0

    def applies(self, name: str, writing: bool) -> bool:
        """Whether this call is hit; counts it."""
        if self.times == 0 or (self.writing_only and not writing) or not fnmatch.fnmatchcase(name, self.pattern):
            return False
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.but):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Hit:
    """What happens to one call."""

    failure: Failure | None = None
    dropped_before: bool = False
    dropped_after: bool = False
    hangs: bool = False
    seconds: float = 0.0


@dataclass
class Faults:
    """Rules by message: a name ("VM.start", for Async.VM.start too), a pattern ("VBD.*") or "http:/import_raw_vdi"; or
    by a moment in the middle of a migration: "point:mirror", "point:metadata", "point:memory", "point:switch".

    ``skip`` lets that many calls pass first, ``times`` says how many are then hit (None: all), and ``writing_only``
    leaves calls that only read out of account, and ``but`` those of these patterns.
    """

    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(
        self,
        message: str = "*",
        code: str = "INTERNAL_ERROR",
        *params: str,
        times: int | None = 1,
        skip: int = 0,
        writing_only: bool = False,
        but: Sequence[str] = (),
    ) -> None:
        """The call fails with this code before it does anything; an asynchronous one in its task."""
        failure = Failure(code, *(params or (("a fault that the test asked for",) if code == "INTERNAL_ERROR" else ())))
        self._add(_Rule(message, "fail", times, skip, writing_only, tuple(but), failure))

    def drop(
        self,
        message: str,
        when: str = "before",
        times: int | None = 1,
        skip: int = 0,
        writing_only: bool = False,
        but: Sequence[str] = (),
    ) -> None:
        """The connection closes ``before`` the call is carried out, or ``after`` it took effect: the reply is lost."""
        if when not in ("before", "after"):
            raise ValueError(f"a connection drops before or after, not {when!r}")
        self._add(_Rule(message, when, times, skip, writing_only, tuple(but)))

    def delay(self, message: str, seconds: float, times: int | None = None, skip: int = 0) -> None:
        """The call takes that much longer."""
        self._add(_Rule(message, "delay", times, skip, writing_only=False, seconds=seconds))

    def hang_task(self, message: str, times: int | None = 1, skip: int = 0) -> None:
        """An asynchronous call does nothing and its task stays pending until it is cancelled."""
        self._add(_Rule(message, "hang", times, skip, writing_only=False))

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def hit_point(self, name: str) -> Hit:
        """What they do at a moment in the middle of a call; only rules for moments count."""
        hit = Hit()
        point = f"{_POINT}{name}"
        with self._lock:
            for rule in self._rules:
                if rule.pattern.startswith(_POINT) and rule.applies(point, writing=True):
                    hit.failure = hit.failure or rule.failure
                    hit.seconds += rule.seconds
        return hit

    def hit(self, name: str, *, writing: bool, asynchronous: bool = False) -> Hit:
        """What the rules do to this call."""
        hit = Hit()
        with self._lock:
            for rule in self._rules:
                if (rule.kind == "hang" and not asynchronous) or not rule.applies(name, writing):
                    continue
                hit.failure = hit.failure or rule.failure
                hit.seconds += rule.seconds
                hit.dropped_before |= rule.kind == "before"
                hit.dropped_after |= rule.kind == "after"
                hit.hangs |= rule.kind == "hang"
        return hit

    def _add(self, rule: _Rule) -> None:
        with self._lock:
            self._rules.append(rule)
