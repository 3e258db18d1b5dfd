# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping a guest that is to be moved cold, for as long as somebody wants that."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..driver.base import FORCED
from ..driver.migration import MigrationDriver
from ..errors import HypervisorError, MigrationAborted, TimeoutExpired
from ..model import power_state
from .migration_item import Item
from .power import Power

_ASK_AGAIN_S = 10.0


class Stopping(Power):
    """Stops an instance, and stops waiting for that when nobody wants it any more."""

    def __init__(self, driver: MigrationDriver, item: Item, interrupted: Callable[[], str | None]) -> None:
        super().__init__(driver, item.name, item.wanted.shutdown)
        self._item = item
        self._interrupted = interrupted

    def power_off(self, method: str) -> None:
        if method == FORCED:
            super().power_off(method)
            return
        timeout_s = self.shutdown.timeout_s
        asked_s = time.monotonic()
        deadline_s = asked_s + timeout_s
        self.driver.request_shutdown(self.name, method)
        while True:
            try:
                self.driver.wait_for_state(self.name, power_state.OFF, min(1.0, timeout_s))
                return
            except TimeoutExpired as error:
                now_s = time.monotonic()
                self._require_wanted()
                if now_s >= deadline_s:
                    raise TimeoutExpired(
                        f"instance {self.name!r} was not shutoff after {timeout_s:g} s", error.last_seen
                    ) from None
            if now_s - asked_s >= _ASK_AGAIN_S:
                asked_s = now_s
                with suppress(HypervisorError):  # it may be about to be off
                    self.driver.request_shutdown(self.name, method)

    def _require_wanted(self) -> None:
        reason = self._interrupted()
        if reason is not None:
            self._item.warnings.append(f"{self.name}: it was asked to shut down, and may still do so")
            raise MigrationAborted(f"the migration of {self.name!r} was {in_words(reason)}")


def in_words(reason: str) -> str:
    """Why a migration ended, where the play did: behind ``was``."""
    return reason if reason.startswith("interrupted") else f"given up, since {reason}"
