# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_secgroup on each platform: the plan is true, a second run finds nothing to do, failures change nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.secgroups import reconcile_secgroups
from contract import task
from contract.platforms.base import Platform
from contract.secgroup_helpers import WHERE, filtered
from contract.storage_helpers import changes_nothing

pytestmark = pytest.mark.on(*WHERE)

HTTPS: dict[str, Any] = {"protocol": "tcp", "port": 443}
GROUPS: list[dict[str, Any]] = [
    {"name": "web", "rules": [HTTPS, {"group": "db"}], "description": """all & "everybody" <here>"""},
    {"name": "db", "rules": [{"protocol": "tcp", "port": "5432-5433", "group": "web", "description": "it's theirs"}]},
    {"name": "open", "rules": [{}]},
]
NAMES = [{"name": group["name"]} for group in GROUPS]
ELSEWHERE = {"host": "elsewhere", "members": {"web": ["192.0.2.7", "2001:db8::7"], "project:x": ["192.0.2.8"]}}


def run(platform: Platform, **params: Any) -> task.Outcome:
    return task.run(platform, reconcile=reconcile_secgroups, **params)


def done(platform: Platform, **params: Any) -> task.Outcome:
    """A task that is foretold in check mode, goes well, and has nothing to do when it is run again."""
    foretold = run(platform, check=True, **params)
    assert foretold.calls.writes == []
    outcome = run(platform, **params)
    assert outcome.kind is None, outcome.result
    assert foretold.result == outcome.result
    again = run(platform, **params)
    assert not again.changed, again.result
    assert again.calls.writes == []
    assert outcome.connections == again.connections == 1
    return outcome


@pytest.fixture
def primed(secgroups: FirewallDriver, platform: Platform) -> FirewallDriver:
    """A host that has had groups already: what it keeps for good is there."""
    run(platform, groups=GROUPS)
    run(platform, groups=NAMES, state="absent")
    return secgroups


def test_groups_come_and_go(primed: FirewallDriver, platform: Platform):
    with changes_nothing(platform):
        done(platform, groups=GROUPS)
        assert set(primed.get_security_groups()) == {"web", "db", "open"}
        done(platform, name="web", rules=[HTTPS], description="")
        done(platform, name="db", rules=[{"protocol": "udp", "port": 53, "cidr": "10.0.0.0/8"}], purge_rules=False)
        done(platform, groups=GROUPS)
        done(platform, groups=NAMES, state="absent")


def test_members_are_taken_over_and_forgotten(secgroups: FirewallDriver, platform: Platform):
    done(platform, groups=GROUPS, members=[ELSEWHERE])
    known = {"web": ("192.0.2.7/32", "2001:db8::7/128"), "project:x": ("192.0.2.8/32",)}
    assert secgroups.get_remote_members() == {"elsewhere": known}
    own = run(platform, groups=GROUPS).result
    done(platform, members=[own, {**ELSEWHERE, "members": {"web": ["192.0.2.9"]}}])
    assert secgroups.get_remote_members() == {"elsewhere": {"web": ("192.0.2.9/32",)}}
    done(platform, members=[], purge_members=True)
    assert secgroups.get_remote_members() == {}


def test_the_operators_rules(secgroups: FirewallDriver, platform: Platform):
    rules = [{"protocol": "icmp", "action": "accept"}, {"direction": "egress", "protocol": "tcp", "port": 25}]
    if not secgroups.supports("provider_rules"):
        assert run(platform, provider_rules=rules).kind == "unsupported"
        done(platform, provider_rules=[])
        return
    done(platform, provider_rules=rules)
    assert [item.action for item in secgroups.get_provider_rules()] == ["accept", "drop", "drop"]
    done(platform, provider_rules=list(reversed(rules)))
    done(platform, provider_rules=[])
    assert secgroups.get_provider_rules() == ()


def test_what_is_in_use_stays(secgroups: FirewallDriver, platform: Platform):
    done(platform, groups=GROUPS)
    filtered(platform, secgroups, "one", power_on=True)
    told = run(platform, groups=NAMES, state="absent", check=True)
    outcome = run(platform, groups=NAMES, state="absent")
    assert told.kind == outcome.kind == "security_group_in_use"
    assert [group["changed"] for group in told.objects] == [group["changed"] for group in outcome.objects]
    assert [group["changed"] for group in outcome.objects] == [True, True, False]
    assert "one" in outcome.objects[2]["msg"]
    assert set(secgroups.get_security_groups()) == {"open"}
    assert outcome.result["members"] == {"open": ["10.77.0.1/32"]}


def test_verified_and_repaired(secgroups: FirewallDriver, platform: Platform):
    done(platform, groups=GROUPS)
    filtered(platform, secgroups, "one", power_on=True)
    run(platform, groups=GROUPS)
    for params in ({}, {"name": "open"}, {"groups": NAMES}, {"repair": True}):
        outcome = run(platform, state="verified", **params)
        assert outcome.kind is None, outcome.result
        assert not outcome.changed
        assert outcome.result["drift"] == []
        assert outcome.calls.writes == []
    platform.disturb_filters("one")
    elsewhere = run(platform, name="web", state="verified").result["drift"]
    assert {drift["instance"] for drift in elsewhere} <= {None}
    for params in ({}, {"name": "open"}):
        found = run(platform, state="verified", **params)
        assert found.kind == "filter_drift"
        assert "one" in {drift["instance"] for drift in found.result["drift"]}
    foretold = run(platform, state="verified", repair=True, check=True)
    assert foretold.calls.writes == []
    repaired = run(platform, state="verified", repair=True)
    assert repaired.kind is None, repaired.result
    assert foretold.result == repaired.result
    assert repaired.changed
    assert run(platform, state="verified").kind is None


@pytest.mark.parametrize("leaving", [False, True])
def test_each_call_that_writes_fails_once(secgroups: FirewallDriver, platform: Platform, leaving: bool):
    """Groups that name each other are each made wholly or not at all, and are removed together or not at all. The call
    after each fails as well."""
    there: dict[str, Any] = {"groups": GROUPS}
    gone: dict[str, Any] = {"groups": NAMES, "state": "absent"}
    before, task_of_interest = (there, gone) if leaving else (gone, there)
    run(platform, **there)
    ready = secgroups.get_security_groups()
    run(platform, **before)
    calls = run(platform, **task_of_interest).calls
    writes = [number for number, call in enumerate(calls, 1) if call.writes]
    assert writes
    for number in sorted({*writes, *(number + 1 for number in writes)}):
        assert run(platform, **before).kind is None
        outcome = run(platform, fail_at=number, **task_of_interest)
        told = f"call {number}: {outcome.calls[number - 1].name}" if number <= len(outcome.calls) else "none"
        found = secgroups.get_security_groups()
        assert all(ready[name] == group for name, group in found.items()), told
        assert not any(one.get("error", {}).get("not_undone") for one in outcome.objects), told
        for one in outcome.objects:
            assert one["changed"] == ((one["name"] in found) != leaving), told
        if leaving:
            assert ("web" in found) == ("db" in found), told
