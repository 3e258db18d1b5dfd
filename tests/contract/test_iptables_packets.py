# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is iptables' own about packets through its engine: three tools that have to agree, and a host whose packets do
not name the port that they go to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import IptablesEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    HostPolicy,
    Port,
)
from contract.firewall_engines import HOST_ADDRESSES
from contract.firewall_routed import Routed, open_connections_while, tcp, udp
from contract.packet_parties import BRIDGE, FAR_AWAY, HOST, OPEN, STREET, STRICT, WEB, Party
from contract.platforms.base import Platform
from lab.packets import frames
from lab.packets.endpoints import RawPacket
from lab.packets.network import Network
from lab.packets.wire import new_mark, open_wire

pytestmark = pytest.mark.on("libvirt")

GIVEN = "10.99.0.200"
"""What DHCP gives."""


@pytest.fixture(scope="module")
def routed(host: Platform) -> Iterator[Routed]:
    with closing(Network.new()) as network, open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        yield Routed(wire, network, IptablesEngine)


@contextmanager
def other_ports(routed: Routed, *ports: Port) -> Iterator[HostPolicy]:
    """The same policy with these in place of the ports that have their MAC addresses."""
    changed = {port.mac: port for port in ports}
    policy = replace(routed.policy, ports=tuple(changed.get(port.mac, port) for port in routed.policy.ports))
    routed.engine.put_ports(ports, policy)
    try:
        yield policy
    finally:
        routed.engine.load(routed.policy)


@pytest.mark.parametrize(
    ("tool", "table"),
    [
        ("iptables", "security"),
        ("iptables", "raw"),
        ("ip6tables", "security"),
        ("ip6tables", "raw"),
        ("ebtables", "nat"),
    ],
)
def test_a_flush_by_others_opens_nothing_that_groups_close(routed: Routed, tool: str, table: str):
    """Whichever of the tools lost its rules."""
    version = 6 if tool == "ip6tables" else 4
    stranger = WEB._replace(v4="10.99.0.199", v6="fd99::199")
    routed.runner.run((tool, "-t", table, "-F"))
    try:
        assert not routed.passes(STREET, WEB, tcp(2001, 22), version=version)
        assert not routed.passes(STRICT, STREET, tcp(2002, 22), version=version)
        assert not routed.passes(stranger, STREET, udp(2003, 7), version=version)
        assert not routed.passes(stranger, HOST, udp(2004, 7), version=version)
    finally:
        routed.engine.load(routed.policy)
    assert routed.engine.drift(routed.policy) == []
    assert routed.passes(STREET, WEB, tcp(2005, 80), version=version)


def test_where_networks_overlap_all_ports_have_to_agree(routed: Routed):
    """The host's packets are told apart by where they go only."""
    everything = ("0.0.0.0/0", "::/0")
    with other_ports(routed, replace(OPEN.port, addresses=everything), replace(STRICT.port, addresses=everything)):
        assert not routed.passes(HOST, OPEN, udp(2011, 7))
        assert not routed.passes(FAR_AWAY, OPEN, udp(2012, 7), version=6)
        assert routed.passes(STREET, OPEN, udp(2013, 7))
        assert not routed.passes(STREET._replace(v4="10.99.0.102"), STRICT, udp(2014, 7))
    assert routed.passes(HOST, OPEN, udp(2015, 7))


def test_what_the_host_says_to_many(routed: Routed):
    """Each port gets what its groups let in."""

    def to_many(receiver: Party, target: str, port: int) -> bool:
        mark = new_mark()
        source = HOST.address(6 if ":" in target else 4)
        packet = frames.ip(source, target, frames.UDP, frames.udp(source, target, 2021, port, mark))
        return routed.arrives(HOST, receiver, RawPacket((), (packet,)), mark)

    routed.wire.network.run("ip", "route", "add", "224.0.0.0/4", "dev", BRIDGE)
    routed.wire.network.run("ip", "-6", "route", "add", "ff15::/16", "dev", BRIDGE, "table", "local", "metric", "1")
    for target in ("239.1.2.3", "ff15::77"):
        assert to_many(OPEN, target, 7)
        assert not to_many(STRICT, target, 7)
    assert to_many(WEB, "ff15::77", 5001)
    assert not to_many(WEB, "ff15::77", 5002)


def test_what_the_hosts_own_dhcp_server_gives_is_learnt(routed: Routed):
    """By whom it is for, not by whom it reaches; ARP follows with the next change."""
    learner, neighbour = replace(WEB.port, addresses=(), learns=True), replace(OPEN.port, addresses=(), learns=True)
    newcomer = WEB._replace(v4=GIVEN)
    routed.wire.know([(GIVEN, WEB.mac)])
    with other_ports(routed, learner, neighbour) as policy:
        assert not routed.passes(newcomer, STREET, udp(2031, 7))
        bootp = bytes([2, 1, 6, 0]) + bytes(24) + frames.mac_bytes(WEB.mac) + bytes(10)
        assert routed.passes(HOST, newcomer, udp(67, 68, bootp))
        assert routed.passes(newcomer, STREET, udp(2032, 7))
        assert routed.passes(HOST, newcomer, tcp(2033, 80))
        assert not routed.passes(OPEN._replace(v4=GIVEN), STREET, udp(2034, 7))
        assert not says_arp(routed, newcomer)
        routed.engine.put_ports([learner], policy)
        assert says_arp(routed, newcomer)
        assert routed.passes(newcomer, STREET, udp(2035, 7))


def says_arp(routed: Routed, sender: Party) -> bool:
    mark = new_mark()
    body = frames.arp(sender.mac, sender.v4, STREET.v4, mark)
    frame = frames.ethernet(sender.mac, frames.BROADCAST, frames.ARP, body)
    return routed.arrives(sender, STREET, RawPacket((frame,)), mark)


def test_beside_the_other_engine(routed: Routed):
    """Each looks after its own ports, and a packet from one's to the other's passes both."""
    other = NftEngine(routed.runner)
    mine = replace(routed.policy, ports=tuple(port for port in routed.policy.ports if port != STRICT.port))
    theirs = replace(routed.policy, ports=(STRICT.port,))
    routed.engine.load(mine)
    other.load(theirs)
    try:
        assert routed.passes(STRICT, WEB, tcp(2041, 80))
        assert routed.passes(WEB, STRICT, tcp(80, 2041, "SA", sequence=5000, acknowledged=1001))
        assert not routed.passes(STRICT, OPEN, tcp(2042, 80))
        assert not routed.passes(WEB, STRICT, tcp(2043, 80))
        assert routed.passes(STREET, STRICT, tcp(2044, 80))
        assert routed.passes(HOST, WEB, tcp(2045, 80))
        assert not routed.passes(HOST, STRICT, tcp(2046, 80))
        assert routed.engine.drift(mine) == other.drift(theirs) == []
    finally:
        other.load(HostPolicy())
        routed.engine.load(routed.policy)


def test_changes_under_traffic(routed: Routed):
    def meddle() -> None:
        routed.engine.drop_ports(routed.policy.ports[1:])
        routed.runner.run(("iptables", "-t", "security", "-A", "anyvirt-forward", "-j", "ACCEPT"))

    open_connections_while(routed, meddle, rounds=4)
