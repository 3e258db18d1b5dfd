# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What virt_secgroup's options mean, and everything that can be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidInput
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    ProviderRule,
    Rule,
    SecurityGroup,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroup_members import Reported
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroup_options import (
    DesiredGroup,
    read_firewall,
)

V4, V6 = "0.0.0.0/0", "::/0"


def read(**params: Any) -> DesiredGroup:
    [wanted] = read_firewall({"name": "web", **params}).groups
    return wanted


def rules_of(*rules: dict[str, Any], now: SecurityGroup | None = None, **params: Any) -> set[Rule]:
    """The rules that the group is to have."""
    return set(read(rules=list(rules), **params).wanted(now).rules)


def one(**rule: Any) -> Rule:
    """What a rule stands for, where that is one."""
    [found] = rules_of(rule, default_egress=False)
    return found


def reported(*entries: Any, **params: Any) -> Reported:
    found = read_firewall({"members": list(entries), **params}).reported
    assert found is not None
    return found


# -- what rules mean ------------------------------------------------------------------------------------------------


def test_a_rule_without_another_side_is_about_anywhere():
    assert rules_of({}, default_egress=False) == {Rule("ingress", cidr=V4), Rule("ingress", cidr=V6)}
    assert rules_of({"group": "web"}, default_egress=False) == {Rule("ingress", group="web")}
    assert one(protocol="icmp") == Rule("ingress", "icmp", V4)
    assert one(protocol="icmpv6") == Rule("ingress", "icmpv6", V6)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("6", "tcp"),
        (17, "udp"),
        ("1", "icmp"),
        ("47", "47"),
        ("050", "50"),
        ("any", "any"),
    ],
)
def test_protocols_have_one_name(given: str | int, kept: str):
    assert one(protocol=given, cidr=V4).protocol == kept
    assert one(protocol="58", cidr=V6).protocol == "icmpv6"


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ("443", (443, 443)),
        (443, (443, 443)),
        ("8000-8100", (8000, 8100)),
        (" 8000 - 8100 ", (8000, 8100)),
        ("0-65535", (None, None)),
        ("1-65535", (1, 65535)),
    ],
)
def test_ports(given: str | int, ports: tuple[int | None, int | None]):
    rule = one(protocol="tcp", cidr=V4, port=given)
    assert (rule.port_min, rule.port_max) == ports


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("FD00:0::/8", "fd00::/8"),
        ("2001:db8::5", "2001:db8::5/128"),
    ],
)
def test_networks_have_one_form(given: str, kept: str):
    assert one(cidr=given).cidr == kept


# -- what a group is to have ----------------------------------------------------------------------------------------

SSH = {"protocol": "tcp", "port": 22, "cidr": "192.0.2.0/24"}
SSH_RULE = Rule("ingress", "tcp", "192.0.2.0/24", port_min=22, port_max=22)
OUT = {"direction": "egress", "cidr": "10.0.0.0/8"}
OUT_RULE = Rule("egress", cidr="10.0.0.0/8")


def test_a_new_group_lets_everything_out_and_nothing_in():
    assert read().wanted(None) == SecurityGroup("web")
    assert read(default_egress=False).wanted(None).rules == ()
    assert rules_of() == set(DEFAULT_EGRESS)
    assert rules_of(default_egress=False) == set()


def test_a_whole_list_without_egress_stands_for_one_that_lets_everything_out():
    assert rules_of(SSH) == {SSH_RULE, *DEFAULT_EGRESS}
    assert rules_of(SSH, OUT) == {SSH_RULE, OUT_RULE}
    assert rules_of(SSH, now=SecurityGroup("web", (OUT_RULE,))) == {SSH_RULE, *DEFAULT_EGRESS}
    assert rules_of(SSH, default_egress=False, now=SecurityGroup("web")) == {SSH_RULE}


def test_rules_that_are_added_bring_nothing_unsaid_to_a_group_that_is_there():
    closed = SecurityGroup("web", ())
    assert rules_of(SSH, purge_rules=False, now=closed) == {SSH_RULE}
    assert rules_of(SSH, purge_rules=False, now=SecurityGroup("web", (OUT_RULE,))) == {SSH_RULE, OUT_RULE}
    assert rules_of(SSH, purge_rules=False) == {SSH_RULE, *DEFAULT_EGRESS}


def test_what_is_not_mentioned_stays():
    now = SecurityGroup("web", (SSH_RULE, OUT_RULE), "for people")
    assert read().wanted(now) == now
    assert read(default_egress=True, description="").wanted(now) == SecurityGroup("web", now.rules)


