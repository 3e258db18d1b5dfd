# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs instances together so that hosts become empty: each one whose instances all find places on other hosts that are
in use, the emptiest first.

A host from which only some could go keeps all: moving them would be for nothing.
"""

from __future__ import annotations

from .balance import standing_offence
from .blocks import Blocks
from .journal import Journal
from .moving import Mover, restore
from .search import find_host, offence
from .state import State


class Consolidator:
    """Rebalances for the strategy ``pack``."""

    def __init__(self, state: State, blocks: Blocks, mover: Mover, journal: Journal) -> None:
        self._state = state
        self._blocks = blocks
        self._mover = mover
        self._journal = journal

    def consolidate(self) -> None:
        """Empty what can be emptied."""
        while self._one_pass():
            pass

    def _one_pass(self) -> bool:
        """Whether any host was emptied."""
        emptied = [host for host in self._emptiest_first() if self._empty(host)]
        return bool(emptied)

    def _emptiest_first(self) -> list[int]:
        hosts = self._state.cluster.hosts
        used = [host for host, entry in enumerate(hosts) if not entry.closed and self._state.residents[host]]
        return sorted(used, key=lambda host: (self._state.load[host], -host))

    def _empty(self, host: int) -> bool:
        """Whether all that is on ``host`` has gone."""
        state = self._state
        everybody = sorted(state.residents[host])
        blocks = self._blocks.movable(state, host)
        if not everybody or sum(map(len, blocks)) < len(everybody) or not self._journal.allows(everybody):
            return False
        places = []
        for members in sorted(blocks, key=lambda members: (-self._mover.size(members), members)):
            other = self._place_for(members, host)
            if other is None:
                state.take([member for member in everybody if state.where[member] != host])
                restore(state, [(member, host) for member in everybody if state.where[member] is None])
                return False
            state.move(members, other)
            places.append((members, other))
        for members, other in places:
            self._journal.record(members, other)
        return True

    def _place_for(self, members: tuple[int, ...], host: int) -> int | None:
        """Another host that is in use."""
        for party in self._mover.parties(members):
            other = find_host(self._state, party, avoid=host)
            if other is not None and self._state.residents[other]:
                before = standing_offence(self._state, party, host)
                return other if offence(self._state, party, other) <= before else None
        return None
