# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a message's handler is given: the pool, who calls, and the task to report to."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure

if TYPE_CHECKING:
    from lab.xenapi.world import World


@dataclass
class Call:
    """One call of a message.

    ``task`` is NULL for a call that is not asynchronous. ``cancelled`` is set when the task is cancelled, ``stopping``
    when the server stops.
    """

    db: Database
    world: World
    session: Ref
    stopping: threading.Event
    task: Ref = NULL
    cancelled: threading.Event | None = None
    method: str = ""

    def progress(self, fraction: float) -> None:
        """Report how much is done, from 0.0 to 1.0."""
        with self.db.lock:
            if self.task != NULL and self.db.exists("task", self.task):
                self.db.set("task", self.task, progress=min(max(float(fraction), 0.0), 1.0))

    def sleep(self, seconds: float) -> None:
        """Let time pass; TASK_CANCELLED ends it early when the task is cancelled or the server stops."""
        (self.cancelled or self.stopping).wait(seconds)
        if self.stopping.is_set() or (self.cancelled and self.cancelled.is_set()):
            raise Failure("TASK_CANCELLED", self.task)
