# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done for one instance, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import AnyvirtError
from ..model import power_state
from ..model.instance import Instance
from ..model.resize import ResizeRecord
from .compare import Change, Comparison
from .desired import ABSENT, Desired
from .plan import Plan
from .wait import GuestWait

APPLIED_LIVE = "live"
APPLIED_PENDING = "pending"
APPLIED_RESTART = "restart"


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


def predict(current: Instance, found: Comparison, state: int, live: set[str], fresh: bool) -> Instance:
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


def resize_change(current: Instance, new: str | None) -> Change:
    return Change("resize", "resize", None if current.resize is None else current.resize.phase, new)


def state_change(old: int | None, new: int | None) -> Change:
    def word(state: int | None) -> str:
        return ABSENT if state is None else power_state.name(state)

    return Change("state", "power_state", word(old), word(new))


def say_change(change: Change) -> str:
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
