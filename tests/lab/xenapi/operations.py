# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations on a VM: checked, waited for when another one is in progress, and listed while they run."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.xenapi import vm_rules
from lab.xenapi.call import Call
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure

_TICK_S = 0.05
_FIRST_WAIT_S = 0.01
_BUSY = "OTHER_OPERATION_IN_PROGRESS"


class Operation:
    """One operation in progress on a VM."""

    def __init__(self, call: Call, vm: Ref, name: str) -> None:
        self.call = call
        self.vm = vm
        self.name = name
        self.key = call.task if call.task != NULL else f"OpaqueRef:{uuid.uuid4()}"
        self.interrupted = threading.Event()
        self.span = (0.0, 1.0)  # what the work that is being done is of the whole, for the progress

    def work(self, seconds: float) -> None:
        """Let time pass, reporting progress; TASK_CANCELLED when the task or the operation is cancelled."""
        self.wait(lambda: False, seconds)

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until ``done``; whether it was in time."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.call.sleep(min(left, _TICK_S))
            self.check_interrupted()
            first, last = self.span
            self.call.progress(last - (last - first) * max(end - time.monotonic(), 0) / seconds)
        return True

    def check_interrupted(self) -> None:
        if self.interrupted.is_set():
            raise Failure("TASK_CANCELLED", self.key)


@contextmanager
def operation(call: Call, vm: Ref, name: str) -> Iterator[Operation]:
    """Carry out the block as that operation of the VM.

    Raises what `vm_rules.refusal` tells. A VM that is busy with another operation is waited for, a while.
    """
    current = Operation(call, vm, name)
    _begin(current)
    try:
        yield current
    finally:
        _end(current)


def check(db: Database, vm: Ref, name: str) -> None:
    """Raise what keeps the VM from allowing the operation. The caller holds the database's lock."""
    failure = vm_rules.refusal(db, vm, name)
    if failure is not None:
        raise failure


def refresh(db: Database, vm: Ref) -> None:
    """Bring the VM's ``allowed_operations`` up to date."""
    with db.lock:
        if db.exists("VM", vm):
            db.set("VM", vm, allowed_operations=vm_rules.allowed(db, vm))


def _begin(current: Operation) -> None:
    db, world = current.call.db, current.call.world
    give_up = time.monotonic() + world.settings.busy_timeout_s
    wait = _FIRST_WAIT_S
    while True:
        with db.lock:
            failure = vm_rules.refusal(db, current.vm, current.name)
            if failure is None:
                _enter(current)
                return
        if failure.code != _BUSY or time.monotonic() > give_up:
            raise failure
        current.call.sleep(wait)
        wait *= 2


def _enter(current: Operation) -> None:
    db, running = current.call.db, current.call.world.operations.setdefault(current.vm, [])
    if current.name in ("hard_shutdown", "hard_reboot"):
        for other in running:
            if other.name in vm_rules.INTERRUPTED_BY_FORCE:
                other.interrupted.set()
    running.append(current)
    _write(db, current.vm, running)


def _end(current: Operation) -> None:
    db, operations = current.call.db, current.call.world.operations
    with db.lock:
        running = operations[current.vm]
        running.remove(current)
        if db.exists("VM", current.vm):
            _write(db, current.vm, running)
        if not running:
            del operations[current.vm]


def _write(db: Database, vm: Ref, running: list[Operation]) -> None:
    db.set("VM", vm, current_operations={other.key: other.name for other in running})
    refresh(db, vm)
