# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups judged a second time, from what EC2's documentation says of them and the few lines that docs/ adds.

It shares nothing with the oracle but the records it is asked about, and does things its own way: addresses are numbers,
and each rule is a test of its own. Where both agree, neither has misread the words.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.packet import Packet
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import HostPolicy, Port, Rule

_NAMED_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58}
_LINK_LOCAL = "fe80::/10"


class Span(NamedTuple):
    """The addresses of a network, from the first to the last, as numbers."""

    version: int
    first: int
    last: int

    @classmethod
    def of(cls, text: str) -> Span:
        address, _slash, length = text.partition("/")
        number = _number(address)
        bits = 128 if ":" in address else 32
        free = bits - int(length or bits)
        first = number >> free << free
        return cls(6 if bits == 128 else 4, first, first + (1 << free) - 1)

    def has(self, address: str) -> bool:
        return (":" in address) == (self.version == 6) and self.first <= _number(address) <= self.last


def _number(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, address), "big")


def passes(policy: HostPolicy, packet: Packet) -> bool:
    """Whether it gets from its sender to its receiver, as far as these are guests of the host."""
    ports = {port.mac: port for port in policy.ports}
    out_of = ports.get(packet.sender or "")
    into = ports.get(packet.receiver or "")
    return (out_of is None or _leaves(policy, out_of, packet)) and (into is None or _enters(policy, into, packet))


# -- what each guest is kept from, whatever its groups --------------------------------------------------------------


def _leaves(policy: HostPolicy, port: Port, packet: Packet) -> bool:
    if packet.src_mac != port.mac:
        return False
    if packet.ethertype == "arp":
        return packet.arp_mac == port.mac and (packet.src == "0.0.0.0" or _owns(port, packet.src))
    if packet.ethertype not in ("ipv4", "ipv6"):
        return packet.ethertype == "rarp"
    version = 4 if packet.ethertype == "ipv4" else 6
    judged = _honest_v4(port, packet) if version == 4 else _honest_v6(port, packet)
    if judged is not None:
        return judged
    return _ruled(policy, port, packet, "egress")


def _honest_v4(port: Port, packet: Packet) -> bool | None:
    owned = _owns(port, packet.src)
    if _udp(packet, 68, 67):
        return owned or packet.src == "0.0.0.0"
    if _udp(packet, 67, 68) or not owned:
        return False
    return None


def _honest_v6(port: Port, packet: Packet) -> bool | None:
    if _message(packet, 134, 137) or _udp(packet, 547, 546):
        return False
    nowhere = _number(packet.src) == 0 and _message(packet, 133, 135, 143)
    if not (nowhere or Span.of(_LINK_LOCAL).has(packet.src) or _owns(port, packet.src)):
        return False
    if _message(packet, 133, 135, 136, 131, 132, 143) or _udp(packet, 546, 547):
        return True
    return None


def _enters(policy: HostPolicy, port: Port, packet: Packet) -> bool:
    if packet.ethertype == "arp":
        return True
    if packet.ethertype not in ("ipv4", "ipv6"):
        return False
    if packet.ethertype == "ipv4" and _udp(packet, 67, 68):
        return True
    if packet.ethertype == "ipv6" and (_message(packet, 130, 134, 135, 136) or _udp(packet, 547, 546)):
        return True
    return _ruled(policy, port, packet, "ingress")


def _owns(port: Port, address: str) -> bool:
    return any(Span.of(network).has(address) for network in port.addresses)


def _udp(packet: Packet, sport: int, dport: int) -> bool:
    return (packet.protocol, packet.sport, packet.dport) == (17, sport, dport)


def _message(packet: Packet, *kinds: int) -> bool:
    return packet.ethertype == "ipv6" and packet.protocol == 58 and packet.icmp_type in kinds


# -- what its groups let through ------------------------------------------------------------------------------------


def _ruled(policy: HostPolicy, port: Port, packet: Packet, direction: str) -> bool:
    for item in policy.provider:
        if item.rule.direction == direction and _is_about(policy, item.rule, packet):
            return item.action == "accept"
    if packet.state != "new":
        return packet.state in ("established", "related")
    return any(allows(packet) for allows in _allowances(policy, port, direction))


def _allowances(policy: HostPolicy, port: Port, direction: str) -> Iterator[Callable[[Packet], bool]]:
    """EC2's groups only allow, and an instance has the sum of its groups' rules."""
    if direction == "egress" and not port.groups:
        yield lambda packet: True
    if direction == "ingress" and port.project is not None and port.allow_project:
        friends = policy.members.get(f"project:{port.project}", frozenset())
        yield lambda packet: _one_of(friends, packet.src)
    groups = [policy.groups[name] for name in port.groups if name in policy.groups]
    rules = [rule for group in groups for rule in group.rules if rule.direction == direction]
    yield lambda packet: any(_is_about(policy, rule, packet) for rule in rules)


def _is_about(policy: HostPolicy, rule: Rule, packet: Packet) -> bool:
    far_end = packet.src if rule.direction == "ingress" else packet.dst
    networks = policy.members.get(rule.group, ()) if rule.group is not None else (rule.cidr or "",)
    return _one_of(networks, far_end) and _fits(rule, packet)


def _one_of(networks: Iterable[str], address: str) -> bool:
    return any(Span.of(network).has(address) for network in networks)


def _fits(rule: Rule, packet: Packet) -> bool:
    if rule.protocol == "any":
        return True
    number = _NAMED_PROTOCOLS.get(rule.protocol)
    if packet.protocol != (int(rule.protocol) if number is None else number):
        return False
    # ICMP is IPv4's own, as ICMPv6 is IPv6's.
    version = ipaddress.ip_address(packet.src).version
    if number == 1 or number == 58:
        wanted_type = rule.icmp_type in (None, packet.icmp_type)
        return version == (4 if number == 1 else 6) and wanted_type and rule.icmp_code in (None, packet.icmp_code)
    if number in (6, 17) and rule.port_min is not None:
        last = rule.port_min if rule.port_max is None else rule.port_max
        return packet.dport is not None and rule.port_min <= packet.dport <= last
    return True
