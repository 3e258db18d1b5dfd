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
    staying = {name: group for name, group in current.items() if all(name != item.wanted.name for item in leaving)}
    staying.update({item.wanted.name: item.after for item in planned if item.after is not None and item.steps})
    removable = _refuse_those_in_use(leaving, staying, uses)
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
    leaving: Sequence[PlannedGroup], staying: Mapping[str, SecurityGroup], uses: Mapping[str, GroupUses]
) -> list[PlannedGroup]:
    """Those that can go. One that has to stay holds those that its rules name."""
    removable = list(leaving)
    left = dict(staying)
    while True:
        refused = [item for item in removable if _refuse(item, left, uses)]
        if not refused:
            return removable
        removable = [item for item in removable if item.unit.error is None]
        left.update({item.wanted.name: item.before for item in refused if item.before is not None})


def _refuse(item: PlannedGroup, staying: Mapping[str, SecurityGroup], uses: Mapping[str, GroupUses]) -> bool:
    name = item.wanted.name
    reasons = []
    instances = uses[name].instances if name in uses else ()
    groups = sorted(other for other, group in staying.items() if name in group.refers_to)
    if instances:
        reasons.append(f"in it are the instances {_names(instances)}; take them out first")
    if groups:
        reasons.append(f"rules of the groups {_names(groups)} name it; take these away first, or with the same task")
    if reasons:
        item.unit.error = SecurityGroupInUse(f"the security group {name!r} is in use: {', and '.join(reasons)}")
    return bool(reasons)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _plan_removals(driver: FirewallDriver, removable: Sequence[PlannedGroup]) -> list[Unit]:
    """Who names others goes before these; those that name each other, in one unit, lose such rules first."""
    by_name = {item.wanted.name: item for item in removable}
    naming = {name: item.before.refers_to & by_name.keys() for name, item in by_name.items() if item.before is not None}
    reached = {name: _reachable(name, naming) for name in by_name}
    todo = list(by_name)
    units = []
    while todo:
        first = next(
            name for name in todo if all(name not in reached[other] or other in reached[name] for other in todo)
        )
        ring = [name for name in todo if name == first or (name in reached[first] and first in reached[name])]
        todo = [name for name in todo if name not in ring]
        units.append(_plan_ring(driver, [by_name[name] for name in ring]))
    return units


def _reachable(name: str, naming: Mapping[str, Collection[str]]) -> set[str]:
    """The groups that its rules name, and theirs, and so on."""
    found: set[str] = set()
    level = set(naming[name])
    while level:
        found |= level
        level = {other for one in level for other in naming[one]} - found
    return found


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
