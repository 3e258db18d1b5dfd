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
from .journal import Journal, Step
from .mend import Mender
from .model import PACK, SPREAD, Cluster, Instance, Wishes
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
    blocks = Blocks(cluster)
    leaving = [member for member, instance in enumerate(cluster.instances) if _has_to_go(cluster, instance)]
    draft, stays = _settled(cluster, blocks, wishes, leaving, ())
    if any(stay.parties for stay in stays):
        draft, stays = _the_other_way(cluster, blocks, wishes, leaving, draft, stays)
    if wishes.rebalance:
        stays = _Improver(draft, wishes).improve(stays)
    moves = schedule(cluster, wishes.strategy, draft.journal.steps())
    stays = [stay for stay in stays if all(_is_at_home(draft.state, member) for member in stay.members)]
    return Plan(moves, stays, State(cluster, wishes.strategy), draft.state)


class _Draft(NamedTuple):
    """A plan while it is made."""

    state: State
    blocks: Blocks
    journal: Journal
    mover: Mover


def _settled(
    cluster: Cluster, blocks: Blocks, wishes: Wishes, leaving: Sequence[int], steps: Iterable[Step]
) -> tuple[_Draft, list[Stay]]:
    """A draft in which, after these steps, all have places for whom there are any, and those that stay."""
    state = State(cluster, wishes.strategy)
    journal = Journal(state, wishes.max_moves, leaving)
    for step in steps:
        journal.move(step.members, step.destination)
    mover = Mover(state, blocks, journal)
    return _Draft(state, blocks, journal, mover), mover.settle(
        [member for member in leaving if _is_at_home(state, member)]
    )


def _the_other_way(
    cluster: Cluster, blocks: Blocks, wishes: Wishes, leaving: Sequence[int], draft: _Draft, stays: list[Stay]
) -> tuple[_Draft, list[Stay]]:
    """Where room is tight, packing finds places that spreading does not, and now and then it is the other way round:
    whatever leaves fewer without a place is taken."""
    other = wishes._replace(strategy=SPREAD if wishes.strategy == PACK else PACK)
    tried, left = _settled(cluster, blocks, other, leaving, ())
    if _number(left) >= _number(stays):
        return draft, stays
    return _settled(cluster, blocks, wishes, leaving, tried.journal.steps())


def _number(stays: Iterable[Stay]) -> int:
    return sum(len(stay.members) for stay in stays)


def _is_at_home(state: State, member: int) -> bool:
    return state.where[member] == state.cluster.instances[member].home


def _has_to_go(cluster: Cluster, instance: Instance) -> bool:
    """Whether it is new, on a host that is to be empty, or on its way already; also where it is on its way to one that
    is to be empty, and has something there."""
    if instance.home is None or cluster.hosts[instance.home].drained:
        return True
    return instance.bound is not None and (not instance.keeps or cluster.hosts[instance.bound].drained)


class _Improver:
    """Moves what need not be moved, until there is nothing left that helps."""

    def __init__(self, draft: _Draft, wishes: Wishes) -> None:
        state, blocks, journal, mover = draft
        self._journal = journal
        self._mover = mover
        self._mender = Mender(state, blocks, mover, journal)
        self._balancer = Balancer(state, blocks, mover, journal, wishes.tolerance)
        self._consolidator = Consolidator(state, blocks, mover, journal)
        self._packs = wishes.strategy == PACK

    def improve(self, stays: Sequence[Stay]) -> list[Stay]:
        """Those that stay even now. Each round may make room for some of the round before."""
        mended: set[int] = set()
        while True:
            began = self._journal.length
            self._mender.relieve()
            if self._packs:
                self._consolidator.consolidate()
            else:
                self._balancer.balance()
            misplaced = set(self._mender.misplaced()) - mended
            mended |= misplaced
            stays = self._mover.settle(misplaced.union(member for stay in stays for member in stay.members))
            if self._journal.length == began:
                return stays
