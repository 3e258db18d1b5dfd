# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge with filtered guests whose host also routes, for engines that are told everything by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.engine import Engine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import INGRESS, Rule, SecurityGroup
from contract.packet_parties import FAR_AWAY, GROUPS, HOST, OPEN, POLICY, STREET, STRICT, WEB, Party
from lab.packets import frames
from lab.packets.endpoints import Endpoint, RawPacket, Tap
from lab.packets.network import Network
from lab.packets.wire import Sending, Wire, new_mark

FAR_DEVICE = "far0"
FAR_MAC = "02:00:00:98:00:02"
ROUTER_MAC = "02:00:00:98:00:01"

Body = Callable[[str, str, bytes], "tuple[int, bytes]"]


class Routed:
    """Guests behind an engine on a bridge, and somebody far away, to whom the host routes.

    Attributes:
        places: Where each party is, by name.
    """

    def __init__(self, wire: Wire, network: Network, make_engine: Callable[[Runner], Engine]) -> None:
        class InNetwork(Runner):
            prefix = network.prefix

        self.wire = wire
        self.runner = InNetwork()
        self.engine = make_engine(self.runner)
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
        wire.settle()

    def passes(self, sender: Party, receiver: Party, body: Body, *, version: int = 4, size: int | None = None) -> bool:
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
        return self.arrives(sender, receiver, RawPacket(whole, tuple(pieces)), mark)

    def arrives(self, sender: Party, receiver: Party, packet: RawPacket, mark: bytes) -> bool:
        """Whether a packet arrives that has this mark in it."""
        sending = Sending(self.places[sender.name], self.places[receiver.name], packet, frozenset({mark}))
        return self.wire.deliver([sending])[0]


def tcp(sport: int, dport: int, flags: str = "S", **place: int) -> Body:
    def make(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
        return frames.TCP, frames.tcp(source, target, sport, dport, mark, flags=flags, **place)

    return make


def udp(sport: int, dport: int, before: bytes = b"") -> Body:
    def make(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
        return frames.UDP, frames.udp(source, target, sport, dport, before + mark)

    return make


def open_connections_while(routed: Routed, change: Callable[[], None], rounds: int) -> None:
    """Rules, members and ports change, hands change something, all is loaded again: an allowed flow loses nothing, and
    nothing forbidden passes.

    Args:
        change: What happens besides in each round, before all is loaded again.
        rounds: How often all of it is done.
    """
    changed = threading.Event()
    ports: list[int] = []

    def change_all() -> None:
        while not changed.is_set():
            port = 9000 + len(ports) % 100
            rule = Rule(INGRESS, "tcp", "0.0.0.0/0", port_min=port, port_max=port)
            routed.engine.put_groups([SecurityGroup("web", (*GROUPS["web"].rules, rule))], routed.policy.members)
            routed.engine.put_ports(routed.policy.ports[1:], routed.policy)
            routed.engine.put_members({"web": frozenset({f"10.1.0.{port % 100}/32"})})
            routed.engine.put_provider_rules(routed.policy.provider)
            change()
            routed.engine.load(routed.policy)
            ports.append(port)

    changer = threading.Thread(target=change_all)
    changer.start()
    allowed, forbidden = [], []
    try:
        while len(ports) < rounds:
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
