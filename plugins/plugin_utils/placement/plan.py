# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who goes where: the whole plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .balance import Balancer
from .blocks import Blocks
from .budget import Budget
from .consolidate import Consolidator
from .mend import Mender
from .model import PACK, Cluster, Wishes
from .moving import Mover, Stay
from .state import State
from .waves import Move, schedule

_NO_ORDER = "no order of moves was found: it waits for others that wait for it"


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
    blocks = Blocks(cluster)
    mover = Mover(state, blocks)
    leaving = [member for member, instance in enumerate(cluster.instances) if _has_to_go(cluster, instance.home)]
    required = set(leaving)
    stays = mover.settle(leaving)
    if wishes.rebalance:
        budget = Budget(wishes.max_moves, leaving)
        mender = Mender(state, blocks, mover, budget)
        misplaced = mender.misplaced()
        required.update(misplaced)
        stays += mover.settle(misplaced)
        mender.relieve()
        _improve(state, blocks, mover, budget, wishes)
        stays = mover.settle([member for stay in stays for member in stay.members])
    moves, unordered = schedule(cluster, blocks, wishes.strategy, state.where)
    _leave_where_they_are(state, unordered)
    waiting = [Stay((member,), _NO_ORDER) for member in unordered if member in required]
    return Plan(moves, sorted([*stays, *waiting]), State(cluster, wishes.strategy), state)


def _has_to_go(cluster: Cluster, home: int | None) -> bool:
    return home is None or cluster.hosts[home].drained


def _improve(state: State, blocks: Blocks, mover: Mover, budget: Budget, wishes: Wishes) -> None:
    if wishes.strategy == PACK:
        Consolidator(state, blocks, mover, budget).consolidate()
    else:
        Balancer(state, blocks, mover, budget, wishes.tolerance).balance()


def _leave_where_they_are(state: State, members: Sequence[int]) -> None:
    for member in members:
        home = state.cluster.instances[member].home
        state.take([member])
        if home is not None:
            state.put([member], home)
