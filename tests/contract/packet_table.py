# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of packets: what is sent for real through each engine. What should arrive is the oracle's to say."""

from __future__ import annotations

from collections.abc import Iterable

from contract.packet_parties import (
    BARE,
    DB,
    FAR_AWAY,
    FAR_MEMBER,
    HOST,
    LEARNER,
    OPEN,
    OUTLAW,
    STREET,
    STRICT,
    WEB,
    WEB2,
    Party,
)
from contract.packet_sending import BIG, TINY, Case, Step, a_packet, again, answer
from lab.packets import frames, payloads
from lab.packets.frames import BROADCAST, ICMP, ICMPV6, TCP, UDP, multicast_mac

GRE = 47
EXPERIMENT = 253
"""A protocol of which connection tracking knows nothing."""
DHCP_CLIENT, DHCP_SERVER = {"sport": 68, "dport": 67}, {"sport": 67, "dport": 68}
DHCPV6_CLIENT, DHCPV6_SERVER = {"sport": 546, "dport": 547}, {"sport": 547, "dport": 546}
PING, PONG = {"icmp_type": 8}, {"icmp_type": 0}
PING6 = {"icmp_type": 128}
STRANGE_MAC = "52:54:00:99:ff:ff"


def step(sender: Party, receiver: Party, protocol: int | None, version: int = 4, **fields) -> Step:
    shape = {key: fields.pop(key) for key in ("flags", "fragments", "quotes") if key in fields}
    return Step(a_packet(sender, receiver, version, protocol=protocol, **fields), sender, receiver, **shape)


def one(name: str, sender: Party, receiver: Party, protocol: int | None, version: int = 4, **fields) -> Case:
    return Case(name, (step(sender, receiver, protocol, version, **fields),))


def link_local(party: Party) -> str:
    return f"fe80::{party.v6.rsplit(':', 1)[1]}"


def discovery(name: str, sender: Party, receiver: Party, kind: int, target: str = "ff02::1", **fields) -> Case:
    """Neighbour discovery, to all that listen."""
    fields = {"src": link_local(sender), "dst": target, "dst_mac": multicast_mac(target), **fields}
    return one(name, sender, receiver, ICMPV6, 6, icmp_type=kind, **fields)


def arp(name: str, sender: Party, receiver: Party, **fields) -> Case:
    return one(name, sender, receiver, None, **{"ethertype": "arp", "dst_mac": BROADCAST, **fields})


BASE = (
    one("a guest's own MAC", OPEN, STREET, UDP),
    one("a foreign source MAC", OPEN, STREET, UDP, src_mac=STRANGE_MAC),
    one("a neighbour's source MAC", OPEN, STREET, UDP, src_mac=WEB.mac),
    one("a foreign source MAC, IPv6", OPEN, STREET, UDP, 6, src_mac=STRANGE_MAC),
    arp("ARP", OPEN, STREET),
    arp("ARP probe", OPEN, STREET, src="0.0.0.0"),
    arp("ARP with a neighbour's IP", OPEN, STREET, src=WEB.v4),
    arp("ARP with the gateway's IP", BARE, STREET, src=HOST.v4),
    arp("ARP with a foreign sender MAC inside", OPEN, STREET, arp_mac=STRANGE_MAC),
    arp("ARP from a foreign source MAC", OPEN, STREET, src_mac=STRANGE_MAC, arp_mac=OPEN.mac),
    arp("ARP to a guest", STREET, BARE, dst_mac=BARE.mac),
    arp("ARP for a declared network's address", OPEN, STREET, src="10.98.0.77"),
    one("RARP", OPEN, STREET, None, ethertype="rarp", src="", dst="", dst_mac=BROADCAST),
    one("RARP with a foreign MAC", OPEN, STREET, None, ethertype="rarp", src="", dst="", src_mac=STRANGE_MAC),
    one("a spanning tree frame", OPEN, STREET, None, ethertype=38, src="", dst=""),
    one("a spanning tree frame to a guest", STREET, OPEN, None, ethertype=38, src="", dst=""),
    one("an unknown ethertype", OPEN, STREET, None, ethertype=0x88B5, src="", dst=""),
    one("an unknown ethertype to a guest", STREET, OPEN, None, ethertype=0x88B5, src="", dst=""),
    one("a VLAN tag around UDP", OPEN, STREET, UDP, ethertype=frames.VLAN),
    one("a VLAN tag around UDP to a guest", STREET, OPEN, UDP, ethertype=frames.VLAN),
    one("IPv4 with a neighbour's address", OPEN, STREET, UDP, src=WEB.v4),
    one("IPv4 with an address from nowhere", BARE, STREET, UDP, src="203.0.113.9"),
    one("IPv4 from no address", OPEN, STREET, UDP, src="0.0.0.0"),
    one("IPv6 with a neighbour's address", OPEN, STREET, UDP, 6, src=WEB.v6),
    one("IPv6 from a link-local address", OPEN, STREET, UDP, 6, src=link_local(OPEN)),
    one("IPv6 from no address", OPEN, STREET, UDP, 6, src="::"),
    one("IPv4 from a declared network", OPEN, STREET, UDP, src="10.98.0.77"),
    one("IPv4 from beside a declared network", OPEN, STREET, UDP, src="10.97.255.77"),
    one("IPv6 from a declared network", OPEN, STREET, UDP, 6, src="fd98::77"),
    one("IPv4 to the host with a neighbour's address", OPEN, HOST, UDP, src=WEB.v4),
    one("TCP to the host", OPEN, HOST, TCP, dport=22),
    one("UDP to the host, IPv6", OPEN, HOST, UDP, 6),
)

