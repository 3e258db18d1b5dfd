# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that change while traffic flows: what is allowed loses no packet, and what is forbidden never gets through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Event

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.oracle import would_accept
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import INGRESS, TCP, ProviderRule, Rule
from contract.firewall_engines import Firewall
from contract.packet_parties import BARE, DB, OPEN, POLICY, STREET, WEB
from contract.packet_sending import Step, again, answer, sending
from contract.packet_table import step
from lab.packets import frames
from lab.packets.wire import Sending

pytestmark = pytest.mark.on("libvirt")

PAUSE_S = 0.0005
LASTS_S = 1.0
"""At least; and at least once."""


def other_rules(number: int) -> Rule:
    """One that has nothing to do with the traffic."""
    return Rule(INGRESS, TCP, "198.51.100.0/24", port_min=9000 + number, port_max=9000 + number)


def changed_groups(firewall: Firewall, number: int) -> None:
    """The rules of the very group that lets the traffic in change; and those of others."""
    groups = firewall.policy.groups
    for name in ("web", "db"):
        more = replace(groups[name], rules=(*groups[name].rules, other_rules(number)))
        firewall.engine.put_groups([more], firewall.policy.members)


def changed_members(firewall: Firewall, number: int) -> None:
    web = firewall.policy.members["web"] | {f"10.99.0.{200 + number}/32"}
    firewall.engine.put_members({**firewall.policy.members, "web": web})


def changed_provider_rules(firewall: Firewall, number: int) -> None:
    firewall.engine.put_provider_rules((*firewall.policy.provider, ProviderRule(other_rules(number))))


def changed_ports(firewall: Firewall, number: int) -> None:
    """Another instance leaves its groups and comes back, and those of the traffic are put once more."""
    groups = ("web",) if number % 2 else ()
    port = replace(BARE.port, groups=groups)
    firewall.engine.put_ports([port, WEB.port, DB.port], firewall.policy)


def loaded_all(firewall: Firewall, _number: int) -> None:
    firewall.engine.load(firewall.policy)


CHANGES = (changed_groups, changed_ports, changed_members, changed_provider_rules, loaded_all)
# With nwfilter, libvirt runs some hundred programs for each port and change.
TRIED = [("nwfilter", change) for change in CHANGES[:2]]
TRIED += [(engine, change) for engine in ("nftables", "iptables") for change in CHANGES]


@pytest.mark.parametrize(
    ("firewall", "change"),
    TRIED,
    indirect=["firewall"],
    ids=[f"{engine}-{change.__name__}" for engine, change in TRIED],
)
def test_no_packet_is_lost_and_none_slips_through(firewall: Firewall, change: Callable[[Firewall, int], None]):
    steps = traffic_steps()
    before = firewall.policy
    firewall.wire.network.forget_connections()
    firewall.wire.settle()
    stop = Event()
    sent: list[Step] = []

    def source() -> Iterator[Sending]:
        for one in steps:
            sent.append(one)
            yield sending(firewall.places, one)

    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            streaming = pool.submit(firewall.wire.stream, source(), lambda: not stop.is_set(), PAUSE_S)
            try:
                started = time.monotonic()
                for number in count():
                    if number and time.monotonic() - started > LASTS_S:
                        break
                    change(firewall, number % 50)
            finally:
                stop.set()
            arrived = streaming.result()
    finally:
        firewall.load(before)
    expected = [would_accept(POLICY, one.packet) for one in sent]
    lost = sum(wanted and not came for wanted, came in zip(expected, arrived))
    slipped = sum(came and not wanted for wanted, came in zip(expected, arrived))
    print(
        f"{sum(expected)} allowed packets, {lost} lost; {len(sent) - sum(expected)} forbidden ones, {slipped} arrived"
    )
    assert (lost, slipped) == (0, 0)
    assert 0 < sum(expected) < len(sent)


def traffic_steps() -> Iterator[Step]:
    """New connections and old ones, allowed and forbidden, from outside and between guests, in turn and for ever."""
    asked = step(WEB, STREET, frames.UDP, dport=4500)
    called = step(STREET, WEB, frames.TCP, dport=80)
    yield from (asked, called, answer(called, flags="SA"))
    while True:
        yield answer(asked)
        yield step(STREET, WEB, frames.TCP, dport=22)
        yield again(called, flags="A")
        yield step(OPEN, DB, frames.TCP, dport=5432)
        yield step(STREET, WEB, frames.TCP, dport=80)
        yield step(OPEN, STREET, frames.UDP, src=WEB.v4)
        yield step(WEB, DB, frames.TCP, dport=5432)
        yield step(STREET, BARE, frames.UDP)
        yield step(WEB, STREET, frames.TCP, 6, dport=443)
        yield step(STREET, DB, frames.UDP, 6, dport=5432)
