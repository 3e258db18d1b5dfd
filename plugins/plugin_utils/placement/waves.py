# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which moves can be made at the same time.

A live migration takes room on both ends until it is over. So a wave has moves that fit one beside the other while
nothing of what they leave behind is free; what they free is there for the next wave.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub
from typing import NamedTuple

from .journal import Step
from .model import Cluster
from .state import State


class Move(NamedTuple):
    """One instance's way; ``source`` is None for a new one. All are positions in the cluster."""

    wave: int
    source: int | None
    destination: int
    member: int


def schedule(cluster: Cluster, strategy: str, steps: Sequence[Step]) -> list[Move]:
    """The moves that the steps consist of, sorted by waves.

    All of them get a wave: those who go to the same host come in the order of the steps, so that the first step that
    waits finds what it found when it was planned, or more room.
    """
    state = State(cluster, strategy)
    waiting = list(steps)
    moves: list[Move] = []
    number = 0
    while waiting:
        number += 1
        wave = _Wave(state)
        waiting = [step for step in waiting if not wave.admit(step)]
        for step in wave.steps:
            moves.extend(
                Move(number, cluster.instances[member].home, step.destination, member) for member in step.members
            )
            state.move(step.members, step.destination)
    return sorted(moves, key=lambda move: (move.wave, _position(move.source), move.destination, move.member))


def _position(source: int | None) -> int:
    return -1 if source is None else source


class _Wave:
    """Steps that are done at the same time."""

    def __init__(self, state: State) -> None:
        self.steps: list[Step] = []
        self._state = state
        self._free: dict[int, tuple[int, ...]] = {}
        self._arriving: dict[tuple[int, int], int] = {}
        self._awaited: set[int] = set()

    def admit(self, step: Step) -> bool:
        """Whether its destination can have it beside all that is there and comes in this wave; then it comes too."""
        if step.destination in self._awaited or not self._fits(step):
            self._awaited.add(step.destination)
            return False
        self.steps.append(step)
        return True

    def _fits(self, step: Step) -> bool:
        """Whether there is room for it, which is taken then."""
        state = self._state
        members, host = step
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
        return True
