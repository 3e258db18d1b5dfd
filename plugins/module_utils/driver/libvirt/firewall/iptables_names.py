# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the iptables engine's chains, sets and mark bits are called.

The kernel lets chains have 28 characters and sets 31; groups have more, so names are made of hashes and MAC addresses.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from ....model.secgroup import INGRESS, Port

PREFIX = "anyvirt-"


class Table(NamedTuple):
    """A table of one of the tools; each tool's tables are loaded with one call."""

    tool: str
    name: str


RAW = {4: Table("iptables", "raw"), 6: Table("ip6tables", "raw")}
"""Runs before connection tracking: what a guest forges must not even touch the state of others' connections."""

SECURITY = {4: Table("iptables", "security"), 6: Table("ip6tables", "security")}
"""Runs after the table ``filter``: no ACCEPT there goes around security groups, and none of ours goes around it."""

BRIDGE = Table("ebtables", "nat")
"""Its PREROUTING runs before the bridge learns addresses, its POSTROUTING knows the port that the host sends to."""

TABLES = (*RAW.values(), *SECURITY.values(), BRIDGE)
TOOLS = ("iptables", "ip6tables", "ebtables")

PASSED = 0x01000000
"""Mark bit: the list of rules that was asked last lets the packet through. The bridge lets no IP packet to a port
without it, so nothing gets in while iptables' rules are missing."""

UNSEEN = 0x02000000
"""Mark bit: the packet is a guest's, and its egress rules have not been asked. The bridge lets none out with it."""

UNCHECKED = 0x08000000
"""Mark bit: nor has anybody looked at whether its addresses are the guest's. Neither host nor bridge take it then."""

KNOWN = 0x04000000
"""Mark bit: a packet of the host to a link-local address belongs to a connection that was let through."""

PREROUTING = f"{PREFIX}prerouting"
DHCP = f"{PREFIX}dhcp"
DIRECT = f"{PREFIX}direct"
FROM = f"{PREFIX}from"
TO = f"{PREFIX}to"
INPUT = f"{PREFIX}input"
FORWARD = f"{PREFIX}forward"
OUTPUT = f"{PREFIX}output"
FROM_HOST = f"{PREFIX}host"
EGRESS_PORTS = f"{PREFIX}egress"
INGRESS_PORTS = f"{PREFIX}ingress"
EGRESS_BASE = f"{PREFIX}out"
INGRESS_BASE = f"{PREFIX}in"
EGRESS_OPERATOR = f"{PREFIX}op-out"
INGRESS_OPERATOR = f"{PREFIX}op-in"
PASS = f"{PREFIX}pass"
SOURCE = f"{PREFIX}src-"
LEARN = f"{PREFIX}learn-"
EGRESS_PROFILE = f"{PREFIX}e-"
INGRESS_PROFILE = f"{PREFIX}i-"
EGRESS_GROUP = f"{PREFIX}go-"
INGRESS_GROUP = f"{PREFIX}gi-"

HOOKS: dict[Table, dict[str, str]] = {
    RAW[4]: {"PREROUTING": PREROUTING, "OUTPUT": DHCP},
    RAW[6]: {"PREROUTING": PREROUTING},
    SECURITY[4]: {"INPUT": INPUT, "FORWARD": FORWARD, "OUTPUT": OUTPUT},
    SECURITY[6]: {"INPUT": INPUT, "FORWARD": FORWARD, "OUTPUT": OUTPUT},
    BRIDGE: {"PREROUTING": FROM, "POSTROUTING": TO},
}
"""The only rules of ours in chains that are not ours: one jump in each of these."""


def group_chain(direction: str, group: str) -> str:
    """The chain of a group's rules."""
    return f"{INGRESS_GROUP if direction == INGRESS else EGRESS_GROUP}{_hash(group)}"


def is_group_chain(chain: str) -> bool:
    """Whether it is one that stays without a port that uses it."""
    return chain.startswith((EGRESS_GROUP, INGRESS_GROUP))


def profile_of(port: Port) -> str:
    """What ports have in common that let the same through: they share chains."""
    return _hash(json.dumps([port.groups, port.project if port.allow_project else None]))


def bare(mac: str) -> str:
    """A MAC address without its colons."""
    return mac.replace(":", "")


def with_colons(digits: str) -> str:
    """The MAC address again."""
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def members_set(family: int, group: str) -> str:
    """The set of a group's members."""
    return f"{PREFIX}m{family}-{_hash(group)}"


def port_set(family: int, mac: str) -> str:
    """The set of the addresses that a port may use."""
    return f"{PREFIX}p{family}-{bare(mac)}"


def profile_set(family: int, profile: str) -> str:
    """The set of all addresses of the ports that have a profile."""
    return f"{PREFIX}d{family}-{profile}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
