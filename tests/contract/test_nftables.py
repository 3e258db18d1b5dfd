# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables engine on a network namespace of its own: what it writes and when, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftables import NftEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    EGRESS,
    INGRESS,
    STALE_MEMBERS,
    HostPolicy,
    Port,
    ProviderRule,
    Rule,
    SecurityGroup,
)
from contract.platforms.base import Platform
from lab.packets.network import Network

pytestmark = pytest.mark.on("libvirt")

RULES = (
    Rule(INGRESS, "tcp", cidr="0.0.0.0/0", port_min=22, port_max=22, description='don\'t "quote" this'),
    Rule(INGRESS, "tcp", cidr="2001:db8::/32", port_min=8000, port_max=8100),
    Rule(INGRESS, "icmp", cidr="10.0.0.0/8", icmp_type=3, icmp_code=4),
    Rule(INGRESS, "icmpv6", cidr="::/0", icmp_type=128),
    Rule(INGRESS, "47", cidr="192.0.2.1/32"),
    Rule(INGRESS, group="web"),
    Rule(EGRESS, "udp", group="db", port_min=0, port_max=53),
)


def a_port(number: int, *groups: str, **over) -> Port:
    fields = {
        "instance": f"web-{number}",
        "mac": f"52:54:00:00:00:{number:02x}",
        "device": f"av{number}",
        "addresses": (f"10.0.0.{number}/32", f"fd00::{number:x}/128"),
        "groups": groups,
    }
    return Port(**{**fields, **over})


WHOLE = a_port(1, "web", addresses=("0.0.0.0/0", "10.0.0.1/32", "::/0"), project="p", allow_project=True)
LEARNER = a_port(2, "db", "web", addresses=(), learns=True)
POLICY = HostPolicy(
    (WHOLE, LEARNER, a_port(3)),
    {"web": SecurityGroup("web", RULES), "db": SecurityGroup("db")},
    (ProviderRule(Rule(EGRESS, "tcp", cidr="0.0.0.0/0", port_min=25, port_max=25)),),
    {"web": frozenset({"10.0.0.1/32", "fd00::1/128"}), "db": frozenset(), "project:p": frozenset({"10.0.0.1/32"})},
)


class Commands(Runner):
    """Notes what it runs."""

    def __init__(self) -> None:
        self.made: list[tuple[str, ...]] = []
        self.written: list[str] = []

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        self.made.append(tuple(argv))
        if stdin:
            self.written.append(stdin)
        return super().run(argv, stdin)


@pytest.fixture
def runner(host: Platform) -> Iterator[Commands]:
    with closing(Network.new()) as network:

        class InNetwork(Commands):
            prefix = network.prefix

        yield InNetwork()


@pytest.fixture
def engine(runner: Commands) -> NftEngine:
    return NftEngine(runner)


def nft(runner: Runner, script: str) -> None:
    runner.run(("nft", "-f", "-"), script + "\n")


def ruleset(runner: Runner) -> str:
    return runner.run(("nft", "list", "ruleset"))


def problems(engine: NftEngine, policy: HostPolicy = POLICY) -> set[tuple[str | None, str]]:
    return {(drift.instance, drift.subject) for drift in engine.drift(policy)}


def test_it_works_here(engine: NftEngine, runner: Commands):
    assert engine.problems() == []
    assert ruleset(runner) == ""


