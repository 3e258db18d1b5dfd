# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps by which one instance gets from host to host, how each is taken back, and from where on there is only
forward."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..driver.base import NONE
from ..driver.migrationchecks import COPIED
from ..driver.oversight import Oversight
from ..errors import AnyvirtError, InstanceMigrating, MigrationAborted
from ..model import power_state
from ..model.instance import Instance
from ..model.migration import COLD, MigrationPlan, MigrationRecord, MigrationResult
from ..model.units import MIB
from ..undo import Undo
from .desired import STOPPED
from .instances import compared
from .migration_ends import Ends, look_at_one
from .migration_item import Item
from .migration_notes import say_move, teller
from .migration_situation import (
    ARRIVED,
    DESTINATION,
    DISCARD,
    FINISH_DESTINATION,
    HERE,
    MOVING,
    SOURCE,
    Clearing,
    End,
    Situation,
    situation_of,
)
from .migration_stop import Stopping, in_words
from .plan import NothingTakenBack, Step, ours

_SETTLE_S = 10.0
"""How long a job that has failed may need until it is gone."""
_LOOK_EACH_S = 0.25


class Mover:
    """Makes the steps for one instance.

    Args:
        interrupted: Why nobody wants it any more; None while it is wanted.
    """

    def __init__(self, ends: Ends, item: Item, interrupted: Callable[[], str | None]) -> None:
        self._ends = ends
        self._item = item
        self._interrupted = interrupted
        self._name = item.name
        self._stopped_s: float | None = None
        self.lost: AnyvirtError | None = None
        """Why one of the hosts could not be asked, when that was found out on the way."""

    def clear_first(self) -> None:
        """Clear up what an earlier migration left, before the plan is made: drivers would find it in the way. The note
        on the source stays until the new one begins; it says whether the guest is to be started again."""
        for clearing in early(self._item.situation):
            step = self._clear(clearing)
            step.do()
            self._item.cleared.append(step.say)

    def plan(self) -> None:
        """Give the item its steps. They ask nobody until they are done."""
        item, situation = self._item, self._item.situation
        steps = item.plan.steps
        if situation.what == MOVING:
            steps += self._follow()
        elif situation.what == HERE:
            clear, move = [self._clear(clearing) for clearing in situation.clear], self._move(item.migration_plan)
            if situation.start:  # its old note and the new one go together: nothing comes in between
                clear[-1].do = self._or_start(self._if_wanted(clear[-1].do))
                move[0].do = self._or_start(lambda: self._begin(item.migration_plan))
            steps += [*clear, *move]
        else:
            clear = [self._clear(clearing) for clearing in situation.clear]
            start = [replace(self._start_there(situation.paused), final=True)] if situation.start else []
            if situation.what == ARRIVED:
                steps += [*(self._resize(item.destination.instance) if start else []), *start, *clear]
                return
            steps += [*start, *clear]  # which tell that it is to be started, for as long as they are there
            if item.source.instance is not None and item.wanted.wishes.undefine_source:
                steps.append(self._finish_source())  # the definition that was kept before

    # -- the whole way ----------------------------------------------------------------------------------------------

    def _move(self, plan: MigrationPlan) -> list[Step]:
        source, destination, name = self._ends.source, self._ends.destination, self._name
        record = plan.record
        steps = [
            self._step(f"note on the source that {name} is being moved", lambda: self._begin(plan)),
            *(self._stop() if plan.mode == COLD else []),
        ]
        for step in steps:
            step.do = self._undone_if_own(step.do, record.id)
        steps.append(
            self._step(f"prepare {name} on the destination", lambda: destination.accept_instance(source, plan))
        )
        steps.append(self._step(say_move(plan), lambda: self._migrate(plan)))
        steps += self._resize(self._item.source.instance)
        if plan.mode == COLD and record.start:
            steps.append(self._start_there(paused=record.paused))
        steps[-1].final = True
        return [*steps, self._finish_destination(), self._finish_source()]

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

    def _follow(self) -> list[Step]:
        """Another run has begun it, and the hypervisor is still at it."""
        name, record = self._name, self._item.source.record
        if record is None:
            raise TypeError(f"{name!r} has a job and no record")
        plan = MigrationPlan(name, record.mode, self._item.wanted.wishes, record)
        steps = [
            self._step(f"take over the migration of {name} that is going on", lambda: lambda: self._abandon(record)),
            self._step(f"wait until {name} is on the destination", lambda: self._migrate(plan)),
        ]
        if record.mode == COLD and record.start:
            steps.append(self._start_there(paused=record.paused))
        steps[-1].final = True
        return [*steps, self._finish_destination(), self._finish_source()]

    # -- steps ------------------------------------------------------------------------------------------------------

    def _step(self, say: str, do: Callable[[], Undo | None]) -> Step:
        """A step before the point of no return, which is not begun when nobody wants it any more."""

        return Step(say, self._if_wanted(do))

    def _if_wanted(self, do: Callable[[], Undo | None]) -> Callable[[], Undo | None]:
        def do_if_wanted() -> Undo | None:
            reason = self._interrupted()
            if reason is not None:
                raise MigrationAborted(f"the migration of {self._name!r} was {in_words(reason)}")
            return do()

        return do_if_wanted

    def _clear(self, clearing: Clearing) -> Step:
        driver = self._ends.destination if clearing.end == DESTINATION else self._ends.source
        name, where = self._name, f"the {clearing.end}"

        def discard() -> None:
            self._item.removed += driver.discard_migration(name)

        def finish_source() -> None:
            self._item.removed += driver.finish_source(name, delete_volumes=self._item.wanted.wishes.delete_volumes)

        if clearing.how == DISCARD:
            return Step(f"clear up what a migration of {name} that was cut short left on {where}", discard, final=True)
        if clearing.how == FINISH_DESTINATION:
            return Step(f"make {name} an ordinary instance of {where}", lambda: driver.finish_destination(name), True)
        if clearing.end == DESTINATION:
            say = f"remove what {name} left on the destination when it was moved from there"
            return Step(say, finish_source, final=True)
        return self._finish_source()

    def _stop(self) -> list[Step]:
        state = self._item.source.instance.power_state if self._item.source.instance is not None else None
        if state is None or state in power_state.OFF or state == power_state.SUSPENDED:
            return []  # saved memory moves as it is where the driver can do that, and is a problem elsewhere
        power = Stopping(self._ends.source, self._item, self._interrupted)
        steps = power.steps(state, STOPPED)
        for step in steps:
            step.do = self._timed(step.do)
        return [self._step(step.say, step.do) for step in steps]

    def _timed(self, do: Callable[[], Undo | None]) -> Callable[[], Undo | None]:
        """The guest stands still from when it is asked to stop, as far as its users can tell."""

        def timed() -> Undo | None:
            self._stopped_s = time.monotonic() if self._stopped_s is None else self._stopped_s
            return do()

        return timed

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

    def _migrate(self, plan: MigrationPlan) -> Undo:
        """Move it. Where it fails so that nobody can tell what became of it, both ends are looked at before anything
        is taken back."""
        driver = self._ends.source
        instance = self._item.source.instance
        total = (instance.memory_mb or 0) * MIB if instance is not None else 0
        total = total * (plan.mode != COLD) + sum(disk.size_bytes for disk in plan.disks if disk.how in COPIED)
        began_s = time.monotonic()
        with driver.progress.measure(f"migrate {self._name}", total or None) as meter:
            oversight = Oversight(
                self._name,
                plan.mode,
                plan.wishes,
                meter,
                is_wanted=lambda: self._interrupted() is None,
                tell=teller(meter, total),
            )
            try:
                result = driver.migrate_instance(self._ends.destination, plan, oversight)
            except Exception as failure:
                error = self._interruption(ours(failure))
                if plan.mode == COLD or not self._arrived_after_all(error):
                    raise error from failure
                result = MigrationResult()
            finally:
                self._item.warnings += oversight.warnings
        took_ms = round((time.monotonic() - began_s) * 1000)
        self._item.result = result._replace(total_ms=took_ms) if result.total_ms is None else result
        return _already_undone

    def _interruption(self, error: AnyvirtError) -> AnyvirtError:
        """Says who aborted it, where it was the play."""
        reason = self._interrupted()
        if isinstance(error, MigrationAborted) and reason is not None:
            return MigrationAborted(f"{error} ({reason})")
        return error

    def _resize(self, instance: Instance | None) -> list[Step]:
        """Its new size, given to it where it is off and not yet started."""
        wanted = self._item.wanted.resize
        destination, name = self._ends.destination, self._name
        if wanted is None or instance is None:
            return []
        changes = compared(destination, wanted, instance).changes
        if not changes:
            return []

        def resize() -> Undo:
            accepted = destination.get_instances([name])[name]
            found = compared(destination, wanted, accepted)
            if not found.changes:
                return _already_undone
            return destination.update_instance(accepted, found.desired, found.fields, ())

        words = ", ".join(f"{change.option} {change.new}" for change in changes)
        return [self._step(f"resize {name} on the destination: {words}", resize)]

    def _start_there(self, paused: bool) -> Step:
        destination, name = self._ends.destination, self._name

        def start() -> Undo:
            try:
                destination.power_on(name, paused=paused)
            except Exception as failure:
                error = ours(failure)
                if not self._arrived_after_all(error):
                    raise error from failure
            if self._stopped_s is not None:
                stood_still_ms = round((time.monotonic() - self._stopped_s) * 1000)
                result = self._item.result or MigrationResult()
                self._item.result = result._replace(downtime_ms=stood_still_ms)
            return lambda: destination.force_off(name)

        return self._step(f"start {name} on the destination{' paused' if paused else ''}", start)

    def _finish_destination(self) -> Step:
        name, driver = self._name, self._ends.destination
        return Step(
            f"make {name} an ordinary instance of the destination", lambda: driver.finish_destination(name), True
        )

    def _finish_source(self) -> Step:
        name, wishes, driver = self._name, self._item.wanted.wishes, self._ends.source
        keep = not wishes.undefine_source

        def finish() -> None:
            volumes = NONE if keep else wishes.delete_volumes
            self._item.removed += driver.finish_source(name, keep_definition=keep, delete_volumes=volumes)

        say = f"keep the definition of {name} on the source" if keep else f"remove what {name} left on the source"
        return Step(say, finish, final=True)

    # -- when something goes wrong ----------------------------------------------------------------------------------

    def _abandon(self, record: MigrationRecord) -> None:
        """Take back what another run had prepared."""
        abandon(self._ends, self._name, record, record.mode == COLD and record.start)

    def _arrived_after_all(self, error: AnyvirtError) -> bool:
        """Whether it is on the destination, whatever the error says. Where it is on the source, the steps before can be
        undone.

        Raises:
            NothingTakenBack: nobody can tell where it is, or the hypervisor is still at it.
        """
        try:
            situation = self._settled()
        except AnyvirtError as unknown:
            self.lost = unknown
            raise NothingTakenBack(_unsettled(error, self._name)) from error
        if situation.what == ARRIVED and situation.start:
            return False  # all of it is there, and it runs nowhere
        if situation.what == ARRIVED:
            self._item.warnings.append(f"{self._name}: it is on the destination, although this went wrong: {error}")
            return True
        if situation.what != HERE:
            if situation.error is not None:
                error.not_undone.append(str(situation.error))
            raise NothingTakenBack(_unsettled(error, self._name)) from error
        return False

    def _settled(self) -> Situation:
        """What both ends show once no job is there any more. A destination that cannot be asked has not got it where
        the source executes it."""
        deadline_s = time.monotonic() + _SETTLE_S
        while True:
            source = look_at_one(self._ends.source, self._ends.here, self._name)
            try:
                destination = look_at_one(self._ends.destination, self._ends.there, self._name)
            except AnyvirtError as unknown:
                self.lost = unknown
                if not source.executes or source.has_job:
                    raise
                destination = End(self._ends.there)
            found = situation_of(self._name, source, destination)
            if found.what != MOVING or time.monotonic() >= deadline_s:
                return found
            time.sleep(_LOOK_EACH_S)


def early(situation: Situation) -> list[Clearing]:
    """What of it comes before the plan."""
    if situation.what != HERE:
        return []
    return [clearing for clearing in situation.clear if clearing != Clearing(SOURCE, DISCARD)]


def abandon(ends: Ends, name: str, record: MigrationRecord, start: bool) -> list[str]:
    """Take back, on both ends, a migration that has no job: the source has the instance as it was before.

    Args:
        start: It was stopped for it.

    Returns:
        What was removed, in words.
    """
    removed = [] if ends.silent is not None else ends.destination.discard_migration(name)
    if start:  # before the note that it is to be started is gone
        ends.source.power_on(name, paused=record.paused)
    return [*removed, *ends.source.discard_migration(name)]


def _unsettled(error: AnyvirtError, name: str) -> AnyvirtError:
    hint = (
        f"nothing was taken back, since it cannot be told now on which host {name!r} is. Run the task again when both "
        "hosts answer: it finds that out, and ends what was begun"
    )
    error.args = (f"{error}; {hint}",)
    return error


def _already_undone() -> None:
    """A migration that failed has left the instance on the source, and one that is done is not taken back."""
