# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that all instances of a host share: what every guest may do, and what none may.

Rules about ``mac``, ``arp``, ``ip`` and ``ipv6`` are ebtables rules in the table nat: they see each frame and each
fragment. The others are iptables rules, which see what br_netfilter shows them. A packet has to pass both. What is the
same for all fragments stands in the first, what needs ports or connections in the second.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element

from .filterxml import (
    ACCEPT,
    BOTH_WAYS,
    DROP,
    FROM_GUEST,
    NO_STATE,
    PREFIX,
    TO_GUEST,
    add_rule,
    new_filter,
)
from .notes import NOTE, first, read_notes, write_notes

BASE = f"{PREFIX}base"
ADDRESS = f"{BASE}-address"
"""Lets the guest use the addresses that libvirt learns, ``IP``. What it has once learned counts even where others are
given under that name, so declared ones never are."""
NETWORK = f"{BASE}-network"
"""Lets the guest use the networks ``NETWORK`` with the lengths ``PREFIX``."""
NETWORK_V6 = f"{BASE}-network-ipv6"
"""The same with ``NETWORK6`` and ``PREFIX6``."""
EVERYTHING_OUT = f"{BASE}-everything-out"
"""For instances in no group."""

_LOAD = "LOAD"

_UNSPECIFIED = "0.0.0.0"  # noqa: S104 (nothing is bound to it)

# Priorities of ebtables rules.
_FIRST = -1000
_EARLY = -900
_USUAL = 100
_LAST = 1000

# Priorities of iptables rules: the operator's are between _BASE and _ESTABLISHED, the groups' after _INVALID.
_BASE = -1000
_ESTABLISHED = -50
_INVALID = -40

_ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT, _REDIRECT = range(
    133, 138
)
_LISTENER_QUERY, _LISTENER_REPORT, _LISTENER_DONE, _LISTENER_REPORT_V2 = 130, 131, 132, 143
_SAID_BY_GUESTS = (
    *(_ROUTER_SOLICITATION, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT),
    *(_LISTENER_REPORT, _LISTENER_DONE, _LISTENER_REPORT_V2),
)
_SAID_TO_GUESTS = (_LISTENER_QUERY, _ROUTER_ADVERTISEMENT, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT)
_SAID_WITHOUT_ADDRESS = (_ROUTER_SOLICITATION, _NEIGHBOUR_SOLICITATION, _LISTENER_REPORT_V2)


def base_filters(load: str) -> list[Element]:
    """All of them, each after those that it refers to.

    Args:
        load: Another value than the last one makes libvirt build the rules of all instances anew: it does nothing
            about a definition that is what it was.
    """
    return [new_filter(NOTE), *_addresses(), _everything_out(), _base(load)]


def load_of(root: Element | None) -> str:
    """The value with which the definition ``BASE`` was made; an initial one where there is none."""
    return "0" if root is None else first(read_notes(root), _LOAD) or "0"


def next_load(load: str) -> str:
    """Another value."""
    return "1" if load == "0" else "0"


def _base(load: str) -> Element:
    root = new_filter(BASE)
    add_rule(root, DROP, FROM_GUEST, _FIRST, "mac", match="no", srcmacaddr="$MAC")
    _add_ipv4(root)
    _add_ipv6(root)
    _add_arp(root)
    for protocol in ("arp", "ipv4", "ipv6"):
        add_rule(root, ACCEPT, TO_GUEST, _USUAL, "mac", protocolid=protocol)
    add_rule(root, DROP, BOTH_WAYS, _LAST, "mac")
    _add_dhcp(root)
    _add_neighbours(root)
    for protocol in ("all", "all-ipv6"):
        add_rule(root, ACCEPT, BOTH_WAYS, _ESTABLISHED, protocol, state="ESTABLISHED,RELATED")
        add_rule(root, DROP, BOTH_WAYS, _INVALID, protocol, state="INVALID")
        add_rule(root, DROP, BOTH_WAYS, _LAST, protocol, state=NO_STATE)
    write_notes(root, {_LOAD: [load]})
    return root


