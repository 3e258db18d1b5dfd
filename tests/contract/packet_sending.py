# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of the oracle's kind turned into frames, and sent from one party to another."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.packet import Packet
from contract.packet_parties import Party
from lab.packets import frames, payloads
from lab.packets.endpoints import Endpoint, RawPacket
from lab.packets.wire import Sending, Wire, new_mark

BIG, TINY = 1000, 8
"""Sizes of fragments; TCP's flags are not in a tiny first one."""
_FILLING = b"." * 1500
_DHCP_PORTS = (67, 68)
_ALIGNMENT = b"...."
_ND_HOP_LIMIT = 255
_GRE = 47
_TUNNELLED = bytes.fromhex("000088b5")
"""GRE's header without options."""
_numbers = count(20001)


class Step(NamedTuple):
    """One packet from somebody to somebody, and what the oracle's packets do not tell of it.

    Attributes:
        flags: Of TCP; what the state makes probable when it is empty.
        fragments: The size of the pieces; 0 for a whole packet.
        quotes: The packet that an ICMP error is about.
    """

    packet: Packet
    sender: Party
    receiver: Party
    flags: str = ""
    fragments: int = 0
    quotes: Packet | None = None


class Case(NamedTuple):
    """Steps that follow each other; the last one is the one in question, those before it have to arrive."""

    name: str
    steps: tuple[Step, ...]


def a_packet(sender: Party, receiver: Party, version: int = 4, **fields) -> Packet:
    """From one to the other, with ports that no other packet has where none are given."""
    if fields.get("protocol") in (frames.TCP, frames.UDP):
        fields.setdefault("sport", next(_numbers))
        fields.setdefault("dport", 9)
    defaults = {
        "sender": sender.guest_mac,
        "receiver": receiver.guest_mac,
        "src_mac": sender.mac,
        "dst_mac": receiver.mac,
        "ethertype": "ipv4" if version == 4 else "ipv6",
        "src": sender.address(version),
        "dst": receiver.address(version),
    }
    return Packet(**{**defaults, **fields})


def answer(step: Step, *, state: str = "established", flags: str = "", **fields) -> Step:
    """What the receiver says to a packet."""
    asked = step.packet
    turned = {"src": asked.dst, "dst": asked.src, "sport": asked.dport, "dport": asked.sport, "state": state, **fields}
    version = 6 if ":" in asked.src else 4
    return Step(
        a_packet(step.receiver, step.sender, version, protocol=asked.protocol, **turned),
        step.receiver,
        step.sender,
        flags,
    )


def again(step: Step, *, flags: str = "") -> Step:
    """More of the same connection."""
    asked = step.packet
    version = 6 if ":" in asked.src else 4
    fields = {"src": asked.src, "dst": asked.dst, "sport": asked.sport, "dport": asked.dport}
    packet = a_packet(step.sender, step.receiver, version, protocol=asked.protocol, state="established", **fields)
    return Step(packet, step.sender, step.receiver, flags)


def send(wire: Wire, places: Mapping[str, Endpoint], cases: Sequence[Case]) -> list[bool | None]:
    """Whether each case's last packet arrived; None where one before it did not. All first steps go first.

    Args:
        places: By MAC address.
    """
    arrived: list[bool | None] = [None] * len(cases)
    lost: set[int] = set()
    for number in range(max(len(case.steps) for case in cases)):
        now = [index for index, case in enumerate(cases) if len(case.steps) > number and index not in lost]
        for index, came in zip(now, wire.deliver([sending(places, cases[index].steps[number]) for index in now])):
            if number == len(cases[index].steps) - 1:
                arrived[index] = came
            elif not came:
                lost.add(index)
    return arrived


def sending(places: Mapping[str, Endpoint], step: Step) -> Sending:
    """The step ready for the wire, under marks of its own."""
    first, last = new_mark(), new_mark()
    packet, marks = _raw(step, first, last)
    return Sending(places[step.sender.mac], places[step.receiver.mac], packet, marks)


