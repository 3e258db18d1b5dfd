# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cold migration does with the guest: it is stopped on the source, and started on the destination, in its new
size."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..model import power_state
from ..model.instance import Instance
from ..model.migration import MigrationResult
from ..undo import Undo
from .desired import STOPPED
from .instances import compared
from .migration_journey import Journey, already_undone
from .migration_stop import Stopping
from .migration_whereabouts import arrived_after_all
from .plan import Step, ours


def stop_here(journey: Journey) -> list[Step]:
    """The steps that stop it on the source."""
    instance = journey.item.source.instance
    state = instance.power_state if instance is not None else None
    if state is None or state in power_state.OFF or state == power_state.SUSPENDED:
        return []  # saved memory moves as it is where the driver can do that, and is a problem elsewhere
    power = Stopping(journey.ends.source, journey.item, journey.interrupted)
    return [journey.step(step.say, _timed(journey, step.do)) for step in power.steps(state, STOPPED)]


def _timed(journey: Journey, do: Callable[[], Undo | None]) -> Callable[[], Undo | None]:
    """The guest stands still from when it is asked to stop, as far as its users can tell."""

    def timed() -> Undo | None:
        journey.stopped_s = time.monotonic() if journey.stopped_s is None else journey.stopped_s
        return do()

    return timed


def resize_there(journey: Journey, instance: Instance | None) -> list[Step]:
    """Its new size, given to it where it is off and not yet started."""
    wanted = journey.item.wanted.resize
    destination, name = journey.ends.destination, journey.name
    if wanted is None or instance is None:
        return []
    changes = compared(destination, wanted, instance).changes
    if not changes:
        return []

    def resize() -> Undo:
        accepted = destination.get_instances([name])[name]
        found = compared(destination, wanted, accepted)
        if not found.changes:
            return already_undone
        return destination.update_instance(accepted, found.desired, found.fields, ())

    words = ", ".join(f"{change.option} {change.new}" for change in changes)
    return [journey.step(f"resize {name} on the destination: {words}", resize)]


def start_there(journey: Journey, paused: bool) -> Step:
    """The step that starts it on the destination."""
    destination, name, item = journey.ends.destination, journey.name, journey.item

    def start() -> Undo:
        try:
            destination.power_on(name, paused=paused)
        except Exception as failure:
            error = ours(failure)
            if not arrived_after_all(journey, error):
                raise error from failure
        if journey.stopped_s is not None:
            stood_still_ms = round((time.monotonic() - journey.stopped_s) * 1000)
            item.result = (item.result or MigrationResult())._replace(downtime_ms=stood_still_ms)
        return lambda: destination.force_off(name)

    return journey.step(f"start {name} on the destination{' paused' if paused else ''}", start)