DHCP_AND_DISCOVERY = (
    one(
        "DHCP client, no address yet",
        STRICT,
        STREET,
        UDP,
        src="0.0.0.0",
        dst="255.255.255.255",
        **DHCP_CLIENT,
        dst_mac=BROADCAST,
    ),
    one("DHCP client, own address", STRICT, STREET, UDP, **DHCP_CLIENT),
    one("DHCP client, a neighbour's address", STRICT, STREET, UDP, src=WEB.v4, **DHCP_CLIENT),
    one("DHCP client, a foreign MAC", OPEN, STREET, UDP, src="0.0.0.0", src_mac=STRANGE_MAC, **DHCP_CLIENT),
    one("a rogue DHCP server", OPEN, STREET, UDP, **DHCP_SERVER),
    one("a rogue DHCP server, between guests", OPEN, WEB, UDP, **DHCP_SERVER),
    one("the DHCP server's answer", STREET, STRICT, UDP, src=FAR_AWAY.v4, **DHCP_SERVER),
    one("DHCP from the host", HOST, BARE, UDP, **DHCP_SERVER),
    one("a DHCP client's packet to a guest", STREET, WEB, UDP, **DHCP_CLIENT),
    one(
        "DHCPv6 client",
        STRICT,
        STREET,
        UDP,
        6,
        src=link_local(STRICT),
        dst="ff02::1:2",
        dst_mac=multicast_mac("ff02::1:2"),
        **DHCPV6_CLIENT,
    ),
    one("a rogue DHCPv6 server", OPEN, STREET, UDP, 6, src=link_local(OPEN), **DHCPV6_SERVER),
    one("the DHCPv6 server's answer", STREET, BARE, UDP, 6, src=link_local(STREET), **DHCPV6_SERVER),
    discovery("a rogue router advertisement", OPEN, STREET, payloads.ROUTER_ADVERTISEMENT),
    discovery("a rogue router advertisement, between guests", OPEN, BARE, payloads.ROUTER_ADVERTISEMENT),
    discovery("a rogue redirect", OPEN, STREET, payloads.REDIRECT),
    discovery("a router advertisement to a guest", STREET, BARE, payloads.ROUTER_ADVERTISEMENT),
    discovery("a redirect to a guest", STREET, BARE, payloads.REDIRECT),
    discovery("router solicitation", STRICT, STREET, payloads.ROUTER_SOLICITATION, "ff02::2"),
    discovery("router solicitation from no address", STRICT, STREET, payloads.ROUTER_SOLICITATION, "ff02::2", src="::"),
    discovery("neighbour solicitation", STRICT, STREET, payloads.NEIGHBOUR_SOLICITATION, "ff02::1:ff00:1"),
    discovery("neighbour solicitation, own address", STRICT, STREET, payloads.NEIGHBOUR_SOLICITATION, src=STRICT.v6),
    discovery(
        "duplicate address detection", STRICT, STREET, payloads.NEIGHBOUR_SOLICITATION, "ff02::1:ff00:1", src="::"
    ),
    discovery(
        "neighbour solicitation, a neighbour's address", STRICT, STREET, payloads.NEIGHBOUR_SOLICITATION, src=WEB.v6
    ),
    discovery("neighbour advertisement", STRICT, STREET, payloads.NEIGHBOUR_ADVERTISEMENT, src=STRICT.v6),
    discovery(
        "neighbour advertisement, a neighbour's address", STRICT, STREET, payloads.NEIGHBOUR_ADVERTISEMENT, src=WEB.v6
    ),
    discovery("neighbour advertisement from no address", STRICT, STREET, payloads.NEIGHBOUR_ADVERTISEMENT, src="::"),
    discovery("neighbour solicitation to a guest", STREET, BARE, payloads.NEIGHBOUR_SOLICITATION, "ff02::1:ff00:1"),
    discovery("neighbour advertisement to a guest", STREET, BARE, payloads.NEIGHBOUR_ADVERTISEMENT),
    discovery("neighbour solicitation between guests", OPEN, BARE, payloads.NEIGHBOUR_SOLICITATION, "ff02::1:ff00:1"),
    discovery("router solicitation to a guest", STREET, BARE, payloads.ROUTER_SOLICITATION),
    discovery("listener query to a guest", STREET, BARE, payloads.MLD_QUERY),
    discovery("listener query from a guest", STRICT, STREET, payloads.MLD_QUERY),
    discovery("listener report", STRICT, STREET, payloads.MLD_REPORT, "ff02::1:ff00:1"),
    discovery("listener report of version 2", STRICT, STREET, payloads.MLD2_REPORT, "ff02::16", src="::"),
)

