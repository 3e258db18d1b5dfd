# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evens out the load: the fullest hosts give to the emptiest ones, until they are about equal.

Each step takes the one block from the fullest host that leaves the two hosts concerned best off. The loads, sorted,
only ever become smaller that way, so it ends; and it ends where no single move helps, so that planning once more finds
nothing to do.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from operator import add, sub

from .blocks import Blocks
from .journal import Journal
from .moving import Mover
from .search import Party, find_host, offence
from .state import State

_LEAST_GAIN = 1e-6


class Balancer:
    """Rebalances for the strategy ``spread``.

    Args:
        tolerance: How far apart, in parts of 1, the loads of two hosts may be without being worth a move.
    """

    def __init__(self, state: State, blocks: Blocks, mover: Mover, journal: Journal, tolerance: float) -> None:
        self._state = state
        self._blocks = blocks
        self._mover = mover
        self._journal = journal
        self._tolerance = tolerance

    def balance(self) -> None:
        """Move what helps. Hosts that are too full are treated first, being the fullest."""
        while self._one_pass():
            pass

    def _one_pass(self) -> bool:
        """Whether anything was moved."""
        moved = False
        load = self._state.load
        heap = [(-load[host], host) for host, entry in enumerate(self._state.cluster.hosts) if not entry.closed]
        heapify(heap)
        while heap:
            negative, host = heappop(heap)
            if -negative != load[host] or not self._worth_it(host):
                continue
            found = self._best_move(host)
            if found is None:
                continue
            members, other = found
            self._journal.move(members, other)
            moved = True
            heappush(heap, (-load[host], host))
            heappush(heap, (-load[other], other))
        return moved

    def _worth_it(self, host: int) -> bool:
        if self._state.overfull(host):
            return True
        lowest = next(self._state.preferred(self._state.cluster.hosts[host].kind, ()), host)
        return self._state.load[host] - self._state.load[lowest] > self._tolerance

    def _best_move(self, host: int) -> tuple[tuple[int, ...], int] | None:
        """The block that is to go, and where."""
        best: tuple[float, float, tuple[int, ...], int] | None = None
        for members in self._blocks.movable(self._state, host):
            if not self._journal.allows(members):
                continue
            for party in self._mover.parties(members):
                other = find_host(self._state, party, avoid=host)
                if other is None or self._worse(party, members, host, other):
                    continue
                peak = self._peak(members, host, other)
                found = (peak, self._mover.size(members), members, other)
                if peak < self._state.load[host] - _LEAST_GAIN and (best is None or found < best):
                    best = found
        return None if best is None else best[2:]

    def _worse(self, party: Party, members: tuple[int, ...], host: int, other: int) -> bool:
        """Whether it would offend more preferences there."""
        return offence(self._state, party, other) > standing_offence(self._state, party, host)

    def _peak(self, members: tuple[int, ...], host: int, other: int) -> float:
        """The greater of the loads that the two would have."""
        state = self._state
        demand = state.demand_of(members)
        left = state.load_with(host, tuple(map(add, state.free[host], demand)))
        return max(left, state.load_with(other, tuple(map(sub, state.free[other], demand))))


def standing_offence(state: State, party: Party, host: int) -> int:
    """How much the party, which is on ``host``, is against preferences there."""
    total = 0
    for number, count in party.rules:
        rule = state.cluster.rules[number]
        if rule.hard:
            continue
        there = state.counts[number].get(host, 0)
        total += count - there if rule.together else max(0, there - rule.most)
    return total
