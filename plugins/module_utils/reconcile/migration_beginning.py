# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done before the instance moves, and how that is taken back: only for as long as no other task has it."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import AnyvirtError, InstanceMigrating
from ..model.migration import MigrationPlan, MigrationRecord
from ..undo import Undo
from .migration_clearing import abandon
from .migration_ends import look_at_one
from .migration_journey import Journey
from .plan import NothingTakenBack, ours

Do = Callable[[], "Undo | None"]


def begun(journey: Journey, plan: MigrationPlan) -> Undo:
    """The source notes that it is being moved. The note of a cold migration that was cut short, and that has stopped
    the guest, is replaced in the same moment: one of them tells that it is to be started."""
    source, situation, before = journey.ends.source, journey.item.situation, journey.item.source.record
    if not situation.start or before is None:
        return source.begin_migration(plan)
    undo = source.begin_migration(plan, replacing=before.id)

    def start_and_undo() -> None:
        source.power_on(journey.name, paused=situation.paused)
        undo()

    return start_and_undo


def or_given_back(journey: Journey, plan: MigrationPlan, do: Do) -> Do:
    """For the step that begins anew what was cut short: where it fails, the source has the instance as it was before
    any of that, unless another task has taken it over."""

    def do_or_give_back() -> Undo | None:
        try:
            return do()
        except Exception as failure:
            error = ours(failure)
            try:
                now = look_at_one(journey.ends.source, journey.ends.here, journey.name).record
                if now is not None and now.id in (plan.record.id, _id_of(journey.item.source.record)):
                    journey.item.removed += abandon(journey.ends, journey.name, now, start=True)
            except AnyvirtError as still_off:
                error.not_undone.append(f"start {journey.name} on the source: {still_off}")
            raise error from failure

    return do_or_give_back


def accepted(journey: Journey, plan: MigrationPlan) -> Undo:
    """The destination gets ready. Where its answer is lost, what it has prepared goes all the same: later there may be
    nobody who knows of it."""
    ends, name = journey.ends, journey.name
    if journey.stopped_s is not None and _is_taken_over(journey, plan.record):  # stopping it took its time
        raise NothingTakenBack(_left_to_it(name))
    try:
        return ends.destination.accept_instance(ends.source, plan)
    except Exception as failure:
        error = ours(failure)
        _discard_own(journey, plan.record)
        raise error from failure


def _discard_own(journey: Journey, record: MigrationRecord) -> None:
    """Remove what the destination has prepared for this migration, if anything; a warning tells where nobody knows."""
    ends, name = journey.ends, journey.name
    try:
        if _id_of(look_at_one(ends.destination, ends.there, name).record) == record.id:
            ends.destination.discard_migration(name)
    except AnyvirtError as unknown:
        journey.item.warnings.append(
            f"{name}: what the destination may have prepared for it was not cleared up: {unknown}. Run a task with the "
            "same source and destination, which does that, before it is moved to another host"
        )


def unless_taken_over(journey: Journey, record: MigrationRecord, do: Do) -> Do:
    """For steps after the first: where one fails since another task has taken the instance over, what was done to it is
    that one's affair, but for what the destination has prepared for this migration."""

    def do_it() -> Undo | None:
        try:
            return do()
        except NothingTakenBack:
            raise
        except Exception as failure:
            error = ours(failure)
            if not _is_taken_over(journey, record):
                raise error from failure
            left = _left_to_it(journey.name, error)
            _discard_own(journey, record)
            raise NothingTakenBack(left) from failure

    return do_it


def undone_if_own(journey: Journey, record: MigrationRecord, do: Do) -> Do:
    """For steps on the source, whose undo is another task's affair once that has taken the instance over."""

    def do_it() -> Undo | None:
        undo = do()

        def undo_if_own() -> None:
            if _is_taken_over(journey, record):
                raise _left_to_it(journey.name)
            if undo is not None:
                undo()

        return undo_if_own

    return do_it


def _is_taken_over(journey: Journey, record: MigrationRecord) -> bool:
    """Whether the migration that is noted is another one, or another one has come to its end."""
    ends, name = journey.ends, journey.name
    try:
        source = look_at_one(ends.source, ends.here, name)
        if source.instance is not None:
            return source.record is not None and source.record.id != record.id
        destination = look_at_one(ends.destination, ends.there, name)
    except AnyvirtError:
        return False  # then nothing can be undone either, which is told
    return destination.instance is not None and _id_of(destination.record) != record.id


def _left_to_it(name: str, error: AnyvirtError | None = None) -> InstanceMigrating:
    why = "" if error is None else f": {error}"
    return InstanceMigrating(
        f"another task has taken over the migration of {name!r}, and what was begun is left to it{why}"
    )


def _id_of(record: MigrationRecord | None) -> str | None:
    return None if record is None else record.id
