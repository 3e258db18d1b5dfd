# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server does for us in the background: tasks, all waited for by one thread."""

from __future__ import annotations

import html
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...errors import TimeoutExpired
from .api import Api, Line
from .transport import TransportError

PENDING = "pending"
SUCCESS = "success"
_RUNNING = (PENDING, "cancelling")

_LONGEST_WAIT_S = 20.0
"""How long one event.from lasts at most when nothing happens."""
_ASK_ANYWAY_S = 15.0
"""A task without news for that long is looked at itself."""
_POLL_FIRST_S, _POLL_MOST_S = 0.1, 2.0
"""How often tasks are looked at where the server gives no events."""
_END_AFTER_CANCEL_S = 5.0
"""How long a cancelled task may take to end."""
_MOST_EARLY = 1000
"""How many ends of tasks are kept that came before anybody waited for them; most of them are other clients' tasks."""

Snapshot = Mapping[str, Any]
"""A task's record."""


@dataclass
class Task:
    """Something that the server does for us.

    Attributes:
        ref: The task's reference.
        method: What it is, e.g. ``VM.start``.
    """

    ref: str
    method: str
    _end: futures.Future[Snapshot | None] = field(default_factory=futures.Future, repr=False)
    """Set to the task's last record; to None where it has to be looked at instead; to an error where nobody can be
    asked."""


class Tasks:
    """The tasks of one driver.

    A thread of their own waits for the events of all of them with one call at a time, while there are any.
    """

    def __init__(self, api: Api, call_timeout_s: float) -> None:
        self._api = api
        self._wait_s = min(_LONGEST_WAIT_S, call_timeout_s / 2)
        self._changed = threading.Condition()
        """Guards all below."""
        self._waited: dict[str, Task] = {}
        self._early: OrderedDict[str, Snapshot] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._line: Line | None = None
        self._closed = False
        self._has_events = True

    def run(self, method: str, *params: Any, timeout_s: float | None = None) -> str | None:
        """Carry out ``Async.<method>``, wait for its end, and have the server forget it; cancel it if that fails.

        Returns:
            The reference that is its result, if any.

        Raises:
            XenAPI.Failure: what the task failed with.
            TimeoutExpired: it took longer than ``timeout_s``.
            XenAPI.Failure, Fault, TransportError: as calls have them.
        """
        task = self.start(method, *params)
        try:
            return self.wait(task, timeout_s)
        except BaseException:
            if not task._end.done():
                self.cancel(task)
            raise

    def start(self, method: str, *params: Any) -> Task:
        """Begin ``Async.<method>``."""
        task = Task(self._api.call(f"Async.{method}", *params), method)
        with self._changed:
            ended = self._early.pop(task.ref, None)
            if ended is not None:
                task._end.set_result(ended)
            elif not self._has_events:
                task._end.set_result(None)
            else:
                self._waited[task.ref] = task
                self._ensure_thread()
                self._changed.notify_all()
        return task

    def wait(self, task: Task, timeout_s: float | None = None) -> str | None:
        """Wait for its end, for at most ``timeout_s`` seconds, and have the server forget it.

        Raises:
            XenAPI.Failure: what the task failed with.
            TimeoutExpired: it runs on.
            TransportError: the server cannot be talked to.
        """
        snapshot = self._wait_for_end(task, timeout_s)
        self._forget(task)
        if snapshot["status"] == SUCCESS:
            return _result(snapshot["result"])
        raise self._api.library.Failure(snapshot["error_info"] or ["TASK_CANCELLED", task.ref])

    def cancel(self, task: Task) -> None:
        """End it, wait a little for that, and have the server forget it; never raises."""
        with suppress(Exception):
            self._api.call("task.cancel", task.ref)
            self._wait_for_end(task, _END_AFTER_CANCEL_S)
        with suppress(Exception):
            self._forget(task)

    def close(self) -> None:
        """End the thread; whoever still waits waits no longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread, line = self._thread, self._line
        if line is not None:
            line.connection.abort()
        if thread is not None:
            thread.join(self._wait_s)
