# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups that name each other, in all ways, are removed in an order that works, or not at all."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from typing import cast

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver, GroupUses
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError, SecurityGroupInUse
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import Rule, SecurityGroup
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroup_options import DesiredGroup
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroup_plans import planned_groups
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo

NAMES = "abcdef"


class Host:
    """Only keeps groups, and refuses as drivers do. ``fail_at`` counts the changes."""

    def __init__(self, groups: dict[str, SecurityGroup]) -> None:
        self.groups = dict(groups)
        self.fail_at = 0

    def define_security_group(self, group: SecurityGroup) -> Undo:
        return self._put(group.name, group)

    def delete_security_group(self, name: str) -> Undo:
        if any(name in group.refers_to for other, group in self.groups.items() if other != name):
            raise SecurityGroupInUse(name)
        return self._put(name, None)

    def _put(self, name: str, group: SecurityGroup | None) -> Undo:
        self.fail_at -= 1
        if self.fail_at == 0:
            raise AnyvirtError("no")
        before = self.groups.pop(name, None)
        if group is not None:
            self.groups[name] = group

        def undo() -> None:
            self.groups.pop(name, None)
            if before is not None:
                self.groups[name] = before

        return undo


def naming(name: str, others: Collection[str]) -> SecurityGroup:
    return SecurityGroup(name, tuple(Rule("ingress", group=other) for other in others))


def world(chance: random.Random) -> tuple[dict[str, SecurityGroup], list[DesiredGroup], dict[str, GroupUses]]:
    """Some groups, which of them are to go, and those in which instances are."""
    groups = {name: naming(name, chance.sample(NAMES, chance.randrange(4))) for name in NAMES}
    leaving = chance.sample(NAMES, chance.randrange(1, 7))
    uses = {name: GroupUses(("web1",) if chance.random() < 0.1 else ()) for name in leaving}
    return groups, [DesiredGroup("", name, "absent") for name in leaving], uses


def have_to_stay(groups: dict[str, SecurityGroup], wanted: list[DesiredGroup], uses: dict[str, GroupUses]) -> set[str]:
    """Those that are not to go, those with instances, and all that these name, and so on."""
    staying = set(groups) - {item.name for item in wanted} | {name for name, use in uses.items() if use.instances}
    while True:
        named = set().union(*(groups[name].refers_to for name in staying)) - staying
        if not named:
            return staying
        staying |= named


@pytest.mark.parametrize("seed", range(100))
def test_whatever_can_go_goes(seed: int):
    groups, wanted, uses = world(random.Random(seed))
    host = Host(groups)
    planned, units = planned_groups(cast(FirewallDriver, host), wanted, groups, uses)
    for unit in units:
        unit.plan.run()
    staying = have_to_stay(groups, wanted, uses)
    assert set(host.groups) == staying
    assert {item.wanted.name for item in planned if item.unit.error is None} == set(groups) - staying
    assert all(host.groups[name] == groups[name] for name in staying)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("fail_at", [1, 2, 3, 4])
def test_a_failure_leaves_whole_groups(seed: int, fail_at: int):
    groups, wanted, uses = world(random.Random(seed))
    host = Host(groups)
    planned, units = planned_groups(cast(FirewallDriver, host), wanted, groups, uses)
    host.fail_at = fail_at
    for unit in units:
        try:
            unit.plan.run()
        except AnyvirtError as error:
            unit.error = error
            assert not error.not_undone
    assert all(group == groups[name] for name, group in host.groups.items())
    assert {item.wanted.name for item in planned if item.unit.error is None} == set(groups) - set(host.groups)


def test_groups_are_changed_before_others_are_removed():
    groups = {"a": naming("a", "b"), "b": naming("b", "a")}
    host = Host(groups)
    wanted = [DesiredGroup("", "b", "absent"), DesiredGroup("", "a", rules=())]
    _planned, units = planned_groups(cast(FirewallDriver, host), wanted, groups, {"b": GroupUses()})
    for unit in units:
        unit.plan.run()
    assert set(host.groups) == {"a"}


@pytest.mark.parametrize("is_ring", [True, False])
@pytest.mark.parametrize("from_the_end", [True, False])
def test_many_groups_cost_little(is_ring: bool, from_the_end: bool):
    """Neither long chains nor large rings."""
    names = [f"g{number}" for number in range(1500)]
    groups = {name: naming(name, [other]) for name, other in zip(names, [*names[1:], *names[:1]])}
    if not is_ring:
        groups[names[-1]] = naming(names[-1], [])
    wanted = [DesiredGroup("", name, "absent") for name in (reversed(names) if from_the_end else names)]
    started = time.process_time()
    planned, units = planned_groups(cast(FirewallDriver, Host(groups)), wanted, groups, {})
    assert time.process_time() - started < 3
    assert [planned[0].unit, planned[-1].unit] == [units[-1 if from_the_end else 0], units[0 if from_the_end else -1]]
    assert len(units) == (1 if is_ring else len(names))
