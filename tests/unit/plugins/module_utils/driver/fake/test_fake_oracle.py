# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packets pass: docs/security_groups.md, line by line, as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.oracle import would_accept
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.packet import Packet
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
    ANYWHERE_V4,
    ANYWHERE_V6,
    DEFAULT_EGRESS,
    DROP,
    EGRESS,
    INGRESS,
    HostPolicy,
    Port,
    ProviderRule,
    Rule,
    SecurityGroup,
)

WEB, DB, BARE, NET = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03", "52:54:00:00:00:04"
WEB4, WEB6, DB4, OUT4, OUT6 = "10.0.0.1", "2001:db8::1", "10.0.0.2", "198.51.100.7", "2001:db8:ffff::7"
LINK_LOCAL, NO4, NO6 = "fe80::5054:ff:fe00:1", "0.0.0.0", "::"
STRANGER = "52:54:00:99:99:99"

GROUPS = (
    SecurityGroup(
        "web",
        (
            Rule(INGRESS, "tcp", cidr=ANYWHERE_V4, port_min=80, port_max=89),
            Rule(INGRESS, "tcp", cidr="2001:db8::/32", port_min=443, port_max=443),
            Rule(INGRESS, "icmp", cidr="198.51.100.0/24", icmp_type=8),
            Rule(INGRESS, "icmp", cidr="198.51.100.0/24", icmp_type=3, icmp_code=4),
            Rule(INGRESS, "icmpv6", cidr=ANYWHERE_V6, icmp_type=128),
            Rule(INGRESS, "47", cidr="198.51.100.7/32"),
            Rule(INGRESS, "udp", cidr="203.0.113.0/24"),
            *DEFAULT_EGRESS,
        ),
    ),
    SecurityGroup(
        "db",
        (
            Rule(INGRESS, "tcp", group="web", port_min=5432, port_max=5432),
            Rule(INGRESS, group="elsewhere"),
            Rule(EGRESS, "udp", cidr="192.0.2.53/32", port_min=53, port_max=53),
            Rule(EGRESS, "tcp", group="web"),
        ),
    ),
)

POLICY = HostPolicy(
    ports=(
        Port("web1", WEB, addresses=("10.0.0.1/32", "2001:db8::1/128"), groups=("web",), project="blue"),
        Port("db1", DB, addresses=("10.0.0.2/32",), groups=("db", "undefined"), project="blue", allow_project=False),
        Port("bare", BARE, addresses=("10.0.0.3/32",), project="blue", allow_project=True),
        Port("net", NET, learns=True, groups=("db",)),
    ),
    groups={group.name: group for group in GROUPS},
    members={
        "web": frozenset({"10.0.0.1/32", "2001:db8::1/128"}),
        "elsewhere": frozenset({"192.0.2.44/32"}),
        "project:blue": frozenset({"10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"}),
    },
)

# What is sent, and whether it leaves its guest (to somewhere outside) or reaches it (from there).
V6 = {"ethertype": "ipv6"}
TO_OUT4 = {"src": WEB4, "dst": OUT4}
TO_OUT6 = {**V6, "src": WEB6, "dst": OUT6}
ARP = {"ethertype": "arp", "src": WEB4, "dst": "10.0.0.254"}
TO_WEB4 = {"src": OUT4, "dst": WEB4}
TO_WEB6 = {**V6, "src": OUT6, "dst": WEB6}
FROM_RULER = {"src": "203.0.113.9", "dst": WEB4}


def icmp6(kind: int, **more: Any) -> dict[str, Any]:
    return {**V6, "protocol": "icmpv6", "icmp_type": kind, **more}


def udp(sport: int, dport: int, **more: Any) -> dict[str, Any]:
    return {"protocol": "udp", "sport": sport, "dport": dport, **more}


def tcp(dport: int, **more: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "dport": dport, **more}


