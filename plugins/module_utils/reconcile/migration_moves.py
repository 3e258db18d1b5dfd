# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps by which one instance gets from host to host, how each is taken back, and from where on there is only
forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import AnyvirtError
from ..model.migration import COLD, MigrationPlan, MigrationRecord
from .migration_beginning import accepted, begun, or_given_back, undone_if_own, unless_taken_over
from .migration_clearing import abandon, clearing_step, early, finish_destination, finish_source
from .migration_ends import Ends
from .migration_item import Item
from .migration_journey import Journey
from .migration_notes import say_move
from .migration_situation import ARRIVED, DESTINATION, DISCARD, HERE, MOVING, REMOVE_DEPARTED, SOURCE, Clearing
from .migration_standstill import resize_there, start_there, stop_here
from .migration_transfer import transfer
from .plan import Step

_DEPARTED = Clearing(DESTINATION, REMOVE_DEPARTED)


class Mover:
    """Makes the steps for one instance.

    Args:
        interrupted: Why nobody wants it any more; None while it is wanted.
    """

    def __init__(self, ends: Ends, item: Item, interrupted: Callable[[], str | None]) -> None:
        self._ends = ends
        self._item = item
        self._name = item.name
        self._journey = Journey(ends, item, interrupted)

    @property
    def lost(self) -> AnyvirtError | None:
        """Why one of the hosts could not be asked, when that was found out on the way."""
        return self._journey.lost

    def clear_first(self) -> None:
        """Clear up what an earlier migration left, before the plan is made: drivers would find it in the way."""
        for clearing in early(self._item.situation):
            step = clearing_step(self._ends, self._item, clearing)
            step.do()
            self._item.cleared.append(step.say)

    def plan(self) -> None:
        """Give the item its steps. They ask nobody until they are done."""
        item, situation, journey = self._item, self._item.situation, self._journey
        steps = item.plan.steps
        if situation.what == MOVING:
            steps += self._follow()
            return
        if situation.what == HERE:
            begins_anew = Clearing(SOURCE, DISCARD) if situation.start else None  # its old note and the new one are one
            steps += self._clear(*(one for one in situation.clear if one not in (_DEPARTED, begins_anew)))
            steps += self._move(item.migration_plan)
            return
        start = [replace(start_there(journey, situation.paused), final=True)] if situation.start else []
        if situation.what == ARRIVED and not item.destination.is_active:
            steps += resize_there(journey, item.destination.instance)
        steps += [*start, *self._clear(*situation.clear)]  # these tell that it is to be started until they are gone
        if situation.what != ARRIVED and item.source.instance is not None and item.wanted.wishes.undefine_source:
            steps.append(finish_source(self._ends, item))  # the definition that was kept before

    def _clear(self, *clearings: Clearing) -> list[Step]:
        return [clearing_step(self._ends, self._item, clearing) for clearing in clearings]

    # -- the whole way ----------------------------------------------------------------------------------------------

    def _move(self, plan: MigrationPlan) -> list[Step]:
        name, journey, record = self._name, self._journey, plan.record
        begin = journey.step(f"note on the source that {name} is being moved", lambda: begun(journey, plan))
        if self._item.situation.start:
            begin.do = or_given_back(journey, plan, begin.do)
        on_source = [begin, *(stop_here(journey) if plan.mode == COLD else [])]
        for step in on_source:
            step.do = undone_if_own(journey, record, step.do)
        steps = [
            *on_source,
            *(self._clear(_DEPARTED) if _DEPARTED in self._item.situation.clear else []),
            journey.step(f"prepare {name} on the destination", lambda: accepted(journey, plan)),
            journey.step(say_move(plan), lambda: transfer(journey, plan)),
            *resize_there(journey, self._item.source.instance),
            *self._start(record),
        ]
        steps[-1].final = True
        for step in steps[1:]:
            step.do = unless_taken_over(journey, record, step.do)
        return [*steps, *self._finish()]

    def _follow(self) -> list[Step]:
        """Another run has begun it, and the hypervisor is still at it."""
        name, record, journey = self._name, self._item.source.record, self._journey
        if record is None:
            raise TypeError(f"{name!r} has a job and no record")
        plan = MigrationPlan(name, record.mode, self._item.wanted.wishes, record)
        steps = [
            journey.step(f"take over the migration of {name} that is going on", lambda: lambda: self._abandon(record)),
            journey.step(f"wait until {name} is on the destination", lambda: transfer(journey, plan)),
            *self._start(record),
        ]
        steps[-1].final = True
        return [*steps, *self._finish()]

    def _start(self, record: MigrationRecord) -> list[Step]:
        return [start_there(self._journey, record.paused)] if record.mode == COLD and record.start else []

    def _finish(self) -> list[Step]:
        return [finish_destination(self._ends, self._item), finish_source(self._ends, self._item)]

    def _abandon(self, record: MigrationRecord) -> None:
        """Take back what another run had prepared."""
        abandon(self._ends, self._name, record, record.mode == COLD and record.start)
