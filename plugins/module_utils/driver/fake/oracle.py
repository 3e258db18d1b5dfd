# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packets pass: docs/security_groups.md as code, line by line. No engine's ways of doing it are in here."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ...model import secgroup
from ...model.secgroup import ACCEPT, EGRESS, INGRESS, HostPolicy, Port, Rule, project_group
from .packet import ARP, ESTABLISHED, ICMP, ICMPV6, INVALID, IPV4, IPV6, PROTOCOLS, RARP, RELATED, TCP, UDP, Packet

_NO_ADDRESS_YET = str(IPv4Address(0))
_LINK_LOCAL = ("fe80::/10",)

_DHCP_FROM_CLIENT = (UDP, 68, 67)
_DHCP_FROM_SERVER = (UDP, 67, 68)
_DHCPV6_FROM_CLIENT = (UDP, 546, 547)
_DHCPV6_FROM_SERVER = (UDP, 547, 546)

_LISTENER_QUERY, _LISTENER_REPORT, _LISTENER_DONE, _LISTENER_REPORT_V2 = 130, 131, 132, 143
_ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = 133, 134, 135, 136
_REDIRECT = 137

_NEVER_FROM_GUESTS = (_ROUTER_ADVERTISEMENT, _REDIRECT)
_FROM_NO_ADDRESS_YET = (_ROUTER_SOLICITATION, _NEIGHBOUR_SOLICITATION, _LISTENER_REPORT_V2)
_ALWAYS_FROM_GUESTS = (
    _ROUTER_SOLICITATION,
    _NEIGHBOUR_SOLICITATION,
    _NEIGHBOUR_ADVERTISEMENT,
    _LISTENER_REPORT,
    _LISTENER_DONE,
    _LISTENER_REPORT_V2,
)
_ALWAYS_TO_GUESTS = (_LISTENER_QUERY, _ROUTER_ADVERTISEMENT, _NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT)


def would_accept(policy: HostPolicy, packet: Packet) -> bool:
    """Whether the packet gets from its sender to its receiver. An interface that is no port of ``policy`` is not
    filtered. A port's ``learns`` plays no part: what it has learnt is to be among its addresses."""
    ports = {port.mac: port for port in policy.ports}
    sender = ports.get(packet.sender or "")
    receiver = ports.get(packet.receiver or "")
    return (sender is None or _may_send(policy, sender, packet)) and (
        receiver is None or _may_receive(policy, receiver, packet)
    )


def _may_send(policy: HostPolicy, port: Port, packet: Packet) -> bool:
    if packet.src_mac != port.mac:
        return False
    if packet.ethertype == ARP:
        return packet.arp_mac == port.mac and _is_usable(port, packet.src, _NO_ADDRESS_YET)
    if packet.ethertype == RARP:
        return True
    if packet.ethertype == IPV4:
        decided = _base_of_ipv4(port, packet)
    elif packet.ethertype == IPV6:
        decided = _base_of_ipv6(port, packet)
    else:
        return False
    if decided is None:
        decided = _decided_for_all(policy, packet, EGRESS)
    if decided is not None:
        return decided
    return not port.groups or _is_let_through(policy, port, packet, EGRESS)


def _base_of_ipv4(port: Port, packet: Packet) -> bool | None:
    if _udp(packet) == _DHCP_FROM_SERVER:
        return False
    if _udp(packet) == _DHCP_FROM_CLIENT:
        return _is_usable(port, packet.src, _NO_ADDRESS_YET)
    return None if _is_usable(port, packet.src) else False


def _base_of_ipv6(port: Port, packet: Packet) -> bool | None:
    kind = packet.icmp_type if packet.protocol == ICMPV6 else None
    if kind in _NEVER_FROM_GUESTS or _udp(packet) == _DHCPV6_FROM_SERVER:
        return False
    has_no_address = _address(packet.src).is_unspecified and kind in _FROM_NO_ADDRESS_YET
    if not (has_no_address or _is_usable(port, packet.src) or _is_in(packet.src, _LINK_LOCAL)):
        return False
    return True if kind in _ALWAYS_FROM_GUESTS or _udp(packet) == _DHCPV6_FROM_CLIENT else None


def _may_receive(policy: HostPolicy, port: Port, packet: Packet) -> bool:
    if packet.ethertype == ARP:
        return True
    if packet.ethertype == IPV4:
        passes = _udp(packet) == _DHCP_FROM_SERVER
    elif packet.ethertype == IPV6:
        kind = packet.icmp_type if packet.protocol == ICMPV6 else None
        passes = kind in _ALWAYS_TO_GUESTS or _udp(packet) == _DHCPV6_FROM_SERVER
    else:
        return False
    if passes:
        return True
    decided = _decided_for_all(policy, packet, INGRESS)
    if decided is not None:
        return decided
    return _is_from_own_project(policy, port, packet) or _is_let_through(policy, port, packet, INGRESS)


def _decided_for_all(policy: HostPolicy, packet: Packet, direction: str) -> bool | None:
    """What the operator's rules and the state of the packet's connection decide, if anything."""
    for item in policy.provider:
        if item.rule.direction == direction and _fits(policy, item.rule, packet):
            return item.action == ACCEPT
    if packet.state in (ESTABLISHED, RELATED):
        return True
    return False if packet.state == INVALID else None


def _is_from_own_project(policy: HostPolicy, port: Port, packet: Packet) -> bool:
    if port.project is None or not port.allow_project:
        return False
    return _is_in(packet.src, policy.members.get(project_group(port.project), ()))


def _is_let_through(policy: HostPolicy, port: Port, packet: Packet, direction: str) -> bool:
    groups = (policy.groups[name] for name in port.groups if name in policy.groups)
    return any(rule.direction == direction and _fits(policy, rule, packet) for group in groups for rule in group.rules)


def _fits(policy: HostPolicy, rule: Rule, packet: Packet) -> bool:
    other_side = packet.src if rule.direction == INGRESS else packet.dst
    if rule.group is not None:
        networks: Collection[str] = policy.members.get(rule.group, ())
    else:
        networks = () if rule.cidr is None else (rule.cidr,)
    return (
        _address(other_side).version in rule.families and _is_in(other_side, networks) and _fits_protocol(rule, packet)
    )


def _fits_protocol(rule: Rule, packet: Packet) -> bool:
    if rule.protocol == secgroup.ANY:
        return True
    number = PROTOCOLS[rule.protocol] if rule.protocol in PROTOCOLS else int(rule.protocol)
    if packet.protocol != number:
        return False
    if number in (TCP, UDP):
        return _is_between(rule.port_min, packet.dport, rule.port_max)
    if number in (ICMP, ICMPV6):
        return rule.icmp_type in (None, packet.icmp_type) and rule.icmp_code in (None, packet.icmp_code)
    return True


def _is_between(least: int | None, port: int | None, most: int | None) -> bool:
    if least is None and most is None:
        return True
    if port is None:
        return False
    return (least is None or least <= port) and (most is None or port <= most)


def _udp(packet: Packet) -> tuple[int, int | None, int | None] | None:
    """What DHCP is known by."""
    return (UDP, packet.sport, packet.dport) if packet.protocol == UDP else None


def _is_usable(port: Port, address: str, also: str | None = None) -> bool:
    return address == also or _is_in(address, port.addresses)


def _is_in(address: str, networks: Collection[str]) -> bool:
    wanted = _address(address)
    return any(wanted in _network(network) for network in networks)


@lru_cache(maxsize=4096)
def _address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    return ip_network(text)
