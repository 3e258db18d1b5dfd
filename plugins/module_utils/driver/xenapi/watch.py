# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noticing what happens to instances, by the server's events."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType

from ..base import Watch
from .connection import ConnectionMixin
from .errors import code_of
from .query import any_of

LONGEST_WAIT_S = 10.0
"""A watch is looked up from that often at least: an instance may be made anew under its name."""

_METRICS = "vm_guest_metrics"


class PoolWatch(Watch):
    """Wakes up on changes of some VMs and of what their guests tell."""

    def __init__(self, driver: ConnectionMixin, names: Collection[str]) -> None:
        self._driver = driver
        self._names = frozenset(names)
        self._classes: list[str] = []
        self._token = ""
        self._wait_s = min(LONGEST_WAIT_S, driver.options.call_timeout_s / 2)

    def __enter__(self) -> PoolWatch:
        with self._driver.guard("watch the instances"):
            self._classes = self._find()
            self._take_events(0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server keeps nothing for a watch."""

    def wait(self, timeout_s: float) -> None:
        with self._driver.guard("watch the instances"):
            self._take_events(max(0.0, min(timeout_s, self._wait_s)))

    def _find(self) -> list[str]:
        condition = any_of("name__label", self._names)
        if condition is None:
            return ["vm", _METRICS]
        found = self._driver.call("VM.get_all_records_where", condition)
        if len({vm["name_label"] for vm in found.values()}) < len(self._names):
            return ["vm", _METRICS]  # one of them is still to be made
        return [f"vm/{ref}" for ref in found] + [_METRICS]

    def _take_events(self, timeout_s: float) -> None:
        try:
            answer = self._driver.call("event.from", self._classes, self._token, timeout_s)
        except Exception as error:
            if not self._token or code_of(error) not in ("EVENTS_LOST", "EVENT_FROM_TOKEN_PARSE_FAILURE"):
                raise
            self._token = ""  # much may have happened, so that it is time to look
        else:
            self._token = answer["token"]


class WatchMixin(ConnectionMixin):
    """Watches."""

    def watch(self, names: Collection[str]) -> PoolWatch:
        return PoolWatch(self, names)
