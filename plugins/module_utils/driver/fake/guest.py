# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's life as a function of the clock.

Nothing runs between two operations, so a guest's record says what will happen to it and when, in seconds of the guest's
own time (which stands still while it is paused or saved). ``look`` tells what has become of it by now.

The record's ``power`` holds:

* ``state``: as set by the last operation; ``since``: when that was, by the clock;
* ``run_s``: the guest's time then;
* ``ready_s``: the guest's time at which it has booted;
* ``off_s``, ``crash_s``: the guest's time at which it will be off or crash, or None;
* ``started``: when it was powered on, by the clock;
* ``console``: what it writes, as pairs of guest's time and text.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ...model import power_state
from .faults import Guest
from .store import Record

CONSOLE_LINES = 500
"""How many lines of its console's log a guest keeps."""

_CODES = {power_state.name(code): code for code in power_state.valid_states()}

OFF: Record = {
    "state": "shutoff",
    "since": 0.0,
    "run_s": 0.0,
    "ready_s": 0.0,
    "off_s": None,
    "crash_s": None,
    "started": 0.0,
    "console": [],
}
"""A guest that was never started."""


class Look(NamedTuple):
    """What has become of a guest by now.

    Attributes:
        run_s: Seconds that it has run since it was powered on.
        ready: It has booted.
        next_s: Seconds until something happens to it by itself; None when nothing will.
    """

    state: int
    run_s: float
    ready: bool
    next_s: float | None


def now() -> float:
    """The clock that all processes share."""
    return time.time()


def look(power: Record, guest: Guest, orders_written_at: float = 0.0) -> Look:
    """What has become of a guest whose record says ``power``."""
    state = _CODES[power["state"]]
    run_s: float = power["run_s"]
    if state not in power_state.ACTIVE:
        return Look(state, run_s, False, None)
    if guest.crash and power["started"] <= orders_written_at:
        return Look(power_state.CRASHED, run_s, False, None)
    ready_s: float = power["ready_s"]
    if state != power_state.RUNNING:
        return Look(state, run_s, run_s >= ready_s, None)
    run_s += max(0.0, now() - power["since"])
    ends = [
        (at, end)
        for at, end in ((power["off_s"], power_state.SHUTOFF), (power["crash_s"], power_state.CRASHED))
        if at is not None
    ]
    due = [(at, end) for at, end in ends if at <= run_s]
    if due:
        at, end = min(due)
        return Look(end, at, False, None)
    coming = [at - run_s for at, _end in ends]
    if run_s < ready_s:
        coming.append(ready_s - run_s)
    if power["off_s"] is not None:
        state = power_state.SHUTDOWN
    return Look(state, run_s, run_s >= ready_s, min(coming, default=None))


def settled(power: Record, seen: Look, state: int | None = None) -> Record:
    """A copy of ``power`` in which what was seen is written down, and ``state`` when an operation changes it."""
    state = seen.state if state is None else state
    if state == power_state.SHUTDOWN:
        state = power_state.RUNNING  # and off_s says the rest
    gone = state in power_state.OFF
    return {
        **power,
        "state": power_state.name(state),
        "since": now(),
        "run_s": seen.run_s,
        "off_s": power["off_s"] if state == power_state.RUNNING else None,
        "crash_s": None if gone else power["crash_s"],
        "console": [line for line in power["console"] if not gone or line[0] <= seen.run_s],
    }


def started(record: Record, guest: Guest, paused: bool) -> Record:
    """The ``power`` of a guest that is given power now."""
    at = now()
    return {
        **OFF,
        "state": power_state.name(power_state.PAUSED if paused else power_state.RUNNING),
        "since": at,
        "ready_s": guest.boot_s,
        "crash_s": guest.crashes_after_s,
        "started": at,
        "console": _boot_lines(record, guest, 0.0),
    }


def rebooted(record: Record, guest: Guest, seen: Look, down_s: float) -> Record:
    """The ``power`` of a guest that is down after ``down_s`` more seconds and then boots again."""
    power: Record = settled(record["power"], seen, power_state.RUNNING)
    boots_at = seen.run_s + down_s
    said = [line for line in power["console"] if line[0] <= seen.run_s]
    lines = [[boots_at, "ANYVIRT GUEST REBOOTS"], *_boot_lines(record, guest, boots_at)]
    crash_s = None if guest.crashes_after_s is None else boots_at + guest.crashes_after_s
    return {
        **power,
        "ready_s": boots_at + guest.boot_s,
        "off_s": None,
        "crash_s": crash_s,
        "console": (said + lines)[-CONSOLE_LINES:],
    }


def shutting_down(power: Record, seen: Look, guest: Guest) -> Record:
    """The ``power`` of a guest that has heard the power button."""
    off_s = seen.run_s + guest.shutdown_s
    lines = [[seen.run_s, "ANYVIRT GUEST SHUTS DOWN"], [off_s, "ANYVIRT GUEST POWERS OFF"]]
    said = [line for line in power["console"] if line[0] <= seen.run_s]
    return {**settled(power, seen), "off_s": off_s, "console": (said + lines)[-CONSOLE_LINES:]}


def console_text(power: Record, seen: Look) -> str:
    """What the guest has written up to now."""
    return "".join(f"{text}\r\n" for at, text in power["console"] if at <= seen.run_s)


def _boot_lines(record: Record, guest: Guest, at: float) -> list[list[Any]]:
    config = record["running"] or record["config"]
    size = f"memory_kib={config['memory_mb'] * 1024} cpus={config['vcpus']}"
    ready = f"ANYVIRT GUEST READY hostname={record['name']} {size}"
    return [[at, "ANYVIRT GUEST BOOTS"], *([at + guest.boot_s, line] for line in (ready, *guest.says))]
