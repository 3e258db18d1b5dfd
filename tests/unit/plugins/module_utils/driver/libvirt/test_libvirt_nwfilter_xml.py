# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups as nwfilter definitions: what is written, and what is read back."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from xml.etree.ElementTree import Element

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.basefilters import base_filters
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.filterrules import cannot_be_said
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.filterxml import (
    canonical,
    parameters,
    to_text,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nicfilter import (
    learns_addresses,
    nic_filter,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.notes import (
    group_notes,
    pack,
    read_group,
    read_members,
    unpack,
    unpack_provider_rule,
    unpack_rule,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.nwfilterdrift import (
    definition_drift,
    unfiltered_ports,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.policyfilters import (
    policy_filters,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.store import (
    group_filter,
    provider_filter,
    with_members,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.xmltext import from_libvirt
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
    DEFAULT_EGRESS,
    EGRESS,
    INGRESS,
    STALE_MEMBERS,
    Drift,
    HostPolicy,
    Port,
    ProviderRule,
    Rule,
    SecurityGroup,
)

SSH = Rule(INGRESS, "tcp", "10.0.0.0/8", port_min=22, port_max=22)
FROM_WEB = Rule(INGRESS, "udp", group="web", port_min=53, port_max=60)
PORT = Port("one", "52:54:00:00:00:01", "vnet0", ("10.0.0.5/32", "10.1.0.0/24", "fd00::5/128"), groups=("db",))


def rules_of(root: Element) -> list[tuple[str, str, str, dict[str, str]]]:
    return [
        (str(rule.get("action")), str(rule.get("direction")), rule[0].tag, dict(rule[0].attrib))
        for rule in root.findall("rule")
    ]


@pytest.mark.parametrize("text", ["", "plain", "a_b_5f", "é \U0001f600", "<&'\":;.\\", " two  spaces ", "x" * 255])
def test_any_text_survives_in_what_libvirt_lets_through(text: str):
    packed = pack(text, "next")
    assert unpack(packed) == [text, "next"]
    assert set(packed) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:")


def test_each_kind_of_rule_is_read_back():
    kinds = [
        Rule(direction, *rest)
        for direction, rest in product(
            (INGRESS, EGRESS),
            (
                ("any", "0.0.0.0/0"),
                ("tcp", "::/0", None, 0, 65535),
                ("icmp", "10.0.0.0/8", None, None, None, 8, 0),
                ("47", None, "a.b-c_d"),
                ("udp", None, "web", 1, 2, None, None, "a: b_5f"),
            ),
        )
    ]
    group = SecurityGroup("a.b-c_d", tuple(kinds), "ünïcode: <all> of it")
    root = group_filter(group, {"web": {"10.0.0.1/32"}})
    assert read_group(group_notes(group)) == group
    assert with_members(from_libvirt(to_text(root)), {"web": {"10.0.0.1/32"}}) is not None


@pytest.mark.parametrize(
    "value",
    ["", ":::", "ingress:tcp:10.0.0.0_2f8::x::::", "up:tcp:10.0.0.0_2f8::::::", "ingress:tcp:nonsense::::::", "_zz"],
)
def test_what_hands_have_written_is_no_rule(value: str):
    assert unpack_rule(value) is None
    assert unpack_provider_rule(f"drop:{value}") is None


def test_what_hands_have_written_is_no_address():
    assert read_members(["web:10.0.0.1_2f32", "web:nonsense", "web", "db", ""]) == {
        "web": frozenset({"10.0.0.1/32"}),
        "db": frozenset(),
        "": frozenset(),
    }


def test_rules_stand_for_their_own_direction_only():
    """A rule without a state would make libvirt add one for the answers."""
    group = SecurityGroup("db", (SSH, Rule(EGRESS, "icmpv6", "fd00::/8", icmp_type=128)))
    assert rules_of(group_filter(group, {})) == [
        ("accept", "out", "icmpv6", {"state": "NONE", "dstipaddr": "fd00::", "dstipmask": "8", "type": "128"}),
        (
            *("accept", "in", "tcp"),
            {"state": "NONE", "srcipaddr": "10.0.0.0", "srcipmask": "8", "dstportstart": "22", "dstportend": "22"},
        ),
    ]


def test_neighbouring_members_share_a_rule():
    members = {"web": {"10.0.0.2/32", "10.0.0.3/32", "fd00::1/128"}}
    found = rules_of(group_filter(SecurityGroup("db", (FROM_WEB,)), members))
    assert [(tag, rule["srcipaddr"], rule["srcipmask"]) for _accept, _in, tag, rule in found] == [
        ("udp", "10.0.0.2", "31"),
        ("udp-ipv6", "fd00::1", "128"),
    ]


def test_without_members_nobody_is_let_in():
    assert rules_of(group_filter(SecurityGroup("db", (FROM_WEB,)), {})) == []


def test_only_what_is_about_the_members_follows_them():
    root = group_filter(SecurityGroup("db", (FROM_WEB,)), {"web": {"10.0.0.2/32"}})
    assert with_members(root, {"other": {"10.0.0.9/32"}}) is None
    changed = with_members(root, {"web": set()})
    assert changed is not None
    assert rules_of(changed) == []
    assert with_members(provider_filter([]), {"web": set()}) is None


@pytest.mark.parametrize(
    ("rule", "sayable"),
    [
        (Rule(INGRESS, "132", "::/0"), True),
        (Rule(INGRESS, "58", "::/0"), True),
        (Rule(INGRESS, "47", "10.0.0.0/8"), False),
        (Rule(INGRESS, "2", "10.0.0.0/8"), True),
        (Rule(INGRESS, "2", "::/0"), False),
        (Rule(INGRESS, "1", group="both-families"), False),
    ],
)
def test_which_protocols_nwfilter_has_words_for(rule: Rule, sayable: bool):
    assert cannot_be_said(rule) is not sayable
    if rule.cidr is not None:
        assert bool(rules_of(group_filter(SecurityGroup("x", (rule,)), {}))) is sayable


def test_the_operators_rules_keep_their_order():
    rules = [ProviderRule(SSH), ProviderRule(SSH, ACCEPT), ProviderRule(FROM_WEB), ProviderRule(SSH, ACCEPT)]
    rules = [replace(rule, rule=replace(SSH, port_min=number)) for number, rule in enumerate(rules)]
    found = provider_filter([rules[0], rules[2], rules[1], rules[3]]).findall("rule")
    assert [(rule.get("action"), rule.get("priority"), rule[0].get("dstportstart")) for rule in found] == [
        ("drop", "-900", "0"),
        ("drop", "-900", "2"),
        ("accept", "-899", "1"),
        ("accept", "-899", "3"),
    ]


def test_a_port_names_what_it_may_and_what_it_is_in():
    references = {str(part.get("filter")): parameters(part) for part in nic_filter(PORT).findall("filterref")}
    assert references["anyvirt-base-network"] == {"NETWORK": ["10.0.0.5", "10.1.0.0"], "PREFIX": ["32", "24"]}
    assert references["anyvirt-base-network-ipv6"] == {"NETWORK6": ["fd00::5"], "PREFIX6": ["128"]}
    assert "anyvirt-group-db" in references
    assert "anyvirt-base-everything-out" not in references
    nowhere = [part.get("filter") for part in nic_filter(replace(PORT, groups=())).findall("filterref")]
    assert "anyvirt-base-everything-out" in nowhere


def test_a_port_that_learns_goes_on_learning():
    """One that is new while its guest runs already starts with the address that it has."""
    learning = nic_filter(replace(PORT, addresses=(), learns=True))
    assert learns_addresses(learning)
    leased = replace(PORT, addresses=("10.0.0.9/32",), learns=True)
    assert learns_addresses(nic_filter(leased, learning))
    assert not learns_addresses(nic_filter(leased))
    assert not learns_addresses(nic_filter(leased, nic_filter(leased)))


def test_a_running_guest_whose_declaration_is_taken_back_learns_later():
    """libvirt would leave it without any filters until it had learned."""
    declared, undeclared = nic_filter(PORT), replace(PORT, addresses=(), learns=True)
    assert not learns_addresses(nic_filter(undeclared, declared, is_bound=True))
    assert learns_addresses(nic_filter(undeclared, declared))
    learning = nic_filter(undeclared)
    assert learns_addresses(nic_filter(undeclared, learning, is_bound=True))
    assert not learns_addresses(nic_filter(PORT, learning, is_bound=True))


def policy(**over) -> HostPolicy:
    members = {"web": frozenset({"10.0.0.1/32"}), "project:blue": frozenset()}
    whole = HostPolicy((PORT,), {"db": SecurityGroup("db", (FROM_WEB, *DEFAULT_EGRESS))}, (), members)
    return replace(whole, **over)


def test_what_is_defined_differs_in_nothing():
    filters = policy_filters(policy(), {})
    as_read = {name: from_libvirt(to_text(root)) for name, root in filters.items()}
    assert list(definition_drift((PORT,), policy_filters(policy(), as_read), as_read)) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("anyvirt-base", Drift(None, "filter anyvirt-base", "rules differ")),
        ("anyvirt-provider", Drift(None, "the operator's rules", "rules differ")),
        ("anyvirt-group-db", Drift(None, "group db", "rules differ")),
        ("anyvirt-nic-525400000001", Drift("one", "port 52:54:00:00:00:01", "rules differ")),
    ],
)
def test_each_changed_definition_is_told(name: str, expected: Drift):
    wanted = policy_filters(policy(), {})
    found = {**wanted, name: from_libvirt(to_text(wanted[name]))}
    found[name].remove(found[name][1])
    assert list(definition_drift((PORT,), wanted, found)) == [expected]
    del found[name]
    assert list(definition_drift((PORT,), wanted, found)) == [expected._replace(problem="missing")]


def test_members_that_changed_are_told_by_their_group():
    found = policy_filters(policy(), {})
    now = policy_filters(policy(members={"web": frozenset({"10.0.0.7/32"})}), found)
    assert list(definition_drift((PORT,), now, found)) == [Drift(None, "group web", STALE_MEMBERS)]


def test_what_an_interface_left_behind_is_told():
    found = policy_filters(policy(), {})
    gone = list(definition_drift((), policy_filters(policy(ports=()), found), found))
    assert [(drift.instance, drift.subject) for drift in gone] == [("one", "port 52:54:00:00:00:01")]


def test_an_interface_that_libvirt_does_not_filter_is_told():
    found = policy_filters(policy(), {})
    assert list(unfiltered_ports((PORT,), found, {"vnet0": "anyvirt-nic-525400000001"}, None)) == []
    assert [port for port, _drift in unfiltered_ports((PORT,), found, {"vnet0": "clean-traffic"}, None)] == [PORT]
    assert list(unfiltered_ports((replace(PORT, device=None),), found, {}, None)) == []


def test_another_load_makes_another_definition():
    assert canonical(base_filters("0")[-1]) != canonical(base_filters("1")[-1])
    assert [canonical(root) for root in base_filters("0")[:-1]] == [canonical(root) for root in base_filters("1")[:-1]]
