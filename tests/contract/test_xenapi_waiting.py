# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes on a pool of XenServers. A VM has one configuration, so that what cannot change now waits in our record."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ACPI, HARD, SOFT, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    InsufficientCapacity,
    TimeoutExpired,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, CloudInit, Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import state_of
from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")

NAME = "one"
FIRST, SECOND = "52:54:00:01:00:01", "52:54:00:01:00:02"


def running(driver: ComputeDriver, platform: XenApiPlatform, **over: Any) -> Instance:
    instance = platform.spawned(driver, NAME, power_on=True, **over)
    platform.wait_ready(driver, NAME)
    return instance


def now(driver: ComputeDriver) -> Instance:
    return driver.get_instances([NAME])[NAME]


def change(driver: ComputeDriver, live: bool = True, **values: Any) -> Any:
    """Change options; live, where they can be."""
    current = now(driver)
    desired, options = replace(current, **values), set(values)
    return driver.update_instance(
        current, desired, options, driver.live_options(current, desired, options) if live else ()
    )


def records(platform: XenApiPlatform, kind: str) -> list[dict[str, Any]]:
    """The VIFs or VBDs of the instance, in order."""
    place = {"VIF": "device", "VBD": "userdevice"}[kind]
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        of_vm = [one for one in getattr(api, kind).get_all_records().values() if one["VM"] == vm]
    return sorted(of_vm, key=lambda one: int(one[place]))


# -- what waits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["off and on", SOFT, HARD])
def test_all_that_waits_is_in_force_after_a_restart(driver: ComputeDriver, platform: XenApiPlatform, how: str):
    running(driver, platform, nics=[platform.nic(mac=FIRST)], cloud_init=CloudInit(user_data="#cloud-config\n"))
    values: dict[str, Any] = {
        "memory_mb": 128,
        "max_memory_mb": 256,
        "vcpus": 2,
        "max_vcpus": 4,
        "boot": replace(now(driver).boot or Boot(), cmdline="console=hvc0 other"),
        "nics": [platform.nic(mac=SECOND)],
        "hypervisor": {"platform": {"timeoffset": "1"}, "vcpus_params": {"weight": "512"}},
        "disks": [*(now(driver).disks or []), Disk(size_bytes=4 * MIB)],
        "cloud_init": CloudInit(user_data="#cloud-config\n# other\n"),
    }
    change(driver, live=False, **values)
    waiting = now(driver)
    assert set(waiting.pending) == set(values)
    assert waiting.pending["max_vcpus"] == (1, 4)
    assert waiting.pending["hypervisor"] == (
        {"platform": None, "vcpus_params": None},
        {"platform": {"timeoffset": "1"}, "vcpus_params": {"weight": "512"}},
    )
    if how == "off and on":
        driver.force_off(NAME)
        assert now(driver).pending == {}
        driver.power_on(NAME)
    else:
        driver.reboot(NAME, how, timeout_s=20)
    found = now(driver)
    assert found.pending == {}
    assert found.power_state == waiting.power_state
    for option in set(values) - {"cloud_init", "disks"}:
        assert getattr(found, option) == getattr(waiting, option), option
    assert [disk.size_bytes for disk in found.disks or [] if disk.role != "seed"] == [4 * MIB]
    assert all(drive["currently_attached"] for drive in records(platform, "VBD"))
    assert sorted(volume for volume in platform.volumes() if "seed" in volume) == ["one.seed"]
    driver.destroy(NAME)
    assert platform.volumes() == set()


def test_what_waits_is_dropped_when_it_is_set_back(driver: ComputeDriver, platform: XenApiPlatform):
    first = running(driver, platform, nics=[platform.nic(mac=FIRST)])
    before = platform.snapshot()
    change(driver, vcpus=2, max_vcpus=2, boot=replace(first.boot or Boot(), cmdline="quiet other"))
    change(driver, live=False, nics=[])
    assert set(now(driver).pending) == {"vcpus", "max_vcpus", "boot", "nics"}
    change(driver, live=False, vcpus=1, max_vcpus=1, boot=first.boot, nics=first.nics)
    assert now(driver).pending == {}
    assert platform.snapshot() == before