def test_it_says_what_is_missing(engine: NftEngine, runner: Commands):
    runner.run(("tee", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"), "0\n")
    (problem,) = engine.problems()
    assert "sysctl net.bridge.bridge-nf-call-ip6tables=1" in problem
    engine.load(POLICY)
    assert [drift.problem for drift in engine.drift(POLICY)] == [problem]


def test_what_is_loaded_is_what_is_wanted(engine: NftEngine, runner: Commands):
    """However the kernel words it; and a second time nothing is written."""
    engine.load(POLICY)
    assert engine.drift(POLICY) == []
    writings = len(runner.written)
    engine.load(POLICY)
    engine.put_ports(POLICY.ports, POLICY)
    engine.put_members(POLICY.members)
    engine.drop_groups(["unknown"])
    engine.drop_ports([a_port(99)])
    assert len(runner.written) == writings


@pytest.mark.parametrize(
    ("by_hand", "instance", "subject"),
    [
        ("insert rule bridge anyvirt from-known accept", None, "base rules"),
        ("flush chain bridge anyvirt source-ip4", None, "base rules"),
        ("flush chain inet anyvirt prerouting", None, "base rules"),
        ("add chain bridge anyvirt forward-to { policy drop; }", None, "base rules"),
        ("add rule bridge anyvirt from-525400000001 accept", "web-1", "port 52:54:00:00:00:01"),
        ("delete element bridge anyvirt ports { av1 }", "web-1", "port 52:54:00:00:00:01"),
        ("add element bridge anyvirt addresses4 { av2 . 10.9.0.0/16 }", "web-2", "port 52:54:00:00:00:02"),
        ("add element bridge anyvirt ports { eth0 }", None, "device eth0"),
        ("flush chain bridge anyvirt operator-out", None, "provider rules"),
        ("add chain bridge anyvirt shortcut", None, "chain shortcut"),
        ("delete table inet anyvirt", None, "table inet anyvirt"),
        ("flush ruleset", None, "table bridge anyvirt"),
    ],
)
def test_what_hands_did_is_found_and_mended(
    engine: NftEngine, runner: Commands, by_hand: str, instance: str | None, subject: str
):
    engine.load(POLICY)
    nft(runner, by_hand)
    assert (instance, subject) in problems(engine)
    engine.load(POLICY)
    assert engine.drift(POLICY) == []


def test_rules_changed_in_place_are_found(engine: NftEngine, runner: Commands):
    """Even with the comment that they had."""
    engine.load(POLICY)
    listed = json.loads(runner.run(("nft", "-j", "list", "chain", "bridge", "anyvirt", "from-525400000001")))
    rule = next(item["rule"] for item in reversed(listed["nftables"]) if "rule" in item)
    handle = f"replace rule bridge anyvirt from-525400000001 handle {rule['handle']}"
    nft(runner, f'{handle} accept comment "{rule["comment"]}"')
    assert problems(engine) == {("web-1", "port 52:54:00:00:00:01")}


def test_groups_and_members_that_differ_are_told(engine: NftEngine):
    engine.load(POLICY)
    engine.put_groups([SecurityGroup("web", RULES[:2])], POLICY.members)
    assert problems(engine) == {(None, "group web")}
    engine.put_groups([POLICY.groups["web"]], POLICY.members)
    engine.put_members({"db": frozenset({"10.0.0.7/32"})})
    (drift,) = engine.drift(POLICY)
    assert (drift.subject, drift.problem) == ("group db", STALE_MEMBERS)
    engine.put_members(POLICY.members)
    assert engine.drift(POLICY) == []


def test_the_last_port_takes_all_with_it(engine: NftEngine, runner: Commands):
    """Before the first and after the last one, nothing of ours is there; others' tables stay."""
    nft(runner, "add table bridge others; add chain bridge others c { type filter hook forward priority 0; }")
    before = ruleset(runner)
    engine.put_groups(list(POLICY.groups.values()), POLICY.members)
    engine.put_provider_rules(POLICY.provider)
    engine.put_members(POLICY.members)
    assert ruleset(runner) == before
    for port in POLICY.ports:
        engine.put_ports([port], POLICY)
    assert engine.drift(POLICY) == []
    engine.drop_ports(POLICY.ports)
    engine.drop_groups(POLICY.groups)
    assert ruleset(runner) == before
    assert engine.drift(HostPolicy()) == []


def test_ipv4_addresses_in_ipv6_read_back_as_they_were_said(engine: NftEngine):
    """nft writes some bits of these as an IPv4 address."""
    port = a_port(1, "web", addresses=("::ffff:0:0/96", "::a00:1/128"))
    policy = replace(POLICY, ports=(port,), members={"web": frozenset({"::ffff:a00:1/128"})})
    engine.load(policy)
    assert engine.drift(policy) == []


def test_one_port_of_several_goes(engine: NftEngine, runner: Commands):
    engine.load(POLICY)
    engine.drop_ports([WHOLE])
    engine.drop_ports([WHOLE])
    assert engine.drift(replace(POLICY, ports=POLICY.ports[1:])) == []
    assert "525400000001" not in ruleset(runner)
    assert "members4" in ruleset(runner)
    engine.drop_ports([LEARNER])
    engine.drop_groups(["web", "db"])
    assert "members4" not in ruleset(runner)


def test_a_port_has_another_device(engine: NftEngine):
    """What is dropped afterwards under the old name is not what has that name by now."""
    engine.load(POLICY)
    moved = replace(WHOLE, device="av9")
    newcomer = a_port(4, "web", device="av1")
    engine.put_ports([moved], POLICY)
    engine.put_ports([newcomer], POLICY)
    policy = replace(POLICY, ports=(moved, newcomer, *POLICY.ports[1:]))
    assert engine.drift(policy) == []
    engine.drop_ports([a_port(7, device="av1")])
    assert engine.drift(policy) == []


def test_counters_stay(engine: NftEngine, runner: Commands):
    engine.load(POLICY)
    chain = "in-" + ruleset(runner).partition("counter in-")[2].partition(" ")[0]
    nft(runner, f"delete table bridge anyvirt; {ruleset(runner).replace('packets 0 bytes 0', 'packets 7 bytes 700')}")
    engine.put_groups([SecurityGroup("web", RULES[:3])], POLICY.members)
    engine.load(POLICY)
    assert engine.drift(POLICY) == []
    assert "packets 7 bytes 700" in runner.run(("nft", "list", "counter", "bridge", "anyvirt", chain))
    assert "packets 7 bytes 700 drop" in runner.run(("nft", "list", "chain", "bridge", "anyvirt", "source"))


def test_a_change_is_as_large_as_what_it_is_about(engine: NftEngine, runner: Commands):
    """Whatever the number of ports: as many commands, and the same words for the kernel."""
    made, written = [], []
    for number in (2, 60):
        engine.load(replace(POLICY, ports=tuple(a_port(port, "web") for port in range(1, number + 1))))
        runner.made.clear()
        runner.written.clear()
        engine.put_groups([SecurityGroup("web", RULES[:3])], POLICY.members)
        engine.put_members({"web": frozenset({"10.0.0.99/32"})})
        engine.put_provider_rules(())
        engine.put_ports([a_port(1, "web", addresses=("10.1.0.0/16",))], POLICY)
        engine.drop_ports([a_port(2)])
        made.append(list(runner.made))
        written.append([text.splitlines() for text in runner.written])
        engine.put_ports([a_port(2, "web")], POLICY)
    assert made[0] == made[1]
    assert written[0] == written[1]


def test_addresses_that_guests_got_stay(engine: NftEngine, runner: Commands):
    """But not those of a guest that must not learn any more, or of one that had the device before."""
    engine.load(POLICY)
    nft(runner, "add element bridge anyvirt learned { av2 . 0x0a000063 }")
    engine.load(POLICY)
    engine.put_ports([LEARNER, WHOLE], POLICY)
    assert engine.drift(POLICY) == []
    assert "0xa000063" in ruleset(runner)
    engine.put_ports([replace(LEARNER, mac="52:54:00:00:00:99")], POLICY)
    assert "0xa000063" not in ruleset(runner)


def test_the_last_port_goes_while_another_comes(engine: NftEngine, runner: Commands):
    """Between the look at what there is and the removal of all of it."""
    newcomer = a_port(9, "web")
    coming = []

    with ThreadPoolExecutor(max_workers=1) as pool:

        class Interrupted(NftEngine):
            def _run(self, commands: Sequence[str]) -> None:
                coming.append(pool.submit(engine.put_ports, [newcomer], POLICY))
                wait(coming, timeout=1)
                super()._run(commands)

        engine.put_ports([WHOLE], POLICY)
        Interrupted(runner).drop_ports([WHOLE])
    coming[0].result()
    assert engine.drift(replace(POLICY, ports=(newcomer,))) == []
