# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places for instances that cannot stay where they are: those of hosts that are to be empty, and new ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from .blocks import Blocks
from .journal import Journal
from .rearrange import Rearranger
from .search import Party, find_host, party_of
from .state import State


class Stay(NamedTuple):
    """Instances that were to go elsewhere and do not.

    Attributes:
        why: In words; empty when the hosts say it.
        parties: What was looked for on each host; empty when they stay whatever room there is.
    """

    members: tuple[int, ...]
    why: str = ""
    parties: tuple[Party, ...] = ()


class Mover:
    """Finds places, the largest first, so that what is hard to place finds hosts that are still empty."""

    def __init__(self, state: State, blocks: Blocks, journal: Journal) -> None:
        self._state = state
        self._blocks = blocks
        self._journal = journal
        self._cluster = state.cluster
        self._kinds = sorted({host.kind for host in self._cluster.hosts})
        self._total = tuple(max(1, sum(column)) for column in zip(*(host.capacity for host in self._cluster.hosts)))
        self._made_room = False
        self._rearranger = Rearranger(state, blocks, journal, self.parties)

    def settle(self, going: Collection[int]) -> list[Stay]:
        """Find places for these; they are where they were if there are none.

        Returns:
            Those that stay, in the order of their names.
        """
        stays = self._settle_once(frozenset(going))
        while self._made_room and stays:
            stays = self._settle_once(frozenset(member for stay in stays for member in stay.members))
        return stays

    def _settle_once(self, wanted: frozenset[int]) -> list[Stay]:
        self._made_room = False
        blocks = sorted({self._blocks.of[member] for member in wanted}, key=lambda block: self._urgency(block, wanted))
        stays = [stay for block in blocks for stay in self._settle_block(self._blocks.members[block], wanted)]
        return sorted(stays)

    def size(self, members: Sequence[int]) -> float:
        """The largest part of all that there is of some resource."""
        return max(
            (amount / total for amount, total in zip(self._state.demand_of(members), self._total)),
            default=0.0,
        )

    def parties(self, members: Sequence[int]) -> list[Party]:
        return party_of(self._state, members, self._kinds)

    def _urgency(self, block: int, wanted: Collection[int]) -> tuple[int, float, int]:
        """Those with few hosts to choose from first, then the large ones."""
        members = tuple(member for member in self._blocks.members[block] if member in wanted)
        choice = len(self._cluster.hosts)
        for member in members:
            instance = self._cluster.instances[member]
            if instance.bound is not None:
                choice = 1
            elif instance.allowed is not None:
                choice = min(choice, len(instance.allowed))
        return choice, -self.size(members), block

    def _settle_block(self, members: tuple[int, ...], wanted: Collection[int]) -> list[Stay]:
        instances = self._cluster.instances
        kept = [member for member in members if instances[member].keeps]
        stays = [Stay((member,), instances[member].keeps) for member in kept if member in wanted]
        going = tuple(member for member in members if member in wanted and member not in kept)
        if not going:
            return stays
        others = tuple(member for member in members if member not in going)
        if not others:
            return self._seek(going, None)
        homes = {home for home in map(self._state.where.__getitem__, others) if home is not None}
        failed = self._seek(going, frozenset(homes))
        if not failed:
            return stays
        if kept:
            company = f"has to be with {self._blocks.names(kept)}, which stays"
            # Where no host may ever have it, there is nothing to say of room.
            parties = failed[0].parties if any(not self._cluster.hosts[home].closed for home in homes) else ()
            return [*stays, Stay(going, company, parties)]
        if not self._journal.allows(members):
            return failed
        everybody_moved = not self._seek(members, None)
        return [] if everybody_moved else failed

    def _seek(self, members: tuple[int, ...], among: frozenset[int] | None) -> list[Stay]:
        """Move them to one host, of those that are given."""
        state = self._state
        homes = [(member, state.where[member]) for member in members]
        state.take(members)
        parties = self.parties(members)
        if among is not None:
            parties = [_limited(party, among) for party in parties]
        found = [host for host in (find_host(state, party) for party in parties) if host is not None]
        if not found:
            found = [host for host in map(self._rearranger.make_room, parties) if host is not None][:1]
        if found:
            host = min(found, key=state.rank)
            state.put(members, host)
            self._journal.record(members, host)
            self._made_room |= any(home is not None and not self._cluster.hosts[home].closed for _member, home in homes)
            return []
        restore(state, homes)
        return [Stay(members, parties=tuple(parties))]


def restore(state: State, places: Iterable[tuple[int, int | None]]) -> None:
    """Put instances that are nowhere back to where they were."""
    by_host: dict[int, list[int]] = {}
    for member, host in places:
        if host is not None:
            by_host.setdefault(host, []).append(member)
    for host, members in by_host.items():
        state.put(members, host)


def _limited(party: Party, among: frozenset[int]) -> Party:
    return party._replace(allowed=among if party.allowed is None else party.allowed & among)
