# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets through the nftables engine that the table of all engines has not: those that the host routes, those that it
cuts up, and what becomes of marks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import INGRESS, Rule, SecurityGroup
from contract.firewall_engines import HOST_ADDRESSES
from contract.packet_parties import BRIDGE, FAR_AWAY, GROUPS, HOST, OPEN, POLICY, STREET, STRICT, WEB, Party
from contract.platforms.base import Platform
from lab.packets import frames
from lab.packets.endpoints import Endpoint, RawPacket, Tap
from lab.packets.network import Network
from lab.packets.wire import Sending, Wire, new_mark, open_wire

pytestmark = pytest.mark.on("libvirt")

FAR_DEVICE = "far0"
FAR_MAC = "02:00:00:98:00:02"
ROUTER_MAC = "02:00:00:98:00:01"


class Routed:
    """Guests behind the engine on a bridge, and somebody far away, to whom the host routes.

    Attributes:
        places: Where each party is, by name.
    """

    def __init__(self, wire: Wire, network: Network) -> None:
        class InNetwork(Runner):
            prefix = network.prefix

        self.wire = wire
        self.runner = InNetwork()
        self.engine = NftEngine(self.runner)
        parties = (WEB, OPEN, STRICT)
        self.policy = replace(POLICY, ports=tuple(party.port for party in parties))
        self.engine.load(self.policy)
        self.places: dict[str, Endpoint] = {HOST.name: wire.host, STREET.name: wire.add_tap("street0", STREET.mac)}
        self.places.update({party.name: wire.add_tap(party.device, party.mac) for party in parties})
        self.places[FAR_AWAY.name] = far = wire.add(Tap(network, FAR_DEVICE, FAR_MAC))
        wire.shy = {far}
        network.run("ip", "link", "set", FAR_DEVICE, "address", ROUTER_MAC, "up")
        for version, route in ((4, "192.0.2.0/24"), (6, "2001:db8::/64")):
            network.run("ip", "route", "add", route, "dev", FAR_DEVICE)
            network.run("ip", "neigh", "add", FAR_AWAY.address(version), "lladdr", FAR_MAC, "dev", FAR_DEVICE)
        network.set("ipv4/ip_forward", "1")
        network.set("ipv6/conf/all/forwarding", "1")
        wire.know([(party.address(version), party.mac) for party in (STREET, *parties) for version in (4, 6)])
        wire.prove_alive()

    def passes(self, sender: Party, receiver: Party, body, *, version: int = 4, size: int | None = None) -> bool:
        """Whether a packet arrives; ``body`` makes what is in it of the two addresses and data."""
        mark = new_mark()
        ends = (sender.address(version), receiver.address(version))
        protocol, payload = body(*ends, mark)
        pieces = frames.ip_fragments(*ends, protocol, payload, size)
        through_host = FAR_AWAY.name in (sender.name, receiver.name)
        target = ROUTER_MAC if sender.name == FAR_AWAY.name else HOST.mac if through_host else receiver.mac
        source = FAR_MAC if sender.name == FAR_AWAY.name else sender.mac
        kind = frames.IPV6 if version == 6 else frames.IPV4
        whole = tuple(frames.ethernet(source, target, kind, piece) for piece in pieces)
        packet = RawPacket(whole, tuple(pieces))
        sending = Sending(self.places[sender.name], self.places[receiver.name], packet, frozenset({mark}))
        return self.wire.deliver([sending])[0]