def _raw(step: Step, first: bytes, last: bytes) -> tuple[RawPacket, frozenset[bytes]]:
    packet = step.packet
    source, target = packet.src_mac or step.sender.mac, packet.dst_mac or step.receiver.mac
    if packet.ethertype in ("arp", "rarp"):
        kind, operation = (frames.ARP, 1) if packet.ethertype == "arp" else (frames.RARP, 3)
        addresses = (packet.src or "0.0.0.0", packet.dst or "0.0.0.0")
        body = frames.arp(packet.arp_mac or source, *addresses, first, operation)
        return RawPacket((frames.ethernet(source, target, kind, body),)), frozenset({first})
    if isinstance(packet.ethertype, int) and packet.ethertype != frames.VLAN:
        if packet.ethertype < 1536:
            return RawPacket((frames.bpdu(source, first),)), frozenset({first})
        return RawPacket((frames.ethernet(source, target, packet.ethertype, first),)), frozenset({first})
    body, marks = _transport(step, first, last)
    hops = _ND_HOP_LIMIT if packet.protocol == frames.ICMPV6 else 64
    pieces = frames.ip_fragments(packet.src, packet.dst, packet.protocol or 0, body, step.fragments or None, hops)
    kind = frames.IPV6 if ":" in packet.src else frames.IPV4
    tag = 7 if packet.ethertype == frames.VLAN else None
    return RawPacket(tuple(frames.ethernet(source, target, kind, piece, tag) for piece in pieces), tuple(pieces)), marks


def _transport(step: Step, first: bytes, last: bytes) -> tuple[bytes, frozenset[bytes]]:
    packet = step.packet
    mark = frozenset({first})
    ends = (packet.src, packet.dst)
    ports = (packet.sport or 0, packet.dport or 0)
    data = first + (_FILLING if step.fragments == BIG else b"") + last if step.fragments else first
    marks = frozenset({first, last}) if step.fragments else mark
    if step.fragments == TINY and packet.protocol == frames.TCP:
        data = _ALIGNMENT + data  # no mark is cut in two
    if packet.protocol == frames.TCP:
        flags = step.flags or ("S" if packet.state == "new" else "A")
        return frames.tcp(*ends, *ports, data, flags=flags, **_place_in_stream(step, flags)), marks
    if packet.protocol == frames.UDP and set(ports) <= set(_DHCP_PORTS) and ":" not in packet.src:
        return frames.udp(*ends, *ports, _dhcp(step, first)), mark
    if packet.protocol == frames.UDP:
        return frames.udp(*ends, *ports, data), marks
    if packet.protocol in (frames.ICMP, frames.ICMPV6):
        return frames.icmp(*ends, packet.icmp_type or 0, packet.icmp_code or 0, _icmp_body(step, data)), marks
    return (_TUNNELLED if packet.protocol == _GRE else b"") + data, marks


def _place_in_stream(step: Step, flags: str) -> dict[str, int]:
    """Whoever opens a connection begins at 1000, the other at 5000; the connection's tracking looks at these."""
    if flags == "SA":
        return {"sequence": 5000, "acknowledged": 1001}
    if flags == "A":
        return {"sequence": 1009, "acknowledged": 5009}
    return {"sequence": 1000}


def _dhcp(step: Step, mark: bytes) -> bytes:
    packet = step.packet
    if packet.dport == 67:
        return payloads.dhcp(packet.src_mac or step.sender.mac, payloads.DHCP_DISCOVER, mark=mark)
    return payloads.dhcp(step.receiver.mac, payloads.DHCP_ACK, step.receiver.v4, packet.src, mark)


def _icmp_body(step: Step, data: bytes) -> bytes:
    packet = step.packet
    if step.quotes is not None:
        quoted = step.quotes
        beginning = frames.udp(quoted.src, quoted.dst, quoted.sport or 0, quoted.dport or 0, data)
        return bytes(4) + frames.ip(quoted.src, quoted.dst, frames.UDP, beginning)
    if packet.protocol == frames.ICMPV6 and (packet.icmp_type or 0) >= payloads.MLD_QUERY:
        return payloads.discovery_body(packet.icmp_type or 0, data, _target(packet))
    # Echo: identifier and sequence number, of which answers are known.
    return struct.pack("!HH", packet.sport or 1, 1) + data


def _target(packet: Packet) -> str:
    """Whom neighbour solicitations ask for, and advertisements are about."""
    return packet.src if packet.icmp_type == payloads.NEIGHBOUR_ADVERTISEMENT else "fd99::1"
