# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw frames, made byte by byte: what guests may send, and what they should not be able to."""

from __future__ import annotations

import ipaddress
import struct
from itertools import count

ARP = 0x0806
RARP = 0x8035
IPV4 = 0x0800
IPV6 = 0x86DD
VLAN = 0x8100

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58
_FRAGMENT_HEADER = 44

BROADCAST = "ff:ff:ff:ff:ff:ff"

_Place = tuple[int, int, bool]
"""Of a fragment: its packet's number, its offset, and whether there are more."""

_identifications = count(1)
_TCP_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16}
_MORE_FRAGMENTS = 0x2000


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def multicast_mac(address: str) -> str:
    """Where packets to a multicast address go on the wire."""
    packed = ipaddress.ip_address(address).packed
    head = b"\x33\x33" + packed[-4:] if len(packed) == 16 else b"\x01\x00\x5e" + bytes([packed[1] & 0x7F]) + packed[2:]
    return head.hex(":")


def checksum(data: bytes) -> int:
    """The sum that IP and its protocols protect themselves with."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source: str, target: str, ethertype: int, payload: bytes, vlan: int | None = None) -> bytes:
    """A frame, padded to the least length that Ethernet has."""
    tag = b"" if vlan is None else struct.pack("!HH", VLAN, vlan)
    frame = mac_bytes(target) + mac_bytes(source) + tag + struct.pack("!H", ethertype) + payload
    return frame.ljust(60, b"\0")


def bpdu(source: str, payload: bytes) -> bytes:
    """A spanning tree frame: 802.3 with LLC, so that there is a length where others have their type."""
    llc = b"\x42\x42\x03" + bytes(35) + payload
    return ethernet(source, "01:80:c2:00:00:00", len(llc), llc)


def arp(sender_mac: str, sender_ip: str, target_ip: str, trailer: bytes = b"", operation: int = 1) -> bytes:
    """ARP, or RARP by its operation (3); the trailer lies in the frame's padding."""
    addresses = mac_bytes(sender_mac) + ipaddress.IPv4Address(sender_ip).packed
    target = bytes(6) + ipaddress.IPv4Address(target_ip).packed
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + addresses + target + trailer


def ip(source: str, target: str, protocol: int, payload: bytes, hop_limit: int = 64) -> bytes:
    """A whole packet of IPv4 or IPv6, as the addresses say."""
    return ip_fragments(source, target, protocol, payload, hop_limit=hop_limit)[0]


def ip_fragments(
    source: str, target: str, protocol: int, payload: bytes, size: int | None = None, hop_limit: int = 64
) -> list[bytes]:
    """A packet of IPv4 or IPv6 in fragments of ``size`` bytes of payload (a multiple of 8); None: whole."""
    make = _ipv6 if ":" in source else _ipv4
    if size is None:
        return [make(source, target, protocol, payload, None, hop_limit)]
    identification = next(_identifications) & 0xFFFF
    pieces = []
    for offset in range(0, len(payload), size):
        more = offset + size < len(payload)
        pieces.append(
            make(source, target, protocol, payload[offset : offset + size], (identification, offset, more), hop_limit)
        )
    return pieces


def _ipv4(source: str, target: str, protocol: int, payload: bytes, place: _Place | None, hop_limit: int) -> bytes:
    identification, offset, more = place or (0, 0, False)
    fragment = offset // 8 | (_MORE_FRAGMENTS if more else 0)
    fields = (0x45, 0, 20 + len(payload), identification, fragment, hop_limit, protocol)
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    header = struct.pack("!BBHHHBBH", *fields, 0) + addresses
    return struct.pack("!BBHHHBBH", *fields, checksum(header)) + addresses + payload


def _ipv6(source: str, target: str, protocol: int, payload: bytes, place: _Place | None, hop_limit: int) -> bytes:
    if place is not None:
        identification, offset, more = place
        place_and_more = offset | (1 if more else 0)
        payload = struct.pack("!BBHI", protocol, 0, place_and_more, identification) + payload
        protocol = _FRAGMENT_HEADER
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(target).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hop_limit) + addresses + payload


def udp(source: str, target: str, sport: int, dport: int, data: bytes) -> bytes:
    header = struct.pack("!HHH", sport, dport, 8 + len(data))
    total = _transport_checksum(source, target, UDP, header + b"\0\0" + data)
    return header + struct.pack("!H", total or 0xFFFF) + data


def tcp(
    source: str,
    target: str,
    sport: int,
    dport: int,
    data: bytes = b"",
    *,
    flags: str = "S",
    sequence: int = 1000,
    acknowledged: int = 0,
) -> bytes:
    """A segment; ``flags`` are first letters: ``SA`` for SYN and ACK."""
    bits = sum(_TCP_FLAGS[letter] for letter in flags)
    header = struct.pack("!HHIIBBH", sport, dport, sequence, acknowledged, 5 << 4, bits, 65535)
    total = _transport_checksum(source, target, TCP, header + bytes(4) + data)
    return header + struct.pack("!HH", total, 0) + data


def icmp(source: str, target: str, kind: int, code: int, body: bytes) -> bytes:
    """ICMP, or ICMPv6 as the addresses say; ``body`` begins with the four bytes whose meaning depends on the type."""
    head = struct.pack("!BB", kind, code)
    if ":" in source:
        total = _transport_checksum(source, target, ICMPV6, head + b"\0\0" + body)
    else:
        total = checksum(head + b"\0\0" + body)
    return head + struct.pack("!H", total) + body


def _transport_checksum(source: str, target: str, protocol: int, segment: bytes) -> int:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    if ":" in source:
        return checksum(addresses + struct.pack("!II", len(segment), protocol) + segment)
    return checksum(addresses + struct.pack("!HH", protocol, len(segment)) + segment)
