# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept with an instance that is moved: whose it is, what the next run learns of it, what it does not tell."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceMigrating
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, LIVE
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import SecurityGroup
from contract.host_runners import run_on_hosts
from contract.migration_helpers import NAME, Ends, begin, both_ends, carried_out, overseer, plan_of, planned, spawned
from contract.platforms.base import Platform

pytestmark = pytest.mark.on("libvirt")

PASSWORD = "not-told"
DISPLAY = f"<devices><graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1' passwd='{PASSWORD}'/></devices>"


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def domain_of(driver: Any) -> Any:
    """libvirt's handle."""
    return driver.conn.lookupByName(NAME)


def snapshot(driver: Any, name: str) -> None:
    """Have libvirt take one."""
    domain_of(driver).snapshotCreateXML(f"<domainsnapshot><name>{name}</name></domainsnapshot>", 0)


def test_what_is_taken_back_is_ones_own(ends: Ends):
    instance = spawned(ends, power_on=False, disks=[])
    mine, other = planned(ends, instance), planned(ends, instance)
    take_back = ends.source.begin_migration(mine)
    ends.source.discard_migration(NAME)
    ends.source.begin_migration(other)  # by another task, meanwhile
    take_back()
    kept = ends.source.get_instances([NAME])[NAME].migration
    assert kept is not None
    assert kept.id == other.record.id


@pytest.mark.parametrize("mode", [COLD, LIVE])
def test_of_two_tasks_one_moves_it(ends: Ends, mode: str):
    instance = spawned(ends, power_on=mode == LIVE, disks=[])
    mine, other = planned(ends, instance, mode=mode), planned(ends, instance, mode=mode)
    begin(ends, mine)
    ends.source.discard_migration(NAME)
    ends.source.begin_migration(other)  # by another task, meanwhile
    with pytest.raises(InstanceMigrating):
        ends.source.migrate_instance(ends.destination, mine, overseer(mine))
    ends.destination.discard_migration(NAME)
    ends.destination.accept_instance(ends.source, other)
    with pytest.raises(InstanceMigrating):
        ends.source.migrate_instance(ends.destination, mine, overseer(mine))
    ends.source.migrate_instance(ends.destination, other, overseer(other))


def test_the_next_run_knows_what_the_one_before_has_changed(ends: Ends):
    instance = spawned(ends, power_on=True, disks=[], persistent=False)
    ends.source.begin_migration(planned(ends, instance, mode=LIVE))
    assert domain_of(ends.source).isPersistent()
    again = planned(ends, ends.source.get_instances([NAME])[NAME], mode=LIVE)
    ends.source.discard_migration(NAME)
    begin(ends, again)
    assert domain_of(ends.source).isPersistent()  # or the record would go with the guest


def test_snapshots_are_known_to_the_next_run(ends: Ends):
    instance = spawned(ends, power_on=False)
    snapshot(ends.source, "before")
    ends.source.begin_migration(planned(ends, instance))
    ends.source.drop_snapshots(domain_of(ends.source))
    again = planned(ends, ends.source.get_instances([NAME])[NAME])
    ends.source.discard_migration(NAME)
    carried_out(ends, again)
    assert domain_of(ends.destination).snapshotListNames() == ["before"]


def test_a_record_of_snapshots_tells_no_password(ends: Ends):
    instance = spawned(ends, power_on=False, hypervisor={"xml": [DISPLAY]})
    snapshot(ends.source, "before")
    ends.source.begin_migration(planned(ends, instance))
    assert PASSWORD not in domain_of(ends.source).XMLDesc(0)
    ends.source.discard_migration(NAME)
    carried_out(ends, planned(ends, instance))
    secure = ends.destination.libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE
    (there,) = domain_of(ends.destination).listAllSnapshots(0)
    assert PASSWORD in there.getXMLDesc(secure)  # or its display would be open to everybody when it is gone back to


def test_snapshots_name_the_disks_that_are_there(ends: Ends):
    instance = spawned(ends, power_on=False)
    snapshot(ends.source, "before")
    carried_out(ends, planned(ends, instance, pools={ends.platform.pool: ends.partner.pool}))
    (there,) = domain_of(ends.destination).listAllSnapshots(0)
    (disk,) = (disk for disk in ends.destination.get_instances([NAME])[NAME].disks or () if disk.role != "seed")
    assert disk.path is not None
    assert f"'{disk.path}'" in there.getXMLDesc(0)


def test_a_filtered_interface_that_is_leaving_is_told(ends: Ends, platform: Platform, monkeypatch: pytest.MonkeyPatch):
    run_on_hosts(monkeypatch, platform, platform.partner())
    ends.source.define_security_group(SecurityGroup("web"))
    nics = [platform.nic(), platform.nic()]
    instance = spawned(ends, power_on=True, disks=[], nics=nics, firewall="nftables", security_groups=["web"])
    domain = domain_of(ends.source)
    config = domain.XMLDesc(ends.source.libvirt.VIR_DOMAIN_XML_INACTIVE)
    start, end = config.rindex("<interface"), config.rindex("</interface>") + len("</interface>")
    domain.detachDeviceFlags(config[start:end], ends.source.libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    mac = (instance.nics or [])[1].mac
    problems = plan_of(ends, ends.source.get_instances([NAME])[NAME], mode=LIVE).problems
    assert any(str(mac) in problem for problem in problems), problems