def test_what_waits_and_is_then_done_live_waits_no_longer(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform, memory_mb=96, max_memory_mb=128)
    change(driver, live=False, memory_mb=112, nics=[platform.nic(mac=FIRST)])
    assert set(now(driver).pending) == {"memory_mb", "nics"}
    change(driver, memory_mb=120, nics=[platform.nic(mac=SECOND)])
    found = now(driver)
    assert (found.pending, found.memory_mb, [nic.mac for nic in found.nics or []]) == ({}, 120, [SECOND])


def test_a_start_that_fails_leaves_all_as_it_was(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform, nics=[platform.nic(mac=FIRST)], cloud_init=CloudInit(user_data="a"))
    change(
        driver, live=False, vcpus=2, max_vcpus=2, nics=[platform.nic(mac=SECOND)], cloud_init=CloudInit(user_data="b")
    )
    driver.force_off(NAME)
    before = platform.snapshot()
    platform.server.faults.fail("VM.start", "NO_HOSTS_AVAILABLE")
    with pytest.raises(InsufficientCapacity) as caught:
        driver.power_on(NAME)
    assert caught.value.not_undone == []
    assert platform.snapshot() == before
    driver.power_on(NAME)
    assert (now(driver).vcpus, now(driver).pending) == (2, {})


def test_changes_while_it_is_off_take_in_what_waits(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform)
    change(driver, vcpus=2, max_vcpus=2, hypervisor={"platform": {"a": "1"}})
    driver.force_off(NAME)
    before = platform.snapshot()
    undo = change(driver, memory_mb=80, hypervisor={"platform": {"b": "2"}})
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        machine = api.VM.get_record(vm)
    assert (machine["VCPUs_max"], machine["memory_dynamic_max"]) == ("2", str(80 * MIB))
    assert {"a": "1", "b": "2"}.items() <= machine["platform"].items()
    assert "deferred" not in machine["other_config"]["anyvirt"]
    undo()
    assert platform.snapshot() == before


def test_what_waits_for_one_that_others_start_goes_on_waiting(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform)
    change(driver, vcpus=2, max_vcpus=2)
    driver.force_off(NAME)
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label(NAME)
        api.VM.start(vm, False, False)
    assert now(driver).pending == {"vcpus": (1, 2), "max_vcpus": (1, 2)}


@pytest.mark.parametrize("state", ["paused", "suspended"])
def test_of_a_guest_that_stands_still_nothing_changes(driver: ComputeDriver, platform: XenApiPlatform, state: str):
    running(driver, platform, memory_mb=96, max_memory_mb=128, nics=[platform.nic(mac=FIRST)])
    driver.pause(NAME) if state == "paused" else driver.suspend(NAME)
    current = now(driver)
    desired = replace(current, memory_mb=112, nics=[], description="still")
    options = {"memory_mb", "nics", "description"}
    assert driver.live_options(current, desired, options) == {"description"}
    driver.update_instance(current, desired, options, {"description"})
    driver.unplug_vifs(NAME, [FIRST])
    assert len(records(platform, "VIF")) == 1
    driver.unpause(NAME) if state == "paused" else driver.resume(NAME)
    assert set(now(driver).pending) == {"memory_mb", "nics"}
    assert now(driver).description == "still"
    driver.reboot(NAME, HARD)
    assert (now(driver).pending, now(driver).nics, now(driver).memory_mb) == ({}, [], 112)


# -- memory ---------------------------------------------------------------------------------------------------------


def test_what_the_balloon_gives_lasts_until_the_next_start(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform, memory_mb=96, max_memory_mb=128)
    before = platform.snapshot()
    driver.balloon_memory(NAME, 120)
    assert (now(driver).memory_mb, now(driver).pending) == (96, {"memory_mb": (120, 96)})
    driver.balloon_memory(NAME, 96)
    assert now(driver).pending == {}
    assert platform.snapshot() == before
    driver.balloon_memory(NAME, 64)
    driver.force_off(NAME)
    driver.power_on(NAME)
    assert (now(driver).memory_mb, now(driver).pending) == (96, {})


