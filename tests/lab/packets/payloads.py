# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies above the headers: DHCP, neighbour discovery, listener messages; each has room for a mark."""

from __future__ import annotations

import ipaddress
import struct

from lab.packets.frames import mac_bytes

ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
NEIGHBOUR_SOLICITATION = 135
NEIGHBOUR_ADVERTISEMENT = 136
REDIRECT = 137
MLD_QUERY = 130
MLD_REPORT = 131
MLD_DONE = 132
MLD2_REPORT = 143

DHCP_DISCOVER = 1
DHCP_OFFER = 2
DHCP_ACK = 5

_COOKIE = bytes.fromhex("63825363")
_LEASE_S = 3600
_UNKNOWN_OPTION = 253
"""Receivers skip options of neighbour discovery that they do not know."""


def dhcp(client_mac: str, kind: int, address: str = "0.0.0.0", server: str = "0.0.0.0", mark: bytes = b"") -> bytes:
    """A DHCP message: a client's (DISCOVER), or a server's about ``address``."""
    reply = kind in (DHCP_OFFER, DHCP_ACK)
    addresses = bytes(4) + ipaddress.IPv4Address(address).packed + ipaddress.IPv4Address(server).packed + bytes(4)
    head = struct.pack("!BBBBIHH", 2 if reply else 1, 1, 6, 0, 0x1234, 0, 0) + addresses
    options = bytes([53, 1, kind])
    if reply:
        options += bytes([54, 4]) + ipaddress.IPv4Address(server).packed + struct.pack("!BBI", 51, 4, _LEASE_S)
        options += bytes([1, 4, 255, 255, 255, 0])
    if mark:
        options += bytes([224, len(mark)]) + mark
    return head + mac_bytes(client_mac) + bytes(10 + 64 + 128) + _COOKIE + options + b"\xff"


def discovery_body(kind: int, mark: bytes, target: str = "fe80::1") -> bytes:
    """What follows the checksum of an ICMPv6 message that keeps a link going."""
    option = struct.pack("!BB", _UNKNOWN_OPTION, 2) + mark.ljust(14, b"\0")
    address = ipaddress.IPv6Address(target).packed
    if kind == ROUTER_ADVERTISEMENT:
        return struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option
    if kind == ROUTER_SOLICITATION:
        return bytes(4) + option
    if kind == REDIRECT:
        return bytes(4) + address + address + option
    if kind == MLD2_REPORT:
        # One record that excludes no sender: the whole group is wanted.
        return struct.pack("!HHBBH", 0, 1, 4, 0, 0) + ipaddress.IPv6Address("ff02::1:ff00:1").packed + mark
    if kind in (MLD_QUERY, MLD_REPORT, MLD_DONE):
        group = "::" if kind == MLD_QUERY else "ff02::1:ff00:1"
        return bytes(4) + ipaddress.IPv6Address(group).packed + mark
    return bytes(4) + address + option
