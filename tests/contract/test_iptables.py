# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The iptables engine on a network namespace of its own: what it writes and when, and what it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.iptables import IptablesEngine
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
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
    mac = f"52:54:00:00:{number % 7:02x}:{number:02x}"
    fields = {
        "instance": f"wéb {number}",
        "mac": mac,
        "device": f"av{mac.replace(':', '')}",
        "addresses": (f"10.0.0.{number}/32", f"fd00::{number:x}/128"),
        "groups": groups,
    }
    return Port(**{**fields, **over})


WHOLE = a_port(1, "web", addresses=("0.0.0.0/0", "10.0.0.1/32", "::/0"), project="p", allow_project=True)
LEARNER = a_port(2, "db", "web", addresses=(), learns=True)
SHORT = a_port(3, device="tap0")
POLICY = HostPolicy(
    (WHOLE, LEARNER, SHORT),
    {"web": SecurityGroup("web", RULES), "db": SecurityGroup("db")},
    (
        ProviderRule(Rule(EGRESS, "tcp", cidr="0.0.0.0/0", port_min=25, port_max=25)),
        ProviderRule(Rule(INGRESS, cidr="10.7.0.0/16"), ACCEPT),
    ),
    {"web": frozenset({"10.0.0.1/32", "fd00::1/128"}), "db": frozenset(), "project:p": frozenset({"10.0.0.1/32"})},
)

OTHERS = (
    (
        "iptables-restore",
        "*security\n:others - [0:0]\n-A others -s 10.6.6.6/32 -j DROP\n-A FORWARD -j others\nCOMMIT\n",
    ),
    ("iptables-restore", "*filter\n-A FORWARD -s 10.6.6.6/32 -j ACCEPT\nCOMMIT\n"),
    ("ebtables-restore", "*nat\n:others RETURN\n-A others -p ARP -j ACCEPT\n-A PREROUTING -i eth7 -j others\nCOMMIT\n"),
)


V4_IN_V6 = ("::ffff:0:0/96", "::ffff:a00:1/128", "::a00:1/128")
"""The tools write some bits of these as an IPv4 address."""


class Commands(Runner):
    """Notes what it runs.

    Attributes:
        fails_at: Which of the writing calls to come fails without having done anything; 0 for none.
    """

    def __init__(self) -> None:
        self.made: list[tuple[str, ...]] = []
        self.written: list[str] = []
        self.fails_at = 0

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        self.made.append(tuple(argv))
        if stdin:
            self.written.append(stdin)
            self.fails_at -= 1
            if self.fails_at == 0:
                raise HypervisorError(f"{argv[0]} failed: as told")
        return super().run(argv, stdin)


@pytest.fixture
def runner(host: Platform) -> Iterator[Commands]:
    with closing(Network.new()) as network:

        class InNetwork(Commands):
            prefix = network.prefix

        yield InNetwork()


@pytest.fixture
def engine(runner: Commands) -> IptablesEngine:
    return IptablesEngine(runner)


def load(runner: Runner, tool: str, text: str) -> None:
    runner.run((tool, "--noflush"), text)


def all_rules(runner: Runner) -> str:
    """Everybody's, without counters and comments of the tools."""
    text = "".join(runner.run((tool,)) for tool in ("iptables-save", "ip6tables-save", "ebtables-save"))
    lines = [re.sub(r" \[\d+:\d+\]", "", line) for line in text.splitlines() if not line.startswith("#")]
    sets = sorted(re.sub(r" initval \S+", "", line) for line in runner.run(("ipset", "save")).splitlines())
    return "\n".join([*lines, *sets])


def problems(engine: IptablesEngine, policy: HostPolicy = POLICY) -> set[tuple[str | None, str]]:
    return {(drift.instance, drift.subject) for drift in engine.drift(policy)}


def test_it_works_here(engine: IptablesEngine, runner: Commands):
    before = all_rules(runner)
    assert engine.problems() == []
    assert "anyvirt" not in all_rules(runner)
    assert "anyvirt" not in before


