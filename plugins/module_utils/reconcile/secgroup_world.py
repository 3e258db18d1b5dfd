# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's security groups are like before a task, and what can never be with them as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..driver.firewall import FirewallDriver, GroupUses
from ..errors import Problem
from ..model.secgroup import ProviderRule, SecurityGroup
from .secgroup_members import HostMembers
from .secgroup_options import ABSENT, PRESENT, DesiredFirewall, DesiredGroup

KnownMembers = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Host -> group -> addresses."""


@dataclass(frozen=True)
class World:
    """All of one moment.

    Attributes:
        host: This host's identity. ``members``: what it reports to the others.
        remote: What is known of the others.
        stale: Groups whose members on this host have other addresses than rules know.
        uses: Who needs the groups that are to go, or to be verified.
    """

    host: str
    groups: Mapping[str, SecurityGroup]
    members: HostMembers
    remote: KnownMembers
    stale: Sequence[str]
    provider: tuple[ProviderRule, ...]
    uses: Mapping[str, GroupUses]


def read_world(driver: FirewallDriver, wanted: DesiredFirewall) -> World:
    """Read what the task needs, and the members, which each result tells."""
    with driver.one_look():
        groups = driver.get_security_groups()
        asked = [item.name for item in wanted.groups if item.state != PRESENT and item.name in groups]
        return World(
            host=driver.host_identity(),
            groups=groups,
            members=driver.get_group_members(),
            remote=driver.get_remote_members() if wanted.refreshes else {},
            stale=driver.stale_group_members() if wanted.refreshes else (),
            provider=driver.get_provider_rules() if wanted.provider is not None else (),
            uses=driver.security_group_uses(asked) if asked else {},
        )


def find_problems(driver: FirewallDriver, wanted: DesiredFirewall, world: World) -> list[Problem]:
    """What can never be, here and now."""
    problems = _unknown_groups(wanted, world)
    for item in wanted.groups:
        if item.state == PRESENT:
            found = driver.check_security_group(item.wanted(world.groups.get(item.name)))
            problems += [Problem(item.where + option, message) for option, message in found]
    return problems


def _unknown_groups(wanted: DesiredFirewall, world: World) -> list[Problem]:
    leaving = {item.name: item for item in wanted.groups if item.state == ABSENT}
    known = {*world.groups, *(item.name for item in wanted.groups)}
    for host in (*world.remote.values(), *(wanted.reported.hosts.values() if wanted.reported else ())):
        known.update(host)
    problems = []
    for item in wanted.groups:
        if item.state != PRESENT:
            continue
        now = world.groups.get(item.name)
        for option, group in item.references():
            if group in leaving:
                problems.append(Problem(option, _is_leaving(group, leaving)))
            elif not (item.allow_unknown_groups or group in known or (now is not None and group in now.refers_to)):
                problems.append(
                    Problem(
                        option,
                        f"there is no security group {group!r}: none is defined on this host or by this task, and no "
                        "other host is known to have members of it; define it too, or give allow_unknown_groups: true",
                    )
                )
    return problems


def _is_leaving(group: str, leaving: Mapping[str, DesiredGroup]) -> str:
    where = leaving[group].where.rstrip(".") or "state"
    return f"the security group {group!r} is removed by {where} of the same task; take this rule or that entry away"
