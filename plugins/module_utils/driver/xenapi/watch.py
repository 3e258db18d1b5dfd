# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Noticing what happens to instances, by the server's events."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any

from ..base import Watch
from .connection import ConnectionMixin
from .errors import code_of
from .query import any_of
from .records import NULL
from .tasks import LOST_TOKEN

LONGEST_WAIT_S = 10.0
"""How long a watch hears nothing at most: an instance may be made anew under its name."""
LOOK_AGAIN_S = 1.0
"""The same while one of the instances is not there yet."""


class PoolWatch(Watch):
    """Wakes up on changes of some VMs and of what their guests tell."""

    def __init__(self, driver: ConnectionMixin, names: Collection[str]) -> None:
        self._driver = driver
        self._names = frozenset(names)
        self._objects: set[str] = set()
        self._token = ""
        self._longest_s = LONGEST_WAIT_S

    def __enter__(self) -> PoolWatch:
        with self._driver.guard("watch the instances"):
            found = self._find()
            for ref, vm in found.items():
                self._listen_to(ref, vm)
            if {vm["name_label"] for vm in found.values()} != self._names:
                self._longest_s = LOOK_AGAIN_S
            if self._objects:
                self._take_events(0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server keeps nothing for a watch."""

    def wait(self, timeout_s: float) -> None:
        wait_s = max(0.0, min(timeout_s, self._longest_s, self._driver.options.call_timeout_s / 2))
        with self._driver.guard("watch the instances"):
            if self._objects:
                self._take_events(wait_s)
            else:
                time.sleep(wait_s)

    def _find(self) -> dict[str, Any]:
        """The VMs of these names."""
        condition = any_of("name__label", self._names)
        if condition is not None:
            return dict(self._driver.call("VM.get_all_records_where", condition))
        every = self._driver.call("VM.get_all_records")
        return {ref: vm for ref, vm in every.items() if vm["name_label"] in self._names}

    def _listen_to(self, ref: str, vm: Mapping[str, Any]) -> None:
        self._objects.add(f"vm/{ref}")
        if vm["guest_metrics"] != NULL:
            self._objects.add(f"vm_guest_metrics/{vm['guest_metrics']}")

    def _take_events(self, timeout_s: float) -> None:
        try:
            answer = self._driver.call("event.from", sorted(self._objects), self._token, timeout_s)
        except Exception as error:
            if not self._token or code_of(error) not in LOST_TOKEN:
                raise
            self._token = ""  # much may have happened, so that it is time to look
            return
        self._token = answer["token"]
        for event in answer["events"]:
            if event["class"].lower() == "vm" and event.get("snapshot"):
                self._listen_to(event["ref"], event["snapshot"])


class WatchMixin(ConnectionMixin):
    """Watches."""

    def watch(self, names: Collection[str]) -> PoolWatch:
        return PoolWatch(self, names)