def test_descriptions_stay_until_they_are_said():
    there = Rule("ingress", "tcp", "192.0.2.0/24", port_min=22, port_max=22, description="old")
    now = SecurityGroup("web", (there, *DEFAULT_EGRESS))
    assert read(rules=[SSH]).wanted(now) == now
    assert (
        read(rules=[{**SSH, "description": ""}]).wanted(now).rules
        == SecurityGroup("", (SSH_RULE, *DEFAULT_EGRESS)).rules
    )
    added = read(rules=[{**SSH, "description": "new"}], purge_rules=False).wanted(now).rules
    assert [rule.description for rule in added if rule.protocol == "tcp"] == ["new"]


def test_a_rule_that_another_tool_gave_twice_becomes_one():
    twice = tuple(Rule("ingress", "tcp", V4, description=text) for text in "ab")
    [left] = rules_of({"protocol": "tcp", "cidr": V4}, default_egress=False, now=SecurityGroup("web", twice))
    assert left in twice


def test_shared_options_are_defaults():
    groups = read_firewall({"rules": [SSH], "groups": [{"name": "a"}, {"name": "b", "rules": []}]}).groups
    assert [len(group.rules or ()) for group in groups] == [1, 0]


def test_what_is_removed_may_say_what_it_was():
    assert read(state="absent", rules=[SSH], description="text").state == "absent"


# -- what is for all of a host --------------------------------------------------------------------------------------


def test_the_operators_rules_keep_their_order():
    rules = [{"cidr": "10.0.0.0/8", "action": "accept", "description": "ours"}, {"protocol": "tcp", "port": 25}]
    assert read_firewall({"provider_rules": rules}).provider == (
        ProviderRule(Rule("ingress", cidr="10.0.0.0/8", description="ours"), "accept"),
        ProviderRule(Rule("ingress", "tcp", V4, port_min=25, port_max=25), "drop"),
        ProviderRule(Rule("ingress", "tcp", V6, port_min=25, port_max=25), "drop"),
    )
    assert read_firewall({"provider_rules": []}).provider == ()
    assert read_firewall({"name": "web"}).provider is None


def test_members_of_hosts():
    one_host = {
        "host": "a",
        "members": {"web": ["10.0.0.2/32", "10.0.0.1", "FD00::1"], "db": [], "project:x": ["10.0.0.9"]},
    }
    found = reported(one_host, {"host": "b", "members": {}, "changed": True, "groups": []})
    assert found.hosts == {
        "a": {"project:x": ("10.0.0.9/32",), "web": ("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128")},
        "b": {},
    }
    assert (found.silent, found.purge) == (0, False)


def test_a_host_that_reports_twice_has_all_that_it_reports():
    entries = [{"host": "a", "members": {"web": [address]}} for address in ("10.0.0.1", "10.0.0.2")]
    found = reported(*entries, {"host": "b", "members": {"web": []}}, {"host": "b", "members": {}})
    assert found.hosts == {"a": {"web": ("10.0.0.1/32", "10.0.0.2/32")}, "b": {}}
    assert found.doubtful == ["a"]


def test_hosts_that_failed_are_left_out():
    failed = {"failed": True, "msg": "no"}
    found = reported(None, {}, failed, {"unreachable": True}, {"host": "a", "members": {}})
    assert (set(found.hosts), found.silent) == ({"a"}, 4)


def test_only_what_differs_is_told_to_a_host():
    known = {"old": {"web": ("10.0.0.1/32",)}, "same": {"web": ("10.0.0.2/32",)}, "gone": {"web": ("10.0.0.3/32",)}}
    entries: list[Any] = [
        {"host": "own", "members": {"web": ["10.0.0.9"]}},
        {"host": "old", "members": {}},
        {"host": "same", "members": {"web": ["10.0.0.2"]}},
        {"host": "new", "members": {"db": ["10.0.0.4"]}},
        {"host": "empty", "members": {}},
    ]
    expected = {"old": {}, "new": {"db": ("10.0.0.4/32",)}}
    assert reported(*entries).changes(known, "own") == expected
    assert reported(*entries, purge_members=True).changes(known, "own") == {**expected, "gone": {}}
    assert reported(*entries, None, purge_members=True).changes(known, "own") == expected
    assert reported(purge_members=True).changes(known, "own") == {"old": {}, "same": {}, "gone": {}}


