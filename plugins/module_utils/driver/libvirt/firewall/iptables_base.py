# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chains that all ports share: what each guest may always send and get, and connection tracking.

Chains of rules say yes by going to PASS, which sets a bit of the packet's mark; who asked them looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....model.secgroup import ACCEPT, INGRESS, ProviderRule, SecurityGroup
from .iptables_match import bridge_match, ip_match
from .iptables_names import (
    BRIDGE,
    DHCP,
    DIRECT,
    EGRESS_BASE,
    EGRESS_OPERATOR,
    EGRESS_PORTS,
    FORWARD,
    FROM,
    FROM_HOST,
    INGRESS_BASE,
    INGRESS_OPERATOR,
    INGRESS_PORTS,
    INPUT,
    KNOWN,
    OUTPUT,
    PASS,
    PASSED,
    PREROUTING,
    RAW,
    SECURITY,
    UNCHECKED,
    UNSEEN,
    Table,
    group_chain,
)

IF_PASSED = f"-m mark --mark {PASSED:#x}/{PASSED:#x} -j RETURN"
BRIDGE_IF_PASSED = f"--mark {PASSED:#x}/{PASSED:#x} -j RETURN"
BRIDGE_PASS = f"-j mark --mark-or {PASSED:#x} --mark-target RETURN"

DHCP_REQUEST = "-p udp -m udp --sport 68 --dport 67"
DHCP_ANSWER = "-p udp -m udp --sport 67 --dport 68"
DHCPV6_REQUEST = "-p udp -m udp --sport 546 --dport 547"
DHCPV6_ANSWER = "-p udp -m udp --sport 547 --dport 546"

_FORGET = f"-j MARK --set-xmark 0x0/{PASSED:#x}"
_FORGET_ALL = f"-j MARK --set-xmark 0x0/{PASSED | UNSEEN | KNOWN:#x}"
_CHECKED = f"-j MARK --set-xmark 0x0/{UNCHECKED:#x}"
_UNLESS_CHECKED = f"-m mark --mark {UNCHECKED:#x}/{UNCHECKED:#x} -j DROP"
_BRIDGED = "-m physdev --physdev-is-bridged"
_NOT_BRIDGED = "-m physdev ! --physdev-is-bridged"
_CONNECTED = "-m conntrack --ctstate RELATED,ESTABLISHED"
_INVALID = "-m conntrack --ctstate INVALID -j DROP"

_SENT_ICMPV6 = (133, 135, 136, 131, 132, 143)
_RECEIVED_ICMPV6 = (130, 134, 135, 136)

Chains = dict[str, list[str]]


def icmpv6(number: int) -> str:
    """Matches one type of ICMPv6."""
    return f"-p ipv6-icmp -m icmp6 --icmpv6-type {number}"


def base_chains() -> dict[Table, Chains]:
    """All that depends on nothing."""
    return {
        **{table: {PREROUTING: [f"-j {DIRECT}", f"-j {FROM}", _CHECKED]} for table in RAW.values()},
        **{SECURITY[family]: _security(family) for family in SECURITY},
        BRIDGE: {INGRESS_BASE: _bridge_ingress()},
    }


def pass_chains() -> dict[Table, Chains]:
    """What chains of rules need to say yes."""
    return {table: {PASS: [f"-j MARK --set-xmark {PASSED:#x}/{PASSED:#x}"]} for table in SECURITY.values()}


def group_chains(group: SecurityGroup) -> dict[Table, Chains]:
    """A group's rules: two chains for each family, and one of the bridge's for what the host itself sends."""
    chains: dict[Table, Chains] = {
        table: {group_chain(direction, group.name): [] for direction in ("ingress", "egress")}
        for table in SECURITY.values()
    }
    bridge = chains[BRIDGE] = {group_chain(INGRESS, group.name): []}
    for rule in group.rules:
        for family in rule.families:
            chain = group_chain(rule.direction, group.name)
            chains[SECURITY[family]][chain].append(f"{ip_match(rule, family)} -g {PASS}".lstrip())
            if rule.direction == INGRESS and rule.group is None:
                bridge[chain].append(f"{bridge_match(rule, family)} {BRIDGE_PASS}")
    return chains


