# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of security groups: what others are told of this host, and what this host knows of others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    DEFAULT_EGRESS,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
    project_group,
)
from contract.helpers import eventually
from contract.platforms.base import Platform
from contract.secgroup_helpers import ELSEWHERE, OPEN, WHERE, filtered, own_nic

pytestmark = [pytest.mark.on(*WHERE), pytest.mark.slow]

NEEDS_WEB = SecurityGroup("db", (Rule(INGRESS, TCP, group="web", port_min=5432, port_max=5432), *DEFAULT_EGRESS))


# -- of other hosts -----------------------------------------------------------------------------------------------


def test_what_is_known_of_others(secgroups: FirewallDriver):
    assert secgroups.get_remote_members() == {}
    secgroups.set_remote_members(ELSEWHERE)
    assert secgroups.get_remote_members() == ELSEWHERE
    secgroups.set_remote_members({"host-c": {"web": ["198.51.100.9/32", "198.51.100.8/32"], "db": ["10.1.1.1/32"]}})
    assert secgroups.get_remote_members() == {
        "host-b": ELSEWHERE["host-b"],
        "host-c": {"db": ("10.1.1.1/32",), "web": ("198.51.100.8/32", "198.51.100.9/32")},
    }
    secgroups.set_remote_members({"host-b": {}})
    assert list(secgroups.get_remote_members()) == ["host-c"]
    secgroups.set_remote_members({"host-c": {}, "host-x": {}})
    assert secgroups.get_remote_members() == {}


def test_hosts_have_names_of_any_kind(secgroups: FirewallDriver):
    hosts: dict[str, dict[str, tuple[str, ...]]] = {
        "fake:/var/tmp/a folder?host=node1": {"web": ("192.0.2.1/32",)},
        "4c4c4544-0043-4a10-8031-b4c04f4e3333": {"web": ("192.0.2.2/32",)},
        "<&'\"> % é": {project_group("blue"): ("2001:db8::7/128",)},
    }
    secgroups.set_remote_members(hosts)
    assert secgroups.get_remote_members() == hosts


def test_many_members_elsewhere(secgroups: FirewallDriver):
    secgroups.define_security_group(NEEDS_WEB)
    addresses = tuple(sorted(f"10.200.{number // 200}.{number % 200}/32" for number in range(600)))
    secgroups.set_remote_members({"host-b": {"web": addresses}})
    assert secgroups.get_remote_members() == {"host-b": {"web": addresses}}
    assert secgroups.stale_group_members() == []
    assert secgroups.verify_filters() == []


def test_what_is_known_outlives_groups(secgroups: FirewallDriver):
    """Members may be known of groups that are not defined here, and are no groups of this host's by that."""
    secgroups.set_remote_members(ELSEWHERE)
    assert secgroups.get_security_groups() == {}
    secgroups.define_security_group(NEEDS_WEB)
    secgroups.delete_security_group(NEEDS_WEB.name)
    assert secgroups.get_remote_members() == ELSEWHERE


# -- of this host -------------------------------------------------------------------------------------------------


def test_members_are_the_active_ones(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    secgroups.define_security_group(replace(OPEN, name="also-open"))
    assert secgroups.get_group_members() == {}
    filtered(platform, secgroups, "one", 1, power_on=True)
    filtered(platform, secgroups, "two", 2, power_on=True, security_groups=["also-open", "open"])
    filtered(platform, secgroups, "off", 3)
    platform.spawned(secgroups, "other", nics=[platform.nic()])
    assert secgroups.get_group_members() == {
        "also-open": ("10.77.0.2/32",),
        "open": ("10.77.0.1/32", "10.77.0.2/32"),
    }
    secgroups.force_off("two")
    assert secgroups.get_group_members() == {"open": ("10.77.0.1/32",)}


def test_networks_are_nobodys_address(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    nic = own_nic(platform, 1, addresses=["10.77.0.1", "10.88.0.0/27", "2001:db8::/122", "2001:db8::7"])
    filtered(platform, secgroups, "one", power_on=True, nics=[nic])
    assert secgroups.get_group_members() == {"open": ("10.77.0.1/32", "2001:db8::7/128")}


def test_projects_have_members_too(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    filtered(platform, secgroups, "one", 1, power_on=True, project="blue")
    filtered(platform, secgroups, "free", 2, power_on=True, project="blue", security_groups=None)
    filtered(platform, secgroups, "none", 3, power_on=True, firewall="none")
    assert secgroups.get_group_members() == {
        "open": ("10.77.0.1/32", "10.77.0.3/32"),
        project_group("blue"): ("10.77.0.1/32", "10.77.0.2/32"),
    }


def test_each_nic_counts(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    filtered(platform, secgroups, "one", power_on=True, nics=[own_nic(platform, 1), own_nic(platform, 2)])
    assert secgroups.get_group_members() == {"open": ("10.77.0.1/32", "10.77.0.2/32")}


# -- rules about them ---------------------------------------------------------------------------------------------


def test_rules_follow_the_members(secgroups: FirewallDriver, platform: Platform):
    """After a refresh the rules know the members of now, whatever happened before it."""
    secgroups.define_security_group(OPEN)
    secgroups.define_security_group(
        SecurityGroup("db", (Rule(INGRESS, TCP, group="open", port_min=5432, port_max=5432), *DEFAULT_EGRESS))
    )

    def refreshed() -> None:
        secgroups.refresh_security_group_members()
        assert secgroups.stale_group_members() == []
        assert secgroups.verify_filters() == []
        with platform.calls.recording() as calls:
            assert secgroups.stale_group_members() == []
        assert calls.writes == []

    filtered(platform, secgroups, "one", power_on=True)
    refreshed()
    current = secgroups.get_instances(["one"])["one"]
    changed: dict[str, Any] = {"nics": [replace((current.nics or [])[0], addresses=["10.77.0.50"])]}
    secgroups.update_instance(current, replace(current, **changed), {"nics"}, {"nics"})
    assert secgroups.get_group_members() == {"open": ("10.77.0.50/32",)}
    refreshed()
    secgroups.force_off("one")
    refreshed()
    secgroups.power_on("one")
    refreshed()
    secgroups.destroy("one")
    refreshed()


def test_a_guest_that_dies_leaves_stale_members(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(OPEN)
    secgroups.define_security_group(SecurityGroup("db", (Rule(INGRESS, group="open"), *DEFAULT_EGRESS)))
    filtered(platform, secgroups, "one", power_on=True)
    secgroups.refresh_security_group_members()
    platform.crash("one")
    if not secgroups.supports("group_references"):
        assert secgroups.stale_group_members() == []
        return
    assert eventually(lambda: secgroups.stale_group_members() == ["open"])
    secgroups.refresh_security_group_members()
    assert secgroups.stale_group_members() == []
