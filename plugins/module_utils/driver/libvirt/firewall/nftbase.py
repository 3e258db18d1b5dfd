# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the nftables engine that is the same on each host: where the kernel calls it, and the protection against
what no guest may send.

A frame from a guest meets, in this order:

- ``bridge prerouting``: forged sources are dropped before the bridge learns their MAC addresses, before fragments are
  put together and before connection tracking sees them;
- ``inet prerouting``, called for bridged packets where ``bridge-nf-call-iptables`` is 1: connection tracking knows the
  packet, and bits of its mark tell that to the bridge's chains, which cannot ask for it themselves;
- ``bridge forward`` (to another port) or ``bridge input`` (to the host, or routed by it): what guests may send.

A frame to a guest meets ``bridge forward`` or, where the host sends or routes it, ``inet output`` or ``inet forward``
for the mark and then ``bridge output``: what guests get. One ``accept`` ends the chain of one hook only, therefore
sending and getting have chains of their own. The last chain of each hook takes our bits from the mark again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .nftanswers import recognizing, remembering, undecided
from .nftbits import ESTABLISHED, FROM_BRIDGE, INVALID, OTHERS, OURS
from .nfttable import Chain, Element, Hook, NftRule, NftSet, Owner, Table

EGRESS_OPERATOR = "operator-out"
INGRESS_OPERATOR = "operator-in"

_BASE = Owner("base rules")

# Before the bridge's netfilter calls (0), which put fragments together.
_BEFORE_CONNTRACK, _RECOGNIZING = -250, -240
# After those. The bridge goes on behind 0 with what comes back from there.
_FROM_GUEST, _TO_GUEST, _LET_THROUGH, _CLEAN = 10, 20, 25, 30
# After connection tracking, address translation and everybody else's marks.
_MARKING = 290


def base_sets() -> dict[str, NftSet]:
    """The sets about ports, empty. All have the port's device in the first column."""
    return {
        "ports": _set("ifname"),
        "macs": _set("ifname", "ether_addr"),
        "addresses4": _set("ifname", "ipv4_addr", interval=True),
        "addresses6": _set("ifname", "ipv6_addr", interval=True),
        "learners": NftSet(("ifname", "integer"), declaration="typeof meta oifname . @th,288,48;"),
        "learned": NftSet(
            ("ifname", "integer"),
            declaration="typeof meta oifname . @th,192,32; size 65535; flags dynamic;",
        ),
        "from_port": NftSet(("ifname",), verdicts=True, declaration="type ifname : verdict;"),
        "to_port": NftSet(("ifname",), verdicts=True, declaration="type ifname : verdict;"),
    }


def base_chains() -> dict[str, Chain]:
    """The chains of the bridge table that all ports share; the operator's rules are not among them."""
    clean = [(f"meta mark & {OURS:#x} != 0 meta mark set meta mark & {OTHERS:#x}", "the mark is others' again")]
    from_guest = [("iifname @ports goto from-guest", "from a guest")]
    to_guest = [("oifname @ports goto to-guest", "to a guest")]
    return {
        "prerouting": _chain([("iifname @ports goto source", "forged sources")], Hook("prerouting", _BEFORE_CONNTRACK)),
        "prerouting-note": _chain(recognizing(), Hook("prerouting", _RECOGNIZING)),
        "forward-from": _chain(from_guest, Hook("forward", _FROM_GUEST)),
        "forward-to": _chain(to_guest, Hook("forward", _TO_GUEST)),
        "forward-clean": _chain(clean, Hook("forward", _CLEAN)),
        "input-from": _chain(from_guest, Hook("input", _FROM_GUEST)),
        "input-clean": _chain(clean, Hook("input", _CLEAN)),
        "output-to": _chain(_TAILS + to_guest, Hook("output", _TO_GUEST)),
        "output-note": _chain(remembering(), Hook("output", _LET_THROUGH)),
        "output-clean": _chain(clean, Hook("output", _CLEAN)),
        **{name: _chain(rules) for name, rules in _SOURCE.items()},
        **{name: _chain(rules) for name, rules in _FROM.items()},
        **{name: _chain(rules) for name, rules in _TO.items()},
    }


def marking_table(ports: frozenset[Element] = frozenset()) -> Table:
    """The inet table: what connection tracking knows goes into the mark.

    Args:
        ports: The devices of filtered ports. Frames to the addresses that bridges keep for themselves (LLDP's, say)
            come to the host by these devices, past all of the bridge's chains.
    """
    chains = {
        hook: _chain([*undecided(hook), ("goto note-state", "connections")], Hook(hook, _MARKING))
        for hook in ("forward", "output")
    }
    from_bridge = (f"meta mark set meta mark | {FROM_BRIDGE:#x}", "comes by a bridge")
    chains["prerouting"] = _chain(
        [*undecided("prerouting"), ("jump note-state", "connections"), from_bridge], Hook("prerouting", _MARKING)
    )
    chains["note-state"] = _chain(
        [
            (_set_mark("ct state established,related", ESTABLISHED), "known connections"),
            (_set_mark("ct state invalid", INVALID), "invalid packets"),
            (f"ct state new,untracked meta mark set meta mark & {OTHERS:#x}", "all others"),
        ]
    )
    chains["prerouting-direct"] = _chain(
        [("iifname @ports counter drop", "from a guest, past the bridge")], Hook("prerouting", _BEFORE_CONNTRACK)
    )
    return Table("inet", chains, {"ports": replace(_set("ifname"), elements=ports)})


# What the host sends is cut up before it comes to the bridge. Nobody can do anything with these pieces without the
# first one, which the rules see.
_TAILS = [
    ("ether type ip ip frag-off & 0x1fff != 0 accept", "rest of a packet"),
    ("ether type ip6 frag frag-off != 0 accept", "rest of a packet"),
]