INGRESS = (
    one("tcp to an open port", STREET, WEB, TCP, dport=80),
    one("tcp to the port below", STREET, WEB, TCP, dport=79),
    one("tcp to the port above", STREET, WEB, TCP, dport=81),
    one("udp to a port open for tcp", STREET, WEB, UDP, dport=80),
    one("tcp from a port that is open as destination", STREET, WEB, TCP, sport=80, dport=4000),
    one("tcp to an open port, IPv6", STREET, WEB, TCP, 6, dport=80),
    one("tcp to a closed port, IPv6", STREET, WEB, TCP, 6, dport=443),
    one("tcp to an open port from far away", FAR_AWAY, WEB, TCP, dport=80),
    one("tcp to a range's first port", STREET, WEB, TCP, dport=8000),
    one("tcp to a range's last port", STREET, WEB, TCP, dport=8100),
    one("tcp beyond the range", STREET, WEB, TCP, dport=8101),
    one("tcp to a range from outside its network", FAR_AWAY, WEB, TCP, dport=8050),
    one("tcp to a range that is for IPv4", STREET, WEB, TCP, 6, dport=8050),
    one("udp to an open port, IPv6", STREET, WEB, UDP, 6, dport=5000),
    one("udp to an open port, IPv6 from far away", FAR_AWAY, WEB, UDP, 6, dport=5000),
    one("udp to a port open for IPv6", STREET, WEB, UDP, dport=5000),
    one("echo request", STREET, WEB, ICMP, **PING),
    one("echo request to a guest without a rule", STREET, DB, ICMP, **PING),
    one("another type of ICMP", STREET, WEB, ICMP, icmp_type=13),
    one("echo request, IPv6", STREET, WEB, ICMPV6, 6, **PING6),
    one("another type of ICMPv6", STREET, WEB, ICMPV6, 6, icmp_type=139),
    one("protocol by number", STREET, WEB, GRE),
    one("protocol by number from another address", FAR_MEMBER, WEB, GRE),
    one("another protocol", STREET, WEB, EXPERIMENT),
    one("another protocol where all are open", STREET, OPEN, EXPERIMENT),
    one("any ICMP where all is open", STREET, OPEN, ICMP, icmp_type=13),
    one("any protocol from one address", STREET, STRICT, GRE),
    one("any protocol from another address", FAR_MEMBER, STRICT, GRE),
    one("any protocol from one IPv6 address", STREET, STRICT, UDP, 6),
    one("tcp to an instance in no group", STREET, BARE, TCP, dport=80),
    one("echo request to an instance in no group", STREET, BARE, ICMP, **PING),
    one("tcp to one in two groups", STREET, WEB2, TCP, dport=80),
    one("tcp between guests", OPEN, WEB, TCP, dport=80),
    one("tcp between guests, IPv6", OPEN, WEB, TCP, 6, dport=80),
    one("tcp between guests to a closed port", OPEN, WEB, TCP, dport=22),
    one("tcp from the host", HOST, WEB, TCP, dport=80),
    one("tcp from the host to a closed port", HOST, WEB, TCP, dport=22),
    one("udp from the host, IPv6", HOST, WEB, UDP, 6, dport=5001),
    one("udp fragments to an open guest", STREET, OPEN, UDP, fragments=BIG),
    one("tcp in tiny fragments to an open port", STREET, WEB, TCP, dport=80, fragments=TINY),
    one("tcp in tiny fragments to a closed port", STREET, WEB, TCP, dport=22, fragments=TINY),
    one("tcp in tiny fragments to a closed port, IPv6", STREET, WEB, TCP, 6, dport=22, fragments=TINY),
    one("udp fragments to a closed port", STREET, WEB, UDP, dport=5000, fragments=BIG),
    one("udp fragments to an open port, IPv6", STREET, WEB, UDP, 6, dport=5001, fragments=BIG),
    one("udp fragments to a closed port, IPv6", STREET, WEB2, UDP, 6, dport=5002, fragments=BIG),
    one("broadcast to a port that is closed", STREET, WEB, UDP, dst="10.99.0.255", dst_mac=BROADCAST),
    one("broadcast to a guest that is open", STREET, OPEN, UDP, dst="10.99.0.255", dst_mac=BROADCAST),
)

