# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real packets through each engine: what arrives is what the oracle says."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.oracle import would_accept
from contract.ec2_rules import passes
from contract.firewall_engines import HOST_ADDRESSES, Firewall, put_on
from contract.helpers import eventually
from contract.packet_parties import BRIDGE, DB, HOST, LEARNER, OPEN, POLICY, PORTS, STREET, STRICT, WEB, members
from contract.packet_sending import Case, send
from contract.packet_table import AFTER_LEARNING, BEFORE_LEARNING, TABLE, one
from contract.platforms.base import Platform
from lab.packets.frames import TCP, UDP
from lab.packets.network import Network
from lab.packets.wire import open_wire

LEARNING_TIMEOUT_S = 30.0
on_libvirt = pytest.mark.on("libvirt")


@pytest.mark.parametrize("section", TABLE)
def test_the_oracle_and_ec2_agree_on_the_table(section: str):
    """Each section has packets that pass and others; and what comes before the one in question passes."""
    for case in TABLE[section]:
        for step in case.steps:
            assert would_accept(POLICY, step.packet) is passes(POLICY, step.packet), case.name
        assert all(would_accept(POLICY, step.packet) for step in case.steps[:-1]), case.name
    assert {would_accept(POLICY, case.steps[-1].packet) for case in TABLE[section]} == {True, False}


def test_the_table_is_large_and_without_repetitions():
    names = [case.name for cases in (*TABLE.values(), BEFORE_LEARNING, AFTER_LEARNING) for case in cases]
    assert len(set(names)) == len(names) >= 60


@on_libvirt
def test_without_filters_all_packets_arrive(host: Platform):
    """What does not arrive with an engine was not lost by the wire."""
    with closing(Network.new()) as network, open_wire(network, BRIDGE, HOST.mac, HOST_ADDRESSES) as wire:
        places = put_on(wire)
        for cases in (*TABLE.values(), BEFORE_LEARNING, AFTER_LEARNING):
            wire.settle()
            assert [case.name for case, came in zip(cases, send(wire, places, cases)) if not came] == []


@on_libvirt
@pytest.mark.parametrize("section", TABLE)
def test_what_arrives_is_what_the_oracle_says(firewall: Firewall, section: str):
    assert firewall.disagreements(TABLE[section]) == []


@on_libvirt
def test_a_spoofed_mac_steals_no_traffic(firewall: Firewall):
    """The bridge would send a neighbour's packets to whoever was heard last under its MAC address."""
    spoofed = one("a neighbour's source MAC", OPEN, STREET, UDP, src_mac=WEB.mac)
    wanted = one("to the neighbour", STREET, WEB, TCP, dport=80)
    # The second is sent after the first without anything between that would teach the bridge better.
    assert firewall.disagreements([spoofed, wanted]) == []


@on_libvirt
def test_a_member_joins_and_leaves(firewall: Firewall):
    """Rules about a group's members follow them, new connections at once."""

    def from_the_newcomer() -> list[Case]:
        return [
            one("from who joins and leaves", OPEN, DB, TCP, dport=5432),
            one("from who joins and leaves, IPv6", OPEN, DB, TCP, 6, dport=5432),
            one("from a member that stays", WEB, DB, TCP, dport=5432),
            one("to who joins and leaves", STRICT, OPEN, TCP, dport=80),
        ]

    before = firewall.policy
    joined = replace(OPEN.port, groups=("open", "web"))
    now = tuple(joined if port == OPEN.port else port for port in PORTS)
    assert firewall.disagreements(from_the_newcomer()) == []
    try:
        change_port(firewall, joined, replace(before, ports=now, members=members(*now)))
        assert firewall.disagreements(from_the_newcomer()) == []
        assert would_accept(firewall.policy, from_the_newcomer()[0].steps[0].packet)
    finally:
        change_port(firewall, OPEN.port, before)
    assert firewall.disagreements(from_the_newcomer()) == []


def change_port(firewall: Firewall, port, policy) -> None:
    firewall.engine.put_ports([port], policy)
    firewall.engine.put_members(policy.members)
    firewall.policy = policy


@on_libvirt
def test_a_port_learns_its_address_from_dhcp(firewall: Firewall):
    """Before the server's answer it gets and sends only what needs no address; after it, its address is its own."""
    assert firewall.disagreements(BEFORE_LEARNING) == []
    answer = one("the DHCP server's answer", STREET, LEARNER, UDP, sport=67, dport=68)
    assert firewall.disagreements([answer]) == []
    learned = replace(LEARNER.port, addresses=(f"{LEARNER.v4}/32",))
    before = firewall.policy
    ports = tuple(learned if port == LEARNER.port else port for port in before.ports)
    firewall.policy = replace(before, ports=ports)
    try:
        eventually(lambda: firewall.disagreements(AFTER_LEARNING) == [], timeout_s=LEARNING_TIMEOUT_S)
        assert firewall.disagreements(AFTER_LEARNING) == []
    finally:
        firewall.policy = before
        firewall.forget(LEARNER.port)


@on_libvirt
def test_a_restart_of_libvirt_changes_nothing(firewall: Firewall):
    firewall.restart()
    for section in ("base", "ingress", "references"):
        assert firewall.disagreements(TABLE[section]) == []


@on_libvirt
def test_nothing_is_told_to_differ(firewall: Firewall):
    """What the kernel has after all this is what is declared."""
    assert firewall.engine.drift(firewall.policy) == []
