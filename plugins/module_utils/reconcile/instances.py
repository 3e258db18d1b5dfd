# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for instances: which steps lead from what is to what a task wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..driver.base import NONE, OWN, ComputeDriver
from ..errors import AnyvirtError, InstanceLocked, InstanceProtected, InvalidInput, InvalidPowerState
from ..model import power_state
from ..model.instance import Instance
from ..model.resize import REVERTED, ResizeRecord
from ..undo import Undo
from . import resizes
from .compare import Change, Comparison, compare
from .compare_nics import nic_as_dict
from .creation import new_instance, with_macs
from .desired import (
    ABSENT,
    FOR_STATE,
    NEXT_BOOT,
    PAUSED,
    PRESENT,
    REBOOTED,
    RESIZE_CONFIRMED,
    RESTART,
    RUNNING,
    STOPPED,
    Desired,
)
from .moving import has_departed, refuse_migrating
from .plan import Plan, Step
from .power import STATE_OF, Power, settled
from .wait import GuestWait

APPLIED_LIVE = "live"
APPLIED_PENDING = "pending"
APPLIED_RESTART = "restart"

UNFELT = frozenset(
    {
        *("metadata", "autostart", "description", "locked", "protected", "flavor", "image", "pool"),
        *("firewall", "security_groups", "project", "allow_project_net_traffic"),
    }
)
"""Fields that no guest ever feels, so they are in force at once whatever ``apply`` says."""


@dataclass
class Planned:
    """What is to be done for one instance, and what comes of it.

    Attributes:
        before: As it was; None when it did not exist.
        after: As it will be, as far as can be told beforehand; None when it will not exist.
        changes: Each with how it is applied: ``live``, ``pending`` or ``restart``.
        started: The plan starts it from off.
        rebooted: The plan reboots it in place, so that its console's log goes on.
        wait: What is waited for when the plan is done; None when there is nothing.
        removed: What a removal took away, in words; known when it is done.
        resize: What the plan remembers of a resize, so that it can be taken back.
        error: Why it cannot be done, or why it failed.
    """

    wanted: Desired
    before: Instance | None = None
    after: Instance | None = None
    plan: Plan = field(default_factory=Plan)
    changes: list[tuple[Change, str]] = field(default_factory=list)
    power_cycled: bool = False
    started: bool = False
    rebooted: bool = False
    wait: GuestWait | None = None
    addresses: list[Any] | None = None
    removed: list[str] = field(default_factory=list)
    resize: ResizeRecord | None = None
    warnings: list[str] = field(default_factory=list)
    error: AnyvirtError | None = None

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.wanted.name


