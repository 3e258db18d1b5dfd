# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of instances: there as long as these, seen when they are missing, and put back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    InstanceNotFound,
    SecurityGroupNotFound,
)
from contract.platforms.base import Platform
from contract.secgroup_helpers import OPEN, PROVIDER, RICH, WHERE, filtered, own_nic, wanted

pytestmark = [pytest.mark.on(*WHERE), pytest.mark.slow]


@pytest.fixture(autouse=True)
def an_open_group(secgroups: FirewallDriver) -> None:
    secgroups.define_security_group(OPEN)


def in_place(secgroups: FirewallDriver, name: str = "one") -> bool:
    """Whether its filters are there; in any case nothing is otherwise than declared."""
    assert secgroups.verify_filters() == []
    assert secgroups.verify_filters([name]) == []
    return secgroups.instance_filter_exists(name)


def test_from_the_first_moment_to_the_last(secgroups: FirewallDriver, platform: Platform):
    filtered(platform, secgroups, "one")
    secgroups.destroy("one")
    empty = platform.snapshot()
    filtered(platform, secgroups, "one", power_on=True)
    assert in_place(secgroups)
    if secgroups.supports("pause"):
        secgroups.pause("one")
        assert in_place(secgroups)
        secgroups.unpause("one")
        assert in_place(secgroups)
    if secgroups.supports("suspend"):
        secgroups.suspend("one")
        secgroups.resume("one")
        assert in_place(secgroups)
    secgroups.force_off("one")
    secgroups.power_on("one")
    assert in_place(secgroups)
    secgroups.destroy("one")
    assert secgroups.verify_filters() == []
    assert platform.snapshot() == empty


def test_an_instance_that_nobody_filters(secgroups: FirewallDriver, platform: Platform):
    platform.spawned(secgroups, "one", nics=[platform.nic()], power_on=True)
    assert not in_place(secgroups)
    filtered(platform, secgroups, "two", firewall="none", power_on=True)
    assert not in_place(secgroups, "two")
    with pytest.raises(InstanceNotFound):
        secgroups.instance_filter_exists("nobody")


def test_what_an_instance_says_of_its_filters_is_read_back(secgroups: FirewallDriver, platform: Platform):
    secgroups.define_security_group(replace(OPEN, name="also-open"))
    addresses = ["10.77.0.1", "10.77.1.0/28", "2001:db8::1"]
    found = filtered(
        platform,
        secgroups,
        "one",
        security_groups=["open", "also-open"],
        project="blue",
        nics=[own_nic(platform, 1, addresses=addresses)],
    )
    assert found.security_groups == ["also-open", "open"]
    assert found.project == "blue"
    assert found.firewall != "none"
    assert [nic.addresses for nic in found.nics or []] == [addresses]
    assert found.pending == {}
    plain = platform.spawned(secgroups, "plain", nics=[platform.nic()])
    assert (plain.security_groups, plain.project, plain.firewall) == (None, None, None)
    assert [nic.addresses for nic in plain.nics or []] == [None]


def test_a_group_that_does_not_exist(secgroups: FirewallDriver, platform: Platform):
    before = platform.snapshot()
    instance = secgroups.complete(wanted(platform, "one", security_groups=["open", "opne"]))
    [problem] = secgroups.validate_parameters([instance])["one"]
    assert problem.option == "security_groups"
    assert "opne" in problem.message
    with pytest.raises(SecurityGroupNotFound, match="opne"):
        secgroups.spawn(instance, power_on=False)
    assert platform.snapshot() == before
    current = filtered(platform, secgroups, "one")
    before = platform.snapshot()
    desired = replace(current, security_groups=["open", "opne"])
    with pytest.raises(SecurityGroupNotFound, match="opne"):
        secgroups.update_instance(current, desired, {"security_groups"}, {"security_groups"})
    assert platform.snapshot() == before


def test_nics_that_come_and_go(secgroups: FirewallDriver, platform: Platform):
    filtered(platform, secgroups, "one")
    before = platform.snapshot()
    mac = "52:54:00:77:00:02"
    secgroups.plug_vifs("one", [own_nic(platform, 2, mac=mac)])
    assert in_place(secgroups)
    secgroups.unplug_vifs("one", [mac])
    assert in_place(secgroups)
    assert platform.snapshot() == before


def test_nics_that_come_and_go_while_it_runs(secgroups: FirewallDriver, platform: Platform):
    filtered(platform, secgroups, "one", power_on=True)
    if not secgroups.supports("nics_live"):
        return
    platform.prepare_hotplug(secgroups, "one")
    mac = "52:54:00:77:00:02"
    secgroups.plug_vifs("one", [own_nic(platform, 2, mac=mac)])
    assert in_place(secgroups)
    assert secgroups.get_group_members() == {"open": ("10.77.0.1/32", "10.77.0.2/32")}
    secgroups.unplug_vifs("one", [mac])
    assert in_place(secgroups)
    assert secgroups.get_group_members() == {"open": ("10.77.0.1/32",)}


def test_filters_that_somebody_took_away(secgroups: FirewallDriver, platform: Platform):
    filtered(platform, secgroups, "one", power_on=True)
    secgroups.define_security_group(RICH)
    if secgroups.supports("provider_rules"):
        secgroups.set_provider_rules(PROVIDER)
    assert in_place(secgroups)
    before = platform.snapshot()
    platform.disturb_filters("one")
    assert not secgroups.instance_filter_exists("one")
    drifts = secgroups.verify_filters()
    assert "one" in {drift.instance for drift in drifts}
    assert all(drift.subject and drift.problem for drift in drifts)
    assert set(secgroups.verify_filters(["one"])) == set(drifts)
    assert not {drift.instance for drift in secgroups.verify_filters(["two"])} & {"one"}
    secgroups.restore_filters()
    assert in_place(secgroups)
    assert platform.snapshot() == before


def test_what_is_in_order_is_restored_to_the_same(secgroups: FirewallDriver, platform: Platform):
    filtered(platform, secgroups, "one", power_on=True)
    filtered(platform, secgroups, "off", 2)
    secgroups.restore_filters()
    before = platform.snapshot()
    secgroups.restore_filters()
    assert in_place(secgroups)
    assert platform.snapshot() == before


def test_on_an_empty_host_everything_is_in_order(secgroups: FirewallDriver):
    secgroups.delete_security_group("open")
    assert secgroups.verify_filters() == []
    secgroups.restore_filters()
    assert secgroups.verify_filters() == []
    assert secgroups.stale_group_members() == []