# -- extras ---------------------------------------------------------------------------------------------------------


def test_extras_that_no_guest_feels_are_live(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform)
    extras = {"other_config": {"owner": "us"}, "affinity": "xen2", "xenstore_data": {"vm-data/role": "web"}}
    undo = change(driver, hypervisor=extras)
    found = now(driver)
    assert found.pending == {}
    assert found.hypervisor["affinity"] == "xen2"
    assert found.hypervisor["other_config"]["owner"] == "us"
    assert found.hypervisor["xenstore_data"]["vm-data/role"] == "web"
    undo()
    change(driver, hypervisor={"affinity": "", "platform": {"x": "1"}, "other_config": {"owner": "them"}})
    found = now(driver)
    assert set(found.pending) == {"hypervisor"}
    assert found.pending["hypervisor"][1] == {"platform": {"x": "1"}}
    assert found.hypervisor["other_config"]["owner"] == "them"


def test_from_kernel_to_firmware_and_back(driver: ComputeDriver, platform: XenApiPlatform):
    first = platform.spawned(driver, NAME)
    before = platform.snapshot()
    assert first.hypervisor["domain_type"] == "pv"
    undo = change(driver, boot=Boot(kernel="", initrd="", cmdline="", order=["cdrom", "disk"]))
    found = now(driver)
    assert found.hypervisor["domain_type"] == "hvm"
    assert (found.boot or Boot()).order == ["cdrom", "disk"]
    undo()
    assert platform.snapshot() == before
    assert now(driver) == first


# -- devices --------------------------------------------------------------------------------------------------------


def test_of_nics_only_what_differs_is_touched(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform, nics=[platform.nic(mac=FIRST)])
    [kept] = records(platform, "VIF")
    driver.plug_vifs(NAME, [platform.nic(mac=SECOND)])
    driver.unplug_vifs(NAME, [SECOND])
    assert records(platform, "VIF") == [kept]


def test_a_disk_that_a_killed_run_left_is_made_anew(driver: ComputeDriver, platform: XenApiPlatform):
    platform.spawned(driver, NAME, disks=[Disk(size_bytes=4 * MIB)])
    platform.server.faults.fail("VBD.create")
    platform.server.faults.fail("VDI.destroy", times=None)
    added = [*(now(driver).disks or []), Disk(size_bytes=8 * MIB)]
    with pytest.raises(AnyvirtError) as caught:
        change(driver, disks=added)
    assert caught.value.not_undone
    platform.server.faults.clear()
    change(driver, disks=added)
    assert [disk.size_bytes for disk in now(driver).disks or []] == [4 * MIB, 8 * MIB]
    assert platform.volumes() == {"one.xvda", "one.xvdb"}


def test_a_disk_does_not_grow_while_it_runs(driver: ComputeDriver, platform: XenApiPlatform):
    current = running(driver, platform, disks=[Disk(size_bytes=4 * MIB)])
    desired = replace(current, disks=[replace((current.disks or [])[0], size_bytes=8 * MIB)])
    assert driver.live_options(current, desired, {"disks"}) == set()
    with pytest.raises(Unsupported):
        driver.update_instance(current, desired, {"disks"}, set())


# -- a seed ---------------------------------------------------------------------------------------------------------


