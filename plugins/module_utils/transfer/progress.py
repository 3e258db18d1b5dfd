# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells how far long work has come, to whoever watches; to nobody when nobody does."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Callable, NamedTuple

BYTES = "bytes"


class Report(NamedTuple):
    """How far a piece of work has come. ``total`` is None while it is not known; ``ended`` when there is no more to
    come; ``note`` is what else is worth knowing of it, in few words."""

    what: str
    done: int
    total: int | None
    unit: str = BYTES
    ended: bool = False
    note: str = ""


class Meter:
    """Measures one piece of work: ``with progress.measure(...) as meter``. Safe for many threads."""

    def __init__(self, tell: Callable[[Report], None] | None, what: str, total: int | None, unit: str) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._report = Report(what, 0, total, unit)

    def advance(self, amount: int) -> None:
        """So much more of it is done."""
        if self._tell is not None:
            with self._lock:
                self._report = self._report._replace(done=self._report.done + amount)
                self._tell(self._report)

    def reach(self, done: int, total: int | None = None) -> None:
        """So much of it is done by now; with ``total``, that is known better by now."""
        if self._tell is not None:
            with self._lock:
                self._report = self._report._replace(done=done, total=self._report.total if total is None else total)
                self._tell(self._report)

    def remark(self, note: str) -> None:
        """What is worth knowing of it now; it is told with the next report."""
        with self._lock:
            self._report = self._report._replace(note=note)

    def __enter__(self) -> Meter:
        self.advance(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tell is not None:
            self._tell(self._report._replace(ended=True))


class Progress:
    """Where long work says how far it has come.

    Args:
        tell: Called with each report, often and from many threads; None is silence, which costs nothing.
    """

    def __init__(self, tell: Callable[[Report], None] | None = None) -> None:
        self._tell = tell

    def measure(self, what: str, total: int | None = None, unit: str = BYTES) -> Meter:
        """A meter for a piece of work; ``what`` names it for people, and holds no password."""
        return Meter(self._tell, what, total, unit)


SILENT = Progress()
