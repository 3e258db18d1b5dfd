# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patience with guests: one that still boots cannot do yet what it can do in a moment."""

from __future__ import annotations

import time
from typing import Callable

from .errors import code_of
from .spawn import SpawnMixin
from .watch import WatchMixin

NOT_YET = frozenset({"VM_LACKS_FEATURE", "VM_MISSING_PV_DRIVERS", "OTHER_OPERATION_IN_PROGRESS"})
"""What the server says of guests that have not told yet what they can do. The same of those that never will."""

_SHORTEST_PAUSE_S = 0.1


class GuestsMixin(SpawnMixin, WatchMixin):
    """Waiting for guests to be able to do something."""

    def when_guest_can(
        self,
        name: str,
        timeout_s: float,
        retry_s: float,
        attempt: Callable[[float], object],
        also: frozenset[str] = NOT_YET,
    ) -> None:
        """Do something to an instance, again and again while its guest cannot take part.

        Args:
            timeout_s: For how long; the last refusal is raised then.
            retry_s: Seconds between attempts, unless something happens to the instance.
            attempt: Is told how many seconds are left.
            also: The codes of failures after which it is tried again.
        """
        deadline = time.monotonic() + timeout_s
        try:
            attempt(timeout_s)
            return
        except Exception as error:
            if code_of(error) not in also:
                raise
        with self.watch([name]) as watch:
            while True:
                try:
                    attempt(deadline - time.monotonic())
                    return
                except Exception as error:
                    if code_of(error) not in also:
                        raise
                    refusal = error
                left_s = deadline - time.monotonic()
                if left_s > 0:
                    # Other guests' news wake it up too, and it is not to become a busy loop.
                    time.sleep(min(_SHORTEST_PAUSE_S, left_s))
                    watch.wait(min(retry_s, left_s))
                if time.monotonic() >= deadline:
                    raise refusal
