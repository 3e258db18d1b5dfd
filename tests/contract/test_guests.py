# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real guests: they boot, hear the power button, stand still, continue where they were, see what they are given."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ACPI, AGENT, HARD, SOFT, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import TimeoutExpired
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB
from contract.helpers import eventually, state_of, where_supported
from contract.platforms.base import Platform

if TYPE_CHECKING:
    from contract.platforms.libvirt_xen import XenPlatform


def booted(driver: ComputeDriver, platform: Platform, **over) -> str:
    platform.spawned(driver, "guest", power_on=True, **over)
    platform.wait_ready(driver, "guest")
    return "guest"


def said(driver: ComputeDriver, platform: Platform, pattern: bytes, timeout_s: float = 30) -> bool:
    return eventually(lambda: re.search(pattern, platform.console(driver, "guest")) is not None, timeout_s)


@pytest.mark.parametrize("method", [ACPI, AGENT])
def test_a_clean_stop(driver: ComputeDriver, platform: Platform, method: str):
    name = booted(driver, platform)
    with where_supported(driver, f"shutdown_{method}"):
        driver.power_off(name, method, timeout_s=60, retry_interval_s=3)
        assert state_of(driver, name) == "shutoff"


def test_a_clean_stop_of_a_guest_that_still_boots(driver: ComputeDriver, platform: Platform):
    """It misses the first request, and is asked again."""
    platform.spawned(driver, "guest", power_on=True)
    with where_supported(driver, "shutdown_acpi"):
        driver.power_off("guest", ACPI, timeout_s=60, retry_interval_s=1)
        assert state_of(driver, "guest") == "shutoff"


# On Xen the guest's kernel itself sees to it.
@pytest.mark.on("fake", "libvirt", "lxc", "xenapi")
def test_a_guest_that_does_not_hear_is_left_as_it_was(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "shutdown_acpi"):
        with platform.deaf_guest(driver, "deaf"):
            if not driver.supports("shutdown_acpi"):
                driver.require("shutdown_acpi")
            with pytest.raises(TimeoutExpired) as caught:
                driver.power_off("deaf", ACPI, timeout_s=1.5, retry_interval_s=0.5)
            assert caught.value.last_seen in ("running", "shutdown")
            assert driver.get_info("deaf").state


@pytest.mark.parametrize("method", [SOFT, HARD])
def test_reboot(driver: ComputeDriver, platform: Platform, method: str):
    name = booted(driver, platform)
    with where_supported(driver, f"reboot_{method}"):
        driver.reboot(name, method, timeout_s=60)
        assert state_of(driver, name) == "running"
        if driver.supports("console_output"):
            platform.wait_ready(driver, name, times=2)


def test_a_suspended_guest_goes_on_where_it_was(driver: ComputeDriver, platform: Platform):
    name = booted(driver, platform)
    with where_supported(driver, "suspend"):
        driver.suspend(name)
        assert state_of(driver, name) == "suspended"
        driver.resume(name)
        assert state_of(driver, name) == "running"
        # A guest that started anew would say a second time, or again, that it is ready.
        assert not said(driver, platform, platform.ready + rb"(?s:.*)" + platform.ready, timeout_s=1)
        if driver.supports("shutdown_acpi"):
            driver.power_off(name, ACPI, timeout_s=60, retry_interval_s=3)
            assert state_of(driver, name) == "shutoff"


def test_a_suspended_guest_also_goes_on_by_power_on(driver: ComputeDriver, platform: Platform):
    name = booted(driver, platform)
    with where_supported(driver, "suspend"):
        driver.suspend(name)
        driver.power_on(name)
        assert state_of(driver, name) == "running"
        assert not said(driver, platform, platform.ready + rb"(?s:.*)" + platform.ready, timeout_s=1)


def test_a_paused_guest_uses_no_processor(driver: ComputeDriver, platform: Platform):
    name = booted(driver, platform)
    with where_supported(driver, "pause"):
        driver.pause(name)
        before = driver.get_info(name).cpu_time_ns
        if before is not None:  # where it is not told, nothing says how much it uses
            most_ns = before + 300_000_000
            assert not eventually(lambda: (driver.get_info(name).cpu_time_ns or 0) > most_ns, timeout_s=1)
        driver.unpause(name)
        assert state_of(driver, name) == "running"


def given(driver: ComputeDriver, platform: Platform, name: str, memory_mb: int) -> bool:
    """Whether the guest comes to have so much; of containers libvirt tells what they use instead."""
    wanted_kib = memory_mb * 1024
    if platform.name == "lxc":
        return driver.get_info(name).mem_kib < wanted_kib
    return eventually(lambda: abs(driver.get_info(name).mem_kib - wanted_kib) < 2048, timeout_s=20)


