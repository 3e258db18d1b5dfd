# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups: made, changed, read back, removed; and who needs them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver, GroupUses
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import SecurityGroupInUse
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ANYWHERE_V4,
    DEFAULT_EGRESS,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
)
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.secgroup_helpers import ELSEWHERE, OPEN, PROVIDER, RICH, WEB, WHERE, filtered

pytestmark = pytest.mark.on(*WHERE)


@pytest.mark.parametrize(
    "group",
    [RICH, WEB, SecurityGroup("default"), SecurityGroup("no-rules-at-all", ()), SecurityGroup("0")],
    ids=lambda group: group.name[:20],
)
def test_what_is_defined_is_read_back(secgroups: FirewallDriver, group: SecurityGroup):
    assert secgroups.check_security_group(group) == []
    secgroups.define_security_group(group)
    assert secgroups.get_security_groups() == {group.name: group}


def test_a_group_with_many_rules(secgroups: FirewallDriver):
    rules = tuple(Rule(INGRESS, TCP, cidr=f"10.{number}.0.0/16", port_min=number + 1) for number in range(150))
    rules = tuple(replace(rule, port_max=rule.port_min) for rule in rules)
    secgroups.define_security_group(SecurityGroup("many", rules))
    assert secgroups.get_security_groups()["many"].rules == SecurityGroup("many", rules).rules


def test_a_definition_replaces_what_was_there(secgroups: FirewallDriver):
    secgroups.define_security_group(RICH)
    poor = SecurityGroup(RICH.name, (Rule(INGRESS, TCP, cidr=ANYWHERE_V4, port_min=443, port_max=443),))
    secgroups.define_security_group(poor)
    assert secgroups.get_security_groups() == {RICH.name: poor}
    secgroups.define_security_group(RICH)
    assert secgroups.get_security_groups() == {RICH.name: RICH}


def test_groups_that_name_each_other(secgroups: FirewallDriver):
    """In a circle, themselves, and one that comes later; each can be removed only when no other names it."""
    first = SecurityGroup("first", (Rule(INGRESS, group="second"), Rule(INGRESS, group="first"), *DEFAULT_EGRESS))
    second = SecurityGroup("second", (Rule(INGRESS, TCP, group="first", port_min=22, port_max=22), *DEFAULT_EGRESS))
    for group in (first, second):
        secgroups.define_security_group(group)
    assert secgroups.get_security_groups() == {"first": first, "second": second}
    for name, user in (("first", "second"), ("second", "first")):
        with pytest.raises(SecurityGroupInUse, match=user):
            secgroups.delete_security_group(name)
    secgroups.define_security_group(SecurityGroup("second"))
    secgroups.delete_security_group("first")
    secgroups.delete_security_group("second")
    assert secgroups.get_security_groups() == {}


def test_a_group_that_was_removed_is_gone(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    secgroups.delete_security_group(OPEN.name)
    before = platform.snapshot()
    secgroups.define_security_group(RICH)
    secgroups.delete_security_group(RICH.name)
    assert secgroups.get_security_groups() == {}
    assert platform.snapshot() == before
    with platform.calls.recording() as calls:
        secgroups.delete_security_group(RICH.name)
    assert calls.writes == []


def test_a_group_with_instances_stays(secgroups: FirewallDriver, platform: Platform):
    for group in (OPEN, WEB):
        secgroups.define_security_group(group)
    filtered(platform, secgroups, "one")
    filtered(platform, secgroups, "two", 2)
    with pytest.raises(SecurityGroupInUse, match=r"one.*two"):
        secgroups.delete_security_group(OPEN.name)
    assert secgroups.get_security_groups() == {"open": OPEN, "web": WEB}
    secgroups.destroy("one")
    with pytest.raises(SecurityGroupInUse, match="two"):
        secgroups.delete_security_group(OPEN.name)
    secgroups.destroy("two")
    secgroups.delete_security_group(OPEN.name)
    assert secgroups.get_security_groups() == {"web": WEB}


def test_who_uses_groups(secgroups: FirewallDriver, platform: Platform):
    for group in (OPEN, RICH, WEB):
        secgroups.define_security_group(group)
    filtered(platform, secgroups, "one")
    filtered(platform, secgroups, "two", 2)
    platform.spawned(secgroups, "other")
    uses = secgroups.security_group_uses(["open", "web", RICH.name, "nobody"])
    assert uses == {
        "open": GroupUses(("one", "two"), ()),
        "web": GroupUses((), (RICH.name,)),
        RICH.name: GroupUses((), ()),
        "nobody": GroupUses((), ()),
    }
    assert secgroups.security_group_uses([]) == {}


def test_reading_writes_nothing(secgroups: FirewallDriver, platform: Platform):
    for group in (OPEN, RICH):
        secgroups.define_security_group(group)
    filtered(platform, secgroups, "one", power_on=True)
    secgroups.set_remote_members(ELSEWHERE)
    before = platform.snapshot()
    with platform.calls.recording() as calls:
        secgroups.get_security_groups()
        secgroups.get_provider_rules()
        secgroups.get_remote_members()
        secgroups.get_group_members()
        secgroups.security_group_uses(["open", RICH.name])
        secgroups.verify_filters()
        secgroups.stale_group_members()
        secgroups.instance_filter_exists("one")
        secgroups.get_instances(["one"])
    assert calls.writes == []
    assert len(calls) > 3
    assert platform.snapshot() == before


def test_calls_for_a_changed_group_do_not_depend_on_how_many_are_in_it(secgroups: FirewallDriver, platform: Platform):
    count = 6 if platform.name in ("fake", "xenapi") else 3
    for group in (OPEN, WEB):
        secgroups.define_security_group(group)

    def calls_for_a_change() -> list[str]:
        with platform.calls.recording() as calls:
            undo = secgroups.define_security_group(replace(OPEN, description="still open"))
        undo()
        return calls.writes

    filtered(platform, secgroups, "member-0", power_on=True)
    alone = calls_for_a_change()
    for number in range(1, count):
        filtered(platform, secgroups, f"member-{number}", number + 1, power_on=True)
    assert calls_for_a_change() == alone


# -- the operator's rules ---------------------------------------------------------------------------------------------


def test_rules_for_all_are_read_back_in_their_order(secgroups: FirewallDriver, platform: Platform):
    with where_supported(secgroups, "provider_rules"):
        assert secgroups.get_provider_rules() == ()
        secgroups.set_provider_rules(PROVIDER)
        assert secgroups.get_provider_rules() == PROVIDER
        turned = tuple(reversed(PROVIDER))
        secgroups.set_provider_rules(turned)
        assert secgroups.get_provider_rules() == turned
        assert secgroups.get_security_groups() == {}
        secgroups.set_provider_rules(())
        assert secgroups.get_provider_rules() == ()


def test_no_rules_for_all_can_be_had_everywhere(secgroups: FirewallDriver):
    secgroups.set_provider_rules(())
    assert secgroups.get_provider_rules() == ()
