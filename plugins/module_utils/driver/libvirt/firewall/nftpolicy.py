# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nftables engine has for ports, groups, members and the operator, beside its base."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ....model.secgroup import (
    ACCEPT,
    ANY,
    EGRESS,
    ICMP,
    ICMPV6,
    INGRESS,
    TCP,
    UDP,
    HostPolicy,
    Port,
    ProviderRule,
    Rule,
    SecurityGroup,
    project_group,
)
from .nftanswers import answer_sets
from .nftbase import EGRESS_OPERATOR, INGRESS_OPERATOR, base_chains, base_sets
from .nfttable import Chain, Element, NftRule, NftSet, Owner, Table, group_chain, member_set, port_chain, port_owner

_ETHER_TYPES = {4: "ip", 6: "ip6"}
_ADDRESS_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
_DIRECTIONS = {INGRESS: "in", EGRESS: "out"}
_FAMILIES = (4, 6)


def bridge_table(policy: HostPolicy) -> Table:
    """All that the policy asks of the bridge table."""
    ports = [port for port in policy.ports if port.device is not None]
    groups = [policy.groups.get(name, SecurityGroup(name, rules=())) for name in _used_groups(ports)]
    sets = {**base_sets(), **answer_sets()}
    for name, elements in _port_elements(ports).items():
        sets[name] = replace(sets[name], elements=elements)
    return Table(
        "bridge",
        {
            **base_chains(),
            **operator_chains(policy.provider),
            **group_chains(groups),
            **_port_chains(ports),
        },
        {**sets, **member_sets(referred_groups(ports, groups), policy.members)},
        group_counters(group.name for group in groups),
    )


def _used_groups(ports: Iterable[Port]) -> list[str]:
    return sorted({group for port in ports for group in port.groups})


def referred_groups(ports: Iterable[Port], groups: Iterable[SecurityGroup]) -> set[str]:
    """The groups whose members rules are about, the projects' groups among them."""
    names = {project_group(port.project) for port in ports if port.project is not None and port.allow_project}
    return names.union(*(group.refers_to for group in groups))


def port_owners(ports: Iterable[Port]) -> dict[str, Owner]:
    """Whose the devices are."""
    return {port.device: port_owner(port) for port in ports if port.device is not None}


def _port_elements(ports: Iterable[Port]) -> dict[str, frozenset[Element]]:
    found: dict[str, set[Element]] = {name: set() for name in base_sets()}
    for port in ports:
        device = str(port.device)
        found["ports"].add((device,))
        found["macs"].add((device, port.mac))
        for family, networks in _collapsed(port.addresses).items():
            found[f"addresses{family}"].update((device, network) for network in networks)
        if port.learns:
            found["learners"].add((device, str(int(port.mac.replace(":", ""), 16))))
        found["from_port"].add((device, f"goto {port_chain('from', port.mac)}"))
        found["to_port"].add((device, f"goto {port_chain('to', port.mac)}"))
    return {name: frozenset(elements) for name, elements in found.items()}


def _port_chains(ports: Iterable[Port]) -> dict[str, Chain]:
    chains = {}
    for port in ports:
        owner = port_owner(port)
        sends = [NftRule(f"jump {group_chain('out', group)}", f"group {group}") for group in port.groups]
        gets = [NftRule(f"jump {group_chain('in', group)}", f"group {group}") for group in port.groups]
        if port.allow_project and port.project is not None:
            gets[:0] = [
                NftRule(f"{_address(family, 'saddr', project_group(port.project))} accept", f"project {port.project}")
                for family in _FAMILIES
            ]
        last = "drop" if port.groups else "accept"
        sends.append(NftRule(f"counter {last}", f"all else from {port.instance}"))
        gets.append(NftRule("counter drop", f"all else to {port.instance}"))
        chains[port_chain("from", port.mac)] = Chain.of(owner, *sends)
        chains[port_chain("to", port.mac)] = Chain.of(owner, *gets)
    return chains


def group_chains(groups: Iterable[SecurityGroup]) -> dict[str, Chain]:
    """The groups' rules, in a chain for each direction."""
    chains = {}
    for group in groups:
        for direction, short in _DIRECTIONS.items():
            name = group_chain(short, group.name)
            rules = [
                NftRule(f'{match} counter name "{name}" accept', f"group {group.name}: {describe(rule)}")
                for rule in group.rules
                if rule.direction == direction
                for match in _matches(rule)
            ]
            chains[name] = Chain.of(Owner(f"group {group.name}"), *rules)
    return chains


