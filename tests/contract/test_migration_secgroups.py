# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migration of filtered instances: filters and groups are on the destination before the guest is, and leave with it."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migration import MigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, LIVE
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import Drift
from contract.migration_helpers import NAME, Ends, begun, both_ends, overseer, spawned
from contract.platforms.base import Platform
from contract.secgroup_helpers import OPEN, own_nic
from contract.secgroup_helpers import WHERE as WITH_GROUPS

pytestmark = pytest.mark.on(*WITH_GROUPS)


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def filtered(ends: Ends, *, power_on: bool) -> None:
    """An instance of the source in a group that the destination does not know."""
    ends.source.define_security_group(OPEN)
    spawned(ends, power_on=power_on, nics=[own_nic(ends.platform, 1)], security_groups=["open"], project="blue")


def drifts(driver: MigrationDriver) -> list[Drift]:
    """Where a host's filters are not as declared. The drivers of a test run their tools on one host, so what these see
    for all of a host's filters together is the other one's."""
    return [drift for drift in driver.verify_filters() if drift.subject != "rules that lead to libvirt's chains"]


@pytest.mark.parametrize("mode", [LIVE, COLD])
def test_filters_are_there_before_the_guest_is(ends: Ends, mode: str):
    if mode not in ends.modes:
        return
    filtered(ends, power_on=True)
    instance = ends.source.get_instances([NAME])[NAME]
    plan = begun(ends, instance, mode=mode)
    if ends.platform.accepts_beforehand:
        assert ends.destination.get_security_groups()["open"] == OPEN
        if mode == LIVE:
            assert ends.source.instance_filter_exists(NAME)
    ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    if mode == COLD:
        ends.destination.power_on(NAME)
    assert ends.destination.instance_filter_exists(NAME)
    ends.destination.finish_destination(NAME)
    ends.source.finish_source(NAME)
    assert ends.destination.instance_filter_exists(NAME)
    assert drifts(ends.source) == drifts(ends.destination) == []
    there = ends.destination.get_instances([NAME])[NAME]
    assert (there.security_groups, there.project, there.firewall) == (["open"], "blue", instance.firewall)
    assert there.nics == instance.nics
    assert ends.source.security_group_uses(["open"])["open"].instances == ()
    assert ends.destination.security_group_uses(["open"])["open"].instances == (NAME,)


def test_groups_that_were_taken_over_go_when_it_is_taken_back(ends: Ends):
    filtered(ends, power_on=False)
    instance = ends.source.get_instances([NAME])[NAME]
    begun(ends, instance, mode=COLD)
    ends.destination.discard_migration(NAME)
    ends.source.discard_migration(NAME)
    assert drifts(ends.source) == drifts(ends.destination) == []
    assert ends.source.security_group_uses(["open"])["open"].instances == (NAME,)
    if ends.platform.name == "fake":
        assert ends.destination.get_security_groups() == {}
    ends.destination.delete_security_group("open")


def test_groups_that_others_are_in_by_then_stay(ends: Ends):
    filtered(ends, power_on=False)
    instance = ends.source.get_instances([NAME])[NAME]
    begun(ends, instance, mode=COLD)
    if not ends.platform.accepts_beforehand:
        return
    back = Ends(ends.partner, ends.destination, ends.source)
    spawned(back, power_on=False, name="other", nics=[own_nic(ends.partner, 2)], security_groups=["open"])
    ends.destination.discard_migration(NAME)
    assert ends.destination.get_security_groups()["open"] == OPEN
    assert drifts(ends.destination) == []
