# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task says of one instance's place behind a firewall: its groups, its project, the addresses it may use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..model.instance import Instance
from ..model.secgroup import NO_FIREWALL
from .desired import Desired
from .validate import Reader

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from .compare import Comparison

DEFAULT_FIREWALL = "default"
"""Whatever the hypervisor filters with: None in the model, where None also stands for what is not mentioned."""

FIREWALLS = (DEFAULT_FIREWALL, "nwfilter", "nftables", "iptables", NO_FIREWALL)

_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(/\d{1,3})?", re.ASCII)


def problem_with_group_name(name: str) -> str | None:
    """Why this cannot be the name of a security group or a project."""
    if _GROUP_NAME.fullmatch(name):
        return None
    return (
        f"{name!r} is not a name: it has to begin with a letter or digit and has at most 63 letters, digits, "
        "dots, dashes and underscores"
    )


def network_of(given: Any, strict: bool = True) -> IPv4Network | IPv6Network:
    """An IP address or a network, as people write them; where it is not ``strict`` it may have host bits.

    Raises:
        ValueError: it is none, or has a zone. A zone may be any text, and engines make filters of what is let in here.
    """
    import ipaddress  # takes long to import, and few tasks need it

    text = given if isinstance(given, str) else repr(given)
    if not _NETWORK.fullmatch(text):
        raise ValueError(f"{text!r} does not appear to be an IPv4 or IPv6 network")
    return ipaddress.ip_network(text, strict)


def read_filtering(reader: Reader, instance: Instance) -> None:
    """The options ``firewall``, ``security_groups``, ``project`` and ``allow_project_net_traffic``."""
    instance.firewall = reader.choice("firewall", FIREWALLS)
    instance.security_groups = _read_groups(reader)
    instance.project = reader.text("project")
    if instance.project:  # an empty one takes it away
        problem = problem_with_group_name(instance.project)
        if problem:
            reader.complain("project", problem)
    instance.allow_project_net_traffic = reader.truth("allow_project_net_traffic")


def read_addresses(reader: Reader) -> list[str] | None:
    """The option ``addresses`` of a NIC, sorted and in the shortest form of each; an empty list where it is empty."""
    entries = reader.entries("addresses")
    if entries is None:
        return None
    found: list[str] = []
    for number, given in enumerate(entries):
        option = f"addresses[{number}]"
        try:
            network = network_of(given)
        except ValueError as error:
            reader.complain(option, f"is not an IP address or a network in CIDR notation: {error}")
            continue
        single = network.num_addresses == 1
        text = str(network.network_address) if single else str(network)
        if single and (network.is_multicast or network.is_unspecified or network.is_loopback):
            reader.complain(option, f"{text} is no address that a guest can have")
        elif text in found:
            reader.complain(option, f"{text} is there twice")
        else:
            found.append(text)
    return sorted(found)


def compare_filtering(current: Instance, wanted: Desired, found: Comparison) -> None:
    """Groups have no order. What makes no sense together is a problem."""
    asked = wanted.instance
    if asked.security_groups is not None and asked.security_groups != sorted_or_none(current.security_groups):
        new = asked.security_groups
        found.add("security_groups", "security_groups", current.security_groups, new, new)
    _compare_firewall(current, asked, found)
    for name, usual in _UNLESS_SAID.items():
        old, value = getattr(current, name), getattr(asked, name)
        if value is not None and value != (usual if old is None else old):
            found.add(name, name, old, value, value)
    for option, message in _contradictions(
        asked,
        current.security_groups if asked.security_groups is None else asked.security_groups,
        current.project if asked.project is None else asked.project,
    ):
        found.refuse(wanted.where + option, message)


def contradictions_of_new(asked: Instance) -> list[tuple[str, str]]:
    """What makes no sense together in a new instance: options, each with what is wrong."""
    return _contradictions(asked, asked.security_groups, asked.project)


def sorted_or_none(groups: list[str] | None) -> list[str] | None:
    """Groups in the order in which they are compared and kept."""
    return None if groups is None else sorted(groups)


def engine_of_new(asked: Instance) -> str | None:
    """What filters a new instance; None leaves it to the driver."""
    return None if asked.firewall == DEFAULT_FIREWALL else asked.firewall


_UNLESS_SAID = {"project": "", "allow_project_net_traffic": False}


def _compare_firewall(current: Instance, asked: Instance, found: Comparison) -> None:
    """With groups and without an engine's name it is filtered all the same, in the way that ``default`` asks for."""
    new = asked.firewall
    if new == DEFAULT_FIREWALL:
        differs = current.firewall == NO_FIREWALL
    elif new == NO_FIREWALL and current.security_groups is None:
        differs = current.firewall not in (None, NO_FIREWALL)
    else:
        differs = new is not None and new != current.firewall
    if differs:
        found.add("firewall", "firewall", current.firewall, new, engine_of_new(asked))


def _contradictions(asked: Instance, groups: list[str] | None, project: str | None) -> list[tuple[str, str]]:
    problems = []
    if asked.firewall not in (None, NO_FIREWALL) and groups is None:
        problems.append(
            ("firewall", "needs security_groups; an empty list protects against spoofing, and lets nothing in")
        )
    if asked.allow_project_net_traffic and not project:
        problems.append(("allow_project_net_traffic", "needs project, which tells whose traffic is let in"))
    if asked.allow_project_net_traffic and groups is None:
        problems.append(("allow_project_net_traffic", "needs security_groups; without, everything comes in anyway"))
    return problems


def _read_groups(reader: Reader) -> list[str] | None:
    entries = reader.entries("security_groups")
    if entries is None:
        return None
    groups: list[str] = []
    for number, name in enumerate(entries):
        option = f"security_groups[{number}]"
        problem = problem_with_group_name(str(name))
        if problem:
            reader.complain(option, problem)
        elif str(name) in groups:
            reader.complain(option, f"{str(name)!r} is there twice")
        else:
            groups.append(str(name))
    return sorted(groups)
