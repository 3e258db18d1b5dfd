# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A packet, as a host's firewall sees it, for asking whether it would pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from ...model import secgroup

ARP = "arp"
RARP = "rarp"
IPV4 = "ipv4"
IPV6 = "ipv6"

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

PROTOCOLS: Mapping[str, int] = {secgroup.TCP: TCP, secgroup.UDP: UDP, secgroup.ICMP: ICMP, secgroup.ICMPV6: ICMPV6}
"""The numbers of those that rules have names for."""

NEW = "new"
ESTABLISHED = "established"
RELATED = "related"
INVALID = "invalid"

BROADCAST = "ff:ff:ff:ff:ff:ff"

_ETHERTYPES: Mapping[object, str] = {0x0800: IPV4, 0x0806: ARP, 0x8035: RARP, 0x86DD: IPV6}
_STATES = (NEW, ESTABLISHED, RELATED, INVALID)
_VERSIONS = {ARP: 4, IPV4: 4, IPV6: 6}
_PORTS = range(1 << 16)


@dataclass(frozen=True)
class Packet:
    """A whole packet: fragments are put together before rules look at them.

    ``Packet(receiver=mac, src="198.51.100.7", dst="10.0.0.5", protocol=TCP, dport=443)`` comes from outside.

    Attributes:
        sender: MAC address of the interface that it comes from; None when that is not one of this host's instances.
        receiver: The same of the one that it goes to.
        src_mac: The source address in it: the sender's own when None is given.
        dst_mac: The destination: the receiver's when None is given, and everybody where there is none.
        ethertype: ``arp``, ``rarp``, ``ipv4``, ``ipv6``, or a number, in whose place a name is put where there is one.
        src, dst: IP addresses; in ARP those of the sender and the target. Empty where there are none.
        arp_mac: The sender's MAC address in ARP: ``src_mac`` when None is given.
        protocol: Its number within IP; the names that rules use are turned into it.
        sport, dport: Of TCP and UDP; None stands for one that no rule mentions.
        icmp_type, icmp_code: Of ICMP and ICMPv6.
        state: What the host's connection tracking says of it: ``new``, ``established``, ``related`` or ``invalid``.

    Raises:
        ValueError: there can be no such packet.
    """

    sender: str | None = None
    receiver: str | None = None
    src_mac: str | None = None
    dst_mac: str | None = None
    ethertype: str | int = IPV4
    src: str = ""
    dst: str = ""
    arp_mac: str | None = None
    protocol: int | str | None = None
    sport: int | None = None
    dport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    state: str = NEW

    def __post_init__(self) -> None:
        object.__setattr__(self, "ethertype", _ETHERTYPES.get(self.ethertype, self.ethertype))
        self._fill("sender", self.sender)
        self._fill("receiver", self.receiver)
        self._fill("src_mac", self.src_mac or self.sender)
        self._fill("dst_mac", self.dst_mac or self.receiver or BROADCAST)
        if self.ethertype == ARP:
            self._fill("arp_mac", self.arp_mac or self.src_mac)
        if isinstance(self.protocol, str):
            if self.protocol not in PROTOCOLS:
                raise ValueError(f"protocol: {self.protocol!r} is not one of {', '.join(PROTOCOLS)}, or a number")
            object.__setattr__(self, "protocol", PROTOCOLS[self.protocol])
        self._check()

    def _fill(self, field: str, mac: str | None) -> None:
        object.__setattr__(self, field, None if mac is None else mac.lower())

    def _check(self) -> None:
        if self.state not in _STATES:
            raise ValueError(f"state: {self.state!r} is not one of {', '.join(_STATES)}")
        if isinstance(self.ethertype, str) and self.ethertype not in (ARP, RARP, IPV4, IPV6):
            raise ValueError(f"ethertype: {self.ethertype!r} is not arp, rarp, ipv4, ipv6 or a number")
        version = _VERSIONS.get(str(self.ethertype))
        for field, address in (("src", self.src), ("dst", self.dst)):
            if version is not None and not address:
                raise ValueError(f"{field}: is needed in {self.ethertype}")
            if version is not None and ip_address(address).version != version:
                raise ValueError(f"{field}: {address} is no address of {self.ethertype}")
        for field, port in (("sport", self.sport), ("dport", self.dport)):
            if port is not None and port not in _PORTS:
                raise ValueError(f"{field}: {port} is no port")
