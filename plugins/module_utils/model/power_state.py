# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power states that an instance can be in, with the names and numbers of Nova's ``power_state`` module."""

from __future__ import annotations

NOSTATE = 0
RUNNING = 1
BLOCKED = 2
PAUSED = 3
SHUTDOWN = 4
SHUTOFF = 5
CRASHED = 6
SUSPENDED = 7

_NAMES = {
    NOSTATE: "nostate",
    RUNNING: "running",
    BLOCKED: "blocked",
    PAUSED: "paused",
    SHUTDOWN: "shutdown",
    SHUTOFF: "shutoff",
    CRASHED: "crashed",
    SUSPENDED: "suspended",
}

ACTIVE = frozenset({RUNNING, BLOCKED, PAUSED, SHUTDOWN})
"""States in which the instance occupies memory and processors of its host."""

EXECUTING = frozenset({RUNNING, BLOCKED})
"""States in which the guest's processors are given time."""

OFF = frozenset({SHUTOFF, CRASHED})
"""States in which nothing of the guest is left in memory or saved."""


def name(code: int) -> str:
    """The state's name in lower case, as results show it.

    Raises:
        ValueError: ``code`` is no power state.
    """
    try:
        return _NAMES[code]
    except KeyError:
        raise ValueError(f"{code!r} is not a power state") from None


def valid_states() -> list[int]:
    """All codes, in ascending order."""
    return sorted(_NAMES)