class Planner:
    """Makes plans for instances on one host."""

    def __init__(self, driver: ComputeDriver) -> None:
        self.driver = driver
        self._identity: str | None = None

    def identity(self) -> str:
        """The host's; asked for once, and only when it is needed."""
        if self._identity is None:
            self._identity = self.driver.host_identity()
        return self._identity

    # -- instances that are not there -------------------------------------------------------------------------------

    def plan_removal(self, wanted: Desired, current: Instance | None, remains: bool) -> Planned:
        """Make sure that it is gone, with what an interrupted removal left."""
        planned = Planned(wanted, before=current)
        driver, name = self.driver, wanted.name
        if current is None:
            if remains:
                planned.plan.steps.append(self._remove(planned, OWN, f"remove what an earlier removal of {name} left"))
            return planned
        self._refuse_locked(wanted, current)
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
        planned.changes.append((_state_change(current.power_state, None), APPLIED_LIVE))
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
        planned.changes.append((_state_change(None, state), APPLIED_LIVE))
        self._plan_wait(planned, state)
        return planned

    # -- instances that are there -----------------------------------------------------------------------------------

    def plan_change(self, wanted: Desired, current: Instance, found: Comparison) -> Planned:
        """Make it as wanted, with as little as that takes."""
        planned = Planned(wanted, before=current, warnings=list(found.warnings))
        current = self._clear_resize(planned, current)
        state, fields = current.power_state, found.fields
        goal = settled(state) if wanted.state == PRESENT else wanted.state
        power = Power(self.driver, wanted.name, wanted.shutdown)
        steps = planned.plan.steps
        live: set[str] = set()
        resized = resizes.resized_fields(wanted, current, found)
        if state in power_state.OFF or wanted.state == STOPPED:
            # What changes, changes while it is off.
            down = [] if state in power_state.OFF else power.steps(state, STOPPED)
            up = power.steps(power_state.SHUTOFF, goal)
            steps += [*down, *self._update_off(planned, current, found, resized, goal), *up]
            live = fields
            self._note(planned, found, live, APPLIED_LIVE)
        else:
            live = self._live(current, found, wanted) - resized if fields else set()
            waiting = fields - live
            cycle_for = waiting | (self._mentioned(wanted) & _ended_by_restart(current))
            if cycle_for and (wanted.apply == RESTART or goal == REBOOTED):
                final = RUNNING if goal == REBOOTED else goal
                change = self._update_off(planned, current, found, resized, goal)
                steps += [*power.steps(state, STOPPED), *change, *self._restore(power, final)]
                planned.power_cycled = True
                self._note(planned, found, live, APPLIED_RESTART)
            else:
                if resized:
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
                steps += [*self._update(current, found, found.changes, live), *moves]
                planned.power_cycled = planned.rebooted = goal == REBOOTED
                self._note(planned, found, live, APPLIED_PENDING)
        self._finish(planned, found, current, goal, live)
        return planned

    def plan_end_of_resize(self, wanted: Desired, current: Instance) -> Planned:
        """Confirm an earlier resize, or take it back; nothing else."""
        planned = Planned(wanted, before=current, after=current)
        record, state, name = current.resize, current.power_state, current.name
        if record is None:
            self._plan_wait(planned, state)
            return planned
        driver, steps = self.driver, planned.plan.steps
        driver.require("resize_revertible")
        power = Power(driver, name, wanted.shutdown)
        final = state
        if wanted.state == RESIZE_CONFIRMED:
            resizes.refuse_half_reverted(current)
        if record.is_over and not (record.phase == REVERTED and wanted.state != RESIZE_CONFIRMED):
            steps += resizes.clearing(driver, current)
        elif wanted.state == RESIZE_CONFIRMED:
            steps.append(resizes.confirming(driver, name))
        else:
            is_off = state in power_state.OFF
            if record.phase != REVERTED:
                steps += [] if is_off else power.steps(state, STOPPED)
                steps.append(resizes.going_back(driver, current))
            goal = RUNNING if resizes.runs_afterwards(current) else settled(state)
            steps += self._restore(power, goal) if is_off or record.phase != REVERTED else []
            steps.append(resizes.forgetting(driver, name))
            final = STATE_OF[goal]
            planned.power_cycled = not is_off and record.phase != REVERTED
            planned.started = planned.power_cycled or (is_off and goal != STOPPED)
        self._finish_resize(planned, current, final)
        return planned

    def _finish_resize(self, planned: Planned, current: Instance, final: int) -> None:
        self._refuse_locked(planned.wanted, current)
        refuse_migrating(current)
        back = planned.wanted.state != RESIZE_CONFIRMED and not (current.resize and current.resize.is_over)
        after = resizes.before_resize(current) if back else replace(current, resize=None)
        pending = {} if planned.power_cycled else current.pending
        planned.after = replace(after, power_state=final, pending=pending)
        applied = APPLIED_RESTART if planned.power_cycled else APPLIED_LIVE
        changes = resizes.changes_back(current) if back else []
        planned.changes += [(change, applied) for change in changes]
        planned.changes.append((_resize_change(current, None), APPLIED_LIVE))
        if settled(current.power_state) != settled(final):
            planned.changes.append((_state_change(current.power_state, final), APPLIED_LIVE))
        self._plan_wait(planned, final)

    def _clear_resize(self, planned: Planned, current: Instance) -> Instance:
        """End a resize about which there is nothing to decide any more; the instance without it."""
        if current.locked and not planned.wanted.override_lock:
            return current
        steps = list(resizes.clearing(self.driver, current))
        if not steps:
            return current
        planned.plan.steps += steps
        planned.changes.append((_resize_change(current, None), APPLIED_LIVE))
        return replace(current, resize=None)

    @staticmethod
    def _refuse_disturbance(current: Instance) -> None:
        """Raise when the instance is in the middle of something that a change would spoil."""
        refuse_migrating(current)
        resizes.refuse_half_reverted(current)

    def _finish(self, planned: Planned, found: Comparison, current: Instance, goal: str, live: set[str]) -> None:
        wanted = planned.wanted
        stays = settled(current.power_state) == goal and not planned.power_cycled
        on_its_way = current.power_state == power_state.SHUTDOWN and goal == wanted.state
        final = current.power_state if (stays and not on_its_way) or not planned.plan else STATE_OF[goal]
        if settled(current.power_state) != settled(final):
            planned.changes.append((_state_change(current.power_state, final), APPLIED_LIVE))
        if planned.plan:
            self._refuse_locked(wanted, current, found, stays)
            self._refuse_disturbance(current)
            was_off = current.power_state in power_state.OFF or (planned.power_cycled and wanted.state != REBOOTED)
            planned.started = was_off and final in power_state.ACTIVE
            planned.after = _predict(current, found, final, live, was_off)
            planned.after.resize = planned.resize or current.resize
        else:
            planned.after = current
        self._plan_wait(planned, final)

    def _live(self, current: Instance, found: Comparison, wanted: Desired) -> set[str]:
        """The changed fields that are in force at once."""
        live = self.driver.live_options(current, found.desired, found.fields)
        if wanted.apply != NEXT_BOOT:
            return live
        # A disk cannot be told to grow later, and guests do not mind that it has grown already.
        only_grows = found.grows and not any(change.field == "disks" and change.old is None for change in found.changes)
        return live & (UNFELT | found.unfelt | ({"disks"} if only_grows else set()))

    def _update_off(
        self, planned: Planned, current: Instance, found: Comparison, resized: set[str], goal: str
    ) -> list[Step]:
        """All changes, of an instance that is off by then: first those that can be taken back."""
        off = replace(current, power_state=power_state.SHUTOFF)
        cut_short = resizes.is_cut_short(current) and planned.wanted.revertible
        if not resized and not cut_short:
            return self._update(off, found, found.changes, found.fields)
        self.driver.require("resize_revertible")
        driver, name = self.driver, current.name
        grown, _new = resizes.without_growth(current, found.desired)
        desired = replace(found.desired, disks=grown if "disks" in resized else None)
        record = planned.resize = resizes.record_of(planned.wanted, current, desired, goal)
        is_part = [
            change.field in resized and not (change.field == "disks" and change.old is None) for change in found.changes
        ]
        what = ", ".join(_say_change(change) for change, part in zip(found.changes, is_part) if part)
        say = f"resize {name} so that it can be taken back: {what}" if what else f"finish the resize of {name}"
        steps = [Step(say, lambda: driver.resize_revertibly(off, desired, resized, record))]
        rest = [change for change, part in zip(found.changes, is_part) if not part]
        if rest:
            values = {name: getattr(found.desired, name) for name in resized - {"disks"}}
            resized_now = replace(off, **values, disks=grown if "disks" in resized else off.disks)
            steps += self._update(resized_now, found, rest, {change.field for change in rest})
        return steps

    def _update(self, current: Instance, found: Comparison, changes: Sequence[Change], live: set[str]) -> list[Step]:
        """Those changes."""
        fields = {change.field for change in changes}
        if not fields:
            return []
        driver, desired = self.driver, found.desired
        self._complete(current, found)
        what = ", ".join(_say_change(change) for change in changes)
        later = sorted({change.option for change in changes if change.field not in live})
        note = f" (at its next start: {', '.join(later)})" if later else ""
        return [
            Step(
                f"change {current.name}: {what}{note}",
                lambda: driver.update_instance(current, desired, fields, live),
            )
        ]

    def _complete(self, current: Instance, found: Comparison) -> None:
        """Give new NICs their addresses."""
        nics = found.desired.nics
        if "nics" not in found.fields or nics is None:
            return
        taken = [nic.mac for nic in current.nics or [] if nic.mac]
        found.desired.nics = with_macs(current.name, nics, taken, self.identity)
        named = (new for nic, new in zip(nics, found.desired.nics) if nic.mac is None)
        for number, change in enumerate(found.changes):
            is_new = change.field == "nics" and change.old is None and isinstance(change.new, dict)
            if is_new and "mac" not in change.new:
                found.changes[number] = change._replace(new=nic_as_dict(next(named)))

    @staticmethod
    def _restore(power: Power, goal: str) -> list[Step]:
        """From off to how it was."""
        if goal == STOPPED:
            return []
        if goal in (RUNNING, PAUSED):
            return power.steps(power_state.SHUTOFF, goal)
        return [*power.steps(power_state.SHUTOFF, RUNNING), *power.steps(power_state.RUNNING, goal)]

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

    def _plan_wait(self, planned: Planned, state: int) -> None:
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

    def _remove(self, planned: Planned, delete_volumes: str, say: str) -> Step:
        def remove() -> None:
            planned.removed += self.driver.destroy(planned.name, delete_volumes)

        return Step(say, remove)

    @staticmethod
    def _refuse_locked(
        wanted: Desired, current: Instance, found: Comparison | None = None, stays: bool = False
    ) -> None:
        if not current.locked or wanted.override_lock:
            return
        unlocks = found is not None and wanted.instance.locked is False
        if unlocks and stays and found is not None and found.fields == {"locked"}:
            return
        hint = "; unlock it in a task of its own first" if unlocks else ""
        raise InstanceLocked(
            f"instance {wanted.name!r} is locked against changes; override_lock: true goes past it{hint}"
        )


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


