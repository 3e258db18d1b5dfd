# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes room where the pieces would fit if they lay differently: the order in which they were placed was unlucky.

Only what the plan has moved already is moved once more, since that costs nothing: it travels anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .blocks import Blocks
from .journal import Journal
from .search import Party, find_host, obeys
from .state import State

_MOST_STEPS = 300_000
"""Looking for such places costs the square of what placing does, and seldom helps where the whole cluster is full."""


class Rearranger:
    """Looks for one block that can go elsewhere, for another to take its place."""

    def __init__(
        self,
        state: State,
        blocks: Blocks,
        journal: Journal,
        parties: Callable[[Sequence[int]], Sequence[Party]],
    ) -> None:
        self._state = state
        self._blocks = blocks
        self._journal = journal
        self._parties = parties
        self._steps_left = _MOST_STEPS

    def make_room(self, party: Party) -> int | None:
        """Have a host that can take the party, or None when moving one block does not help."""
        if self._steps_left <= 0:
            return None
        began = self._state.steps
        try:
            for host in self._willing(party):
                for block in self._guests(host):
                    if self._state.steps - began > self._steps_left:
                        return None
                    if self._would_fit(party, host, block) and self._move_away(block, host):
                        return host
            return None
        finally:
            self._steps_left -= self._state.steps - began

    def _willing(self, party: Party) -> list[int]:
        """Hosts that lack nothing but room."""
        hosts = range(len(self._state.cluster.hosts)) if party.allowed is None else party.allowed
        return sorted((host for host in hosts if self._is_willing(party, host)), key=self._state.rank)

    def _is_willing(self, party: Party, host: int) -> bool:
        entry = self._state.cluster.hosts[host]
        self._state.steps += 1
        return not entry.closed and entry.kind == party.kind and obeys(self._state, party, host)

    def _guests(self, host: int) -> list[tuple[int, ...]]:
        """The blocks that the plan has brought here."""
        instances = self._state.cluster.instances
        return [
            members
            for members in self._blocks.movable(self._state, host)
            if all(instances[member].home != host for member in members) and self._journal.allows(members)
        ]

    def _would_fit(self, party: Party, host: int, block: Sequence[int]) -> bool:
        self._state.steps += 1
        free = self._state.free[host]
        given = self._state.demand_of(block)
        return all(free[number] + given[number] >= amount for number, amount in party.need)

    def _move_away(self, block: Sequence[int], host: int) -> bool:
        self._state.take(block)
        for party in self._parties(block):
            other = find_host(self._state, party, avoid=host)
            if other is not None:
                self._state.put(block, other)
                self._journal.record(block, other)
                return True
        self._state.put(block, host)
        return False