def tcp(sport: int, dport: int, flags: str = "S", **place: int):
    def make(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
        return frames.TCP, frames.tcp(source, target, sport, dport, mark, flags=flags, **place)

    return make


def udp(sport: int, dport: int, before: bytes = b""):
    def make(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
        return frames.UDP, frames.udp(source, target, sport, dport, before + mark)

    return make


@pytest.fixture(scope="module")
def routed(host: Platform) -> Iterator[Routed]:
    with closing(Network.new()) as network, open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        yield Routed(wire, network)


@pytest.mark.parametrize("version", [4, 6])
def test_what_the_host_routes_to_guests(routed: Routed, version: int):
    assert routed.passes(FAR_AWAY, WEB, tcp(1001, 80), version=version)
    assert routed.passes(WEB, FAR_AWAY, tcp(80, 1001, "SA", sequence=5000, acknowledged=1001), version=version)
    assert not routed.passes(FAR_AWAY, WEB, tcp(1002, 22), version=version)
    assert not routed.passes(FAR_AWAY, STRICT, tcp(1003, 80), version=version)


@pytest.mark.parametrize("version", [4, 6])
def test_what_the_host_routes_for_guests(routed: Routed, version: int):
    """The answers come back although no rule lets them in."""
    assert routed.passes(WEB, FAR_AWAY, udp(1011, 7), version=version)
    assert routed.passes(FAR_AWAY, WEB, udp(7, 1011), version=version)
    assert not routed.passes(FAR_AWAY, WEB, udp(7, 1012), version=version)
    assert routed.passes(STRICT, FAR_AWAY, tcp(1013, 443), version=version) is (version == 4)
    assert not routed.passes(STRICT, FAR_AWAY, tcp(1014, 80), version=version)


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_that_the_host_routes(routed: Routed, version: int):
    """The rules look at the whole: the mark is in the last piece."""
    far = b"." * 1500
    assert routed.passes(FAR_AWAY, OPEN, udp(1021, 7, far), version=version, size=800)
    assert routed.passes(OPEN, FAR_AWAY, udp(1022, 7, far), version=version, size=800)
    assert not routed.passes(STRICT, FAR_AWAY, udp(1023, 7, far), version=version, size=800)


@pytest.mark.parametrize("version", [4, 6])
def test_what_the_host_cuts_up_itself(routed: Routed, version: int):
    """The guest gets all pieces of a new connection's first packet, or not the first."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    mark, other = new_mark(), new_mark()

    def send() -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(mark + b"." * 4000 + mark, (OPEN.address(version), 5000))
            sender.sendto(other + b"." * 4000, (STRICT.address(version), 5000))

    routed.wire.network.inside(send)
    routed.wire.prove_alive()
    probe = Sending(routed.places[OPEN.name], routed.places[OPEN.name], RawPacket(()), frozenset({mark}))
    forbidden = Sending(routed.places[STRICT.name], routed.places[STRICT.name], RawPacket(()), frozenset({other}))
    assert routed.wire.deliver([probe, forbidden]) == [True, False]


def test_marks_of_others_stay_and_ours_do_not(routed: Routed):
    """Seen behind the engine: what somebody else marked before it, and nothing of ours."""
    routed.runner.run(
        ("nft", "-f", "-"),
        "add table bridge others\n"
        "add chain bridge others before { type filter hook prerouting priority -300; }\n"
        "add rule bridge others before meta mark set 0x4a\n"
        "add chain bridge others forward { type filter hook forward priority 50; }\n"
        "add rule bridge others forward meta mark 0x4a udp dport 7 counter\n"
        "add rule bridge others forward meta mark != 0x4a counter\n",
    )
    try:
        assert routed.passes(WEB, STREET, udp(1031, 7))
        assert routed.passes(STREET, WEB, udp(7, 1031))
        assert routed.passes(WEB, STREET, udp(1031, 7))
        seen = routed.runner.run(("nft", "list", "chain", "bridge", "others", "forward"))
        assert "udp dport 7 counter packets 2" in seen
        assert "!= 0x0000004a counter packets 0" in seen
    finally:
        routed.runner.run(("nft", "delete", "table", "bridge", "others"))


def test_changes_under_traffic(routed: Routed):
    """Rules, members and ports change, hands change something, all is loaded again: an allowed flow loses nothing, and
    nothing forbidden passes."""
    changed = threading.Event()
    rounds = []

    def change() -> None:
        while not changed.is_set():
            port = 9000 + len(rounds) % 100
            rule = Rule(INGRESS, "tcp", "0.0.0.0/0", port_min=port, port_max=port)
            routed.engine.put_groups([SecurityGroup("web", (*GROUPS["web"].rules, rule))], routed.policy.members)
            routed.engine.put_ports(routed.policy.ports[1:], routed.policy)
            routed.engine.put_members({"web": frozenset({f"10.1.0.{port % 100}/32"})})
            routed.engine.put_provider_rules(routed.policy.provider)
            routed.runner.run(("nft", "insert", "rule", "bridge", "anyvirt", "to-known", "counter"))
            routed.engine.load(routed.policy)
            rounds.append(port)

    changer = threading.Thread(target=change)
    changer.start()
    allowed, forbidden = [], []
    try:
        while len(rounds) < 5:
            number = 20000 + len(allowed)
            # Each one opens a connection: no answer of connection tracking helps it.
            allowed.append(routed.passes(STREET, WEB, tcp(number, 80)))
            forbidden.append(routed.passes(STREET, WEB, tcp(number, 22)))
            assert changer.is_alive()
    finally:
        changed.set()
        changer.join()
    assert len(allowed) > 5
    assert all(allowed)
    assert not any(forbidden)
    assert routed.engine.drift(routed.policy) == []
