# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps by which one instance gets from host to host, how each is taken back, and from where on there is only
forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import AnyvirtError, InstanceMigrating
from ..model.migration import COLD, MigrationPlan, MigrationRecord
from ..undo import Undo
from .migration_clearing import abandon, clearing_step, early, finish_destination, finish_source
from .migration_ends import Ends, look_at_one
from .migration_item import Item
from .migration_journey import Journey
from .migration_notes import say_move
from .migration_situation import ARRIVED, HERE, MOVING
from .migration_standstill import resize_there, start_there, stop_here
from .migration_transfer import transfer
from .plan import Step, ours


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
        """Clear up what an earlier migration left, before the plan is made: drivers would find it in the way. The note
        on the source stays until the new one begins; it says whether the guest is to be started again."""
        for clearing in early(self._item.situation):
            step = clearing_step(self._ends, self._item, clearing)
            step.do()
            self._item.cleared.append(step.say)

    def plan(self) -> None:
        """Give the item its steps. They ask nobody until they are done."""
        item, situation, journey = self._item, self._item.situation, self._journey
        steps = item.plan.steps
        clear = [clearing_step(self._ends, item, clearing) for clearing in situation.clear]
        if situation.what == MOVING:
            steps += self._follow()
        elif situation.what == HERE:
            move = self._move(item.migration_plan)
            if situation.start:  # its old note and the new one go together: nothing comes in between
                clear[-1].do = self._or_start(journey.if_wanted(clear[-1].do))
                move[0].do = self._or_start(lambda: self._begin(item.migration_plan))
            steps += [*clear, *move]
        else:
            start = [replace(start_there(journey, situation.paused), final=True)] if situation.start else []
            if situation.what == ARRIVED:
                steps += [*(resize_there(journey, item.destination.instance) if start else []), *start, *clear]
                return
            steps += [*start, *clear]  # which tell that it is to be started, for as long as they are there
            if item.source.instance is not None and item.wanted.wishes.undefine_source:
                steps.append(finish_source(self._ends, item))  # the definition that was kept before

    # -- the whole way ----------------------------------------------------------------------------------------------

    def _move(self, plan: MigrationPlan) -> list[Step]:
        source, destination, name, journey = self._ends.source, self._ends.destination, self._name, self._journey
        record = plan.record
        steps = [
            journey.step(f"note on the source that {name} is being moved", lambda: self._begin(plan)),
            *(stop_here(journey) if plan.mode == COLD else []),
        ]
        for step in steps:
            step.do = self._undone_if_own(step.do, record.id)
        steps.append(
            journey.step(f"prepare {name} on the destination", lambda: destination.accept_instance(source, plan))
        )
        steps.append(journey.step(say_move(plan), lambda: transfer(journey, plan)))
        steps += resize_there(journey, self._item.source.instance)
        return self._to_the_end(steps, record)

    def _follow(self) -> list[Step]:
        """Another run has begun it, and the hypervisor is still at it."""
        name, record, journey = self._name, self._item.source.record, self._journey
        if record is None:
            raise TypeError(f"{name!r} has a job and no record")
        plan = MigrationPlan(name, record.mode, self._item.wanted.wishes, record)
        steps = [
            journey.step(f"take over the migration of {name} that is going on", lambda: lambda: self._abandon(record)),
            journey.step(f"wait until {name} is on the destination", lambda: transfer(journey, plan)),
        ]
        return self._to_the_end(steps, record)

    def _to_the_end(self, steps: list[Step], record: MigrationRecord) -> list[Step]:
        """These steps, and those after which there is only forward."""
        if record.mode == COLD and record.start:
            steps.append(start_there(self._journey, paused=record.paused))
        steps[-1].final = True
        return [*steps, finish_destination(self._ends, self._item), finish_source(self._ends, self._item)]

    # -- the beginning, and how it is taken back --------------------------------------------------------------------

    def _begin(self, plan: MigrationPlan) -> Undo:
        undo = self._ends.source.begin_migration(plan)
        if not self._item.situation.start:
            return undo

        def start_and_undo() -> None:
            self._start_again()
            undo()

        return start_and_undo

    def _start_again(self) -> None:
        """On the source, where a cold migration that was cut short has stopped it."""
        self._ends.source.power_on(self._name, paused=self._item.situation.paused)

    def _or_start(self, do: Callable[[], Undo | None]) -> Callable[[], Undo | None]:
        """For steps after which nothing may tell any more that it is to be started."""

        def do_or_start() -> Undo | None:
            try:
                return do()
            except Exception as failure:
                error = ours(failure)
                try:
                    self._start_again()
                except AnyvirtError as still_off:
                    error.not_undone.append(f"start {self._name} on the source: {still_off}")
                raise error from failure

        return do_or_start

    def _undone_if_own(self, do: Callable[[], Undo | None], record_id: str) -> Callable[[], Undo | None]:
        """Nothing is taken back of what another task has taken over: it may have moved the instance by now."""

        def do_it() -> Undo | None:
            undo = do()

            def undo_if_own() -> None:
                now = look_at_one(self._ends.source, self._ends.here, self._name).record
                if now is not None and now.id != record_id:
                    raise InstanceMigrating(f"another task moves {self._name!r} by now, and what it has is left to it")
                if undo is not None:
                    undo()

            return undo_if_own

        return do_it

    def _abandon(self, record: MigrationRecord) -> None:
        """Take back what another run had prepared."""
        abandon(self._ends, self._name, record, record.mode == COLD and record.start)
