# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan has moved so far, so that it can be carried out in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .state import State


class Step(NamedTuple):
    """Instances that go to a host together. Each fits there when the steps before it are done."""

    members: tuple[int, ...]
    destination: int


class Journal:
    """Moves instances, and remembers in which order.

    An instance travels once, whatever the plan thinks of it in between: it goes straight to its last place, at the
    time when the plan puts it there. Until then it is at home; so nobody may have come there meanwhile who needs the
    room that it takes.

    Args:
        most: How many instances may be moved that need not; None: any number.
        forced: Those that need to.
    """

    def __init__(self, state: State, most: int | None, forced: Iterable[int]) -> None:
        self._state = state
        self._most = most
        self._forced = set(forced)
        self._chosen: set[int] = set()
        self._now = 0
        self._left: dict[int, int] = {}
        self._latest: dict[int, tuple[int, int]] = {}
        self._arrivals: dict[int, int] = {}

    @property
    def length(self) -> int:
        """How much has happened."""
        return self._now

    def allows(self, members: Sequence[int]) -> bool:
        """Whether these may be moved, or moved once more."""
        return self._affordable(members) and all(self._home_is_untouched(member) for member in members)

    def affordable(self, members: Sequence[int]) -> list[int]:
        """The first of these, as many as may be moved."""
        left = len(members) if self._most is None else self._most - len(self._chosen)
        new = self._new(members)
        return [member for member in members if member not in new[max(0, left) :]]

    def move(self, members: Sequence[int], host: int) -> None:
        """Move them from wherever they are."""
        self._state.move(members, host)
        self.record(members, host)

    def record(self, members: Sequence[int], host: int) -> None:
        """They have been moved to ``host``."""
        self._now += 1
        self._chosen.update(self._new(members))
        self._arrivals[host] = self._now
        for member in members:
            self._left.setdefault(member, self._now)
            self._latest[member] = (self._now, host)

    def steps(self) -> list[Step]:
        """What is to be done in the end, in order."""
        together: dict[tuple[int, int], list[int]] = {}
        for member, latest in sorted(self._latest.items()):
            if self._state.cluster.instances[member].home != latest[1]:
                together.setdefault(latest, []).append(member)
        return [Step(tuple(members), host) for (_time, host), members in sorted(together.items())]

    def _affordable(self, members: Sequence[int]) -> bool:
        return self._most is None or len(self._chosen) + len(self._new(members)) <= self._most

    def _new(self, members: Sequence[int]) -> list[int]:
        return [member for member in members if member not in self._chosen and member not in self._forced]

    def _home_is_untouched(self, member: int) -> bool:
        home = self._state.cluster.instances[member].home
        return home is None or member not in self._left or self._arrivals.get(home, 0) < self._left[member]