def operator_chains(rules: Sequence[ProviderRule]) -> dict[Table, Chains]:
    """The operator's rules, in their order."""
    chains: dict[Table, Chains] = {table: {INGRESS_OPERATOR: [], EGRESS_OPERATOR: []} for table in SECURITY.values()}
    bridge = chains[BRIDGE] = {INGRESS_OPERATOR: []}
    for item in rules:
        rule = item.rule
        for family in rule.families:
            ingress = rule.direction == INGRESS
            chain = INGRESS_OPERATOR if ingress else EGRESS_OPERATOR
            verdict = f"-g {PASS}" if item.action == ACCEPT else "-j DROP"
            chains[SECURITY[family]][chain].append(f"{ip_match(rule, family)} {verdict}".lstrip())
            if ingress:
                verdict = BRIDGE_PASS if item.action == ACCEPT else "-j DROP"
                bridge[chain].append(f"{bridge_match(rule, family)} {verdict}")
    return chains


def _security(family: int) -> Chains:
    if family == 4:
        sent, received = [DHCP_REQUEST], [DHCP_ANSWER]
        # Guests' own "answers" of DHCP are dropped in FROM, so none of them teaches anything.
        learning, output = [f"{_BRIDGED} -j {DHCP}"], []
    else:
        sent = [*map(icmpv6, _SENT_ICMPV6), DHCPV6_REQUEST]
        received = [*map(icmpv6, _RECEIVED_ICMPV6), DHCPV6_ANSWER]
        # Who has a link-local address is not known here: the bridge decides, and needs to know about connections.
        learning = []
        output = [f"-d fe80::/10 {_CONNECTED} -j MARK --set-xmark {KNOWN:#x}/{KNOWN:#x}"]
    return {
        INPUT: [_UNLESS_CHECKED, f"-j {EGRESS_PORTS}", _FORGET_ALL],
        FORWARD: [
            _UNLESS_CHECKED,
            f"-j {EGRESS_PORTS}",
            _FORGET_ALL,
            *learning,
            f"{_BRIDGED} -j {INGRESS_PORTS}",
            f"{_NOT_BRIDGED} -j {FROM_HOST}",
        ],
        OUTPUT: [f"-j {FROM_HOST}", *output],
        EGRESS_BASE: _asked(sent, EGRESS_OPERATOR),
        INGRESS_BASE: _asked(received, INGRESS_OPERATOR),
    }


def _asked(always: Sequence[str], operator: str) -> list[str]:
    return [
        _FORGET,
        *(f"{match} -g {PASS}" for match in always),
        f"-j {operator}",
        IF_PASSED,
        f"{_CONNECTED} -g {PASS}",
        _INVALID,
    ]


def _bridge_ingress() -> list[str]:
    """For what iptables let through, for what it never sees (ARP), and for the host's packets to addresses that are no
    one port's: to many, and link-local. Other packets of the host, or routed by it, are iptables' business."""
    return [
        f"-p ARP {BRIDGE_PASS}",
        BRIDGE_IF_PASSED,
        f"-p IPv4 --ip-proto 17 --ip-sport 67 --ip-dport 68 {BRIDGE_PASS}",
        *(f"-p IPv6 --ip6-proto 58 --ip6-icmp-type {number} {BRIDGE_PASS}" for number in _RECEIVED_ICMPV6),
        f"-p IPv6 --ip6-proto 17 --ip6-sport 547 --ip6-dport 546 {BRIDGE_PASS}",
        "-p IPv4 -d Unicast -j DROP",
        "-p IPv6 -d Unicast --ip6-dst ! fe80::/10 -j DROP",
        f"-j {INGRESS_OPERATOR}",
        BRIDGE_IF_PASSED,
        f"--mark {KNOWN:#x}/{KNOWN:#x} {BRIDGE_PASS}",
    ]
