# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be done for security groups to be as a task wants them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..driver.firewall import FirewallDriver, GroupUses
from ..errors import AnyvirtError, SecurityGroupInUse
from ..model.secgroup import SecurityGroup
from .plan import Plan, Step
from .rings import rings_in_order
from .secgroup_options import ABSENT, PRESENT, DesiredGroup
from .secgroup_rules import rule_as_dict

_NAMED = 5
"""How many users of a group a message names."""


@dataclass
class Unit:
    """What is done wholly or not at all.

    Attributes:
        error: Why it cannot be done, or why it failed.
    """

    plan: Plan = field(default_factory=Plan)
    error: AnyvirtError | None = None


@dataclass
class PlannedGroup:
    """What is to be done for one group, and what comes of it.

    Attributes:
        unit: Of which its steps are a part; groups that name each other are removed in one.
        changes: Option, value before, value after.
    """

    wanted: DesiredGroup
    before: SecurityGroup | None
    after: SecurityGroup | None
    unit: Unit = field(default_factory=Unit)
    steps: list[Step] = field(default_factory=list)
    changes: list[tuple[str, Any, Any]] = field(default_factory=list)

    def add(self, step: Step) -> None:
        """One more step, of this group and of its unit."""
        self.steps.append(step)
        self.unit.plan.steps.append(step)


def planned_groups(
    driver: FirewallDriver,
    wanted: Iterable[DesiredGroup],
    current: Mapping[str, SecurityGroup],
    uses: Mapping[str, GroupUses],
) -> tuple[list[PlannedGroup], list[Unit]]:
    """A plan for each group, in the order of the task, and the units in the order in which they are to be carried out.

    Args:
        uses: Who needs the groups that are to go.
    """
    planned = []
    for item in wanted:
        now = current.get(item.name)
        planned.append(PlannedGroup(item, now, now))
        if item.state == PRESENT:
            _plan_definition(driver, planned[-1])
    units = [item.unit for item in planned if item.steps]
    leaving = [item for item in planned if item.wanted.state == ABSENT and item.before is not None]
    staying = {**current, **{item.wanted.name: item.after for item in planned if item.after is not None}}
    for gone in leaving:
        del staying[gone.wanted.name]
    removable = _refuse_those_in_use(leaving, staying.values(), uses)
    return planned, units + _plan_removals(driver, removable)


# -- definitions ----------------------------------------------------------------------------------------------------


def _plan_definition(driver: FirewallDriver, planned: PlannedGroup) -> None:
    now, group = planned.before, planned.wanted.wanted(planned.before)
    if now == group:
        return
    planned.after = group
    if now is None:
        planned.changes.append(("state", ABSENT, PRESENT))
        say = f"create the security group {group.name} with {_count(group.rules)}"
    else:
        say = f"change the security group {group.name}: {_differences(planned, now, group)}"
    planned.add(Step(say, lambda: driver.define_security_group(group)))


def _differences(planned: PlannedGroup, now: SecurityGroup, group: SecurityGroup) -> str:
    """Notes the changes; says them in words."""
    words = []
    before, after = set(now.rules), set(group.rules)
    added = [rule for rule in group.rules if rule not in before]
    removed = [rule for rule in now.rules if rule not in after]
    if added or removed:
        planned.changes.append(("rules", [rule_as_dict(rule) for rule in removed], [rule_as_dict(r) for r in added]))
        if added:
            words.append(f"add {_count(added)}")
        if removed:
            words.append(f"take away {_count(removed)}")
    if now.description != group.description:
        planned.changes.append(("description", now.description, group.description))
        words.append("another description")
    return ", ".join(words)


def _count(rules: Sequence[object]) -> str:
    return "1 rule" if len(rules) == 1 else f"{len(rules)} rules"


# -- removals -------------------------------------------------------------------------------------------------------


def _refuse_those_in_use(
    leaving: Sequence[PlannedGroup], staying: Iterable[SecurityGroup], uses: Mapping[str, GroupUses]
) -> list[PlannedGroup]:
    """Those that can go. One that has to stay holds those that its rules name."""
    named_by: dict[str, set[str]] = {item.wanted.name: set() for item in leaving}
    _note_names(staying, named_by)
    removable, asked = list(leaving), list(leaving)
    while asked:
        refused = [item for item in asked if _refuse(item, named_by[item.wanted.name], uses)]
        removable = [item for item in removable if item.unit.error is None]
        found = _note_names([item.before for item in refused if item.before is not None], named_by)
        asked = [item for item in removable if item.wanted.name in found]
    return removable


def _note_names(groups: Iterable[SecurityGroup], named_by: Mapping[str, set[str]]) -> set[str]:
    """Note which of the groups in ``named_by`` these name; which they are."""
    found = set()
    for group in groups:
        for name in group.refers_to & named_by.keys():
            named_by[name].add(group.name)
            found.add(name)
    return found


def _refuse(item: PlannedGroup, named_by: Collection[str], uses: Mapping[str, GroupUses]) -> bool:
    name = item.wanted.name
    reasons = []
    instances = uses[name].instances if name in uses else ()
    if instances:
        reasons.append(f"in it are the instances {_names(instances)}; take them out first")
    if named_by:
        reasons.append(
            f"rules of the groups {_names(sorted(named_by))} name it; take these away first, or with the same task"
        )
    if reasons:
        item.unit.error = SecurityGroupInUse(f"the security group {name!r} is in use: {', and '.join(reasons)}")
    return bool(reasons)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _plan_removals(driver: FirewallDriver, removable: Sequence[PlannedGroup]) -> list[Unit]:
    """Who names others goes before these; those that name each other, in one unit, lose such rules first."""
    by_name = {item.wanted.name: item for item in removable}
    naming = {name: item.before.refers_to & by_name.keys() for name, item in by_name.items() if item.before is not None}
    return [_plan_ring(driver, [by_name[name] for name in ring]) for ring in rings_in_order(naming)]


def _plan_ring(driver: FirewallDriver, ring: Sequence[PlannedGroup]) -> Unit:
    unit = Unit()
    names = {item.wanted.name for item in ring}
    for number, item in enumerate(ring):
        item.unit = unit
        group = item.before
        if number and group is not None and group.refers_to & (names - {group.name}):
            _plan_stripping(driver, item, group, names - {group.name})
    for item in ring:
        _plan_deletion(driver, item)
    return unit


def _plan_stripping(driver: FirewallDriver, item: PlannedGroup, group: SecurityGroup, names: Collection[str]) -> None:
    stripped = replace(group, rules=tuple(rule for rule in group.rules if rule.group not in names))
    what = ", ".join(sorted(group.refers_to & set(names)))
    item.add(
        Step(
            f"take the rules about {what} out of the security group {group.name}, which goes too",
            lambda: driver.define_security_group(stripped),
        )
    )


def _plan_deletion(driver: FirewallDriver, item: PlannedGroup) -> None:
    name = item.wanted.name
    item.after = None
    item.changes.append(("state", PRESENT, ABSENT))
    item.add(Step(f"remove the security group {name}", lambda: driver.delete_security_group(name)))