def _predict(current: Instance, found: Comparison, state: int, live: set[str], fresh: bool) -> Instance:
    """The instance when the plan is done; ``fresh`` when it has been off meanwhile, so that nothing is pending."""
    values = {name: getattr(found.desired, name) for name in found.fields}
    cloud_init = values.pop("cloud_init", None)
    if cloud_init is not None:
        values["cloud_init_fingerprint"] = cloud_init.fingerprint()
    if "hypervisor" in values:
        values["hypervisor"] = _with_extras(current.hypervisor, values["hypervisor"])
    pending = {} if fresh or state in power_state.OFF else dict(current.pending)
    if not fresh and state not in power_state.OFF:
        for name in found.fields - live:
            pending[name] = (getattr(current, name, None), values.get(name))
    return replace(current, **values, power_state=state, pending=pending)


def _with_extras(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What only one hypervisor knows, after a change; of dictionaries, what is not mentioned stays."""
    extras = dict(current)
    for option, value in wanted.items():
        if isinstance(value, Mapping):
            whole = {**(current.get(option) or {}), **value}
            extras[option] = {key: item for key, item in whole.items() if item is not None}
        else:
            extras[option] = value
    return extras


def _resize_change(current: Instance, new: str | None) -> Change:
    return Change("resize", "resize", None if current.resize is None else current.resize.phase, new)


def _state_change(old: int | None, new: int | None) -> Change:
    def word(state: int | None) -> str:
        return ABSENT if state is None else power_state.name(state)

    return Change("state", "power_state", word(old), word(new))


def _say_change(change: Change) -> str:
    def short(value: Any) -> str:
        if isinstance(value, dict):
            return " ".join(f"{key}={item}" for key, item in value.items())
        text = str(value).replace("\n", " ")
        return text if len(text) <= 60 else text[:57] + "..."

    if change.old in (None, ""):
        return f"{change.option} {short(change.new)}"
    if change.new in (None, ""):
        return f"{change.option} without {short(change.old)}"
    return f"{change.option} {short(change.old)} -> {short(change.new)}"


def _growing_option(found: Comparison) -> str:
    return next(change.option for change in found.changes if change.field == "disks")


def _ignore(_value: Iterable[str]) -> None:
    """An undo action returns nothing."""
