# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: what an asynchronous call, or an HTTP transfer, reports to."""

from __future__ import annotations

import threading
from datetime import datetime, timezone

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure

_RUNNING = ("pending", "cancelling")


class Tasks:
    """Writes the records of tasks; a task that its client has destroyed meanwhile is left alone."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._cancelled: dict[Ref, threading.Event] = {}

    def create(self, label: str, description: str = "") -> Ref:
        pools = self._db.refs("pool")
        return self._db.create(
            "task",
            name_label=label,
            name_description=description,
            created=_now(),
            status="pending",
            type="<none/>",
            allowed_operations=["cancel", "destroy"],
            **({"resident_on": self._db.get("pool", pools[0], "master")} if pools else {}),
        )

    def watch(self, task: Ref) -> threading.Event:
        """The event that is set when the task is cancelled."""
        with self._db.lock:
            return self._cancelled.setdefault(task, threading.Event())

    def progress(self, task: Ref, fraction: float) -> None:
        self._write(task, progress=min(max(float(fraction), 0.0), 1.0))

    def complete(self, task: Ref, result: str) -> None:
        """``result`` is the XML of the value, or nothing."""
        self._end(task, "success", result=result, progress=1.0)

    def fail(self, task: Ref, failure: Failure) -> None:
        if failure.code == "TASK_CANCELLED":
            self._end(task, "cancelled", progress=1.0)
        else:
            self._end(task, "failure", error_info=failure.details, progress=1.0)

    def cancel(self, task: Ref) -> None:
        """Ask the work to end; one that has ended is left as it is. Raises OPERATION_NOT_ALLOWED where nobody works."""
        with self._db.lock:
            if self._db.get("task", task, "status") not in _RUNNING:
                return
            watched = self._cancelled.get(task)
            if watched is None:
                raise Failure("OPERATION_NOT_ALLOWED", "task cannot be cancelled")
            self._db.set("task", task, status="cancelling", allowed_operations=["destroy"])
            watched.set()

    def cancel_all(self) -> None:
        with self._db.lock:
            for watched in self._cancelled.values():
                watched.set()

    def _end(self, task: Ref, status: str, **fields: object) -> None:
        self._write(task, status=status, finished=_now(), allowed_operations=["destroy"], **fields)
        with self._db.lock:
            self._cancelled.pop(task, None)

    def _write(self, task: Ref, **fields: object) -> None:
        with self._db.lock:
            if self._db.exists("task", task) and self._db.get("task", task, "status") in _RUNNING:
                self._db.set("task", task, **fields)


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)
