# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_migrate: finds out where the instances are, how they can get to the destination and what keeps them from it,
and moves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from ..driver.migrationchecks import mapped, state_problems, unmet_wishes
from ..driver.migrationuri import get_migration_driver
from ..errors import (
    AnyvirtError,
    HypervisorUnavailable,
    InstanceLocked,
    InstanceNotFound,
    MigrationAborted,
    MigrationImpossible,
)
from ..model import power_state
from ..model.instance import Instance
from ..model.migration import COLD, LIVE, MigrationWishes
from .desired import Desired
from .instances import compared
from .interrupts import in_background
from .migration_abort import abort_all
from .migration_clearing import abandon, early
from .migration_ends import Ends, Seen, connect, look, open_ends, survey
from .migration_item import Item
from .migration_members import Members
from .migration_moves import Mover
from .migration_options import ABORTED, MIGRATED, STATUS, WantedMove, WantedMoves, read_moves
from .migration_results import moved_result, status_result
from .migration_situation import ARRIVED, DISCARD, HERE, MOVING, SOURCE, THERE, Clearing, situation_of
from .task import Task
from .workers import run_chains

__all__ = ["get_migration_driver", "migrate_instances"]


def migrate_instances(task: Task) -> dict[str, Any]:
    """Move the instances as the task wants it; the module's result."""
    wanted = read_moves(task.params)
    ends = connect(task)
    with ExitStack() as opened:
        ends.needs_both = wanted.state == MIGRATED
        open_ends(ends, opened)
        items = _situations(ends, wanted, task)
        if wanted.state == STATUS:
            return status_result(items, task, ends.silent)
        if wanted.state == ABORTED:
            return abort_all(ends, items, task)
        return _migrate(ends, items, wanted, task)


def _migrate(ends: Ends, items: Sequence[Item], wanted: WantedMoves, task: Task) -> dict[str, Any]:
    only_tell = wanted.verify_only or task.check_mode
    if not only_tell:
        _clear_first(ends, items)
    _plan_moves(ends, items, only_tell, probing=not task.check_mode)
    movers = {item.name: Mover(ends, item, task.interrupted) for item in items if item.error is None}
    for item in items:
        if item.name in movers:
            _plan_steps(ends, item, movers[item.name])
    if only_tell:
        return moved_result(ends, items, task, wanted.verify_only)
    _give_back(ends, items)
    members = Members(ends, items)
    todo = [[item] for item in items if item.error is None and item.plan]
    if todo:
        members.announce()
        in_background(lambda: _carry_out(ends, todo, movers, task))
        _look_again(ends, [item for [item] in todo])
        members.bring_up_to_date()
    return moved_result(ends, items, task, False, members.error)


# -- finding out ----------------------------------------------------------------------------------------------------


def _situations(ends: Ends, wanted: WantedMoves, task: Task) -> list[Item]:
    names, seen = survey(ends, wanted)
    for name in seen.unknown:
        task.warn(f"exclude: the source has no instance named {name!r}")
    everything = wanted.everything
    moves = wanted.moves if everything is None else [replace(everything, name=name) for name in names]
    return [_situation(move, seen) for move in moves]


def _situation(move: WantedMove, seen: Seen) -> Item:
    source, destination = seen.source[move.name], seen.destination[move.name]
    item = Item(move, source, destination, situation_of(move.name, source, destination))
    item.error = seen.failed.get(move.name) or item.situation.error
    item.after = _foretold(item)
    return item


def _foretold(item: Item) -> Instance | None:
    """What the destination has in the end of one that is there, or on its way."""
    instance, situation = item.destination.instance, item.situation
    record = item.source.record or item.destination.record
    if instance is None or record is None or situation.what not in (MOVING, ARRIVED, THERE):
        return instance
    is_on_its_way = situation.what == MOVING
    state = instance.power_state
    if situation.start or (is_on_its_way and record.mode == COLD and record.start):
        state = power_state.PAUSED if record.paused else power_state.RUNNING
    elif is_on_its_way and item.source.instance is not None:
        state = item.source.instance.power_state
    return replace(instance, migration=None, power_state=state)


def _clear_first(ends: Ends, items: Sequence[Item]) -> None:
    """Clear up what earlier migrations left and what would be in the way, and look at these instances again."""
    cleared = [item for item in items if item.error is None and early(item.situation)]
    for item in cleared:
        try:
            Mover(ends, item, lambda: None).clear_first()
        except AnyvirtError as error:
            item.error = error
    seen = look(ends, [item.name for item in cleared])
    for item in cleared:
        item.source, item.destination = seen.source[item.name], seen.destination[item.name]
        item.situation = situation_of(item.name, item.source, item.destination)
        item.error = item.error or seen.failed.get(item.name) or item.situation.error


def _plan_moves(ends: Ends, items: Sequence[Item], only_tell: bool, probing: bool) -> None:
    """How all of them get there; for those that have the same wishes the hypervisors are asked once."""
    waiting = [item for item in items if item.error is None and item.situation.what == HERE]
    while waiting:
        wishes = _wishes_of(waiting[0])
        together = [item for item in waiting if _wishes_of(item) == wishes]
        waiting = [item for item in waiting if _wishes_of(item) != wishes]
        _plan_together(ends, together, wishes, probing)
    for item in items:
        if only_tell and early(item.situation):
            # These may be problems only as long as that is there, and it is cleared up first.
            lasting = _lasting_problems(ends, item)
            item.warnings += [
                f"{item.name}: what an earlier migration left is in the way: {one}"
                for one in item.problems
                if one not in lasting
            ]
            item.problems = [one for one in item.problems if one in lasting]
        if item.error is None:
            item.error = _refusal(item)


