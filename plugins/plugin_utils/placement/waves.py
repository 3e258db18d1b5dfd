# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order the moves can be made.

A live migration takes room on both ends until it is over. So a wave has moves that fit one beside the other while
nothing of what they leave behind is free; what they free is there for the next wave.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub
from typing import NamedTuple

from .blocks import Blocks
from .model import Cluster
from .state import State


class Move(NamedTuple):
    """One instance's way; ``source`` is None for a new one. All are positions in the cluster."""

    wave: int
    source: int | None
    destination: int
    member: int


class Party(NamedTuple):
    """Instances of a block that go to the same host."""

    members: tuple[int, ...]
    destination: int


def schedule(
    cluster: Cluster, blocks: Blocks, strategy: str, wanted: Sequence[int | None]
) -> tuple[list[Move], list[int]]:
    """The moves that bring each instance to the host that is wanted for it, from where it is.

    Returns:
        The moves, sorted by waves, and the instances for which no order is found: each waits for another to go first.
    """
    state = State(cluster, strategy)
    waiting = _parties(cluster, blocks, wanted)
    moves: list[Move] = []
    number = 0
    while waiting:
        number += 1
        wave = _Wave(state)
        left = [party for party in waiting if not wave.admit(party)]
        if len(left) == len(waiting):
            break
        waiting = left
        for party in wave.parties:
            moves.extend(
                Move(number, cluster.instances[member].home, party.destination, member) for member in party.members
            )
            state.move(party.members, party.destination)
    moves.sort(key=lambda move: (move.wave, -1 if move.source is None else move.source, move.destination, move.member))
    return moves, sorted(member for party in waiting for member in party.members)


def _parties(cluster: Cluster, blocks: Blocks, wanted: Sequence[int | None]) -> list[Party]:
    going: dict[tuple[int, int], list[int]] = {}
    for member, instance in enumerate(cluster.instances):
        host = wanted[member]
        if host is not None and host != instance.home:
            going.setdefault((blocks.of[member], host), []).append(member)
    return [Party(tuple(members), host) for (_block, host), members in going.items()]


class _Wave:
    """Moves that are made at the same time."""

    def __init__(self, state: State) -> None:
        self.parties: list[Party] = []
        self._state = state
        self._free: dict[int, tuple[int, ...]] = {}
        self._arriving: dict[tuple[int, int], int] = {}

    def admit(self, party: Party) -> bool:
        """Whether its destination can have it beside all that is there and comes in this wave; then it comes too."""
        state = self._state
        members, host = party
        demand = state.demand_of(members)
        room = tuple(map(sub, self._free.get(host, state.free[host]), demand))
        if any(left < 0 < amount for left, amount in zip(room, demand)):
            return False
        arriving: dict[tuple[int, int], int] = {}
        for member in members:
            for number in state.rules_of[member]:
                arriving[number, host] = arriving.get((number, host), self._arriving.get((number, host), 0)) + 1
        for (number, _host), count in arriving.items():
            rule = state.cluster.rules[number]
            if rule.hard and not rule.together and state.counts[number].get(host, 0) + count > rule.most:
                return False
        self._free[host] = room
        self._arriving.update(arriving)
        self.parties.append(party)
        return True
