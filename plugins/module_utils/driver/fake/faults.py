# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trouble on order: the file ``faults.json`` makes operations fail, wait or end the process, and guests misbehave."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Callable, NamedTuple

from ... import errors
from . import settings
from .operations import OPERATIONS
from .store import words_for_os_errors

FILE = "faults.json"
COUNTERS = "faults.seen"
CALLS_LOG = "calls.log"

BEFORE = "before"
AFTER = "after"

KILLED_EXIT_CODE = 137
"""What a shell reports for a process ended by SIGKILL."""

_NOT_ORDERED = (errors.InvalidInput, errors.InstanceNotFound)


class Fault(NamedTuple):
    """One order of trouble.

    Attributes:
        operation, instance, host: Which operations it is for, as shell patterns.
        error: The kind of error; None for an operation that only waits.
        skip: How many fitting calls pass first.
        times: How many calls it then befalls; None for all.
        delay_s: Seconds to wait first.
        kill: End the process at once, with nothing cleaned up.
        flush_filters: Lose all filters of the host, as when somebody else empties its tables.
        when: ``before`` the operation does anything, or ``after`` it is done: the reply is lost.
    """

    operation: str
    instance: str = "*"
    host: str = "*"
    error: str | None = None
    message: str | None = None
    skip: int = 0
    times: int | None = None
    delay_s: float = 0.0
    kill: bool = False
    flush_filters: bool = False
    when: str = BEFORE


class Guest(NamedTuple):
    """How a guest behaves.

    Attributes:
        boot_s, shutdown_s: Seconds that booting and shutting down take.
        ignores_acpi: It does not hear the power button.
        agent: It runs the guest agent.
        crash: Whatever of it was started before faults.json was written has crashed.
        crashes_after_s: Seconds after its start at which it crashes.
        says: Lines that it writes on its console after booting.
        hotplug: It can be given disks while it runs.
        holds_disks: It does not let go of disks; ``detach_s`` is how many seconds it takes otherwise.
        locks_tray: What is in its CD drives cannot be taken out.
        dirty_mib_s: MiB of its memory that it changes in a second.
        migration_fails_at: A live migration of it breaks off when so many percent of the first pass are done.
    """

    boot_s: float = 0.0
    shutdown_s: float = 0.0
    ignores_acpi: bool = False
    agent: bool = True
    crash: bool = False
    crashes_after_s: float | None = None
    says: tuple[str, ...] = ()
    hotplug: bool = True
    holds_disks: bool = False
    detach_s: float = 0.0
    locks_tray: bool = False
    dirty_mib_s: float = 0.0
    migration_fails_at: float | None = None


class _Orders(NamedTuple):
    faults: tuple[Fault, ...] = ()
    guests: tuple[tuple[str, Guest], ...] = ()
    log_calls: bool = False