def group_counters(groups: Iterable[str]) -> frozenset[str]:
    """Names of the counters of what groups let through, which stay when the rules change."""
    return frozenset(group_chain(short, group) for group in groups for short in _DIRECTIONS.values())


def operator_chains(rules: Sequence[ProviderRule]) -> dict[str, Chain]:
    """The operator's rules, in a chain for each direction."""
    names = {EGRESS: EGRESS_OPERATOR, INGRESS: INGRESS_OPERATOR}
    return {
        name: Chain.of(
            Owner("provider rules"),
            *(
                NftRule(f"{match} counter {'accept' if item.action == ACCEPT else 'drop'}", describe(item.rule))
                for item in rules
                if item.rule.direction == direction
                for match in _matches(item.rule)
            ),
        )
        for direction, name in names.items()
    }


def member_sets(groups: Iterable[str], members: Mapping[str, frozenset[str]]) -> dict[str, NftSet]:
    """The sets of the members' addresses, for each version of IP."""
    return {
        member_set(family, group): NftSet(
            (_ADDRESS_TYPES[family],),
            elements=_addresses(members.get(group, ()), family),
            declaration=f"type {_ADDRESS_TYPES[family]};",
            owner=Owner(f"group {group}"),
        )
        for group in groups
        for family in _FAMILIES
    }


def describe(rule: Rule) -> str:
    """A rule in a few words."""
    ports = "" if rule.port_min is None else f" {rule.port_min}-{rule.port_max}"
    if rule.icmp_type is not None:
        ports = f" type {rule.icmp_type}" + ("" if rule.icmp_code is None else f" code {rule.icmp_code}")
    return f"{rule.direction} {rule.protocol}{ports} {rule.cidr or rule.group}"


def _matches(rule: Rule) -> list[str]:
    side = "saddr" if rule.direction == INGRESS else "daddr"
    return [
        " ".join(part for part in (_other_side(rule, family, side), *_protocol(rule)) if part)
        for family in rule.families
    ]


def _other_side(rule: Rule, family: int, side: str) -> str:
    if rule.group is not None:
        return _address(family, side, rule.group)
    kind = _ETHER_TYPES[family]
    if rule.cidr is None or rule.cidr.endswith("/0"):
        return f"ether type {kind}"
    return f"ether type {kind} {kind} {side} {rule.cidr}"


def _address(family: int, side: str, group: str) -> str:
    kind = _ETHER_TYPES[family]
    return f"ether type {kind} {kind} {side} @{member_set(family, group)}"


def _protocol(rule: Rule) -> list[str]:
    if rule.protocol == ANY:
        return []
    parts = [f"meta l4proto {rule.protocol}"]
    if rule.protocol in (TCP, UDP) and rule.port_min is not None:
        ports = str(rule.port_min) if rule.port_min == rule.port_max else f"{rule.port_min}-{rule.port_max}"
        parts.append(f"th dport {ports}")
    if rule.protocol in (ICMP, ICMPV6) and rule.icmp_type is not None:
        parts.append(f"{rule.protocol} type {rule.icmp_type}")
        if rule.icmp_code is not None:
            parts.append(f"{rule.protocol} code {rule.icmp_code}")
    return parts


def _addresses(members: Iterable[str], family: int) -> frozenset[Element]:
    networks = (ipaddress.ip_network(address, strict=False) for address in members)
    return frozenset((_text_of(item.network_address),) for item in networks if item.version == family)


def _collapsed(addresses: Iterable[str]) -> dict[int, list[str]]:
    # Networks in one set must not overlap.
    networks = [ipaddress.ip_network(address, strict=False) for address in addresses]
    four = ipaddress.collapse_addresses(item for item in networks if isinstance(item, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(item for item in networks if isinstance(item, ipaddress.IPv6Network))
    return {4: [_short(item) for item in four], 6: [_short(item) for item in six]}


def _short(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    # As nft gives it back.
    text = _text_of(network.network_address)
    return text if network.prefixlen == network.max_prefixlen else f"{text}/{network.prefixlen}"


def _text_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As nft prints it: with an IPv4 address in it where an IPv6 address may have one."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address.packed)
