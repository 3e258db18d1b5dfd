# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_migrate's ``state: aborted``: no migration of the instance goes on, and the source has it as before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..errors import HypervisorUnavailable, InstanceMigrating, MigrationFailed
from ..model.migration import COLD, INCOMING, MOVED, OUTGOING, MigrationRecord
from .migration_clearing import abandon
from .migration_ends import Ends, look_at_both
from .migration_item import Item
from .migration_results import aborted_result
from .migration_situation import ARRIVED, DISCARD, HERE, MOVING, REFUSED, situation_of
from .plan import Step
from .task import Task
from .workers import run_chains

_OTHERS_S = 10.0
"""How long another run, which waits for the migration, may take to clear up after it."""
_LOOK_EACH_S = 0.5


def abort_all(ends: Ends, items: Sequence[Item], task: Task) -> dict[str, Any]:
    """Abort the migrations; the module's result."""
    for item in items:
        _plan(ends, item)
    todo = [[item] for item in items if item.error is None and item.plan]
    if not task.check_mode:
        run_chains(todo, lambda item: item.plan.run(), task.params.get("workers") or 1)
    changed = {item.name: item.error is None and bool(item.plan) for item in items}
    return aborted_result(items, changed, task)


def _plan(ends: Ends, item: Item) -> None:
    name, what, record = item.name, item.situation.what, item.source.record
    if what == MOVING and record is not None:
        moving = record
        item.plan.steps.append(Step(f"abort the migration of {name}", lambda: _abort(ends, item, moving), final=True))
    elif (_was_cut_short(item) or _is_given_up(item)) and ends.silent is not None and not item.source.executes:
        item.error = HypervisorUnavailable(
            f"the destination cannot be asked, and instance {name!r}, which does not run on the source, may run there: "
            f"{ends.silent}. When you know that it does not, start it on the source with the hypervisor's own tools, "
            "and run the task again"
        )
    elif _was_cut_short(item) or _is_given_up(item):
        item.error = None
        say = f"clear up what a migration of {name} that was cut short left"
        item.plan.steps.append(Step(say, lambda: _give_up(ends, item), final=True))
    elif what == ARRIVED:
        item.error = InstanceMigrating(
            f"instance {name!r} is on the destination already, and only clearing up is left; state: migrated does that"
        )


def _was_cut_short(item: Item) -> bool:
    return item.situation.what == HERE and any(clearing.how == DISCARD for clearing in item.situation.clear)


def _is_given_up(item: Item) -> bool:
    """Both hosts have it, and the destination does not run it, or has none any more: whoever asks for this says that
    the source is right."""
    source, destination = item.source, item.destination
    if item.situation.what != REFUSED or source.instance is None or source.is_departed or destination.is_active:
        return False
    if destination.instance is None:
        return source.goes(OUTGOING, destination.host)
    return (source.record is None or source.goes(OUTGOING, destination.host)) and destination.goes(
        INCOMING, source.host
    )


def _abort(ends: Ends, item: Item, record: MigrationRecord) -> None:
    """End the job. Another run that waits for it clears up; where there is none, it is done here."""
    if not ends.source.abort_migration(item.name):
        source, destination = look_at_both(ends, item.name)
        if situation_of(item.name, source, destination).what == ARRIVED:
            raise MigrationFailed(f"instance {item.name!r} was on the destination before it could be aborted")
    deadline_s = time.monotonic() + _OTHERS_S
    while True:
        source, destination = look_at_both(ends, item.name)
        if source.record is None and destination.instance is None:
            return
        if time.monotonic() >= deadline_s:
            break
        time.sleep(_LOOK_EACH_S)
    found = situation_of(item.name, source, destination)
    if found.what != HERE or (ends.silent is not None and not source.executes):
        raise found.error or MigrationFailed(
            f"the migration of {item.name!r} did not end within {_OTHERS_S:g} s of being aborted"
        )
    item.removed += abandon(ends, item.name, record, found.start)


def _give_up(ends: Ends, item: Item) -> None:
    record = item.source.record or item.destination.record
    if record is not None:
        may_be_elsewhere = record.phase == MOVED and item.destination.instance is None
        stopped = record.mode == COLD and record.start and not item.source.is_active
        item.removed += abandon(ends, item.name, record, stopped and not may_be_elsewhere)