FROM_A_GUEST: dict[str, tuple[bool, dict[str, Any]]] = {
    "1 its own address": (True, tcp(443, **TO_OUT4)),
    "1 another's MAC address": (False, tcp(443, **TO_OUT4, src_mac=STRANGER)),
    "1 another's MAC address in ARP's frame": (False, {**ARP, "src_mac": STRANGER, "arp_mac": WEB}),
    "1 another's MAC address in RARP": (False, {"ethertype": "rarp", "src_mac": STRANGER}),
    "1 letters of MAC addresses have no case": (True, tcp(443, **TO_OUT4, src_mac=WEB.upper())),
    "2 ARP": (True, ARP),
    "2 ARP probe": (True, {**ARP, "src": NO4}),
    "2 ARP with another's MAC address inside": (False, {**ARP, "arp_mac": STRANGER}),
    "2 ARP with another's address": (False, {**ARP, "src": DB4}),
    "2 RARP": (True, {"ethertype": "rarp"}),
    "3 spanning tree": (False, {"ethertype": 0x0027}),
    "3 a tagged frame": (False, {"ethertype": 0x8100}),
    "4 DHCP without an address": (True, udp(68, 67, src=NO4, dst="255.255.255.255")),
    "4 DHCP renewal": (True, udp(68, 67, src=WEB4, dst="10.0.0.254")),
    "4 DHCP with another's address": (False, udp(68, 67, src=DB4, dst="10.0.0.254")),
    "4 a rogue DHCP server": (False, udp(67, 68, src=WEB4, dst=DB4)),
    "5 another's address": (False, tcp(443, src=DB4, dst=OUT4)),
    "5 no address": (False, tcp(443, src=NO4, dst=OUT4)),
    "6 a router advertisement": (False, icmp6(134, src=LINK_LOCAL, dst="ff02::1")),
    "6 a redirect": (False, icmp6(137, src=LINK_LOCAL, dst=OUT6)),
    "6 a rogue DHCPv6 server": (False, udp(547, 546, **V6, src=LINK_LOCAL, dst="fe80::2")),
    "7 its own IPv6 address": (True, tcp(443, **TO_OUT6)),
    "7 link-local": (True, tcp(443, **{**TO_OUT6, "src": LINK_LOCAL})),
    "7 another's IPv6 address": (False, tcp(443, **{**TO_OUT6, "src": "2001:db8::2"})),
    "7 no address, solicitation": (True, icmp6(135, src=NO6, dst="ff02::1:ff00:1")),
    "7 no address, router solicitation": (True, icmp6(133, src=NO6, dst="ff02::2")),
    "7 no address, listener report": (True, icmp6(143, src=NO6, dst="ff02::16")),
    "7 no address, neighbour advertisement": (False, icmp6(136, src=NO6, dst="ff02::1")),
    "7 no address, echo": (False, icmp6(128, src=NO6, dst=OUT6)),
    "7 no address, UDP": (False, udp(1, 2, **V6, src=NO6, dst=OUT6)),
    "8 neighbour advertisement": (True, icmp6(136, src=WEB6, dst=LINK_LOCAL)),
    "8 listener done": (True, icmp6(132, src=LINK_LOCAL, dst="ff02::2")),
    "8 DHCPv6": (True, udp(546, 547, **V6, src=LINK_LOCAL, dst="ff02::1:2")),
    "8 an advertisement of another's address": (False, icmp6(136, src="2001:db8::2", dst="ff02::1")),
    "10 invalid": (False, tcp(443, **TO_OUT4, state="invalid")),
}

FROM_OTHERS: dict[str, tuple[bool, str, dict[str, Any]]] = {
    "4 the database's guest asks DHCP": (True, DB, udp(68, 67, src=NO4, dst="255.255.255.255")),
    "8 it looks for neighbours": (True, DB, icmp6(135, src=LINK_LOCAL, dst="ff02::1")),
    "10 its answer": (True, DB, tcp(40000, src=DB4, dst=OUT4, state="established")),
    "10 an error about what it got": (
        True,
        DB,
        {"protocol": "icmp", "icmp_type": 3, "icmp_code": 3, "src": DB4, "dst": OUT4, "state": "related"},
    ),
    "11 a name server": (True, DB, udp(5000, 53, src=DB4, dst="192.0.2.53")),
    "11 another one": (False, DB, udp(5000, 53, src=DB4, dst="192.0.2.54")),
    "11 the same port of TCP": (False, DB, tcp(53, src=DB4, dst="192.0.2.53")),
    "11 a member of a group": (True, DB, tcp(9999, src=DB4, dst=WEB4)),
    "11 nobody of that group": (False, DB, tcp(9999, src=DB4, dst="10.0.0.3")),
    "11 in no group everything goes out": (True, BARE, tcp(443, src="10.0.0.3", dst=OUT4)),
    "5 but not with another's address": (False, BARE, tcp(443, src=WEB4, dst=OUT4)),
    "5 a port that has learnt nothing": (False, NET, tcp(9999, src="10.0.0.4", dst=WEB4)),
    "2 it may probe": (True, NET, {"ethertype": "arp", "src": NO4, "dst": "10.0.0.4"}),
    "4 and ask DHCP": (True, NET, udp(68, 67, src=NO4, dst="255.255.255.255")),
}