def test_memory_changes_while_it_runs(driver: ComputeDriver, platform: Platform):
    name = booted(driver, platform, memory_mb=128, max_memory_mb=160)
    with where_supported(driver, "memory_live"):
        driver.require("memory_live")
        current = driver.get_instances([name])[name]
        desired = replace(current, memory_mb=112)
        assert driver.live_options(current, desired, {"memory_mb"}) == {"memory_mb"}
        driver.update_instance(current, desired, {"memory_mb"}, {"memory_mb"})
        assert given(driver, platform, name, 112)
        assert driver.get_instances([name])[name].pending == {}
        driver.balloon_memory(name, 144)
        assert given(driver, platform, name, 144)
        assert driver.get_instances([name])[name].memory_mb == 112, "the configuration is left alone"


def test_processors_are_added_while_it_runs(driver: ComputeDriver, platform: Platform):
    name = booted(driver, platform, vcpus=1, max_vcpus=2)
    with where_supported(driver, "vcpus_live"):
        driver.require("vcpus_live")
        current = driver.get_instances([name])[name]
        desired = replace(current, vcpus=2)
        assert driver.live_options(current, desired, {"vcpus"}) == {"vcpus"}
        driver.update_instance(current, desired, {"vcpus"}, {"vcpus"})
        found = driver.get_instances([name])[name]
        assert (found.vcpus, found.pending) == (2, {})
        if platform.name == "libvirt":
            assert said(driver, platform, rb"ANYVIRT CPUS 2")


@pytest.mark.on("libvirt")
def test_the_seed_is_seen_by_the_guest(driver: ComputeDriver, platform: Platform):
    seed = CloudInit(user_data="#cloud-config\n", meta_data="instance-id: id-1\nlocal-hostname: seeded\n")
    booted(driver, platform, cloud_init=seed)
    text = platform.console(driver, "guest")
    assert re.search(rb"ANYVIRT SEED device=\w+ local-hostname=seeded instance-id=id-1", text)
    assert b"first-line=#cloud-config" in text


@pytest.mark.on("libvirt")
def test_disks_are_seen_by_the_guest_and_keep_what_was_written(driver: ComputeDriver, platform: Platform):
    disks = [Disk(role="root", image=platform.image, size_bytes=GIB), Disk(size_bytes=8 * MIB)]
    booted(driver, platform, disks=disks)
    text = platform.console(driver, "guest")
    assert re.search(rb"ANYVIRT DISK \w+ size=%d ro=0" % GIB, text)
    assert re.search(rb"ANYVIRT DISK \w+ size=%d ro=0" % (8 * MIB), text)
    assert b"boots=1" in text
    driver.power_off("guest", ACPI, timeout_s=60, retry_interval_s=3)
    driver.power_on("guest")
    platform.wait_ready(driver, "guest")
    assert b"boots=2" in platform.console(driver, "guest")


@pytest.mark.on("libvirt")
def test_the_image_boots_by_itself(driver: ComputeDriver, platform: Platform):
    """Firmware, boot loader and all from the disk that was made from the image."""
    booted(driver, platform, boot=None, image=platform.image, disks=[Disk(role="root", image=platform.image)])
    assert b"ANYVIRT ROOT" in platform.console(driver, "guest")


@pytest.mark.on("libvirt")
def test_the_root_disk_grows_while_it_runs(driver: ComputeDriver, platform: Platform):
    booted(driver, platform, disks=[Disk(role="root", size_bytes=16 * MIB)])
    with where_supported(driver, "root_grow_live"):
        current = driver.get_instances(["guest"])["guest"]
        assert current.disks
        desired = replace(current, disks=[replace(current.disks[0], size_bytes=32 * MIB)])
        assert driver.live_options(current, desired, {"disks"}) == {"disks"}
        driver.update_instance(current, desired, {"disks"}, {"disks"})
        found = driver.get_instances(["guest"])["guest"]
        assert found.disks
        assert found.disks[0].size_bytes == 32 * MIB


@pytest.mark.on("libvirt")
def test_its_nic_is_seen_by_the_guest(driver: ComputeDriver, platform: Platform):
    booted(driver, platform, nics=[platform.nic(mac="52:54:00:0d:00:01")])
    assert said(driver, platform, rb"ANYVIRT NIC \w+ mac=52:54:00:0d:00:01")
    assert said(driver, platform, rb"ANYVIRT ADDRESS \w+ 192\.168\.177\.")


@pytest.mark.on("xen")
@pytest.mark.parametrize("machine", ["pv", "pvh"])
def test_both_kinds_of_xen_guests(driver: ComputeDriver, platform: XenPlatform, machine: str):
    platform.spawned(driver, "guest", power_on=True, hypervisor=platform.hypervisor_of(machine))
    assert b"cpus=1" in platform.wait_ready(driver, "guest")
    driver.pause("guest")
    driver.unpause("guest")
    driver.suspend("guest")
    driver.resume("guest")
    driver.power_off("guest", ACPI, timeout_s=60, retry_interval_s=5)
    assert state_of(driver, "guest") == "shutoff"
