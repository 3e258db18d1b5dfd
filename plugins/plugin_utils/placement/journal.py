# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plan has moved so far, so that it can be carried out in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import sub
from typing import NamedTuple

from .state import State


class Step(NamedTuple):
    """Instances that go to a host together. Each fits there when the steps before it are done."""

    members: tuple[int, ...]
    destination: int


class _Arrival(NamedTuple):
    """Somebody came to a host, and so much was left of it then."""

    time: int
    free: tuple[int, ...]


class Journal:
    """Moves instances, and remembers in which order.

    An instance travels once, whatever the plan thinks of it in between: it goes straight to its last place, at the
    time when the plan puts it there. Until then it is at home; so those who have come there meanwhile must not need the
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
        self._arrivals: dict[int, list[_Arrival]] = {}

    @property
    def length(self) -> int:
        """How much has happened."""
        return self._now

    def allows(self, members: Sequence[int]) -> bool:
        """Whether these may be moved, or moved once more."""
        return self._affordable(members) and all(self._can_wait(home, those) for home, those in self._gone(members))

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
        for home, those in self._gone(members):
            self._wait(home, those)
        self._arrivals.setdefault(host, []).append(_Arrival(self._now, self._state.free[host]))
        for member in members:
            self._left[member] = self._now
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

    def _gone(self, members: Sequence[int]) -> list[tuple[int, list[int]]]:
        """Those of them that have been moved before, by the host that they were on first."""
        found: dict[int, list[int]] = {}
        for member in members:
            home = self._state.cluster.instances[member].home
            if home is not None and member in self._left:
                found.setdefault(home, []).append(member)
        return list(found.items())

    def _can_wait(self, home: int, members: Sequence[int]) -> bool:
        """Whether these could have stayed at home until now."""
        since = min(self._left[member] for member in members)
        arrivals = [arrival for arrival in self._arrivals.get(home, ()) if arrival.time > since]
        if not arrivals:
            return True
        rules = self._state.cluster.rules
        if any(rules[number].hard for member in members for number in self._state.rules_of[member]):
            return False
        need = self._state.demand_of(members)
        return all(left >= amount or not amount for arrival in arrivals for left, amount in zip(arrival.free, need))

    def _wait(self, home: int, members: Sequence[int]) -> None:
        """They stay at home until now, and take room there."""
        need = self._state.demand_of(members)
        since = min(self._left[member] for member in members)
        self._arrivals[home] = [
            arrival._replace(free=tuple(map(sub, arrival.free, need))) if arrival.time > since else arrival
            for arrival in self._arrivals.get(home, ())
        ]