def test_what_is_verified():
    assert read_firewall({"state": "verified"}).verify
    assert read_firewall({"state": "verified", "name": "web", "repair": True}).repair
    assert not read_firewall({"state": "verified"}).refreshes
    assert not read_firewall({"provider_rules": []}).refreshes
    assert read_firewall({"members": []}).refreshes
    assert read().state == "present"


# -- what is wrong --------------------------------------------------------------------------------------------------


def rule(**options: Any) -> dict[str, Any]:
    return {"name": "web", "rules": [options]}


def provider(**options: Any) -> dict[str, Any]:
    return {"provider_rules": [options]}


def members(**entry: Any) -> dict[str, Any]:
    return {"members": [{"host": "a", "members": {}, **entry}]}


@pytest.mark.parametrize(
    ("params", "option", "words"),
    [
        # names
        ({"name": ""}, "name", "has to begin with"),
        ({"name": "a b"}, "name", "has to begin with"),
        ({"name": "project:a"}, "name", "has to begin with"),
        ({"name": "-web"}, "name", "has to begin with"),
        ({"name": "w" * 64}, "name", "at most 63"),
        ({"name": "wéb"}, "name", "letters, digits"),
        ({"groups": [{"rules": []}]}, "groups[0].name", "is missing"),
        ({"groups": [{"name": "a"}, {"name": "a"}]}, "groups[1].name", "is the name of groups[0] too"),
        ({"name": "web", "description": "x" * 256}, "description", "at most 255"),
        ({"name": "web", "description": "two\nlines"}, "description", "line break"),
        ({"name": "web", "state": "running"}, "state", "present, absent, verified"),
        # ports
        (rule(protocol="tcp", port="70000"), "rules[0].port", "at most 65535, not 70000"),
        (rule(protocol="tcp", port="1-70000"), "rules[0].port", "at most 65535, not 70000"),
        (rule(protocol="udp", port="100-20"), "rules[0].port", "did you mean 20-100"),
        (rule(protocol="tcp", port="-1"), "rules[0].port", "such as 443"),
        (rule(protocol="tcp", port="https"), "rules[0].port", "such as 443"),
        (rule(protocol="tcp", port="80,443"), "rules[0].port", "such as 443"),
        (rule(protocol="tcp", port="80-"), "rules[0].port", "such as 443"),
        (rule(protocol="icmp", port="8"), "rules[0].port", "give icmp_type"),
        (rule(port="80"), "rules[0].port", "give protocol tcp or udp"),
        (rule(protocol="47", port="80"), "rules[0].port", "makes no sense with protocol 47"),
        # protocols
        (rule(protocol="http"), "rules[0].protocol", "tcp, udp, icmp, icmpv6, any"),
        (rule(protocol="TCP", port="80"), "rules[0].protocol", "tcp, udp, icmp, icmpv6, any"),
        (rule(protocol="256"), "rules[0].protocol", "from 0 to 255"),
        (rule(protocol="9" * 5000), "rules[0].protocol", "from 0 to 255"),
        (rule(protocol="-1"), "rules[0].protocol", "from 0 to 255"),
        (rule(protocol="tcp", icmp_type=8), "rules[0].icmp_type", "makes no sense with protocol tcp"),
        (rule(icmp_type=8, icmp_code=0), "rules[0].icmp_type", "give protocol icmp or icmpv6"),
        (rule(protocol="icmp", icmp_type=256), "rules[0].icmp_type", "at most 255"),
        (rule(protocol="icmp", icmp_type=-1), "rules[0].icmp_type", "at least 0"),
        (rule(protocol="icmp", icmp_code=1), "rules[0].icmp_code", "needs icmp_type"),
        (rule(protocol="icmpv6", icmp_type=1, icmp_code=300), "rules[0].icmp_code", "at most 255"),
        # the other side
        (rule(cidr="10.0.0.300/8"), "rules[0].cidr", "has to be a network"),
        (rule(cidr="10.0.0.0/33"), "rules[0].cidr", "has to be a network"),
        (rule(cidr="10.0.0.0/255.0.0.0"), "rules[0].cidr", "has to be a network"),
        (rule(cidr=""), "rules[0].cidr", "has to be a network"),
        (rule(cidr="fe80::1%eth0"), "rules[0].cidr", "has to be a network"),
        (rule(cidr="10.1.2.3/8"), "rules[0].cidr", "did you mean 10.0.0.0/8 or 10.1.2.3/32"),
        (rule(cidr="fd00::1/64"), "rules[0].cidr", "did you mean fd00::/64 or fd00::1/128"),
        (rule(protocol="icmp", cidr="fd00::/8"), "rules[0].cidr", "give protocol icmpv6"),
        (rule(protocol="icmpv6", cidr="10.0.0.0/8"), "rules[0].cidr", "give protocol icmp"),
        (rule(cidr="10.0.0.0/8", group="web"), "rules[0].group", "excludes cidr"),
        (rule(group="a:b"), "rules[0].group", "has to begin with"),
        (rule(group=""), "rules[0].group", "has to begin with"),
        # rules as such
        (rule(direction="in"), "rules[0].direction", "ingress, egress"),
        (rule(description="x" * 256), "rules[0].description", "at most 255"),
        (rule(ports="80"), "rules[0].ports", "there is no such option"),
        ({"name": "web", "rules": ["tcp"]}, "rules[0]", "has to be a dictionary"),
        ({"name": "web", "rules": [SSH, {**SSH, "description": "x"}]}, "rules[1]", "is the same rule as rules[0]"),
        ({"name": "web", "rules": [{}, {"cidr": V6}]}, "rules[1]", "overlaps rules[0]: both say cidr ::/0"),
        (
            {"groups": [{"name": "a", "rules": [{"protocol": "6"}, {}, {"protocol": "tcp"}]}]},
            "groups[0].rules[2]",
            "is the same rule as groups[0].rules[0]",
        ),
        # the operator's rules
        (provider(group="web"), "provider_rules[0].group", "never about the members"),
        (provider(action="reject"), "provider_rules[0].action", "drop, accept"),
        (provider(protocol="icmp", port="1"), "provider_rules[0].port", "give icmp_type"),
        (
            {"provider_rules": [{"cidr": V4}, {"cidr": V4, "action": "accept"}]},
            "provider_rules[1]",
            "is the same rule as provider_rules[0]",
        ),
        # members
        ({"members": ["host1"]}, "members[0]", "has to be a dictionary"),
        ({"members": [{"members": {}}]}, "members[0].host", "is missing"),
        ({"members": [{"host": "a"}]}, "members[0].members", "is missing"),
        (members(members=["web"]), "members[0].members", "has to be a dictionary"),
        (members(members={"a b": []}), "members[0].members.a b", "has to begin with"),
        (members(members={"web": "10.0.0.1"}), "members[0].members.web", "has to be a list"),
        (members(members={"web": ["10.0.0.0/24"]}), "members[0].members.web[0]", "the address of a guest"),
        (members(members={"web": ["fe80::1%a\nb"]}), "members[0].members.web[0]", "the address of a guest"),
        (members(members={"web": [1]}), "members[0].members.web[0]", "the address of a guest"),
        ({"name": "web", "purge_members": True}, "purge_members", "makes no sense without members"),
        # what does not go together
        ({}, "", "there is nothing to do"),
        ({"state": "absent"}, "state", "needs name or groups"),
        ({"rules": [], "provider_rules": []}, "rules", "needs name or groups"),
        ({"name": "web", "repair": True}, "repair", "without state verified"),
        ({"repair": True}, "repair", "without state verified"),
        ({"name": "web", "state": "verified", "rules": []}, "rules", "makes no sense with state verified"),
        ({"state": "verified", "description": "x"}, "description", "makes no sense with state verified"),
        ({"state": "verified", "provider_rules": []}, "provider_rules", "which declares nothing"),
        ({"state": "verified", "members": []}, "members", "which declares nothing"),
        (
            {"groups": [{"name": "a", "state": "verified"}, {"name": "b"}]},
            "groups[1].state",
            "exclude each other",
        ),
    ],
)
def test_bad_input(params: dict[str, Any], option: str, words: str):
    with pytest.raises(InvalidInput) as caught:
        read_firewall(params)
    [problem] = caught.value.problems
    assert problem.option == option
    assert words in problem.message


def test_everything_wrong_is_told_at_once():
    with pytest.raises(InvalidInput) as caught:
        read_firewall(
            {
                "default_egress": "perhaps",
                "groups": [{"name": "a", "rules": [{"port": "x"}]}, {"name": "b:", "rules": [{}, {"cidr": "x"}]}],
                "provider_rules": [{"protocol": "x"}],
            }
        )
    assert [problem.option for problem in caught.value.problems] == [
        "default_egress",
        "groups[0].rules[0].port",
        "groups[1].name",
        "groups[1].rules[1].cidr",
        "provider_rules[0].protocol",
    ]
