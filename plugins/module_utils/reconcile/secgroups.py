# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_secgroup: reads what is, compares, plans and applies, for all of a task's security groups at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..driver.firewall import FirewallDriver
from ..errors import AnyvirtError, InvalidInput, SecurityGroupNotFound
from ..undo import Undo
from .firewall import firewall_driver
from .plan import Step
from .secgroup_members import Reported, as_lists
from .secgroup_options import DesiredFirewall, read_firewall
from .secgroup_plans import PlannedGroup, Unit, planned_groups
from .secgroup_results import PlannedForHost, add_failures, result_of
from .secgroup_rules import provider_rules_as_dicts
from .secgroup_verify import verify
from .secgroup_world import KnownMembers, World, find_problems, read_world
from .task import Task
from .workers import run_chains


def reconcile_secgroups(task: Task) -> dict[str, Any]:
    """Make the security groups as the task wants them; the module's result."""
    driver = firewall_driver(task)
    wanted = read_firewall(task.params)
    driver.require("firewall")
    with driver:
        world = read_world(driver, wanted)
        problems = find_problems(driver, wanted, world)
        if problems:
            raise InvalidInput(problems)
        if wanted.provider:
            driver.require("provider_rules")
        planned, units = planned_groups(driver, wanted.groups, world.groups, world.uses)
        for_host = _plan_for_host(driver, wanted, world, task)
        if wanted.verify:
            return _verified(driver, wanted, world, planned, task)
        if not task.check_mode:
            _carry_out(driver, for_host, units, planned, task)
        return {**result_of(planned, for_host, task), "host": world.host, "members": as_lists(world.members)}


def _verified(
    driver: FirewallDriver, wanted: DesiredFirewall, world: World, planned: Sequence[PlannedGroup], task: Task
) -> dict[str, Any]:
    for item in planned:
        if item.before is None:
            item.unit.error = SecurityGroupNotFound(f"there is no security group {item.wanted.name!r} to be verified")
    found = verify(driver, wanted, world, task.check_mode)
    outcome = {**result_of(planned, [], task), **found.as_dict(), "host": world.host}
    outcome["members"] = as_lists(world.members)
    outcome["changed"] = outcome["changed"] or found.changed
    if found.error is not None:
        add_failures(outcome, [("verification", found.error)])
    return outcome


# -- planning -------------------------------------------------------------------------------------------------------


def _plan_for_host(driver: FirewallDriver, wanted: DesiredFirewall, world: World, task: Task) -> list[PlannedForHost]:
    """The operator's rules, and the members: groups that are changed afterwards have their right members at once."""
    planned = []
    if wanted.provider is not None:
        planned.append(_plan_provider(driver, wanted, world))
    if wanted.refreshes:
        planned.append(_plan_members(driver, wanted.reported or Reported({}), world, task))
    return planned


def _plan_provider(driver: FirewallDriver, wanted: DesiredFirewall, world: World) -> PlannedForHost:
    rules, now = wanted.provider or (), world.provider
    planned = PlannedForHost(
        "provider_rules",
        "operator's rules",
        provider_rules_as_dicts(now),
        provider_rules_as_dicts(rules),
        lambda: provider_rules_as_dicts(driver.get_provider_rules()),
    )
    if rules != now:
        count = f"{len(rules)} rule{'' if len(rules) == 1 else 's'} instead of {len(now)}"
        planned.unit.plan.steps.append(
            Step(f"set the operator's rules: {count}", lambda: driver.set_provider_rules(rules))
        )
    return planned


def _plan_members(driver: FirewallDriver, reported: Reported, world: World, task: Task) -> PlannedForHost:
    if reported.silent:
        forgotten = "; purge_members forgets no host therefore" if reported.purge else ""
        task.warn(
            f"members: {reported.silent} of the entries say nothing, since their hosts failed or were not asked; what "
            f"was known of these hosts stays{forgotten}"
        )
    if reported.doubtful:
        task.warn(
            f"members: entries do not say the same of {', '.join(reported.doubtful)}; if these are several hosts, each "
            "takes the others' members for its own, and does not know them: give each an identity of its own"
        )
    changes = reported.changes(world.remote, world.host)

    def told(known: KnownMembers, stale: Sequence[str]) -> dict[str, Any]:
        return {"hosts": {host: as_lists(known.get(host, {})) for host in sorted(changes)}, "stale": list(stale)}

    planned = PlannedForHost(
        "remote_members",
        "members on other hosts",
        told(world.remote, world.stale),
        told(changes, ()),
        lambda: told(driver.get_remote_members(), driver.stale_group_members()),
    )
    words = []
    if changes:
        words.append(f"take over the members of groups on {', '.join(sorted(changes))}")
    if world.stale:
        words.append(f"bring the members of {', '.join(world.stale)} up to date")

    def do() -> Undo | None:
        if changes:  # which brings the others up to date as well
            return driver.set_remote_members(changes)
        driver.refresh_security_group_members()
        return None

    if words:
        planned.unit.plan.steps.append(Step(", ".join(words), do))
    return planned


# -- applying -------------------------------------------------------------------------------------------------------


def _carry_out(
    driver: FirewallDriver,
    for_host: Sequence[PlannedForHost],
    units: Sequence[Unit],
    planned: Sequence[PlannedGroup],
    task: Task,
) -> None:
    todo = [unit for unit in (*(item.unit for item in for_host), *units) if unit.plan and unit.error is None]
    run_chains([todo], lambda unit: unit.plan.run(), 1)
    try:
        for item in for_host:
            if item.unit.error is not None:
                item.after = item.look()
        if any(item.steps for item in planned):
            seen = driver.get_security_groups()
            for group in planned:
                group.after = seen.get(group.wanted.name)
    except AnyvirtError as error:
        task.warn(f"what came of it could not be read: {error}")