EGRESS = (
    one("everything goes out", WEB, STREET, TCP, dport=22),
    one("everything goes out, IPv6", WEB, STREET, TCP, 6, dport=22),
    one("everything goes out of no group", BARE, STREET, UDP),
    one("everything goes out of no group, IPv6", BARE, STREET, UDP, 6),
    one("another protocol goes out", WEB, STREET, EXPERIMENT),
    one("tcp to where a rule lets it", STRICT, FAR_AWAY, TCP, dport=443),
    one("tcp to another port", STRICT, FAR_AWAY, TCP, dport=80),
    one("tcp to another network", STRICT, STREET, TCP, dport=443),
    one("tcp to where a rule lets it, IPv6", STRICT, FAR_AWAY, TCP, 6, dport=443),
    one("udp to one address", STRICT, STREET, UDP, dport=53),
    one("udp to another address", STRICT, HOST, UDP, dport=53),
    one("echo request out, IPv6", STRICT, STREET, ICMPV6, 6, **PING6),
    one("echo request out", STRICT, STREET, ICMP, **PING),
    one("tcp to a group's member", STRICT, WEB, TCP, dport=80),
    one("tcp to a group's member, IPv6", STRICT, WEB2, TCP, 6, dport=80),
    one("tcp to a member on another host", STRICT, FAR_MEMBER, TCP, dport=80),
    one("tcp to a guest that is no member", STRICT, OPEN, TCP, dport=80),
    one("udp fragments out", WEB, STREET, UDP, fragments=BIG),
    one("udp fragments out of a strict group", STRICT, HOST, UDP, dport=9, fragments=BIG),
)

