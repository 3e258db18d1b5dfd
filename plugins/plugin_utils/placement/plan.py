# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who goes where: the whole plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .balance import Balancer
from .blocks import Blocks
from .consolidate import Consolidator
from .journal import Journal
from .mend import Mender
from .model import PACK, Cluster, Wishes
from .moving import Mover, Stay
from .state import State
from .waves import Move, schedule


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        moves: In waves: those of one can be made at the same time, those of the next when it is over.
        stays: Instances that were to go and do not.
        before, after: The cluster without the moves, and with them.
    """

    moves: Sequence[Move]
    stays: Sequence[Stay]
    before: State
    after: State


def make_plan(cluster: Cluster, wishes: Wishes) -> Plan:
    """Find places for all instances that are new or on hosts that are to be empty; with ``wishes.rebalance`` also mend
    what breaks rules, and then even out the load or empty hosts, as the strategy has it."""
    state = State(cluster, wishes.strategy)
    leaving = [member for member, instance in enumerate(cluster.instances) if _has_to_go(cluster, instance.home)]
    journal = Journal(state, wishes.max_moves, leaving)
    blocks = Blocks(cluster)
    mover = Mover(state, blocks, journal)
    stays = mover.settle(leaving)
    if wishes.rebalance:
        stays = _Improver(state, blocks, mover, journal, wishes).improve(stays)
    moves = schedule(cluster, wishes.strategy, journal.steps())
    return Plan(moves, stays, State(cluster, wishes.strategy), state)


def _has_to_go(cluster: Cluster, home: int | None) -> bool:
    return home is None or cluster.hosts[home].drained


class _Improver:
    """Moves what need not be moved, until there is nothing left that helps."""

    def __init__(self, state: State, blocks: Blocks, mover: Mover, journal: Journal, wishes: Wishes) -> None:
        self._journal = journal
        self._mover = mover
        self._mender = Mender(state, blocks, mover, journal)
        self._balancer = Balancer(state, blocks, mover, journal, wishes.tolerance)
        self._consolidator = Consolidator(state, blocks, mover, journal)
        self._packs = wishes.strategy == PACK

    def improve(self, stays: Sequence[Stay]) -> list[Stay]:
        """Those that stay even now. Each round may make room for some of the round before."""
        while True:
            began = self._journal.length
            self._mender.relieve()
            if self._packs:
                self._consolidator.consolidate()
            else:
                self._balancer.balance()
            again = {*_members(stays), *self._mender.misplaced()}
            stays = self._mover.settle(again)
            if self._journal.length == began:
                return stays


def _members(stays: Iterable[Stay]) -> set[int]:
    return {member for stay in stays for member in stay.members}