def test_it_says_what_is_missing(engine: IptablesEngine, runner: Commands, monkeypatch: pytest.MonkeyPatch):
    runner.run(("tee", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"), "0\n")
    (problem,) = engine.problems()
    assert "sysctl net.bridge.bridge-nf-call-ip6tables=1" in problem
    engine.load(POLICY)
    assert [drift.problem for drift in engine.drift(POLICY)] == [problem]
    monkeypatch.setattr(runner, "is_installed", lambda tool: tool not in ("ipset", "ebtables-restore"))
    (problem,) = engine.problems()
    assert "install ebtables, ipset" in problem


def test_rules_that_would_mean_something_else_are_refused(engine: IptablesEngine):
    refused = (Rule(INGRESS, "0", cidr="::/0"), Rule(EGRESS, "icmp", cidr="0.0.0.0/0", icmp_type=255))
    assert len(engine.unsupported_rules([*RULES, *refused])) == 2
    assert engine.unsupported_rules([*RULES, Rule(EGRESS, "icmpv6", cidr="::/0", icmp_type=255)]) == []


def test_what_is_loaded_is_what_is_wanted(engine: IptablesEngine, runner: Commands):
    """However the tools word it; and a second time nothing is written."""
    engine.load(POLICY)
    assert engine.drift(POLICY) == []
    writings = len(runner.written)
    engine.load(POLICY)
    engine.put_ports(POLICY.ports, POLICY)
    engine.put_groups(tuple(POLICY.groups.values()), POLICY.members)
    engine.put_provider_rules(POLICY.provider)
    engine.put_members(POLICY.members)
    engine.drop_groups(["unknown"])
    engine.drop_ports([a_port(99)])
    assert len(runner.written) == writings


def test_all_that_rules_can_say_reads_back_as_it_was_said(engine: IptablesEngine):
    types = [
        Rule(INGRESS, protocol, anywhere, icmp_type=number, icmp_code=code)
        for protocol, anywhere in (("icmp", "0.0.0.0/0"), ("icmpv6", "::/0"))
        for number in (*range(19), *range(126, 140), 200)
        for code in (None, *range(16), 255)
    ]
    protocols = [Rule(INGRESS, str(number), "10.0.0.0/8") for number in range(1, 256)]
    ports = [Rule(INGRESS, "udp", "fd00::1/128", port_min=low, port_max=65535) for low in (0, 1, 65535)]
    mapped = [Rule(direction, cidr=cidr) for direction in (INGRESS, EGRESS) for cidr in V4_IN_V6]
    rules = (*types, *protocols, *ports, *mapped)
    policy = replace(POLICY, groups={**POLICY.groups, "web": SecurityGroup("web", rules)})
    engine.load(policy)
    assert engine.drift(policy) == []


@pytest.mark.parametrize(
    ("tool", "by_hand", "instance", "subject"),
    [
        ("iptables-restore", "*security\n-I anyvirt-forward 1 -j ACCEPT\nCOMMIT\n", None, "base rules"),
        ("ip6tables-restore", "*raw\n-F anyvirt-prerouting\nCOMMIT\n", None, "base rules"),
        ("iptables-restore", "*security\n-F anyvirt-op-out\nCOMMIT\n", None, "provider rules"),
        ("ip6tables-restore", "*security\n-D FORWARD -j anyvirt-forward\nCOMMIT\n", None, "ip6tables, table security"),
        ("ebtables-restore", "*nat\n-I POSTROUTING 1 -j ACCEPT\nCOMMIT\n", None, "ebtables, table nat"),
        ("iptables-restore", f"*raw\n-I anyvirt-src-{WHOLE.mac.replace(':', '')} 1 -j ACCEPT\nCOMMIT\n", WHOLE, ""),
        ("ebtables-restore", "*nat\n-F anyvirt-to-av52540000\nCOMMIT\n", WHOLE, ""),
        ("ipset", f"add anyvirt-p4-{SHORT.mac.replace(':', '')} 10.9.0.0/16\n", SHORT, ""),
        ("iptables-restore", "*raw\nCOMMIT\n*security\n-F\n-X\nCOMMIT\n", WHOLE, ""),
        ("iptables-restore", "*security\n:anyvirt-shortcut - [0:0]\nCOMMIT\n", None, "chain anyvirt-shortcut"),
    ],
)  # fmt: skip
def test_what_hands_did_is_found_and_mended(
    engine: IptablesEngine, runner: Commands, tool: str, by_hand: str, instance: Port | None, subject: str
):
    engine.load(POLICY)
    if tool == "ipset":
        runner.run(("ipset", "restore"), by_hand)
    else:
        load(runner, tool, by_hand)
    expected = (instance.instance, f"port {instance.mac}") if instance else (None, subject)
    assert expected in problems(engine)
    engine.load(POLICY)
    assert engine.drift(POLICY) == []


def test_groups_and_members_that_differ_are_told(engine: IptablesEngine):
    engine.load(POLICY)
    engine.put_groups([SecurityGroup("web", RULES[:2])], POLICY.members)
    assert problems(engine) == {(None, "group web")}
    engine.put_groups([POLICY.groups["web"]], POLICY.members)
    engine.put_members({"db": frozenset({"10.0.0.7/32"})})
    (drift,) = engine.drift(POLICY)
    assert (drift.subject, drift.problem) == ("group db", STALE_MEMBERS)
    engine.put_members(POLICY.members)
    assert engine.drift(POLICY) == []


def test_the_last_port_takes_all_with_it(engine: IptablesEngine, runner: Commands):
    """Before the first and after the last one, nothing of ours is there; others' rules and sets stay."""
    for tool, text in OTHERS:
        load(runner, tool, text)
    runner.run(("ipset", "restore"), "create others hash:net\nadd others 10.6.0.0/16\n")
    runner.run(("ip6tables-restore", "--noflush"), "*raw\nCOMMIT\n*security\nCOMMIT\n")
    before = others_in(all_rules(runner))
    engine.put_groups(list(POLICY.groups.values()), POLICY.members)
    engine.put_provider_rules(POLICY.provider)
    engine.put_members(POLICY.members)
    assert "anyvirt" not in all_rules(runner)
    for port in POLICY.ports:
        engine.put_ports([port], POLICY)
    assert engine.drift(POLICY) == []
    assert others_in(all_rules(runner)) == before
    engine.drop_ports(POLICY.ports)
    engine.drop_groups(POLICY.groups)
    assert "anyvirt" not in all_rules(runner)
    assert others_in(all_rules(runner)) == before
    assert engine.drift(HostPolicy()) == []


def others_in(rules: str) -> list[str]:
    return [line for line in rules.splitlines() if "10.6." in line or "others" in line]


def test_one_port_of_several_goes(engine: IptablesEngine, runner: Commands):
    engine.load(POLICY)
    engine.drop_ports([WHOLE])
    engine.drop_ports([WHOLE])
    assert engine.drift(replace(POLICY, ports=POLICY.ports[1:])) == []
    assert WHOLE.mac.replace(":", "") not in all_rules(runner)


def test_a_port_has_another_device(engine: IptablesEngine):
    engine.load(POLICY)
    moved = replace(WHOLE, device="tap9")
    newcomer = a_port(4, "web", device=WHOLE.device)
    engine.put_ports([moved], POLICY)
    engine.put_ports([newcomer], POLICY)
    assert engine.drift(replace(POLICY, ports=(moved, newcomer, *POLICY.ports[1:]))) == []


def test_counters_stay(engine: IptablesEngine, runner: Commands):
    """Of rules that stay in a chain that changes, too."""
    engine.load(POLICY)
    saved = runner.run(("iptables-save", "-c", "-t", "security"))
    kept = next(line for line in saved.splitlines() if "--dport 22 " in line)
    chain = kept.split()[2]
    rules = [line for line in saved.splitlines() if f"-A {chain} " in line]
    counted = "".join(f"{line.replace('[0:0]', '[7:700]')}\n" for line in rules)
    runner.run(("iptables-restore", "--noflush", "--counters"), f"*security\n:{chain} - [0:0]\n{counted}COMMIT\n")
    engine.put_groups([SecurityGroup("web", RULES[:3])], POLICY.members)
    engine.load(replace(POLICY, groups={**POLICY.groups, "web": SecurityGroup("web", RULES[:4])}))
    assert kept.replace("[0:0]", "[7:700]") in runner.run(("iptables-save", "-c", "-t", "security"))


def test_a_change_is_as_large_as_what_it_is_about(engine: IptablesEngine, runner: Commands):
    """Whatever the number of ports: as many commands, and the same words for the kernel."""
    made, written = [], []
    for number in (2, 60):
        engine.load(replace(POLICY, ports=tuple(a_port(port, "web") for port in range(1, number + 1))))
        runner.made.clear()
        runner.written.clear()
        engine.put_groups([SecurityGroup("web", RULES[:3])], POLICY.members)
        engine.put_members({"web": frozenset({"10.0.0.99/32"})})
        engine.put_provider_rules(())
        made.append(list(runner.made))
        written.append(list(runner.written))
        assert len(written[-1]) == 6
        assert {name for text in written[-1][:3] for name in re.findall(r"^:(\S+)", text, re.M)} == {
            name for text in written[-1][:3] for name in re.findall(r"^:(anyvirt-g[io]-\w+)", text, re.M)
        }
    assert made[0] == made[1]
    assert written[0] == written[1]


def test_addresses_that_guests_got_stay(engine: IptablesEngine, runner: Commands):
    """And their ARP follows; but not those of a guest that must not learn any more."""
    engine.load(POLICY)
    digits = LEARNER.mac.replace(":", "")
    runner.run(("ipset", "add", f"anyvirt-p4-{digits}", "10.0.0.99"))
    assert problems(engine) == {(LEARNER.instance, f"port {LEARNER.mac}"), (None, "base rules")}
    engine.put_ports([LEARNER], POLICY)
    assert engine.drift(POLICY) == []
    engine.load(POLICY)
    assert f"--arp-ip-src 10.0.0.99 --arp-mac-src {LEARNER.mac}" in all_rules(runner)
    engine.put_ports([replace(LEARNER, learns=False)], POLICY)
    assert "10.0.0.99" not in all_rules(runner)
    assert "u32" not in all_rules(runner)


@pytest.mark.parametrize("number", range(1, 6))
def test_what_fails_is_taken_back(engine: IptablesEngine, runner: Commands, number: int):
    """Whichever of the calls it is."""
    engine.load(POLICY)
    before = all_rules(runner)
    other = HostPolicy(
        (a_port(1, "db", "web"), a_port(7, "db", addresses=("10.0.0.77/32",), learns=True)),
        {"web": SecurityGroup("web", RULES[2:]), "db": SecurityGroup("db", RULES[:3])},
        (),
        {"db": frozenset({"10.0.0.7/32"})},
    )
    runner.fails_at = number
    with pytest.raises(HypervisorError, match="as told"):
        engine.load(other)
    assert sorted(all_rules(runner).splitlines()) == sorted(before.splitlines())
    engine.load(other)
    assert engine.drift(other) == []


def test_many_at_once(engine: IptablesEngine, runner: Commands):
    """Each reads what there is before it writes, so one comes after the other."""
    engine.load(POLICY)
    newcomers = [a_port(number, "web") for number in range(20, 26)]
    with ThreadPoolExecutor(max_workers=len(newcomers)) as pool:
        list(pool.map(lambda port: IptablesEngine(runner).put_ports([port], POLICY), newcomers))
    assert engine.drift(replace(POLICY, ports=(*POLICY.ports, *newcomers))) == []


def test_a_new_port_opens_no_old_one_whose_rules_are_lost(engine: IptablesEngine, runner: Commands):
    engine.load(POLICY)
    load(runner, "iptables-restore", "*security\n-F\n-X\nCOMMIT\n")
    newcomer = a_port(4, "web")
    engine.put_ports([newcomer], POLICY)
    saved = runner.run(("iptables-save", "-t", "security"))
    for port in POLICY.ports:
        leaf = re.search(rf"--physdev-in {port.device} .*-g (anyvirt-e-\w+)", saved)
        assert leaf is not None
        assert f"-A {leaf[1]} -j DROP" in saved
    policy = replace(POLICY, ports=(*POLICY.ports, newcomer))
    engine.load(policy)
    assert engine.drift(policy) == []