OPERATOR = (
    one("dropped although the group is open", STREET, OPEN, TCP, dport=23),
    one("the same for IPv6 is not mentioned", STREET, OPEN, TCP, 6, dport=23),
    one("dropped on the way out", OPEN, STREET, TCP, dport=25),
    one("dropped on the way out of no group", BARE, STREET, TCP, dport=25),
    one("dropped between guests", BARE, OPEN, TCP, dport=25),
    one("an address that is wanted nowhere", OUTLAW, OPEN, UDP),
    one("the same to an open port", OUTLAW, WEB, TCP, dport=80),
    one("one protocol of an IPv6 address", OUTLAW, OPEN, ICMPV6, 6, **PING6),
    one("another protocol of it", OUTLAW, OPEN, UDP, 6),
    one("let through although no group does", STREET, BARE, UDP, dport=161),
    one("the rule after it drops", FAR_MEMBER, OPEN, UDP, dport=161),
    one("out although the group is strict", STRICT, STREET, UDP, dport=9999),
    one("out to where the rule does not reach", STRICT, FAR_AWAY, UDP, dport=9999),
)

REFERENCES = (
    one("from a member", WEB, DB, TCP, dport=5432),
    one("from a member, IPv6", WEB, DB, TCP, 6, dport=5432),
    one("from a member in two groups", WEB2, DB, TCP, dport=5432),
    one("from a member on another host", FAR_MEMBER, DB, TCP, dport=5432),
    one("from a member on another host, IPv6", FAR_MEMBER, DB, TCP, 6, dport=5432),
    one("from a member to another port", WEB, DB, TCP, dport=5433),
    one("from outside", STREET, DB, TCP, dport=5432),
    one("from no member", OPEN, DB, TCP, dport=5432),
    one("from the host", HOST, DB, TCP, dport=5432),
    one("echo request from a member", WEB, DB, ICMP, **PING),
    one("echo request from a member, IPv6", WEB2, DB, ICMPV6, 6, **PING6),
    one("udp from a member", WEB, DB, UDP, dport=5432),
    one("within a project", WEB2, DB, TCP, dport=22),
    one("within a project, IPv6", DB, WEB2, UDP, 6),
    one("within a project, to one that does not allow it", WEB2, BARE, TCP, dport=22),
    one("within a project, from one that does not allow it", BARE, DB, TCP, dport=22),
    one("between projects", OPEN, DB, TCP, dport=22),
    one("from no project", WEB, DB, TCP, dport=22),
    one("from outside to a project", STREET, DB, UDP),
    one("from the host to a project", HOST, DB, UDP),
)

BEFORE_LEARNING = (
    one("no address yet: udp out", LEARNER, STREET, UDP),
    one("no address yet: tcp in", STREET, LEARNER, TCP, dport=80),
    arp("no address yet: ARP", LEARNER, STREET),
    arp("no address yet: ARP probe", LEARNER, STREET, src="0.0.0.0"),
    one("no address yet: IPv6", LEARNER, STREET, UDP, 6),
    one("no address yet: link-local IPv6", LEARNER, STREET, UDP, 6, src=link_local(LEARNER)),
    one(
        "no address yet: DHCP",
        LEARNER,
        STREET,
        UDP,
        src="0.0.0.0",
        dst="255.255.255.255",
        dst_mac=BROADCAST,
        **DHCP_CLIENT,
    ),
    one("no address yet: the neighbour's", LEARNER, STREET, UDP, src=WEB.v4),
)
AFTER_LEARNING = (
    one("learned: udp out", LEARNER, STREET, UDP),
    arp("learned: ARP", LEARNER, STREET),
    one("learned: tcp in", STREET, LEARNER, TCP, dport=80),
    one("learned: tcp in to a closed port", STREET, LEARNER, TCP, dport=22),
    one("learned: still not the neighbour's", LEARNER, STREET, UDP, src=WEB.v4),
    arp("learned: still not the neighbour's ARP", LEARNER, STREET, src=WEB.v4),
    one("learned: still no IPv6", LEARNER, STREET, UDP, 6),
)


def opened(first: Step) -> tuple[Step, ...]:
    """A TCP connection that both have agreed upon, from its first packet."""
    return (first, answer(first, flags="SA"))


