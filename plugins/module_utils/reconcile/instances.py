# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for instances: which steps lead from what is to what a task wants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..driver.base import NONE, OWN, ComputeDriver
from ..errors import InstanceProtected, InvalidInput, InvalidPowerState
from ..model import power_state
from ..model.instance import Instance
from ..model.resize import CHANGING, KEEPING
from ..undo import Undo
from . import resizes
from .compare import Comparison, compare
from .creation import new_instance
from .desired import (
    PAUSED,
    PRESENT,
    REBOOTED,
    RESTART,
    RUNNING,
    STOPPED,
    Desired,
)
from .moving import has_departed, refuse_migrating
from .plan import Step
from .planned import APPLIED_LIVE, APPLIED_PENDING, APPLIED_RESTART, Planned, predict, state_change
from .power import STATE_OF, Power, settled
from .resize_ends import ResizeEndsPlanner
from .updates import UNFELT, UpdatesPlanner


class Planner(UpdatesPlanner, ResizeEndsPlanner):
    """Makes plans for instances on one host."""

    # -- instances that are not there -------------------------------------------------------------------------------

    def plan_removal(self, wanted: Desired, current: Instance | None, remains: bool) -> Planned:
        """Make sure that it is gone, with what an interrupted removal left."""
        planned = Planned(wanted, before=current)
        driver, name = self.driver, wanted.name
        if current is None:
            if remains:
                planned.plan.steps.append(self._remove(planned, OWN, f"remove what an earlier removal of {name} left"))
            return planned
        self.refuse_locked(wanted, current)
        if wanted.delete_volumes == NONE:
            resizes.refuse_half_reverted(current)  # whose disks may be no more than what is kept of them
        if not (has_departed(current) and wanted.delete_volumes == NONE):
            refuse_migrating(current)
        if current.protected:
            raise InstanceProtected(
                f"instance {name!r} is protected against removal; give it protected: false first, with state: present"
            )
        state = current.power_state
        if wanted.shutdown.given and not current.unfinished and state not in power_state.OFF:
            planned.plan.steps.extend(Power(driver, name, wanted.shutdown).steps(state, STOPPED))
            state = power_state.SHUTOFF
        how = "" if state in power_state.OFF else f", which is {power_state.name(state)}"
        if current.unfinished:
            say = f"remove {name}, whose creation was interrupted, and all that it left"
        else:
            say = f"remove {name}{how}, {_VOLUMES[wanted.delete_volumes]}"
        planned.plan.steps.append(self._remove(planned, wanted.delete_volumes, say))
        planned.changes.append((state_change(current.power_state, None), APPLIED_LIVE))
        return planned

    def plan_creation(self, wanted: Desired, unfinished: Instance | None, remains: bool) -> Planned:
        """Make it, after removing what an interrupted run left of it."""
        driver, name = self.driver, wanted.name
        planned = Planned(wanted)
        steps = planned.plan.steps
        if unfinished is not None:
            steps.append(self._remove(planned, OWN, f"remove what an interrupted creation of {name} left"))
        elif remains:
            steps.append(self._remove(planned, OWN, f"remove what an interrupted removal of {name} left"))
        instance = new_instance(driver, wanted, self.identity)
        paused = wanted.state == PAUSED
        power_on = paused or wanted.state in (RUNNING, REBOOTED)
        paused_from_start = paused and driver.supports("start_paused")
        driver.require("spawn")

        def create() -> Undo:
            driver.spawn(instance, power_on=power_on, paused=paused_from_start)
            return lambda: _ignore(driver.destroy(name, OWN))

        size = f"{instance.memory_mb} MiB, {instance.vcpus} vCPU{'' if instance.vcpus == 1 else 's'}"
        how = ", and start it" + (" paused" if paused_from_start else "") if power_on else ""
        steps.append(Step(f"create {name} ({size}){how}", create))
        if paused and not paused_from_start:
            steps.extend(Power(driver, name, wanted.shutdown).steps(power_state.RUNNING, PAUSED))
        state = STATE_OF[wanted.state] if power_on else power_state.SHUTOFF
        planned.after = replace(instance, power_state=state, cloud_init=None)
        planned.started = power_on
        planned.changes.append((state_change(None, state), APPLIED_LIVE))
        self.plan_wait(planned, state)
        return planned

    # -- instances that are there -----------------------------------------------------------------------------------

    def plan_change(self, wanted: Desired, current: Instance, found: Comparison) -> Planned:
        """Make it as wanted, with as little as that takes."""
        planned = Planned(wanted, before=current, warnings=list(found.warnings))
        was_to_start = resizes.waits_for_start(current)
        current = self.clear_resize(planned, current)
        clearing = list(planned.plan.steps)
        was_to_start = was_to_start and bool(clearing)
        state, fields = current.power_state, found.fields
        goal = self._goal(wanted, planned.before or current, was_to_start)
        power = Power(self.driver, wanted.name, wanted.shutdown)
        steps = planned.plan.steps
        live: set[str] = set()
        resized = resizes.resized_fields(wanted, current, found)
        needs_off = bool(resized) or resizes.is_to_finish(wanted, current)
        if state in power_state.OFF or wanted.state == STOPPED:
            # What changes, changes while it is off; and a guest that runs can keep a resize from being cleared away.
            down = [] if state in power_state.OFF else power.steps(state, STOPPED)
            up = power.steps(power_state.SHUTOFF, goal)
            steps[:] = [*down, *clearing, *self.update_off(planned, current, found, resized, goal), *up]
            live = fields
            self._note(planned, found, live, APPLIED_LIVE)
        else:
            live = self.live(current, found, wanted) - resized if fields else set()
            waiting = fields - live
            cycle_for = waiting | (self._mentioned(wanted) & _ended_by_restart(current))
            if (cycle_for or needs_off) and (wanted.apply == RESTART or goal == REBOOTED):
                final = RUNNING if goal == REBOOTED else goal
                change = self.update_off(planned, current, found, resized, goal)
                steps[:] = [*power.steps(state, STOPPED), *clearing, *change, *self.restore(power, final)]
                planned.power_cycled = True
                self._note(planned, found, live, APPLIED_RESTART)
            else:
                if needs_off:
                    raise InvalidPowerState(
                        f"{wanted.where}revertible: {wanted.name!r} is {power_state.name(state)}, and a resize that "
                        "can be taken back needs it off; allow that with apply: restart, or stop it first"
                    )
                if found.grows and "disks" in waiting:
                    raise InvalidPowerState(
                        f"{wanted.where}{_growing_option(found)}: the root disk of {wanted.name!r} cannot grow "
                        f"while it is {power_state.name(state)}; allow that with apply: restart, or stop it first"
                    )
                moves = [] if wanted.state == PRESENT else power.steps(state, goal)
                steps += [*self.update(current, found, found.changes, live), *moves]
                planned.power_cycled = planned.rebooted = goal == REBOOTED
                self._note(planned, found, live, APPLIED_PENDING)
        if was_to_start and not resized and "disks" not in fields:
            steps[:] = [*steps[len(clearing) :], *clearing]  # which tells that it is to be started, until it is
        self._finish(planned, found, current, goal, live)
        return planned

    @staticmethod
    def _goal(wanted: Desired, current: Instance, was_to_start: bool) -> str:
        """The state in which it is afterwards. A run that was killed when it had stopped the instance to resize it, or
        to take that back, has left word of whether it was to run."""
        if wanted.state != PRESENT:
            return wanted.state
        if was_to_start:
            return RUNNING
        record = current.resize
        if wanted.revertible and record is not None and record.phase in (KEEPING, CHANGING):
            return RUNNING if resizes.runs_afterwards(current) else settled(current.power_state)
        return settled(current.power_state)

    def _finish(self, planned: Planned, found: Comparison, current: Instance, goal: str, live: set[str]) -> None:
        wanted = planned.wanted
        stays = settled(current.power_state) == goal and not planned.power_cycled
        on_its_way = current.power_state == power_state.SHUTDOWN and goal == wanted.state
        final = current.power_state if (stays and not on_its_way) or not planned.plan else STATE_OF[goal]
        if settled(current.power_state) != settled(final):
            planned.changes.append((state_change(current.power_state, final), APPLIED_LIVE))
        if planned.plan:
            self.refuse_locked(wanted, current, found, stays)
            self.refuse_disturbance(current)
            was_off = current.power_state in power_state.OFF or (planned.power_cycled and wanted.state != REBOOTED)
            planned.started = was_off and final in power_state.ACTIVE
            planned.after = predict(current, found, final, live, was_off)
            planned.after.resize = planned.resize or current.resize
        else:
            planned.after = current
        self.plan_wait(planned, final)

    @staticmethod
    def _mentioned(wanted: Desired) -> set[str]:
        fields = {name for name, value in vars(wanted.instance).items() if value not in (None, {}) and name != "name"}
        if wanted.disks is not None or wanted.root_bytes is not None:
            fields.add("disks")
        return fields

    @staticmethod
    def _note(planned: Planned, found: Comparison, live: set[str], otherwise: str) -> None:
        for change in found.changes:
            at_once = change.field in (UNFELT if otherwise == APPLIED_RESTART else live)
            planned.changes.append((change, APPLIED_LIVE if at_once else otherwise))

    def _remove(self, planned: Planned, delete_volumes: str, say: str) -> Step:
        def remove() -> None:
            planned.removed += self.driver.destroy(planned.name, delete_volumes)

        return Step(say, remove)


_VOLUMES = {
    "own": "and the volumes that were made for it",
    "all": "and all volumes that only it uses",
    "none": "and keep its volumes",
}


def _ended_by_restart(current: Instance) -> set[str]:
    """Fields whose change is in force after a restart. A guest that holds more memory than it should, within what it
    may have, starts with just as much again: it has no balloon driver, or gives the memory back in a moment."""
    pending = set(current.pending)
    if "memory_mb" in pending and "max_memory_mb" not in pending:
        running, configured = current.pending["memory_mb"]
        if running > configured:
            pending.remove("memory_mb")
    return pending


def compared(driver: ComputeDriver, wanted: Desired, current: Instance) -> Comparison:
    """How it differs; problems of the kind that no run can solve are raised.

    Raises:
        InvalidInput: the task asks for what cannot be.
    """
    found = compare(current, wanted, driver.differing_extras, driver.name)
    if found.problems:
        raise InvalidInput(found.problems)
    return found


def _growing_option(found: Comparison) -> str:
    return next(change.option for change in found.changes if change.field == "disks")


def _ignore(_value: Iterable[str]) -> None:
    """An undo action returns nothing."""
