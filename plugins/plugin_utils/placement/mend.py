# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong where instances are now, and who has to go so that it is right: rebalancing begins with that."""

from __future__ import annotations

from collections.abc import Sequence

from .blocks import Blocks
from .journal import Journal
from .moving import Mover
from .search import find_host
from .state import State


class Mender:
    """Finds instances that are where they should not be."""

    def __init__(self, state: State, blocks: Blocks, mover: Mover, journal: Journal) -> None:
        self._state = state
        self._blocks = blocks
        self._mover = mover
        self._journal = journal

    def misplaced(self) -> list[int]:
        """Those that have to go because of a rule: the fewest and smallest ones, and no more than may be moved."""
        found = dict.fromkeys([*self._where_they_may_not_be(), *self._too_many(), *self._scattered()])
        return self._journal.affordable([member for member in found if self._journal.allows([member])])

    def relieve(self) -> None:
        """Move instances away from hosts that have more than they may."""
        for host, entry in enumerate(self._state.cluster.hosts):
            while not entry.closed and self._state.overfull(host) and self._relieve_once(host):
                pass

    def _relieve_once(self, host: int) -> bool:
        """Move one block away: the smallest that is enough, or else the largest."""
        state = self._state
        lacking = [number for number, left in enumerate(state.free[host]) if left < 0]
        blocks = []
        for members in self._blocks.movable(state, host):
            demand = state.demand_of(members)
            if self._journal.allows(members) and any(demand[number] for number in lacking):
                enough = all(state.free[host][number] + demand[number] >= 0 for number in lacking)
                size = self._mover.size(members)
                blocks.append((not enough, size if enough else -size, members))
        for _enough, _size, members in sorted(blocks):
            for party in self._mover.parties(members):
                other = find_host(state, party, avoid=host)
                if other is not None:
                    self._journal.move(members, other)
                    return True
        return False

    def _where_they_may_not_be(self) -> list[int]:
        return [
            member
            for member, instance in enumerate(self._state.cluster.instances)
            if instance.allowed is not None
            and not instance.keeps
            and self._state.where[member] is not None
            and self._state.where[member] not in instance.allowed
        ]

    def _too_many(self) -> list[int]:
        """Of each host that has more of a rule's members than it may, those that are too many."""
        found = []
        for number, rule in enumerate(self._state.cluster.rules):
            if not rule.hard or rule.together:
                continue
            for host, count in sorted(self._state.counts[number].items()):
                if count > rule.most and not self._state.cluster.hosts[host].drained:
                    rules_of = self._state.rules_of
                    here = {member for member in self._state.residents[host] if number in rules_of[member]}
                    found.extend(self._smallest(here, count - rule.most))
        return found

    def _smallest(self, members: set[int], number: int) -> list[int]:
        instances = self._state.cluster.instances
        free = [member for member in members if not instances[member].keeps]
        return sorted(free, key=lambda member: (self._mover.size([member]), member))[:number]

    def _scattered(self) -> list[int]:
        """Members of blocks that are not where most of the block is, or where one is that stays."""
        found: list[int] = []
        for members in self._blocks.members:
            homes = [self._state.where[member] for member in members]
            if len(members) > 1 and len(set(homes)) > 1:
                centre = self._centre(members, homes)
                found.extend(member for member, home in zip(members, homes) if home not in (centre, None))
        return found

    def _centre(self, members: Sequence[int], homes: Sequence[int | None]) -> int | None:
        instances = self._state.cluster.instances
        kept = [home for member, home in zip(members, homes) if instances[member].keeps and home is not None]
        return max(
            (home for home in (kept or homes) if home is not None and not self._closed(home)),
            key=lambda home: (homes.count(home), -home),
            default=None,
        )

    def _closed(self, host: int) -> bool:
        return bool(self._state.cluster.hosts[host].closed)
