# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of security groups and of the operator as nwfilter has them."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, Union
from xml.etree.ElementTree import Element

from ....model.secgroup import ANY, ICMP, ICMPV6, INGRESS, TCP, UDP, ProviderRule, Rule
from .filterxml import FROM_GUEST, NO_STATE, TO_GUEST, add_rule

_BY_NUMBER = {"6": TCP, "17": UDP, "50": "esp", "51": "ah", "132": "sctp", "136": "udplite"}
_NAMES = {ANY: "all", **_BY_NUMBER, **{name: name for name in _BY_NUMBER.values()}}
_ONE_FAMILY = {ICMP: 4, "1": 4, "2": 4, ICMPV6: 6, "58": 6}
_ONE_FAMILY_NAMES = {ICMP: ICMP, "1": ICMP, "2": "igmp", ICMPV6: ICMPV6, "58": ICMPV6}

PROVIDER_PRIORITIES = 800
_FIRST_PROVIDER_PRIORITY = -900
_PROJECT_PRIORITY = 50
_GROUP_PRIORITY = 100


class _Network(NamedTuple):
    """The other side; None for all of a version of IP."""

    family: int
    address: str | None = None
    prefix: int | None = None


def protocol_name(protocol: str, family: int) -> str | None:
    """What nwfilter calls a protocol; None where it has no name for it."""
    if protocol in _ONE_FAMILY:
        return _ONE_FAMILY_NAMES[protocol] if _ONE_FAMILY[protocol] == family else None
    name = _NAMES.get(protocol)
    return name if name is None or family == 4 else f"{name}-ipv6"


def cannot_be_said(rule: Rule) -> bool:
    """Whether nwfilter has no words for the rule."""
    return any(protocol_name(rule.protocol, family) is None for family in rule.families)


def add_group_rules(root: Element, rules: Iterable[Rule], members: Mapping[str, Collection[str]]) -> None:
    """Let through what rules of a group say. One that nwfilter has no words for is left out: another engine enforces
    it, or it was refused."""
    for rule in rules:
        for network in _networks(rule, members):
            _add(root, "accept", _GROUP_PRIORITY, rule, network)


def add_project_rules(root: Element, addresses: Collection[str]) -> None:
    """Let in all that comes from these addresses."""
    for network in _collapsed(addresses):
        _add(root, "accept", _PROJECT_PRIORITY, Rule(INGRESS), network)


def add_provider_rules(root: Element, rules: Sequence[ProviderRule]) -> None:
    """The operator's rules, the first that fits decides. Neighbours with the same action share a priority: among them
    the order does not matter, and libvirt has room for few priorities."""
    for number, (action, same) in enumerate(groupby(rules, key=lambda rule: rule.action)):
        for rule in same:
            for network in _networks(rule.rule, {}):
                _add(root, action, _FIRST_PROVIDER_PRIORITY + number, rule.rule, network)


def provider_changes(rules: Sequence[ProviderRule]) -> int:
    """How many priorities the operator's rules need."""
    return sum(1 for _same in groupby(rules, key=lambda rule: rule.action))


def _networks(rule: Rule, members: Mapping[str, Collection[str]]) -> list[_Network]:
    if rule.group is not None:
        return [network for network in _collapsed(members.get(rule.group, ())) if network.family in rule.families]
    if rule.cidr is not None:
        return _collapsed([rule.cidr])
    return [_Network(family) for family in rule.families]


def _collapsed(addresses: Iterable[str]) -> list[_Network]:
    """The same addresses in as few networks as there can be."""
    parsed = [ipaddress.ip_network(address, strict=False) for address in addresses]
    v4 = [network for network in parsed if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in parsed if isinstance(network, ipaddress.IPv6Network)]
    return [*map(_network, ipaddress.collapse_addresses(v4)), *map(_network, ipaddress.collapse_addresses(v6))]


def _network(network: Union[ipaddress.IPv4Network, ipaddress.IPv6Network]) -> _Network:
    if network.prefixlen == 0:
        return _Network(network.version)
    return _Network(network.version, str(network.network_address), network.prefixlen)


def _add(root: Element, action: str, priority: int, rule: Rule, network: _Network) -> None:
    protocol = protocol_name(rule.protocol, network.family)
    if protocol is None:
        return
    side = "src" if rule.direction == INGRESS else "dst"
    add_rule(
        root,
        action,
        TO_GUEST if rule.direction == INGRESS else FROM_GUEST,
        priority,
        protocol,
        **{"state": NO_STATE, f"{side}ipaddr": network.address, f"{side}ipmask": network.prefix},
        dstportstart=rule.port_min,
        dstportend=rule.port_max,
        type=rule.icmp_type,
        code=rule.icmp_code,
    )
