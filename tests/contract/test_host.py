# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host: its identity, its capacity, whether it can be used, and adopting what runs there."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract.platforms.base import Platform


def test_capacity_makes_sense(driver: ComputeDriver):
    stats = driver.get_host_stats()
    assert stats.hostname
    assert stats.hypervisor_type
    assert stats.hypervisor_version[0].isdigit()
    assert stats.vcpus > 0
    assert 0 <= stats.memory_mb_used <= stats.memory_mb
    assert 0 <= stats.memory_mb_free <= stats.memory_mb
    assert 0 <= stats.local_gb_free <= stats.local_gb
    assert stats.local_gb == pytest.approx(
        sum(pool.total_bytes for pool in stats.pools if pool.active) / 2**30, abs=0.05
    )
    assert stats.cpu_info.arch
    assert (stats.instances, stats.running_instances, stats.vcpus_used) == (0, 0, 0)
    assert stats.as_dict()["vcpus"] == stats.vcpus


def test_instances_are_counted(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "off", vcpus=2)
    platform.spawned(driver, "on", vcpus=2, power_on=True)
    stats = driver.get_host_stats()
    assert (stats.instances, stats.running_instances, stats.vcpus_used) == (2, 1, 2)
    driver.destroy("on")
    driver.destroy("off")
    assert driver.update_available_resource().vcpus_used == 0


def test_pools_are_listed(driver: ComputeDriver, platform: Platform):
    if not driver.supports("image"):
        return
    found = {pool.name: pool for pool in driver.get_host_stats(refresh=True).pools}
    pool = found[platform.pool]
    assert pool.active
    assert pool.total_bytes > 0
    assert pool.available_bytes <= pool.total_bytes


def test_identity_stays(driver: ComputeDriver, platform: Platform):
    assert driver.host_identity()
    assert driver.host_identity() == platform.driver().host_identity()


def test_it_can_be_used(platform: Platform):
    assert platform.closed_driver().verify() == []
    assert platform.driver().verify() == []


def test_init_host_finds_all_and_changes_no_instance(driver: ComputeDriver, platform: Platform):
    assert driver.init_host() == []
    platform.spawned(driver, "off")
    platform.spawned(driver, "on", power_on=True)
    before = platform.snapshot()
    assert sorted(driver.init_host()) == ["off", "on"]
    assert platform.snapshot() == before


@pytest.mark.on("libvirt", "lxc", "xen", "xenapi")
def test_init_host_adopts_what_others_made(driver: ComputeDriver, platform: Platform):
    platform.define_foreign("foreign")
    assert driver.init_host() == ["foreign"]
    assert driver.list_instances() == ["foreign"]
    found = driver.get_instances()["foreign"]
    assert not found.unfinished
    assert not found.locked
    assert not found.protected
    assert not found.metadata


@pytest.mark.on("libvirt")
def test_two_hosts_have_two_identities(driver: ComputeDriver):
    from contract.platforms.libvirt_qemu import lab_name
    from lab.hosts import LibvirtHost

    with LibvirtHost(lab_name("other")) as other:
        from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import (
            ConnectionOptions,
            get_connection,
        )

        with get_connection(ConnectionOptions(other.uri)) as second:
            assert second.host_identity() != driver.host_identity()
