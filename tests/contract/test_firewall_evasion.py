# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guests could try to get around their filters, through the engines that a bridge's packets pass."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import IptablesEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from contract.firewall_engines import HOST_ADDRESSES
from contract.firewall_routed import FAR_MAC, ROUTER_MAC, Routed, udp
from contract.packet_parties import BRIDGE, FAR_AWAY, HOST, OPEN, STREET, STRICT, WEB, Party
from contract.platforms.base import Platform
from lab.packets import frames, payloads
from lab.packets.endpoints import RawPacket
from lab.packets.network import Network
from lab.packets.wire import new_mark, open_wire

pytestmark = pytest.mark.on("libvirt")

DESTINATION_OPTIONS, ROUTING, FRAGMENT = 60, 43, 44
HEADERS = {
    "hop-by-hop options": (0, bytes([0, 1, 4, 0, 0, 0, 0])),
    "destination options": (DESTINATION_OPTIONS, bytes([0, 1, 4, 0, 0, 0, 0])),
    "long destination options": (DESTINATION_OPTIONS, bytes([1, 1, 12, *bytes(12)])),
    "routing": (ROUTING, bytes([0, 4, 0, 0, 0, 0, 0])),
    "an only fragment": (FRAGMENT, bytes([0, 0, 0, 0, 0, 0, 77])),
}
"""Number of an IPv6 header, and what follows the number of the next one in it."""


@pytest.fixture(scope="module", params=[NftEngine, IptablesEngine], ids=lambda engine: engine.name)
def routed(request: pytest.FixtureRequest, host: Platform) -> Iterator[Routed]:
    with closing(Network.new()) as network, open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        yield Routed(wire, network, request.param)


def passes_in(
    routed: Routed, sender: Party, receiver: Party, number: int, payload: bytes, mark: bytes, **place
) -> bool:
    """Whether IPv6 with this payload arrives."""
    pieces = frames.ip_fragments(sender.v6, receiver.v6, number, payload, **place)
    whole = tuple(frames.ethernet(sender.mac, receiver.mac, frames.IPV6, piece) for piece in pieces)
    return routed.arrives(sender, receiver, RawPacket(whole), mark)


@pytest.mark.parametrize("last", ["00", "03", "0e", "0f"])
@pytest.mark.parametrize("version", [4, 6])
def test_frames_to_the_addresses_of_bridges(routed: Routed, last: str, version: int):
    """They come to the host past the bridge, and with them any IP packet that somebody puts into them."""
    routed.wire.network.set(f"ipv6/conf/{STRICT.device}/disable_ipv6", "0")
    kind = frames.IPV6 if version == 6 else frames.IPV4
    for source in (STRICT.address(version), STREET.address(version)):
        mark = new_mark()
        body = frames.udp(source, HOST.address(version), 5, 7, mark)
        packet = frames.ip(source, HOST.address(version), frames.UDP, body)
        frame = frames.ethernet(STRICT.mac, f"01:80:c2:00:00:{last}", kind, packet)
        assert not routed.arrives(STRICT, HOST, RawPacket((frame,)), mark)


@pytest.mark.parametrize("header", HEADERS)
def test_extension_headers_hide_nothing(routed: Routed, header: str):
    number, rest = HEADERS[header]

    def behind(next_header: int, payload: bytes) -> bytes:
        return struct.pack("!B", next_header) + rest + payload

    for port, arrives in ((80, True), (22, False)):
        mark = new_mark()
        segment = frames.tcp(STREET.v6, WEB.v6, 3000, port, mark)
        assert passes_in(routed, STREET, WEB, number, behind(frames.TCP, segment), mark) is arrives
    mark = new_mark()
    body = payloads.discovery_body(payloads.ROUTER_ADVERTISEMENT, mark)
    advertisement = frames.icmp(OPEN.v6, STREET.v6, payloads.ROUTER_ADVERTISEMENT, 0, body)
    assert not passes_in(routed, OPEN, STREET, number, behind(frames.ICMPV6, advertisement), mark)


@pytest.mark.parametrize("calls", ["1", "0"])
def test_a_router_advertisement_in_the_second_fragment(routed: Routed, calls: str):
    """Also where nothing is put together, since somebody has switched that off."""
    network = routed.wire.network
    mark = new_mark()
    options = bytes([frames.ICMPV6, 0, 1, 4, 0, 0, 0, 0])
    # The mark fills a fragment.
    advertisement = frames.icmp(OPEN.v6, STREET.v6, payloads.ROUTER_ADVERTISEMENT, 0, bytes(12) + mark)
    try:
        network.set("bridge/bridge-nf-call-ip6tables", calls)
        payload = options + advertisement
        assert not passes_in(routed, OPEN, STREET, DESTINATION_OPTIONS, payload, mark, size=8)
    finally:
        network.set("bridge/bridge-nf-call-ip6tables", "1")


def test_what_comes_from_far_away_teaches_no_address(routed: Routed):
    """Whoever has a guest may have a machine elsewhere, which calls itself a DHCP server."""
    learner = replace(WEB.port, addresses=(), learns=True)
    policy = replace(routed.policy, ports=(learner, STRICT.port))
    liar, thief = WEB._replace(v4="10.99.0.77"), WEB._replace(v4=STRICT.v4)
    routed.engine.load(policy)
    try:
        for target in (WEB, STRICT):
            mark = new_mark()
            answer = payloads.dhcp(WEB.mac, payloads.DHCP_ACK, liar.v4, FAR_AWAY.v4, mark)
            body = frames.udp(FAR_AWAY.v4, target.v4, 67, 68, answer)
            packet = frames.ip(FAR_AWAY.v4, target.v4, frames.UDP, body)
            frame = frames.ethernet(FAR_MAC, ROUTER_MAC, frames.IPV4, packet)
            assert routed.arrives(FAR_AWAY, target, RawPacket((frame,)), mark)
        assert not routed.passes(liar, STREET, udp(3010, 7))
        assert not routed.passes(thief, STREET, udp(3011, 7))
    finally:
        routed.engine.load(routed.policy)


@pytest.mark.parametrize("everybody", [False, True])
def test_answers_of_dhcp_servers_nearby_are_learnt(routed: Routed, everybody: bool):
    """Of the host itself to the address, or of another to all, where iptables does not see which address is given."""
    learner = replace(WEB.port, addresses=(), learns=True)
    routed.engine.drop_ports([WEB.port])
    routed.engine.load(replace(routed.policy, ports=(learner, STRICT.port)))
    try:
        assert not routed.passes(WEB, STREET, udp(3020, 7))
        mark = new_mark()
        answer = payloads.dhcp(WEB.mac, payloads.DHCP_ACK, WEB.v4, HOST.v4, mark)
        sender, target = (STREET, "255.255.255.255") if everybody else (HOST, WEB.v4)
        packet = frames.ip(sender.v4, target, frames.UDP, frames.udp(sender.v4, target, 67, 68, answer))
        frame = frames.ethernet(sender.mac, frames.BROADCAST, frames.IPV4, packet)
        assert routed.arrives(sender, WEB, RawPacket((frame,), (packet,)), mark)
        is_learnt = not everybody or routed.engine.name == NftEngine.name
        assert routed.passes(WEB, STREET, udp(3021, 7)) is is_learnt
    finally:
        routed.engine.load(routed.policy)