_SOURCE = {
    "source": [
        ("iifname . ether saddr != @macs counter drop", "another's MAC address"),
        ("ether type 0x8035 accept", "RARP"),
        ("ether type arp goto source-arp", "ARP"),
        ("ether type ip goto source-ip4", "IPv4"),
        ("ether type ip6 goto source-ip6", "IPv6"),
        ("counter drop", "other protocols"),
    ],
    "source-arp": [
        # Raw bits have no type of their own: those of the header's four fields, and the sender's hardware address.
        ("@nh,0,48 != 0x000108000604 counter drop", "not about Ethernet and IPv4"),
        ("iifname . arp saddr ether != @macs counter drop", "another's MAC address"),
        ("arp saddr ip 0.0.0.0 accept", "probe"),
        ("iifname . arp saddr ip @addresses4 accept", "own address"),
        ("iifname . @nh,112,32 @learned accept", "address from DHCP"),
        ("counter drop", "another's address"),
    ],
    "source-ip4": [
        ("ip saddr 0.0.0.0 accept", "DHCP, looked at again later"),
        ("iifname . ip saddr @addresses4 accept", "own address"),
        ("iifname . @nh,96,32 @learned accept", "address from DHCP"),
        ("counter drop", "another's address"),
    ],
    "source-ip6": [
        ("ip6 saddr fe80::/10 accept", "link-local"),
        ("ip6 saddr :: accept", "neighbour discovery, looked at again later"),
        ("iifname . ip6 saddr @addresses6 accept", "own address"),
        ("counter drop", "another's address"),
    ],
}

_FROM = {
    "from-guest": [
        ("ether type ip goto from-ip4", "IPv4"),
        ("ether type ip6 goto from-ip6", "IPv6"),
        ("accept", "ARP and RARP, looked at before"),
    ],
    "from-ip4": [
        ("meta l4proto udp th sport 68 th dport 67 accept", "DHCP client"),
        ("meta l4proto udp th sport 67 th dport 68 counter drop", "DHCP server"),
        ("ip saddr 0.0.0.0 counter drop", "no address"),
        ("goto from-known", "IPv4"),
    ],
    "from-ip6": [
        ("meta l4proto icmpv6 icmpv6 type { 134, 137 } counter drop", "router advertisements and redirects"),
        ("meta l4proto udp th sport 547 th dport 546 counter drop", "DHCPv6 server"),
        ("ip6 saddr :: meta l4proto icmpv6 icmpv6 type { 133, 135, 143 } accept", "neighbour discovery"),
        ("ip6 saddr :: counter drop", "no address"),
        ("meta l4proto icmpv6 icmpv6 type { 131, 132, 133, 135, 136, 143 } accept", "neighbour discovery"),
        ("meta l4proto udp th sport 546 th dport 547 accept", "DHCPv6 client"),
        ("goto from-known", "IPv6"),
    ],
    "from-known": [
        (f"meta mark & {FROM_BRIDGE:#x} == 0 counter drop", "connection tracking has not seen it"),
        (f"jump {EGRESS_OPERATOR}", "operator"),
        (f"meta mark & {ESTABLISHED:#x} != 0 accept", "known connections"),
        (f"meta mark & {INVALID:#x} != 0 counter drop", "invalid"),
        ("iifname vmap @from_port", "groups"),
        ("counter drop", "no rules for this port"),
    ],
}

_TO = {
    "to-guest": [
        ("ether type arp accept", "ARP"),
        ("ether type ip goto to-ip4", "IPv4"),
        ("ether type ip6 goto to-ip6", "IPv6"),
        ("counter drop", "other protocols"),
    ],
    "to-ip4": [
        ("meta l4proto udp th sport 67 th dport 68 jump learn", "DHCP answers"),
        ("meta l4proto udp th sport 67 th dport 68 accept", "DHCP answers"),
        ("goto to-known", "IPv4"),
    ],
    "learn": [
        # BOOTP: an answer (2) to this guest's own MAC address (chaddr) that gives it an address (yiaddr). What somebody
        # far away sends can name any address, but comes only to the one that the guest has: that one counts then.
        ("@th,64,8 != 2 return", "no answer"),
        ("oifname . @th,288,48 != @learners return", "another's"),
        ("@th,192,32 0 return", "without an address"),
        ("ip daddr 255.255.255.255 add @learned { oifname . @th,192,32 } return", "address from DHCP"),
        ("oifname . ether daddr @macs add @learned { oifname . @nh,128,32 }", "address from DHCP"),
    ],
    "to-ip6": [
        ("meta l4proto icmpv6 icmpv6 type { 130, 134, 135, 136 } accept", "neighbour discovery"),
        ("meta l4proto udp th sport 547 th dport 546 accept", "DHCPv6 answers"),
        ("goto to-known", "IPv6"),
    ],
    "to-known": [
        (f"jump {INGRESS_OPERATOR}", "operator"),
        (f"meta mark & {ESTABLISHED:#x} != 0 accept", "known connections"),
        (f"meta mark & {INVALID:#x} != 0 counter drop", "invalid"),
        ("oifname vmap @to_port", "groups"),
        ("counter drop", "no rules for this port"),
    ],
}


def _set(*types: str, interval: bool = False) -> NftSet:
    flags = " flags interval;" if interval else ""
    return NftSet(types, interval=interval, declaration=f"type {' . '.join(types)};{flags}")


def _chain(rules: Iterable[tuple[str, str]], hook: Hook | None = None) -> Chain:
    return Chain.of(_BASE, *(NftRule(text, note) for text, note in rules), hook=hook)


def _set_mark(match: str, bit: int) -> str:
    return f"{match} meta mark set meta mark & {OTHERS:#x} | {bit:#x}"
