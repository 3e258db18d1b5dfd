# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noticing changes: the store's stamp tells of those that operations make, the records of those that time brings."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from types import TracebackType

from ..base import Watch
from .core import FakeCore
from .faults import FILE
from .store import INSTANCES

POLL_S = 0.02

_Seen = tuple[int, int]


class WatchMixin(FakeCore):
    """Waiting without missing anything."""

    def watch(self, names: Collection[str]) -> Watch:
        return FakeWatch(self, names)

    def stamp(self) -> _Seen:
        """Differs from the last one when something was changed, in the records or in faults.json."""
        try:
            orders = os.stat(os.path.join(self.root, FILE)).st_mtime_ns
        except OSError:
            orders = 0
        return self._store.stamp(), orders

    def next_event_s(self, names: Collection[str]) -> float | None:
        """Seconds until something happens to one of these guests by itself; None when nothing will."""
        with self._store.reading() as view:
            records = [record for record in (view.get(INSTANCES, name) for name in names) if record is not None]
        coming = (self.look_at(record)[1].next_s for record in records)
        return min((next_s for next_s in coming if next_s is not None), default=None)


class FakeWatch(Watch):
    """A look at the stamp every few milliseconds."""

    def __init__(self, driver: WatchMixin, names: Collection[str]) -> None:
        self._driver = driver
        self._names = list(names)
        self._seen: _Seen = (0, 0)
        self._due: float | None = None

    def __enter__(self) -> FakeWatch:
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            at = time.monotonic()
            if at >= deadline or self._driver.stamp() != self._seen or (self._due is not None and at >= self._due):
                break
            time.sleep(min(POLL_S, deadline - at))
        self._look()

    def _look(self) -> None:
        self._seen = self._driver.stamp()
        next_s = self._driver.next_event_s(self._names)
        self._due = None if next_s is None else time.monotonic() + next_s
