# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables engine's words for the kernel; whether the kernel understands them, the contract suite tells."""

from __future__ import annotations

import json

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftchange import (
    change_commands,
    drift_between,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftpolicy import (
    bridge_table,
    group_chains,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nftread import parse_table
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nfttable import (
    KeptRule,
    NftRule,
    group_chain,
    member_set,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner, is_local
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorError, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    EGRESS,
    INGRESS,
    HostPolicy,
    Port,
    Rule,
    SecurityGroup,
)


def matches(rule: Rule) -> list[str]:
    """What the kernel is to compare, without what then happens."""
    chain = group_chains([SecurityGroup("web", (rule,))])[
        group_chain("in" if rule.direction == INGRESS else "out", "web")
    ]
    return [nft.text.partition(" counter")[0] for nft in chain.rules]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(INGRESS, cidr="0.0.0.0/0"), "ether type ip"),
        (Rule(EGRESS, cidr="fd00::/8"), "ether type ip6 ip6 daddr fd00::/8"),
        (Rule(INGRESS, "tcp", "10.0.0.0/8", port_min=22, port_max=22), "th dport 22"),
        (Rule(INGRESS, "udp", "::/0", port_min=0, port_max=53), "ether type ip6 meta l4proto udp th dport 0-53"),
        (Rule(INGRESS, "icmp", "0.0.0.0/0", icmp_type=3, icmp_code=0), "meta l4proto icmp icmp type 3 icmp code 0"),
        (Rule(INGRESS, "47", "10.0.0.1/32"), "ether type ip ip saddr 10.0.0.1/32 meta l4proto 47"),
    ],
)
def test_a_rule_in_words(rule: Rule, expected: str):
    (text,) = matches(rule)
    assert expected in text


def test_a_rule_about_members_is_one_for_each_version_of_ip():
    four, six = matches(Rule(INGRESS, "tcp", group="db", port_min=1, port_max=2))
    assert f"ip saddr @{member_set(4, 'db')} meta l4proto tcp th dport 1-2" in four
    assert f"ip6 saddr @{member_set(6, 'db')} meta l4proto tcp th dport 1-2" in six


def test_comments_are_harmless_and_tell_rules_apart():
    rule = NftRule("accept", 'x" accept; flush ruleset\n' + "é" * 200)
    assert len(rule.comment) <= 127
    assert not set('";\n') & set(rule.comment)
    assert rule.comment.isascii()
    assert rule.comment.split()[0] != NftRule("drop", rule.note).comment.split()[0]


def test_verdicts_are_kept():
    assert NftRule("iifname vmap @from_port", "x").kept.verdict == "vmap @from_port"
    assert NftRule("ether type ip jump in-web", "x").kept.verdict == "jump in-web"
    assert NftRule("meta mark set 1", "x").kept.verdict == ""


def test_what_nft_prints_is_read():
    statements = [{"counter": {"packets": 1}}, {"goto": {"target": "y"}}]
    members = [{"elem": {"val": {"concat": ["av1", {"prefix": {"addr": "10.0.0.0", "len": 8}}]}, "expires": 3}}]
    listed = [
        {"metainfo": {"version": "1.0.6"}},
        {"chain": {"name": "x", "hook": "forward", "prio": 10, "policy": "accept", "type": "filter"}},
        {"rule": {"chain": "x", "comment": "c", "expr": [{"match": {"right": "@s"}}, *statements]}},
        {"set": {"name": "s", "type": ["ifname", "ipv4_addr"], "flags": ["interval"], "elem": members}},
        {"map": {"name": "m", "type": "ifname", "map": "verdict", "elem": [["av1", {"goto": {"target": "y"}}]]}},
        {"counter": {"name": "n"}},
    ]
    table = parse_table(json.dumps({"nftables": listed}), "bridge")
    assert table.chains["x"].kept == (KeptRule("c", "goto y"),)
    assert table.chains["x"].refers_to == {"s"}
    assert table.sets["s"].elements == {("av1", "10.0.0.0/8")}
    assert table.sets["m"].elements == {("av1", "goto y")}
    assert table.counters == {"n"}


@pytest.mark.parametrize(
    "kind",
    [
        ["ifname", "integer"],
        {
            "typeof": {
                "concat": [{"meta": {"key": "oifname"}}, {"payload": {"base": "th", "offset": 288, "len": 48}}],
            }
        },
    ],
)
def test_types_of_raw_bits_are_read_from_each_nft(kind: object):
    """Since 1.1.2 it says what a set was declared with, where others say types; one flag needs no list any more."""
    listed = {"family": "bridge", "table": "anyvirt", "name": "learners", "type": kind, "flags": "dynamic"}
    table = parse_table(json.dumps({"nftables": [{"set": {**listed, "elem": [{"concat": ["av1", 5]}]}}]}), "bridge")
    assert table.sets["learners"].shape == bridge_table(HostPolicy()).sets["learners"].shape
    assert table.sets["learners"].elements == {("av1", "5")}


def test_nothing_is_done_where_nothing_differs():
    port = Port("web", "52:54:00:00:00:01", "av1", ("10.0.0.0/8", "10.0.0.1/32"), groups=("web",))
    policy = HostPolicy((port,), {"web": SecurityGroup("web")})
    table = bridge_table(policy)
    assert table.sets["addresses4"].elements == {("av1", "10.0.0.0/8")}
    assert change_commands(table, table) == []
    assert drift_between(table, table, {}) == []
    assert change_commands(table, None) == ["delete table bridge anyvirt"]


def test_a_port_without_a_device_has_no_filters():
    assert bridge_table(HostPolicy((Port("web", "52:54:00:00:00:01"),))) == bridge_table(HostPolicy())


def test_a_tool_that_is_missing_or_fails_says_so():
    with pytest.raises(Unsupported, match="no-such-tool is not on this host"):
        Runner().run(("no-such-tool",))
    with pytest.raises(HypervisorError, match=r"cat /nowhere/at/all failed: .*No such file"):
        Runner().run(("cat", "/nowhere/at/all"))
    assert Runner().run(("cat",), "on standard input") == "on standard input"


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("qemu:///system", True),
        ("lxc:///", True),
        ("qemu+unix:///system?socket=/run/x", True),
        ("qemu+ssh://root@host/system", False),
        ("qemu+tcp://10.0.0.1/system", False),
    ],
)
def test_which_addresses_are_this_host(uri: str, local: bool):
    assert is_local(uri) is local
