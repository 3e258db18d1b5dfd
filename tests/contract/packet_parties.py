# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is on the wire of the packet tests, and the policy that its filtered ports have."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.members import members_of
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
    ANY,
    ANYWHERE_V4,
    ANYWHERE_V6,
    DEFAULT_EGRESS,
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
)

BRIDGE = "packets0"
STREET_DEVICE = "street0"


class Party(NamedTuple):
    """Somebody on the bridge, a guest if it has a port that is filtered."""

    name: str
    mac: str
    v4: str
    v6: str
    port: Port | None = None

    @property
    def guest_mac(self) -> str | None:
        """As a packet has it: None for whoever is no guest of the host."""
        return None if self.port is None else self.mac

    def address(self, version: int) -> str:
        return self.v4 if version == 4 else self.v6

    @property
    def device(self) -> str:
        return device_of(self.mac)


def device_of(mac: str) -> str:
    return f"av{mac.replace(':', '')}"


def guest(number: int, *groups: str, more_addresses: tuple[str, ...] = (), learns: bool = False, **over) -> Party:
    """A guest whose addresses end in this number."""
    mac, v4, v6 = f"52:54:00:99:00:{number:02x}", f"10.99.0.{number}", f"fd99::{number}"
    addresses = () if learns else tuple(sorted((f"{v4}/32", f"{v6}/128", *more_addresses)))
    port = Port(
        instance=f"guest{number}",
        mac=mac,
        device=device_of(mac),
        addresses=addresses,
        learns=learns,
        groups=tuple(sorted(groups)),
        **over,
    )
    return Party(port.instance, mac, v4, v6, port)


HOST = Party("host", "02:00:00:99:00:01", "10.99.0.1", "fd99::1")
STREET = Party("street", "02:00:00:99:00:64", "10.99.0.100", "fd99::100")
"""Outside, where nothing is filtered."""
FAR_MEMBER = STREET._replace(name="far member", v4="10.99.0.101", v6="fd99::101")
"""A member of ``web`` on another host."""
OUTLAW = STREET._replace(name="outlaw", v4="10.99.0.66", v6="fd99::66")
"""Whom the operator wants nowhere."""
FAR_AWAY = STREET._replace(name="far away", v4="192.0.2.7", v6="2001:db8::7")

WEB = guest(11, "web")
WEB2 = guest(12, "plain", "web", project="blue", allow_project=True)
DB = guest(21, "db", project="blue", allow_project=True)
STRICT = guest(31, "strict")
OPEN = guest(41, "open", more_addresses=("10.98.0.0/24", "fd98::/64"), project="red", allow_project=True)
BARE = guest(51, project="blue")
LEARNER = guest(81, "web", learns=True)

GUESTS = (WEB, WEB2, DB, STRICT, OPEN, BARE, LEARNER)
IN_CONTAINERS = (WEB2, BARE)
"""Those whose port is a veth, and no tap."""


def both(rule: Rule) -> tuple[Rule, Rule]:
    """From or to anywhere."""
    return replace(rule, cidr=ANYWHERE_V4), replace(rule, cidr=ANYWHERE_V6)


WEB_RULES = (
    *DEFAULT_EGRESS,
    *both(Rule(INGRESS, TCP, port_min=80, port_max=80)),
    Rule(INGRESS, TCP, "10.99.0.0/24", port_min=8000, port_max=8100),
    Rule(INGRESS, UDP, "fd99::/64", port_min=5000, port_max=5001),
    Rule(INGRESS, ICMP, ANYWHERE_V4, icmp_type=8),
    Rule(INGRESS, ICMP, "10.99.0.100/32", icmp_type=3, icmp_code=4),
    Rule(INGRESS, ICMPV6, ANYWHERE_V6, icmp_type=128),
    Rule(INGRESS, "47", "10.99.0.100/32", description="tunnels"),
)
DB_RULES = (
    *DEFAULT_EGRESS,
    Rule(INGRESS, TCP, group="web", port_min=5432, port_max=5432),
    Rule(INGRESS, ICMP, group="web"),
    Rule(INGRESS, ICMPV6, group="web"),
)
STRICT_RULES = (
    Rule(INGRESS, ANY, "10.99.0.100/32"),
    Rule(INGRESS, ANY, "fd99::100/128"),
    Rule(EGRESS, TCP, "192.0.2.0/24", port_min=443, port_max=443),
    Rule(EGRESS, UDP, "10.99.0.100/32", port_min=53, port_max=53),
    Rule(EGRESS, ICMPV6, "fd99::100/128", icmp_type=128),
    Rule(EGRESS, TCP, group="web", port_min=80, port_max=80),
)
GROUPS = {
    group.name: group
    for group in (
        SecurityGroup("web", WEB_RULES),
        SecurityGroup("db", DB_RULES),
        SecurityGroup("strict", STRICT_RULES),
        SecurityGroup("open", (*DEFAULT_EGRESS, *both(Rule(INGRESS)))),
        SecurityGroup("plain"),
    )
}
PROVIDER = (
    ProviderRule(Rule(INGRESS, TCP, ANYWHERE_V4, port_min=23, port_max=23)),
    ProviderRule(Rule(EGRESS, TCP, ANYWHERE_V4, port_min=25, port_max=25)),
    ProviderRule(Rule(INGRESS, ANY, "10.99.0.66/32")),
    ProviderRule(Rule(INGRESS, ICMPV6, "fd99::66/128")),
    ProviderRule(Rule(INGRESS, UDP, "10.99.0.100/32", port_min=161, port_max=161), ACCEPT),
    ProviderRule(Rule(INGRESS, UDP, ANYWHERE_V4, port_min=161, port_max=161)),
    ProviderRule(Rule(EGRESS, UDP, "10.99.0.0/24", port_min=9999, port_max=9999), ACCEPT),
)


def members(*ports: Port, far: tuple[str, ...] = ("10.99.0.101/32", "fd99::101/128")) -> dict[str, frozenset[str]]:
    """Of these ports' groups, with web's members on other hosts."""
    found = members_of(ports)
    return {**found, "web": found.get("web", frozenset()) | frozenset(far)}


PORTS = tuple(party.port for party in GUESTS if party.port is not None)
POLICY = HostPolicy(PORTS, GROUPS, PROVIDER, members(*PORTS))
