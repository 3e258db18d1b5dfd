# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans that confirm a resize, or take it back."""

from __future__ import annotations

from dataclasses import replace

from ..model import power_state
from ..model.instance import Instance
from ..model.resize import REVERTED
from . import resizes
from .desired import RESIZE_CONFIRMED, RUNNING, STOPPED, Desired
from .moving import refuse_migrating
from .planned import APPLIED_LIVE, APPLIED_RESTART, Planned, resize_change, state_change
from .planning import PlannerBase
from .power import STATE_OF, Power, settled


class ResizeEndsPlanner(PlannerBase):
    """Plans the end of resizes."""

    def plan_end_of_resize(self, wanted: Desired, current: Instance) -> Planned:
        """Confirm an earlier resize, or take it back; nothing else."""
        planned = Planned(wanted, before=current, after=current)
        record, state, name = current.resize, current.power_state, current.name
        if record is None:
            self.plan_wait(planned, state)
            return planned
        driver, steps = self.driver, planned.plan.steps
        driver.require("resize_revertible")
        power = Power(driver, name, wanted.shutdown)
        final = state
        if wanted.state == RESIZE_CONFIRMED:
            resizes.refuse_half_reverted(current)
            resizes.refuse_half_resized(current)
        if record.is_over and not (record.phase == REVERTED and wanted.state != RESIZE_CONFIRMED):
            steps += resizes.clearing(driver, current)
        elif wanted.state == RESIZE_CONFIRMED:
            steps.append(resizes.confirming(driver, name))
        else:
            is_off = state in power_state.OFF
            if record.phase != REVERTED:
                steps += [] if is_off else [*resizes.noting(driver, current), *power.steps(state, STOPPED)]
                steps.append(resizes.going_back(driver, current))
            goal = RUNNING if resizes.runs_afterwards(current) else settled(state)
            steps += self.restore(power, goal) if is_off or record.phase != REVERTED else []
            steps.append(resizes.forgetting(driver, name))
            final = STATE_OF[goal]
            planned.power_cycled = not is_off and record.phase != REVERTED
            planned.started = planned.power_cycled or (is_off and goal != STOPPED)
        self._finish_resize(planned, current, final)
        return planned

    def _finish_resize(self, planned: Planned, current: Instance, final: int) -> None:
        self.refuse_locked(planned.wanted, current)
        refuse_migrating(current)
        back = planned.wanted.state != RESIZE_CONFIRMED and not (current.resize and current.resize.is_over)
        after = resizes.before_resize(current) if back else replace(current, resize=None)
        pending = {} if planned.power_cycled else current.pending
        planned.after = replace(after, power_state=final, pending=pending)
        applied = APPLIED_RESTART if planned.power_cycled else APPLIED_LIVE
        changes = resizes.changes_back(current) if back else []
        planned.changes += [(change, applied) for change in changes]
        planned.changes.append((resize_change(current, None), APPLIED_LIVE))
        if settled(current.power_state) != settled(final):
            planned.changes.append((state_change(current.power_state, final), APPLIED_LIVE))
        self.plan_wait(planned, final)

    def clear_resize(self, planned: Planned, current: Instance) -> Instance:
        """End a resize about which there is nothing to decide any more; the instance without it."""
        if current.migration is not None or (current.locked and not planned.wanted.override_lock):
            return current
        steps = list(resizes.clearing(self.driver, current))
        if not steps:
            return current
        planned.plan.steps += steps
        planned.changes.append((resize_change(current, None), APPLIED_LIVE))
        return replace(current, resize=None)