TO_A_GUEST: dict[str, tuple[bool, dict[str, Any]]] = {
    "1 ARP": (True, {"ethertype": "arp", "src": OUT4, "dst": WEB4, "src_mac": STRANGER}),
    "1 RARP": (False, {"ethertype": "rarp", "src_mac": STRANGER}),
    "1 something else": (False, {"ethertype": 0x88CC, "src_mac": STRANGER}),
    "2 DHCP's answer": (True, udp(67, 68, src="10.0.0.254", dst="255.255.255.255")),
    "2 a router advertisement": (True, icmp6(134, src=LINK_LOCAL, dst="ff02::1")),
    "2 a neighbour solicitation": (True, icmp6(135, src=LINK_LOCAL, dst="ff02::1")),
    "2 a listener query": (True, icmp6(130, src=LINK_LOCAL, dst="ff02::1")),
    "2 DHCPv6's answer": (True, udp(547, 546, **V6, src=LINK_LOCAL, dst="fe80::1")),
    "2 a router solicitation": (False, icmp6(133, src=LINK_LOCAL, dst="ff02::2")),
    "2 a redirect": (False, icmp6(137, src=LINK_LOCAL, dst=WEB6)),
    "4 established": (True, tcp(40000, **TO_WEB4, state="established")),
    "4 related": (True, {**TO_WEB4, "protocol": "icmp", "icmp_type": 3, "icmp_code": 1, "state": "related"}),
    "4 invalid on an open port": (False, tcp(80, **TO_WEB4, state="invalid")),
    "6 the first port of a range": (True, tcp(80, **TO_WEB4)),
    "6 its last": (True, tcp(89, **TO_WEB4)),
    "6 the one before": (False, tcp(79, **TO_WEB4)),
    "6 the one after": (False, tcp(90, **TO_WEB4)),
    "6 the port of the other protocol": (False, udp(1, 80, **TO_WEB4)),
    "6 the port of IPv6's rule by IPv4": (False, tcp(443, **TO_WEB4)),
    "6 IPv6": (True, tcp(443, **TO_WEB6)),
    "6 the port of IPv4's rule by IPv6": (False, tcp(80, **TO_WEB6)),
    "6 IPv6 from elsewhere": (False, tcp(443, **{**TO_WEB6, "src": "2001:db9::1"})),
    "6 an echo": (True, {**TO_WEB4, "protocol": "icmp", "icmp_type": 8, "icmp_code": 0}),
    "6 an echo from elsewhere": (False, {**TO_WEB4, "src": "192.0.2.1", "protocol": "icmp", "icmp_type": 8}),
    "6 a timestamp": (False, {**TO_WEB4, "protocol": "icmp", "icmp_type": 13}),
    "6 type and code": (True, {**TO_WEB4, "protocol": "icmp", "icmp_type": 3, "icmp_code": 4}),
    "6 another code": (False, {**TO_WEB4, "protocol": "icmp", "icmp_type": 3, "icmp_code": 3}),
    "6 an IPv6 echo": (True, icmp6(128, src=OUT6, dst=WEB6)),
    "6 an IPv6 echo's type in ICMP": (False, {**TO_WEB4, "protocol": "icmp", "icmp_type": 128}),
    "6 a protocol by its number": (True, {**TO_WEB4, "protocol": 47}),
    "6 another number": (False, {**TO_WEB4, "protocol": 50}),
    "6 all ports of a protocol": (True, udp(1, 65535, **FROM_RULER)),
    "6 of the other one": (False, tcp(1, **FROM_RULER)),
    "7 SSH": (False, tcp(22, **TO_WEB4)),
    "7 a protocol nobody mentions": (False, {**TO_WEB4, "protocol": 132}),
}