class Faults:
    """The orders for the hosts under one root folder."""

    def __init__(self, root: str, host: str, call_timeout_s: float, flush_filters: Callable[[], None]) -> None:
        self._root = root
        self._host = host
        self._call_timeout_s = call_timeout_s
        self._flush_filters = flush_filters
        self._file = settings.SettingsFile(os.path.join(root, FILE), _parse)

    def check(self) -> None:
        """Raise BadSettings when the file makes no sense."""
        self._file.read()

    def befall(self, operation: str, instance: str | None, when: str) -> None:
        """Have happen what is ordered for this operation."""
        orders = self._file.read()
        if orders.log_calls and when == BEFORE:
            self._log(operation, instance)
        fitting = [
            number
            for number, fault in enumerate(orders.faults)
            if fault.when == when
            and fnmatchcase(operation, fault.operation)
            and fnmatchcase(instance or "", fault.instance)
            and fnmatchcase(self._host, fault.host)
        ]
        if not fitting:
            return
        for number, seen in zip(fitting, self._count(fitting)):
            fault = orders.faults[number]
            if seen > fault.skip and (fault.times is None or seen <= fault.skip + fault.times):
                self._strike(fault, operation)

    def guest(self, instance: str) -> Guest:
        """How this instance's guest behaves: the first entry that fits its name."""
        for pattern, guest in self._file.read().guests:
            if fnmatchcase(instance, pattern):
                return guest
        return _ORDINARY

    @property
    def written_at(self) -> float:
        """When faults.json was written, for ``crash``."""
        version = self._file.version
        return version[0] / 1e9 if version else 0.0

    def _strike(self, fault: Fault, operation: str) -> None:
        time.sleep(min(fault.delay_s, self._call_timeout_s))
        if fault.kill:
            os._exit(KILLED_EXIT_CODE)
        if fault.flush_filters:
            self._flush_filters()
        if fault.delay_s > self._call_timeout_s:
            raise errors.HypervisorUnavailable(
                f"the fake hypervisor did not answer {operation} within {self._call_timeout_s:g} s"
            )
        if fault.error is not None:
            raise _make_error(fault.error, fault.message or f"{operation} failed because faults.json says so")

    def _count(self, numbers: list[int]) -> list[int]:
        """Count a call for each of these faults, and tell how many each has had since the file was written."""
        version = list(self._file.version or ())
        with words_for_os_errors(), open(os.path.join(self._root, COUNTERS), "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            try:
                content = json.loads(file.read())
            except ValueError:  # new, or its writer was killed
                content = {}
            seen: dict[str, int] = content.get("seen", {}) if content.get("version") == version else {}
            for number in numbers:
                seen[str(number)] = seen.get(str(number), 0) + 1
            file.truncate(0)
            file.write(json.dumps({"version": version, "seen": seen}).encode())
        return [seen[str(number)] for number in numbers]

    def _log(self, operation: str, instance: str | None) -> None:
        call = {
            "host": self._host,
            "operation": operation,
            "instance": instance,
            "writes": OPERATIONS[operation].writes,
            "pid": os.getpid(),
        }
        with words_for_os_errors(), open(os.path.join(self._root, CALLS_LOG), "a", encoding="utf-8") as file:
            file.write(json.dumps(call) + "\n")


_ORDINARY = Guest()


def _make_error(kind: str, message: str) -> errors.AnyvirtError:
    error = _error_kinds()[kind]
    if issubclass(error, errors.TimeoutExpired):
        return error(message, last_seen="nothing")
    return error(message)


def _error_kinds() -> dict[str, type[errors.AnyvirtError]]:
    return {
        item.kind: item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, errors.AnyvirtError) and item not in _NOT_ORDERED
    }


def _parse(content: Mapping[str, Any]) -> _Orders:
    settings.only_known(FILE, content, ("faults", "guests", "log_calls"))
    faults = content.get("faults", [])
    if not isinstance(faults, list):
        raise ValueError("faults has to be a list")
    guests = settings.mapping("guests", content.get("guests", {}))
    return _Orders(
        tuple(_fault(f"faults[{number}]", item) for number, item in enumerate(faults)),
        tuple((pattern, _guest(f"guests.{pattern}", item)) for pattern, item in guests.items()),
        settings.truth("log_calls", content.get("log_calls", False)),
    )


_FAULT_READERS = {
    "operation": settings.text,
    "instance": settings.text,
    "host": settings.text,
    "error": settings.text,
    "message": settings.text,
    "skip": settings.count,
    "times": settings.count,
    "delay_s": settings.number,
    "kill": settings.truth,
    "flush_filters": settings.truth,
    "when": settings.text,
}

_GUEST_READERS = {
    "boot_s": settings.number,
    "shutdown_s": settings.number,
    "ignores_acpi": settings.truth,
    "agent": settings.truth,
    "crash": settings.truth,
    "crashes_after_s": settings.number,
    "says": settings.texts,
    "hotplug": settings.truth,
    "holds_disks": settings.truth,
    "detach_s": settings.number,
    "locks_tray": settings.truth,
    "dirty_mib_s": settings.number,
    "migration_fails_at": settings.number,
}


def _fault(where: str, value: Any) -> Fault:
    found = settings.mapping(where, value)
    settings.only_known(where, found, _FAULT_READERS)
    entries: dict[str, Any] = {key: _FAULT_READERS[key](f"{where}.{key}", item) for key, item in found.items()}
    operation = entries.setdefault("operation", "*")
    if not any(fnmatchcase(name, operation) for name in OPERATIONS):
        raise ValueError(f"{where}.operation: {operation!r} fits no operation; there are {', '.join(OPERATIONS)}")
    if entries.get("when", BEFORE) not in (BEFORE, AFTER):
        raise ValueError(f"{where}.when has to be {BEFORE} or {AFTER}")
    kinds = _error_kinds()
    if "error" in entries and entries["error"] not in kinds:
        raise ValueError(f"{where}.error: there is no kind {entries['error']!r}; known are {', '.join(sorted(kinds))}")
    return Fault(**entries)


def _guest(where: str, value: Any) -> Guest:
    found = settings.mapping(where, value)
    settings.only_known(where, found, _GUEST_READERS)
    entries: dict[str, Any] = {key: _GUEST_READERS[key](f"{where}.{key}", item) for key, item in found.items()}
    if "says" in entries:
        entries["says"] = tuple(entries["says"])
    return Guest(**entries)
