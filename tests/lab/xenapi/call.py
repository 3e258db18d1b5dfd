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
    from lab.xenapi.pool import Pool
    from lab.xenapi.world import World


@dataclass
class Call:
    """One call of a message.

    ``task`` is NULL for a call that is not asynchronous; ``cancelled`` is set when the task is cancelled.
    """

    pool: Pool
    session: Ref
    task: Ref = NULL
    cancelled: threading.Event | None = None

    @property
    def db(self) -> Database:
        return self.pool.db

    @property
    def world(self) -> World:
        return self.pool.world

    @property
    def stopping(self) -> threading.Event:
        """Set when the server stops."""
        return self.pool.stopping

    def progress(self, fraction: float) -> None:
        """Report how much is done, from 0.0 to 1.0."""
        if self.task != NULL:
            self.pool.tasks.progress(self.task, fraction)

    def pass_point(self, name: str) -> None:
        """A moment in the middle of a long call, at which faults dialled in for ``point:NAME`` strike."""
        hit = self.pool.faults.hit_point(name)
        if hit.seconds:
            self.sleep(hit.seconds)
        if hit.failure:
            raise hit.failure

    def sleep(self, seconds: float) -> None:
        """Let time pass; TASK_CANCELLED ends it early when the task is cancelled or the server stops."""
        (self.cancelled or self.stopping).wait(seconds)
        if self.stopping.is_set() or (self.cancelled and self.cancelled.is_set()):
            raise Failure("TASK_CANCELLED", self.task)
