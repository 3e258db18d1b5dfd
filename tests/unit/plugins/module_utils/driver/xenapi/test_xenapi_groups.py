# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which groups let everything through, and what is kept of groups."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.groups import (
    GROUP,
    MEMBERS,
    group_text,
    is_open,
    members_text,
    read_groups,
    read_members,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.poolkeys import Kept, newest, versions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ANYWHERE_V4,
    ANYWHERE_V6,
    DEFAULT_EGRESS,
    EGRESS,
    ICMPV6,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
)

IN = (Rule(INGRESS, cidr=ANYWHERE_V4), Rule(INGRESS, cidr=ANYWHERE_V6))
OUT = DEFAULT_EGRESS


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([], False),
        ([()], False),
        ([OUT], False),
        ([IN], False),
        ([(*IN, *OUT)], True),
        ([IN, OUT], True),
        ([IN, OUT, ()], True),
        ([(IN[0], *OUT), (IN[1],)], True),
        ([(IN[0], *OUT)], False),
        ([(*IN, OUT[1])], False),
        ([(*OUT, Rule(INGRESS, TCP, cidr=ANYWHERE_V4), Rule(INGRESS, ICMPV6, cidr=ANYWHERE_V6))], False),
        ([(*OUT, Rule(INGRESS, cidr="0.0.0.0/1"), Rule(INGRESS, cidr="128.0.0.0/1"), IN[1])], False),
        ([(*OUT, Rule(INGRESS, group="open"))], False),
        ([(*(Rule(rule.direction, cidr=rule.cidr, description="all") for rule in (*IN, *OUT)), *IN)], True),
    ],
)
def test_what_lets_everything_through(groups: list[tuple[Rule, ...]], expected: bool):
    assert is_open([SecurityGroup(str(number), rules) for number, rules in enumerate(groups)]) == expected


@pytest.mark.parametrize(
    "group",
    [
        SecurityGroup("none", ()),
        SecurityGroup("default"),
        SecurityGroup("said", (), "\N{SNOWMAN} \"quoted\" 'twice' <&>"),
        SecurityGroup("icmp", (Rule(INGRESS, ICMPV6, cidr=ANYWHERE_V6, icmp_type=0, icmp_code=0),)),
        SecurityGroup("ports", (Rule(EGRESS, TCP, group="a.b-c_d", port_min=0, port_max=65535, description="x"),)),
    ],
    ids=lambda group: group.name,
)
def test_groups_are_read_as_written(group: SecurityGroup):
    assert read_groups({f"{GROUP}{group.name}#7": group_text(group), "other": "text"}) == {group.name: group}


def test_members_are_read_as_written():
    text = members_text({"web": {"192.0.2.8/32", "192.0.2.10/32"}, "nobody": ()})
    assert text is not None
    assert read_members({f"{MEMBERS}host#with:marks#2": text}) == {
        "host#with:marks": {"web": ("192.0.2.10/32", "192.0.2.8/32")}
    }
    assert members_text({}) is members_text({"nobody": ()}) is None


def test_the_newest_text_counts():
    config = {"a:web#9": "old", "a:web#10": "new", "a:web": "none", "a:web#x": "none", "b:web#99": "other", "a:#1": ""}
    assert newest(config, "a:") == {"web": Kept(10, "new"), "": Kept(1, "")}
    assert versions(config, "a:web") == [Kept(9, "old"), Kept(10, "new")]
    assert versions(config, "a:db") == []
