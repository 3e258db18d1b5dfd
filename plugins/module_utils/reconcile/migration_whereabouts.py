# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an instance is after something went wrong on its way."""

from __future__ import annotations

import time

from ..errors import AnyvirtError
from .migration_ends import look_at_both, look_at_one
from .migration_journey import Journey
from .migration_situation import ARRIVED, HERE, MOVING, THERE, End, Situation, situation_of
from .plan import NothingTakenBack

_SETTLE_S = 10.0
"""How long a job that has failed may need until it is gone."""
_LOOK_EACH_S = 0.25


def arrived_after_all(journey: Journey, error: AnyvirtError) -> bool:
    """Whether it is on the destination, whatever the error says. Where it is on the source, the steps before can be
    undone.

    Raises:
        NothingTakenBack: nobody can tell where it is, or the hypervisor is still at it.
    """
    name = journey.name
    try:
        situation = _settled(journey)
    except AnyvirtError as unknown:
        journey.lost = unknown
        raise NothingTakenBack(_unsettled(error, name)) from error
    if situation.what == ARRIVED and situation.start:
        return False  # all of it is there, and it runs nowhere
    if situation.what == ARRIVED:
        journey.item.warnings.append(f"{name}: it is on the destination, although this went wrong: {error}")
        return True
    if _is_finished(situation):
        journey.finished = True
        return True
    if situation.what != HERE:
        if situation.error is not None:
            error.not_undone.append(str(situation.error))
        raise NothingTakenBack(_unsettled(error, name)) from error
    return False


def finished_by_another(journey: Journey) -> bool:
    """Whether another task has brought the migration to its end, so that nothing of this one is left to do."""
    try:
        situation = situation_of(journey.name, *look_at_both(journey.ends, journey.name))
    except AnyvirtError:
        return False  # whoever asks has an error already
    journey.finished = _is_finished(situation)
    return journey.finished


def _is_finished(situation: Situation) -> bool:
    return situation.what == THERE and not situation.clear


def _settled(journey: Journey) -> Situation:
    """What both ends show once no job is there any more. A destination that cannot be asked has not got it where the
    source executes it."""
    ends, name = journey.ends, journey.name
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        source = look_at_one(ends.source, ends.here, name)
        try:
            destination = look_at_one(ends.destination, ends.there, name)
        except AnyvirtError as unknown:
            journey.lost = unknown
            if not source.executes or source.has_job:
                raise
            destination = End(ends.there)
        found = situation_of(name, source, destination)
        if found.what != MOVING or time.monotonic() >= deadline_s:
            return found
        time.sleep(_LOOK_EACH_S)


def _unsettled(error: AnyvirtError, name: str) -> AnyvirtError:
    hint = (
        f"nothing was taken back, since it cannot be told now on which host {name!r} is. Run the task again when both "
        "hosts answer: it finds that out, and ends what was begun"
    )
    error.args = (f"{error}; {hint}",)
    return error
