# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is nftables' own about packets through its engine: what becomes of marks, and changes of all kinds under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import INGRESS, Rule, SecurityGroup
from contract.firewall_engines import HOST_ADDRESSES
from contract.firewall_routed import Body, Routed, open_connections_while, udp
from contract.packet_parties import BRIDGE, FAR_AWAY, GROUPS, HOST, STREET, STRICT, WEB
from contract.platforms.base import Platform
from lab.packets import frames
from lab.packets.network import Network
from lab.packets.wire import open_wire

pytestmark = pytest.mark.on("libvirt")


@pytest.fixture(scope="module")
def routed(host: Platform) -> Iterator[Routed]:
    with closing(Network.new()) as network, open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        yield Routed(wire, network, NftEngine)


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


def unreachable(quoted: Body) -> Body:
    """ICMP's port unreachable, about a packet that came from where this one goes."""

    def make(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
        inner = frames.ip(target, source, *quoted(target, source, mark))
        if ":" in source:
            return frames.ICMPV6, frames.icmp(source, target, 1, 4, bytes(4) + inner)
        return frames.ICMP, frames.icmp(source, target, 3, 3, bytes(4) + inner)

    return make


def echo(kind: int) -> Body:
    def make(source: str, target: str, mark: bytes) -> tuple[int, bytes]:
        return frames.ICMP, frames.icmp(source, target, kind, 0, b"\x07\x77\0\1" + mark)

    return make


@pytest.mark.parametrize("version", [4, 6])
def test_only_what_a_guest_got_can_be_answered(routed: Routed, version: int):
    """Connection tracking knows what the host sends and routes before the bridge drops it."""
    networks = [f"{party.address(version)}/{32 if version == 4 else 128}" for party in (FAR_AWAY, HOST)]
    rules = [Rule(INGRESS, "udp", network, port_min=7, port_max=7) for network in networks]
    ping = Rule(INGRESS, "icmp", "192.0.2.7/32", icmp_type=8)
    routed.engine.put_groups([SecurityGroup("strict", (*GROUPS["strict"].rules, *rules, ping))], routed.policy.members)
    try:
        for number, asker in enumerate((FAR_AWAY, HOST), start=2000 + 10 * version):
            for _turn in range(2):
                assert not routed.passes(asker, STRICT, udp(number, 8), version=version)
                assert not routed.passes(STRICT, asker, udp(8, number), version=version)
                assert not routed.passes(STRICT, asker, unreachable(udp(number, 8)), version=version)
            assert routed.passes(asker, STRICT, udp(number, 7), version=version)
            assert routed.passes(STRICT, asker, unreachable(udp(number, 7)), version=version)
            assert routed.passes(asker, STRICT, udp(number, 7), version=version)
            assert routed.passes(STRICT, asker, udp(7, number), version=version)
            assert not routed.passes(STRICT, asker, udp(8, number), version=version)
        if version == 4:
            assert not routed.passes(STRICT, FAR_AWAY, echo(8))
            assert routed.passes(FAR_AWAY, STRICT, echo(8))
            assert routed.passes(STRICT, FAR_AWAY, echo(0))
    finally:
        routed.engine.put_groups([GROUPS["strict"]], routed.policy.members)


def test_changes_under_traffic(routed: Routed):
    def meddle() -> None:
        routed.runner.run(("nft", "insert", "rule", "bridge", "anyvirt", "to-known", "counter"))

    open_connections_while(routed, meddle, rounds=5)