def _add_ipv4(root: Element) -> None:
    add_rule(root, DROP, FROM_GUEST, _EARLY, "ip", protocol="udp", srcportstart=67, dstportstart=68)
    add_rule(
        root, ACCEPT, FROM_GUEST, _USUAL, "ip", srcipaddr=_UNSPECIFIED, protocol="udp", srcportstart=68, dstportstart=67
    )


def _add_ipv6(root: Element) -> None:
    for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT):
        add_rule(root, DROP, FROM_GUEST, _EARLY, "ipv6", protocol="icmpv6", type=kind, typeend=kind)
    add_rule(root, DROP, FROM_GUEST, _EARLY, "ipv6", protocol="udp", srcportstart=547, dstportstart=546)
    add_rule(root, ACCEPT, FROM_GUEST, _USUAL, "ipv6", srcipaddr="fe80::", srcipmask=10)
    for kind in _SAID_WITHOUT_ADDRESS:
        add_rule(root, ACCEPT, FROM_GUEST, _USUAL, "ipv6", srcipaddr="::", protocol="icmpv6", type=kind, typeend=kind)


def _add_arp(root: Element) -> None:
    add_rule(root, DROP, FROM_GUEST, _EARLY, "arp", match="no", arpsrcmacaddr="$MAC")
    add_rule(root, ACCEPT, FROM_GUEST, _USUAL, "arp", arpsrcipaddr=_UNSPECIFIED)
    add_rule(root, ACCEPT, FROM_GUEST, _USUAL, "mac", protocolid="rarp")


def _add_dhcp(root: Element) -> None:
    add_rule(root, ACCEPT, FROM_GUEST, _BASE, "udp", state=NO_STATE, srcportstart=68, dstportstart=67)
    add_rule(root, ACCEPT, TO_GUEST, _BASE, "udp", state=NO_STATE, srcportstart=67, dstportstart=68)
    add_rule(root, ACCEPT, FROM_GUEST, _BASE, "udp-ipv6", state=NO_STATE, srcportstart=546, dstportstart=547)
    add_rule(root, ACCEPT, TO_GUEST, _BASE, "udp-ipv6", state=NO_STATE, srcportstart=547, dstportstart=546)


def _add_neighbours(root: Element) -> None:
    for kind in _SAID_BY_GUESTS:
        add_rule(root, ACCEPT, FROM_GUEST, _BASE, "icmpv6", state=NO_STATE, type=kind)
    for kind in _SAID_TO_GUESTS:
        add_rule(root, ACCEPT, TO_GUEST, _BASE, "icmpv6", state=NO_STATE, type=kind)
    # The first layer does not see these behind headers that fill a fragment of their own.
    for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT):
        add_rule(root, DROP, FROM_GUEST, _BASE, "icmpv6", state=NO_STATE, type=kind)
    add_rule(root, DROP, FROM_GUEST, _BASE, "udp-ipv6", state=NO_STATE, srcportstart=547, dstportstart=546)


def _addresses() -> list[Element]:
    """What lets a guest use addresses, learned and declared ones."""
    learned, networks, networks_v6 = new_filter(ADDRESS), new_filter(NETWORK), new_filter(NETWORK_V6)
    add_rule(learned, ACCEPT, FROM_GUEST, _USUAL, "ip", srcipaddr="$IP")
    add_rule(learned, ACCEPT, FROM_GUEST, _USUAL, "arp", arpsrcipaddr="$IP")
    add_rule(networks, ACCEPT, FROM_GUEST, _USUAL, "ip", srcipaddr="$NETWORK", srcipmask="$PREFIX")
    add_rule(networks, ACCEPT, FROM_GUEST, _USUAL, "arp", arpsrcipaddr="$NETWORK", arpsrcipmask="$PREFIX")
    add_rule(networks_v6, ACCEPT, FROM_GUEST, _USUAL, "ipv6", srcipaddr="$NETWORK6", srcipmask="$PREFIX6")
    return [learned, networks, networks_v6]


def _everything_out() -> Element:
    root = new_filter(EVERYTHING_OUT)
    for protocol in ("all", "all-ipv6"):
        add_rule(root, ACCEPT, FROM_GUEST, _USUAL, protocol, state=NO_STATE)
    return root