def test_a_new_seed_waits_beside_the_one_that_the_guest_has(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform, cloud_init=CloudInit(user_data="a"))
    [old] = records(platform, "VBD")
    before = platform.snapshot()
    undo = change(driver, cloud_init=CloudInit(user_data="b"))
    assert platform.volumes() == {"one.seed", "one.seed#2"}
    assert set(now(driver).pending) == {"cloud_init"}
    assert now(driver).cloud_init_fingerprint == CloudInit(user_data="b").fingerprint()
    again = change(driver, cloud_init=CloudInit(user_data="c" * 5000))
    assert platform.volumes() == {"one.seed", "one.seed#2"}
    again()
    undo()
    assert platform.snapshot() == before
    change(driver, cloud_init=CloudInit(user_data="d"))
    driver.reboot(NAME, HARD)
    [new] = records(platform, "VBD")
    assert new["VDI"] != old["VDI"]
    assert (new["userdevice"], new["mode"], new["currently_attached"]) == (old["userdevice"], "RO", True)
    assert platform.volumes() == {"one.seed"}


def test_a_run_killed_while_it_puts_the_new_seed_in_place(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform, cloud_init=CloudInit(user_data="a"))
    change(driver, cloud_init=CloudInit(user_data="b"))
    driver.force_off(NAME)
    platform.server.faults.fail("VM.set_other_config")
    platform.server.faults.fail("VBD.destroy", skip=1, times=None)
    with pytest.raises(AnyvirtError) as caught:
        driver.power_on(NAME)
    assert caught.value.not_undone
    platform.server.faults.clear()
    driver.power_on(NAME)
    assert now(driver).pending == {}
    assert platform.volumes() == {"one.seed"}


def test_the_first_seed_of_a_running_guest(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform)
    before = platform.snapshot()
    undo = change(driver, cloud_init=CloudInit(user_data="a"))
    undo()
    assert platform.snapshot() == before
    change(driver, cloud_init=CloudInit(user_data="a"))
    driver.destroy(NAME)
    assert platform.volumes() == set()


# -- power ----------------------------------------------------------------------------------------------------------


def test_without_tools_the_message_says_so(driver: ComputeDriver, platform: XenApiPlatform):
    """A PV guest's kernel needs none."""
    extras = {"xenstore_data": {"vm-data/lab": "lab.notools"}}
    running(driver, platform, boot=None, image=platform.image, hypervisor=extras)
    for operation in (driver.power_off, driver.reboot):
        with pytest.raises(TimeoutExpired, match="no guest tools") as caught:
            operation(NAME, timeout_s=0.5)
        assert caught.value.last_seen == "running"


def test_force_off_ends_a_stop_under_way(driver: ComputeDriver, platform: XenApiPlatform):
    with platform.deaf_guest(driver, NAME):
        platform.wait_ready(driver, NAME)
        stopper = platform.driver()
        failures: list[Exception] = []

        def stop() -> None:
            try:
                stopper.power_off(NAME, ACPI, timeout_s=30)
            except AnyvirtError as error:
                failures.append(error)

        thread = threading.Thread(target=stop)
        thread.start()
        time.sleep(0.5)
        driver.force_off(NAME)
        assert state_of(driver, NAME) == "shutoff"
        thread.join(15)
        assert not thread.is_alive()
        assert failures == []


def test_a_stop_that_is_given_up_leaves_nothing_running(driver: ComputeDriver, platform: XenApiPlatform):
    with platform.deaf_guest(driver, NAME):
        platform.wait_ready(driver, NAME)
        for operation in (driver.power_off, driver.reboot):
            with pytest.raises(TimeoutExpired):
                operation(NAME, timeout_s=0.5)
            with platform.session() as api:
                [vm] = api.VM.get_by_name_label(NAME)
                assert api.VM.get_current_operations(vm) == {}
                assert [task["name_label"] for task in api.task.get_all_records().values()] == []
        driver.pause(NAME)
        assert state_of(driver, NAME) == "paused"


def test_a_paused_guest_that_cannot_be_suspended_is_paused_again(driver: ComputeDriver, platform: XenApiPlatform):
    running(driver, platform)
    driver.pause(NAME)
    platform.server.faults.fail("VM.suspend", "VM_NO_SUSPEND_SR", "OpaqueRef:NULL")
    with pytest.raises(AnyvirtError, match="suspend_image_SR"):
        driver.suspend(NAME)
    assert state_of(driver, NAME) == "paused"
