# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plans for instances have in common."""

from __future__ import annotations

from ..driver.base import ComputeDriver
from ..errors import InstanceLocked, InvalidPowerState
from ..model import power_state
from ..model.instance import Instance
from . import resizes
from .compare import Comparison
from .desired import FOR_STATE, PAUSED, RUNNING, STOPPED, Desired
from .moving import refuse_migrating
from .plan import Step
from .planned import Planned
from .power import Power
from .wait import GuestWait


class PlannerBase:
    """Makes plans for instances on one host."""

    def __init__(self, driver: ComputeDriver) -> None:
        self.driver = driver
        self._identity: str | None = None

    def identity(self) -> str:
        """The host's; asked for once, and only when it is needed."""
        if self._identity is None:
            self._identity = self.driver.host_identity()
        return self._identity

    def plan_wait(self, planned: Planned, state: int) -> None:
        """Wait for the guest, when all else is done, as the task says."""
        wanted = planned.wanted
        if wanted.wait.what == FOR_STATE:
            return
        if state not in power_state.EXECUTING:
            raise InvalidPowerState(
                f"{wanted.where}wait.for: {wanted.wait.what} never comes while {wanted.name!r} is "
                f"{power_state.name(state)}; ask for state: running beside it"
            )
        nics = planned.after.nics if planned.after is not None else None
        macs = [nic.mac for nic in nics or [] if nic.mac]
        planned.wait = GuestWait(self.driver, wanted, macs, planned.started, planned.rebooted)

    @staticmethod
    def restore(power: Power, goal: str) -> list[Step]:
        """From off to how it was."""
        if goal == STOPPED:
            return []
        if goal in (RUNNING, PAUSED):
            return power.steps(power_state.SHUTOFF, goal)
        return [*power.steps(power_state.SHUTOFF, RUNNING), *power.steps(power_state.RUNNING, goal)]

    @staticmethod
    def refuse_disturbance(current: Instance) -> None:
        """Raise when the instance is in the middle of something that a change would spoil."""
        refuse_migrating(current)
        resizes.refuse_half_reverted(current)

    @staticmethod
    def refuse_locked(wanted: Desired, current: Instance, found: Comparison | None = None, stays: bool = False) -> None:
        """Raise InstanceLocked when the instance refuses changes and the task does not go past that."""
        if not current.locked or wanted.override_lock:
            return
        unlocks = found is not None and wanted.instance.locked is False
        if unlocks and stays and found is not None and found.fields == {"locked"}:
            return
        hint = "; unlock it in a task of its own first" if unlocks else ""
        raise InstanceLocked(
            f"instance {wanted.name!r} is locked against changes; override_lock: true goes past it{hint}"
        )
