# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that the host routes to and for guests, and those that it cuts up, through the engines that see them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import IptablesEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from contract.firewall_engines import HOST_ADDRESSES
from contract.firewall_routed import Routed, tcp, udp
from contract.packet_parties import BRIDGE, FAR_AWAY, HOST, OPEN, STRICT, WEB
from contract.platforms.base import Platform
from lab.packets.endpoints import RawPacket
from lab.packets.network import Network
from lab.packets.wire import Sending, new_mark, open_wire

pytestmark = pytest.mark.on("libvirt")


@pytest.fixture(scope="module", params=[NftEngine, IptablesEngine], ids=lambda engine: engine.name)
def routed(request: pytest.FixtureRequest, host: Platform) -> Iterator[Routed]:
    with closing(Network.new()) as network, open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        yield Routed(wire, network, request.param)


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
            with suppress(PermissionError):  # dropped in an OUTPUT chain, which the kernel tells the sender
                sender.sendto(other + b"." * 4000, (STRICT.address(version), 5000))

    routed.wire.network.inside(send)
    routed.wire.prove_alive()
    probe = Sending(routed.places[OPEN.name], routed.places[OPEN.name], RawPacket(()), frozenset({mark}))
    forbidden = Sending(routed.places[STRICT.name], routed.places[STRICT.name], RawPacket(()), frozenset({other}))
    assert routed.wire.deliver([probe, forbidden]) == [True, False]