def conversations() -> Iterable[Case]:
    """Answers, more of the same, errors about it, and what belongs to nothing."""
    asked = step(WEB, STREET, UDP, dport=4444)
    yield Case("the answer to what a guest sent", (asked, answer(asked)))
    asked6 = step(BARE, STREET, UDP, 6, dport=4444)
    yield Case("the answer to what a guest in no group sent, IPv6", (asked6, answer(asked6)))
    yield Case(
        "the answer to another port",
        (step(WEB, STREET, UDP, dport=4445, sport=30001), step(STREET, WEB, UDP, sport=4445, dport=30002)),
    )
    served = step(STREET, STRICT, UDP, dport=7)
    yield Case("a strict guest's answer", (served, answer(served)))
    served6 = step(STREET, STRICT, TCP, 6, dport=7)
    yield Case("a strict guest's answer, tcp over IPv6", opened(served6))
    called = step(STREET, WEB, TCP, dport=80)
    yield Case("a tcp connection in", (*opened(called), again(called, flags="A")))
    out = step(STRICT, FAR_AWAY, TCP, dport=443)
    yield Case("a tcp connection out", (*opened(out), again(out, flags="A")))
    within = step(WEB, DB, TCP, dport=5432)
    yield Case("a tcp connection between guests", (*opened(within), again(within, flags="A")))
    ping = step(BARE, STREET, ICMP, **PING, sport=77)
    yield Case(
        "the echo's answer",
        (ping, Step(a_packet(STREET, BARE, protocol=ICMP, **PONG, sport=77, state="established"), STREET, BARE)),
    )
    yield one("an echo's answer that nobody asked for", STREET, OPEN, ICMP, **PONG, state="invalid")
    refused = step(WEB, STREET, UDP, dport=4446)
    error = {"icmp_type": 3, "icmp_code": 3}
    about = a_packet(STREET, WEB, protocol=ICMP, **error, state="related")
    yield Case("an ICMP error about what a guest sent", (refused, Step(about, STREET, WEB, quotes=refused.packet)))
    router = a_packet(FAR_AWAY, WEB, protocol=ICMP, **error, state="related")
    asked_far = step(WEB, FAR_AWAY, UDP, dport=4447)
    yield Case("an ICMP error from a router", (asked_far, Step(router, FAR_AWAY, WEB, quotes=asked_far.packet)))
    unknown = a_packet(WEB, STREET, protocol=UDP, dport=4448)
    stray = a_packet(STREET, OPEN, protocol=ICMP, **error, state="invalid")
    yield Case("an ICMP error about nothing", (Step(stray, STREET, OPEN, quotes=unknown),))
    served_strict = step(STREET, STRICT, UDP, dport=8)
    complaint = a_packet(STRICT, STREET, protocol=ICMP, **error, state="related")
    yield Case(
        "a strict guest's ICMP error", (served_strict, Step(complaint, STRICT, STREET, quotes=served_strict.packet))
    )
    yield one("a tcp answer to nothing", STREET, OPEN, TCP, dport=80, flags="SA", state="invalid")
    yield one("a tcp reset of nothing", STREET, OPEN, TCP, dport=80, flags="R", state="invalid")
    yield one("tcp with flags that nobody sets", STREET, WEB, TCP, dport=80, flags="SF", state="invalid")
    yield one("a guest's tcp answer to nothing", OPEN, STREET, TCP, dport=80, flags="SA", state="invalid")
    big = step(WEB, STREET, UDP, dport=4449)
    yield Case("an answer in fragments", (big, answer(big)._replace(fragments=BIG)))
    redirect = {"icmp_type": payloads.REDIRECT, "state": "invalid"}
    yield one("an ICMPv6 redirect about nothing", STREET, OPEN, ICMPV6, 6, **redirect)
    solicitation = {"icmp_type": payloads.ROUTER_SOLICITATION}
    yield one("what is not tracked where all is open", STREET, OPEN, ICMPV6, 6, **solicitation)


CONVERSATIONS = tuple(conversations())

TABLE = {
    "base": BASE,
    "dhcp and discovery": DHCP_AND_DISCOVERY,
    "ingress": INGRESS,
    "egress": EGRESS,
    "operator": OPERATOR,
    "references": REFERENCES,
    "conversations": CONVERSATIONS,
}