BETWEEN_GUESTS: dict[str, tuple[bool, str, str, dict[str, Any]]] = {
    "6 a member": (True, WEB, DB, tcp(5432, src=WEB4, dst=DB4)),
    "6 a member, another port": (False, WEB, DB, tcp(5433, src=WEB4, dst=DB4)),
    "6 no member": (False, BARE, DB, tcp(5432, src="10.0.0.3", dst=DB4)),
    "6 who pretends to be a member": (False, BARE, DB, tcp(5432, src=WEB4, dst=DB4)),
    "5 its project": (True, WEB, BARE, tcp(5432, src=WEB4, dst="10.0.0.3")),
    "5 a project that is not let in": (False, WEB, DB, tcp(9999, src=WEB4, dst=DB4)),
    "11 what the sender's groups do not let out": (False, DB, BARE, tcp(1, src=DB4, dst="10.0.0.3")),
    "both let it through": (True, DB, WEB, tcp(80, src=DB4, dst=WEB4)),
    "a DHCP server among guests": (False, WEB, DB, udp(67, 68, src=WEB4, dst=DB4)),
    "ARP": (True, WEB, DB, {"ethertype": "arp", "src": WEB4, "dst": DB4}),
}


def rows(table: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("row", table.values(), ids=list(table))


@rows(FROM_A_GUEST)
def test_from_a_guest(row: tuple[bool, dict[str, Any]]):
    expected, packet = row
    assert would_accept(POLICY, Packet(sender=WEB, **packet)) is expected


@rows(FROM_OTHERS)
def test_from_others(row: tuple[bool, str, dict[str, Any]]):
    expected, sender, packet = row
    assert would_accept(POLICY, Packet(sender=sender, **packet)) is expected


@rows(TO_A_GUEST)
def test_to_a_guest(row: tuple[bool, dict[str, Any]]):
    expected, packet = row
    assert would_accept(POLICY, Packet(receiver=WEB, **packet)) is expected


@rows(BETWEEN_GUESTS)
def test_between_guests(row: tuple[bool, str, str, dict[str, Any]]):
    expected, sender, receiver, packet = row
    assert would_accept(POLICY, Packet(sender=sender, receiver=receiver, **packet)) is expected


def test_members_come_and_go():
    packet = Packet(receiver=DB, src="192.0.2.44", dst=DB4, protocol=17, dport=1)
    assert would_accept(POLICY, packet)
    gone = replace(POLICY, members={**POLICY.members, "elsewhere": frozenset[str]()})
    assert not would_accept(gone, packet)
    assert not would_accept(replace(POLICY, members={}), packet)


def test_members_have_addresses_of_both_kinds():
    group = SecurityGroup("six", (Rule(INGRESS, "icmp", group="web"), Rule(INGRESS, "tcp", group="web")))
    policy = replace(POLICY, ports=(Port("one", DB, groups=("six",)),), groups={"six": group})
    assert would_accept(policy, Packet(receiver=DB, **tcp(1, **V6, src=WEB6, dst=OUT6)))
    assert would_accept(policy, Packet(receiver=DB, **tcp(1, src=WEB4, dst=DB4)))
    assert not would_accept(policy, Packet(receiver=DB, **icmp6(1, src=WEB6, dst=OUT6)))


OPERATOR = replace(
    POLICY,
    provider=(
        ProviderRule(Rule(INGRESS, "tcp", cidr="198.51.100.7/32", port_min=22, port_max=22), ACCEPT),
        ProviderRule(Rule(INGRESS, "tcp", cidr=ANYWHERE_V4, port_min=22, port_max=80), DROP),
        ProviderRule(Rule(EGRESS, "tcp", cidr=ANYWHERE_V4, port_min=25, port_max=25), DROP),
        ProviderRule(Rule(EGRESS, "udp", cidr=ANYWHERE_V4), DROP),
        ProviderRule(Rule(EGRESS, "icmpv6", cidr=ANYWHERE_V6), DROP),
    ),
)

BY_THE_OPERATOR: dict[str, tuple[bool, dict[str, Any]]] = {
    "the first that fits decides": (True, {"receiver": WEB, **tcp(22, **TO_WEB4)}),
    "the next for others": (False, {"receiver": WEB, **tcp(22, src="192.0.2.1", dst=WEB4)}),
    "it wins over groups": (False, {"receiver": WEB, **tcp(80, **TO_WEB4)}),
    "what it says nothing of is left to groups": (True, {"receiver": WEB, **tcp(81, **TO_WEB4)}),
    "it ends connections": (False, {"receiver": WEB, **tcp(80, **TO_WEB4, state="established")}),
    "it lets in what is invalid": (True, {"receiver": WEB, **tcp(22, **TO_WEB4, state="invalid")}),
    "it wins over projects": (False, {"sender": WEB, "receiver": BARE, **tcp(80, src=WEB4, dst="10.0.0.3")}),
    "what goes out": (False, {"sender": WEB, **tcp(25, **TO_OUT4)}),
    "what goes out of no group": (False, {"sender": BARE, **tcp(25, src="10.0.0.3", dst=OUT4)}),
    "DHCP is needed": (True, {"sender": WEB, **udp(68, 67, src=WEB4, dst="10.0.0.254")}),
    "neighbours are needed": (True, {"sender": WEB, **icmp6(135, src=WEB6, dst="ff02::1")}),
    "an echo is not": (False, {"sender": WEB, **icmp6(128, src=WEB6, dst=OUT6)}),
    "who is not filtered is not its business": (True, {"sender": STRANGER, **tcp(25, **TO_OUT4)}),
}


@rows(BY_THE_OPERATOR)
def test_rules_for_all(row: tuple[bool, dict[str, Any]]):
    expected, packet = row
    assert would_accept(OPERATOR, Packet(**packet)) is expected


def test_who_is_not_filtered_sends_and_gets_everything():
    for packet in (*FROM_A_GUEST.values(), *TO_A_GUEST.values()):
        assert would_accept(POLICY, Packet(sender=STRANGER, **{**packet[1], "src_mac": WEB}))
        assert would_accept(POLICY, Packet(receiver=STRANGER, **{**packet[1], "src_mac": WEB}))


def test_what_is_not_said_is_filled_in():
    packet = Packet(sender=WEB.upper(), receiver=DB, ethertype="arp", src=WEB4, dst=DB4)
    assert (packet.sender, packet.src_mac, packet.arp_mac, packet.dst_mac) == (WEB, WEB, WEB, DB)
    assert Packet(sender=WEB, **ARP).dst_mac == "ff:ff:ff:ff:ff:ff"
    assert Packet(sender=WEB, **{**ARP, "ethertype": 0x0806}) == Packet(sender=WEB, **ARP)
    assert Packet(sender=WEB, **tcp(1, **TO_OUT4)).protocol == 6


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"src": WEB4}, "dst: is needed"),
        ({"dst": WEB4}, "src: is needed"),
        ({"src": WEB6, "dst": OUT4}, "src: .* is no address of ipv4"),
        ({"ethertype": "ipv6", "src": WEB4, "dst": OUT4}, "src: .* is no address of ipv6"),
        ({"ethertype": "arp", "src": WEB6, "dst": WEB4}, "src: .* is no address of arp"),
        ({"ethertype": "ipx"}, "ethertype: 'ipx' is not"),
        ({**TO_OUT4, "protocol": "sctp"}, "protocol: 'sctp' is not one of tcp"),
        ({**TO_OUT4, "protocol": "tcp", "dport": 70000}, "dport: 70000 is no port"),
        ({**TO_OUT4, "state": "open"}, "state: 'open' is not one of new"),
        ({"src": "10.0.0.300", "dst": OUT4}, "10.0.0.300"),
    ],
)
def test_there_is_no_such_packet(fields: dict[str, Any], complaint: str):
    with pytest.raises(ValueError, match=complaint):
        Packet(**fields)
