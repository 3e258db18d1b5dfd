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
_BREATH_S = 0.03
"""How far apart these calls are at least: many tasks change often, and one answer tells of all changes till then."""
_ASK_ANYWAY_S = 15.0
"""A task without news for that long is looked at itself."""
_POLL_FIRST_S, _POLL_MOST_S = 0.1, 2.0
"""How often tasks are looked at where the server gives no events."""
LOST_TOKEN = ("EVENTS_LOST", "EVENT_FROM_TOKEN_PARSE_FAILURE")
"""After these the events are asked for from the beginning."""
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
        end: The task's last record; None where it has to be looked at instead; an error where nobody can be asked.
        is_over: Its end is known.
    """

    ref: str
    method: str
    end: futures.Future[Snapshot | None] = field(default_factory=futures.Future, repr=False)
    is_over: bool = False


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
        except TransportError:
            raise  # nobody is there to be told
        except BaseException:
            if not task.is_over:
                self.cancel(task)
            raise

    def start(self, method: str, *params: Any) -> Task:
        """Begin ``Async.<method>``."""
        return self._attend(Task(self._api.call(f"Async.{method}", *params), method))

    def create(self, what: str) -> Task:
        """A task for an HTTP request, which has to name it and brings it to its end."""
        return self._attend(Task(self._api.call("task.create", what, ""), what))

    def follow(self, ref: str, method: str) -> Task:
        """What another client has begun. It is to be looked at with ``end_of``, so that this client finds it, too."""
        return self._attend(Task(ref, method))

    def end_of(self, task: Task, timeout_s: float) -> Snapshot | None:
        """The last record of a task, which stays on the server; None where it runs on after ``timeout_s`` seconds."""
        try:
            snapshot = self._wait_for_end(task, timeout_s)
        except TimeoutExpired:
            return None
        task.is_over = True
        return snapshot

    def forget(self, task: Task) -> None:
        """Have the server forget a task that has ended."""
        self._forget(task)

    def wait(self, task: Task, timeout_s: float | None = None) -> str | None:
        """Wait for its end, for at most ``timeout_s`` seconds, and have the server forget it.

        Raises:
            XenAPI.Failure: what the task failed with.
            TimeoutExpired: it runs on.
            TransportError: the server cannot be talked to.
        """
        snapshot = self._wait_for_end(task, timeout_s)
        task.is_over = True
        self._forget(task)
        if snapshot["status"] == SUCCESS:
            return _result(snapshot["result"])
        raise self._api.library.Failure(snapshot["error_info"] or ["TASK_CANCELLED", task.ref])

    def cancel(self, task: Task) -> None:
        """End it, wait a little for that, and have the server forget it; never raises."""
        try:
            self._api.call("task.cancel", task.ref)
            self._wait_for_end(task, _END_AFTER_CANCEL_S)
        except TransportError as error:
            if not error.lost:
                return  # who was silent once would be so again, for as long
        except Exception:  # noqa: S110  (it may have ended by itself)
            pass
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

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _attend(self, task: Task) -> Task:
        with self._changed:
            ended = self._early.pop(task.ref, None)
            if ended is not None:
                task.end.set_result(ended)
            elif not self._has_events:
                task.end.set_result(None)
            else:
                self._waited[task.ref] = task
                self._ensure_thread()
                self._changed.notify_all()
        return task

    def _wait_for_end(self, task: Task, timeout_s: float | None) -> Snapshot:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _ASK_ANYWAY_S if deadline is None else deadline - time.monotonic()
            try:
                ended = task.end.result(max(0.0, min(left_s, _ASK_ANYWAY_S)))
            except futures.TimeoutError:
                if left_s <= 0:
                    raise self._too_late(task, timeout_s) from None
                ended = self._look_at(task) if left_s >= _ASK_ANYWAY_S else None
                if ended is None:
                    continue
            return self._poll(task, deadline, timeout_s) if ended is None else ended

    def _poll(self, task: Task, deadline: float | None, timeout_s: float | None) -> Snapshot:
        """Wait without events."""
        pause_s = _POLL_FIRST_S
        while True:
            ended = self._look_at(task)
            if ended is not None:
                return ended
            if deadline is not None and time.monotonic() >= deadline:
                raise self._too_late(task, timeout_s)
            time.sleep(pause_s if deadline is None else max(0.0, min(pause_s, deadline - time.monotonic())))
            pause_s = min(pause_s * 2, _POLL_MOST_S)

    def _look_at(self, task: Task) -> Snapshot | None:
        """The task's record if it has ended."""
        snapshot: Snapshot = self._api.call("task.get_record", task.ref)
        return None if snapshot["status"] in _RUNNING else snapshot

    def _too_late(self, task: Task, timeout_s: float | None) -> TimeoutExpired:
        return TimeoutExpired(f"the server's task {task.method} was not done after {timeout_s:g} s", PENDING)

    def _forget(self, task: Task) -> None:
        with self._changed:
            self._waited.pop(task.ref, None)
        with suppress(Exception):  # it is over, which is what counts; servers forget tasks by themselves after a day
            self._api.call("task.destroy", task.ref)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if self._thread is None and not self._closed:
            self._line = self._api.new_line()
            self._thread = threading.Thread(target=self._run, args=(self._line,), name="anyvirt-tasks", daemon=True)
            self._thread.start()

    def _run(self, line: Line) -> None:
        token = ""
        try:
            while self._is_needed():
                try:
                    token = self._take_events(line, token)
                except TransportError as error:
                    # One connection that breaks is not the server, and what is under way there goes on.
                    self._end_all(None if error.lost else error)
                except Exception as failure:
                    if token and getattr(failure, "details", [""])[0] in LOST_TOKEN:
                        token = ""
                        continue
                    # A server that gives no events, or a user who may have none, still lets tasks be looked at.
                    with self._changed:
                        self._has_events = False
                    self._end_all(None)
                    return
        finally:
            line.connection.close()

    def _is_needed(self) -> bool:
        """Wait until there is a task to wait for; False when there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waited or self._closed)
            return not self._closed

    def _take_events(self, line: Line, token: str) -> str:
        """Wait for events and act on them; the token for the next call."""
        next_call = time.monotonic() + _BREATH_S
        with self._changed:
            waited = set(self._waited)
        answer = self._api.call_on(line, "event.from", ["task"], token, self._wait_s)
        with self._changed:
            for event in answer["events"]:
                self._take(event["ref"], event["operation"], event.get("snapshot") or {})
            if not token:
                # The first answer lists all tasks, and so tells which are gone already.
                for ref in waited - {event["ref"] for event in answer["events"]}:
                    self._take(ref, "del", {})
            self._changed.wait_for(lambda: self._closed, max(0.0, next_call - time.monotonic()))
        return str(answer["token"])

    def _take(self, ref: str, operation: str, snapshot: Snapshot) -> None:
        if operation == "del":
            self._early.pop(ref, None)
            task = self._waited.pop(ref, None)
            if task is not None:
                task.end.set_result(None)  # looking at it tells that it is gone
        elif snapshot.get("status", PENDING) not in _RUNNING:
            task = self._waited.pop(ref, None)
            if task is not None:
                task.end.set_result(snapshot)
            else:
                self._early[ref] = snapshot
                while len(self._early) > _MOST_EARLY:
                    self._early.popitem(last=False)

    def _end_all(self, error: TransportError | None) -> None:
        """Wake all that wait: with an error, or to look by themselves."""
        with self._changed:
            for task in self._waited.values():
                if error is None:
                    task.end.set_result(None)
                else:
                    task.end.set_exception(TransportError(str(error)))
            self._waited.clear()


def _result(text: str) -> str | None:
    """What a task's result says: a reference within XML."""
    plain = text.strip()
    while plain.startswith("<value>") and plain.endswith("</value>"):
        plain = plain[len("<value>") : -len("</value>")]
    return None if plain in ("", "<value/>") else html.unescape(plain)