def _lasting_problems(ends: Ends, item: Item) -> list[str]:
    """Those that have nothing to do with what is on the destination."""
    if item.migration is None:
        return []
    mode, wishes = item.migration.mode, item.migration.wishes
    found = unmet_wishes(ends.source, ends.destination, wishes, mode)
    return [*found, *state_problems(_as_it_is_to_be(ends, item), mode)]


def _give_back(ends: Ends, items: Sequence[Item]) -> None:
    """Those that an earlier migration still has in its hold, and that cannot be moved now, are on the source as they
    were before it."""
    for item in items:
        record = item.source.record
        if item.error is None or record is None or Clearing(SOURCE, DISCARD) not in item.situation.clear:
            continue
        try:
            item.removed += abandon(ends, item.name, record, item.situation.start)
        except AnyvirtError as error:
            item.warnings.append(f"{item.name}: what an earlier migration left could not be taken back: {error}")


def _plan_steps(ends: Ends, item: Item, mover: Mover) -> None:
    """Give the item its steps; what keeps one from having any is no matter of the others."""
    resize = item.wanted.resize
    try:
        mover.plan()
        if (
            item.situation.what == ARRIVED
            and item.after is not None
            and resize is not None
            and not item.destination.is_active
        ):
            item.after = _in_its_size(ends, resize, item.after)
    except AnyvirtError as error:
        item.error = error
    if item.situation.what == MOVING and resize is not None:
        item.warnings.append(
            f"{item.name}: resize: it is on its way already, and keeps its size; give it the new one with virt_instance"
        )


def _wishes_of(item: Item) -> MigrationWishes:
    """One that a cold migration has stopped goes on as it began."""
    wishes = item.wanted.wishes
    return replace(wishes, mode=COLD) if item.situation.start and wishes.mode != LIVE else wishes


def _plan_together(ends: Ends, items: Sequence[Item], wishes: MigrationWishes, probing: bool) -> None:
    instances: dict[str, Instance] = {}
    for item in items:
        try:
            instances[item.name] = _as_it_is_to_be(ends, item)
        except AnyvirtError as error:
            item.error = error
    if not instances:
        return
    plans = ends.source.plan_migrations(ends.destination, instances, wishes, probing)
    for item in items:
        plan = plans.get(item.name)
        if plan is None:
            item.error = item.error or InstanceNotFound(item.name)  # it went meanwhile
            continue
        item.migration = plan
        item.problems += plan.problems
        item.warnings += [f"{item.name}: {warning}" for warning in plan.warnings]
        item.after = replace(mapped(_as_it_is_to_be(ends, item, grown=True), plan.wishes), migration=None)


def _as_it_is_to_be(ends: Ends, item: Item, grown: bool = False) -> Instance:
    """The instance as it was before any migration began, in the size that it is to have on the destination; with disks
    as they arrive, or as they are when they have ``grown`` there."""
    instance = item.source.instance
    if instance is None:
        raise TypeError(f"{item.name!r} is not on the source")
    situation, resize = item.situation, item.wanted.resize
    state = instance.power_state
    if situation.start:
        state = power_state.PAUSED if situation.paused else power_state.RUNNING
    instance = replace(instance, migration=None, power_state=state)
    return instance if resize is None else _in_its_size(ends, resize, instance, grown)


def _in_its_size(ends: Ends, resize: Desired, instance: Instance, grown: bool = True) -> Instance:
    """The instance in the size that is wished for; its disks too, if they are to have ``grown``."""
    found = compared(ends.destination, resize, instance)
    fields = found.fields if grown else found.fields - {"disks"}
    return replace(instance, **{name: getattr(found.desired, name) for name in fields})


def _refusal(item: Item) -> AnyvirtError | None:
    """Why nothing is to be done about it, all reasons at once; what has begun is brought to its end in any case."""
    instance = item.source.instance
    if item.situation.what != HERE or instance is None:
        return None
    if item.situation.start and item.migration is not None and item.migration.mode == LIVE:
        item.problems.append("a cold migration that was cut short has stopped it; use mode auto or cold")
    if instance.locked and not item.wanted.override_lock:
        lock = "it is locked against changes; override_lock: true goes past it"
        item.problems.append(lock)
        if len(item.problems) == 1:
            return InstanceLocked(f"instance {item.name!r} cannot be moved: {lock}")
    return MigrationImpossible(item.name, item.problems) if item.problems else None


# -- doing ----------------------------------------------------------------------------------------------------------


def _carry_out(ends: Ends, todo: Sequence[Sequence[Item]], movers: Mapping[str, Mover], task: Task) -> None:
    """Move them. Once a host is gone, or nobody wants it any more, no more are begun."""
    gone: list[AnyvirtError] = []

    def run(item: Item) -> None:
        reason = task.interrupted()
        if reason is not None:
            item.error = MigrationAborted(f"not tried: {reason}")
            return
        if gone:
            item.error = HypervisorUnavailable(f"not tried, since one of the hosts went away: {gone[0]}")
            return
        try:
            item.plan.run()
        except AnyvirtError:
            lost = movers[item.name].lost
            if lost is not None:
                gone.append(lost)
            raise

    workers = task.params.get("workers") or 1
    limits = (workers, ends.source.max_workers, ends.destination.max_workers)
    run_chains(todo, run, min(most for most in limits if most))


def _look_again(ends: Ends, items: Sequence[Item]) -> None:
    """Replace what was foretold by what is there, in one read of each host."""
    try:
        seen = look(ends, [item.name for item in items])
    except AnyvirtError as error:
        items[0].warnings.append(f"what came of it could not be read: {error}")
        return
    for item in items:
        here, there = seen.source[item.name].instance, seen.destination[item.name].instance
        item.after = there if item.error is None else here or there
