# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All definitions that a policy stands for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from xml.etree.ElementTree import Element

from ....model.secgroup import HostPolicy, Port, project_group
from ..domain_filters import filter_name
from .basefilters import BASE, base_filters, load_of
from .nicfilter import nic_filter
from .store import group_filter, group_filter_name, placeholder, project_filter, provider_filter


def policy_filters(
    policy: HostPolicy, before: Mapping[str, Element], bound: Collection[str] = ()
) -> dict[str, Element]:
    """The definitions by name, each after those that it refers to. Without ports there are only the declarations.

    Args:
        before: Those that are there. What has two forms keeps the one that it has.
        bound: The names of those of interfaces that libvirt filters now.
    """
    projects = {project_group(port.project) for port in policy.ports if port.allow_project and port.project is not None}
    undefined = {group for port in policy.ports for group in port.groups} - policy.groups.keys()
    wanted = [
        *(base_filters(load_of(before.get(BASE))) if policy.ports else ()),
        *([provider_filter(policy.provider)] if policy.ports or policy.provider else ()),
        *(project_filter(project, policy.members) for project in sorted(projects)),
        *(placeholder(group) for group in sorted(undefined) if group_filter_name(group) not in before),
        *(group_filter(group, policy.members) for _name, group in sorted(policy.groups.items())),
        *(_nic_filter(port, before, bound) for port in policy.ports),
    ]
    return {str(root.get("name")): root for root in wanted}


def _nic_filter(port: Port, before: Mapping[str, Element], bound: Collection[str]) -> Element:
    name = filter_name(port.mac)
    return nic_filter(port, before.get(name), name in bound)


def needed_by_ports(policy: HostPolicy) -> HostPolicy:
    """The policy without groups that none of its ports is in."""
    used = {group for port in policy.ports for group in port.groups}
    groups = {name: group for name, group in policy.groups.items() if name in used}
    return HostPolicy(policy.ports, groups, policy.provider, policy.members)
