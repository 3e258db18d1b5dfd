# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies and packets by chance, the same ones for the same seed."""

from __future__ import annotations

import random

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.packet import Packet
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
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
from contract.packet_parties import FAR_AWAY, FAR_MEMBER, GUESTS, HOST, OUTLAW, STREET, Party, members
from contract.packet_sending import a_packet
from lab.packets.frames import ICMP, ICMPV6, TCP, UDP

_NAMES = ("alpha", "beta", "gamma", "delta")
_PROJECTS = (None, None, "blue", "red")
_PROTOCOLS = ("tcp", "tcp", "udp", "udp", "icmp", "icmpv6", "any", "253")
_PORTS = (22, 53, 79, 80, 81, 443, 8000, 8080)
_ICMP_TYPES = (None, 0, 3, 8, 13)
_ICMPV6_TYPES = (None, 1, 128, 129, 139)
_NETWORKS_V4 = ("0.0.0.0/0", "10.99.0.0/24", "10.99.0.64/26", "192.0.2.0/24", "10.99.0.100/32", "10.99.0.11/32")
_NETWORKS_V6 = ("::/0", "fd99::/64", "fd99::100/128", "2001:db8::/32", "fd99::11/128")
_OUTSIDERS = (STREET, STREET, FAR_MEMBER, OUTLAW, FAR_AWAY)

KNOWN = tuple(party for party in GUESTS if party.port is not None and not party.port.learns)
"""Guests whose addresses are declared."""


class Chance:
    """A source of policies and packets."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def policy(self) -> HostPolicy:
        """Other rules, groups and projects for the known guests, whose ports stay where they are."""
        groups = {name: self._group(name) for name in _NAMES}
        ports = tuple(self._port(party) for party in KNOWN)
        provider = tuple(self._provider_rule() for _number in range(self._random.randrange(4)))
        return HostPolicy(ports, groups, provider, members(*ports, far=()) | {"alpha": self._far(ports)})

    def _far(self, ports: tuple[Port, ...]) -> frozenset[str]:
        far = frozenset({"10.99.0.101/32", "fd99::101/128"})
        return members(*ports, far=()).get("alpha", frozenset()) | self._random.choice((far, frozenset()))

    def _port(self, party: Party) -> Port:
        assert party.port is not None
        groups = self._random.sample(_NAMES, self._random.randrange(3))
        project = self._random.choice(_PROJECTS)
        allow = project is not None and self._random.random() < 0.7
        own = party.port
        return Port(own.instance, own.mac, own.device, own.addresses, False, tuple(sorted(groups)), project, allow)

    def _group(self, name: str) -> SecurityGroup:
        rules = tuple(self._rule() for _number in range(self._random.randrange(8)))
        return SecurityGroup(name, rules + (DEFAULT_EGRESS if self._random.random() < 0.5 else ()))

    def _rule(self, *, may_name_group: bool = True) -> Rule:
        direction = self._random.choice((INGRESS, INGRESS, EGRESS))
        protocol = self._random.choice(_PROTOCOLS)
        fields: dict[str, int | None] = {}
        if protocol in ("tcp", "udp") and self._random.random() < 0.8:
            first = self._random.choice(_PORTS)
            fields = {"port_min": first, "port_max": self._random.choice([port for port in _PORTS if port >= first])}
        if protocol in ("icmp", "icmpv6"):
            kind = self._random.choice(_ICMP_TYPES if protocol == "icmp" else _ICMPV6_TYPES)
            code = None if kind is None else self._random.choice((None, 0, 1))
            fields = {"icmp_type": kind, "icmp_code": code}
        if may_name_group and self._random.random() < 0.3:
            return Rule(direction, protocol, group=self._random.choice(_NAMES), **fields)
        return Rule(direction, protocol, self._random.choice(self._networks(protocol)), **fields)

    def _networks(self, protocol: str) -> tuple[str, ...]:
        if protocol in ("icmp", "icmpv6"):
            return _NETWORKS_V4 if protocol == "icmp" else _NETWORKS_V6
        return self._random.choice((_NETWORKS_V4, _NETWORKS_V6))

    def _provider_rule(self) -> ProviderRule:
        return ProviderRule(self._rule(may_name_group=False), self._random.choice((ACCEPT, DROP, DROP)))

    def parties(self) -> tuple[Party, Party]:
        """Somebody and somebody else, at least one of them a guest."""
        inside = self._random.choice(KNOWN)
        other = self._random.choice((*(party for party in KNOWN if party != inside), *_OUTSIDERS))
        return (inside, other) if self._random.random() < 0.5 else (other, inside)

    def new_packet(self, sender: Party, receiver: Party) -> Packet:
        """An honest first packet of a connection."""
        version = self._random.choice((4, 6))
        protocol = self._random.choice((TCP, TCP, UDP, UDP, ICMP if version == 4 else ICMPV6, 253))
        fields: dict[str, int] = {}
        if protocol in (TCP, UDP):
            fields = {"dport": self._random.choice((*_PORTS, 8001, 9000))}
        if protocol in (ICMP, ICMPV6):
            # Requests: an answer or an error would be about something, and no new connection.
            fields = {"icmp_type": self._random.choice((8, 13) if version == 4 else (128, 139)), "icmp_code": 0}
        return a_packet(sender, receiver, version, protocol=protocol, **fields)

    def any_packet(self) -> Packet:
        """Whatever somebody can think of, honest or not."""
        sender, receiver = self.parties()
        plain = self.new_packet(sender, receiver)
        version = 4 if plain.ethertype == "ipv4" else 6
        kind = self._random.randrange(10)
        fields = {"protocol": plain.protocol, "sport": plain.sport, "dport": plain.dport}
        if kind == 0:
            return a_packet(sender, receiver, ethertype=self._random.choice(("arp", "rarp", 0x8100, 0x88B5)))
        if kind == 1:
            mac = self._random.choice(KNOWN).mac
            return a_packet(sender, receiver, ethertype="arp", arp_mac=mac, src=self._any_address(4))
        if kind == 2:
            source, target = self._random.choice(((67, 68), (68, 67), (546, 547), (547, 546)))
            fields = {"protocol": UDP, "sport": source, "dport": target}
        if kind == 3:
            fields = {"protocol": ICMPV6 if version == 6 else ICMP, "icmp_type": self._random.randrange(128, 145)}
        if kind == 4:
            fields["src_mac"] = self._random.choice(KNOWN).mac
        if kind in (3, 5, 6):
            fields["src"] = self._any_address(version)
        state = self._random.choice(("new", "new", "new", "established", "related", "invalid"))
        return a_packet(sender, receiver, version, **fields, state=state)

    def _any_address(self, version: int) -> str:
        party = self._random.choice((*KNOWN, *_OUTSIDERS, HOST))
        special = ["0.0.0.0", "10.98.0.3"] if version == 4 else ["::", "fe80::5", "fd98::5"]
        return self._random.choice([*special, party.address(version)])
