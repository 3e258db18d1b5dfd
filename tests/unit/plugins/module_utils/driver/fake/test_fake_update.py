# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing instances: what the guest gets at once, what waits, and taking it back exactly."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.driver import FakeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InsufficientCapacity,
    InvalidInput,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import (
    Boot,
    CloudInit,
    Console,
    Cpu,
    Disk,
    Nic,
)

GIB = 1 << 30


def change(driver, name="web1", **values):
    current = driver.get_instances([name])[name]
    desired = replace(current, **values)
    live = driver.live_options(current, desired, list(values))
    return driver.update_instance(current, desired, list(values), live)


def grown(driver, size_bytes):
    root, *others = driver.get_instances()["web1"].disks
    return [replace(root, size_bytes=size_bytes), *others]


CHANGES = {
    "memory up": {"memory_mb": 512},
    "memory beyond the maximum": {"memory_mb": 4096},
    "vcpus up": {"vcpus": 2},
    "flavor": {"flavor": Flavor("big", 512, 2), "memory_mb": 512, "vcpus": 2},
    "words": {"description": "new", "metadata": {"a": "b"}, "autostart": True, "locked": True, "protected": True},
    "hardware": {"cpu": Cpu(mode="host-model"), "boot": Boot(firmware="uefi"), "console": Console(vnc=False)},
    "nics": {"nics": [Nic(bridge="br0"), Nic(network="default")]},
    "no nics": {"nics": []},
    "cloud-init": {"cloud_init": CloudInit("#other")},
    "extras": {"hypervisor": {"machine": "q35"}},
}


@pytest.mark.parametrize("power_on", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_taking_back_is_exact(driver, make, files, what, power_on):
    driver.spawn(make(max_memory_mb=1024, max_vcpus=4), power_on=power_on)
    before = files()
    take_back = change(driver, **CHANGES[what])
    assert files() != before
    take_back()
    assert files() == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(5))
def test_a_change_that_fails_anywhere_is_undone(driver, root, make, files, number, when):
    driver.spawn(make(max_memory_mb=1024))
    disks = [*grown(driver, 3 * GIB), Disk(size_bytes=GIB)]
    values = {"disks": disks, "memory_mb": 512, "cloud_init": CloudInit("#other")}
    before = files()
    driver.calls.clear()
    take_back = change(driver, **values)
    assert driver.calls[1:] == ["volume_resize", "volume_create", "volume_replace", "redefine", "change_running"]
    take_back()
    order = {"operation": "*", "error": "hypervisor_error", "skip": number + 1, "times": 1, "when": when}
    dial.write_faults(root, faults=[order])
    with pytest.raises(HypervisorError) as caught:
        change(driver, **values)
    assert files() == before
    assert caught.value.not_undone == []


def test_what_fits_the_running_guest_is_live_and_the_rest_waits(driver, make):
    driver.spawn(make(max_memory_mb=1024, max_vcpus=2))
    change(driver, memory_mb=512, vcpus=2)
    assert driver.get_info("web1")[2:5] == (1024 * 1024, 512 * 1024, 2)
    change(driver, vcpus=1, memory_mb=2048)
    found = driver.get_instances()["web1"]
    assert found.pending == {"vcpus": (2, 1), "memory_mb": (512, 2048), "max_memory_mb": (1024, 2048)}
    driver.reboot("web1", "hard")
    assert driver.get_instances()["web1"].pending == found.pending
    driver.force_off("web1")
    assert driver.get_instances()["web1"].pending == {}
    driver.power_on("web1")
    assert driver.get_info("web1")[2:5] == (2048 * 1024, 2048 * 1024, 1)


def test_pending_outlives_a_suspend(driver, make):
    driver.spawn(make())
    change(driver, boot=Boot(firmware="uefi"))
    driver.suspend("web1")
    assert set(driver.get_instances()["web1"].pending) == {"boot"}
    driver.resume("web1")
    assert set(driver.get_instances()["web1"].pending) == {"boot"}


def test_growing_memory_live_needs_room(driver, root, make, files):
    dial.write_host(root, memory_mb=1000, reserved_memory_mb=0)
    driver.spawn(make(max_memory_mb=2048))
    before = files()
    with pytest.raises(InsufficientCapacity):
        change(driver, memory_mb=1001)
    assert files() == before


def test_a_disk_grows_and_never_shrinks(driver, make):
    driver.spawn(make())
    change(driver, disks=grown(driver, 4 * GIB))
    assert driver.get_instances()["web1"].disks[0].size_bytes == 4 * GIB
    assert driver.get_instances()["web1"].pending == {}
    with pytest.raises(InvalidInput, match="cannot be made smaller"):
        change(driver, disks=grown(driver, GIB))


def test_an_added_disk_gets_the_next_name_and_goes_with_the_instance(driver, make, files):
    driver.spawn(make())
    change(driver, disks=[*driver.get_instances()["web1"].disks, Disk(size_bytes=GIB)])
    assert [disk.device for disk in driver.get_instances()["web1"].disks] == ["vda", "vdb", "sda", "vdc"]
    driver.destroy("web1")
    assert files() == {}


def test_cloud_init_for_an_instance_that_had_none(driver, make, files):
    driver.spawn(make(cloud_init=None))
    before = files()
    take_back = change(driver, cloud_init=CloudInit("#new"))
    found = driver.get_instances()["web1"]
    assert found.cloud_init_fingerprint == CloudInit("#new").fingerprint()
    assert [disk.role for disk in found.disks] == ["root", "data", "seed"]
    take_back()
    assert files() == before


def test_nics_keep_their_addresses(driver, make):
    driver.spawn(make())
    [old] = driver.get_instances()["web1"].nics
    [lease] = driver.get_addresses(["web1"])["web1"]
    change(driver, nics=[Nic(bridge="br0"), Nic(network="default")])
    new, kept = driver.get_instances()["web1"].nics
    assert kept == old
    assert new.mac not in (None, old.mac)
    assert driver.get_addresses(["web1"])["web1"] == [lease]
    driver.unplug_vifs("web1", [new.mac, "52:00:00:00:00:99"])
    assert driver.get_instances()["web1"].nics == [old]
    driver.spawn(make("web2", nics=[]))
    with pytest.raises(AlreadyExists):
        driver.plug_vifs("web2", [replace(old)])
    driver.plug_vifs("web2", [Nic(network="default")])
    assert driver.get_addresses(["web2"])["web2"][0].address != lease.address


def test_ballooning_changes_the_guest_alone(driver, make):
    driver.spawn(make(max_memory_mb=512))
    driver.balloon_memory("web1", 512)
    assert driver.get_instances()["web1"].memory_mb == 256
    assert driver.get_info("web1").mem_kib == 512 * 1024
    with pytest.raises(InvalidInput):
        driver.balloon_memory("web1", 513)


def test_a_watch_sees_what_others_do_and_what_time_brings(driver, root, make):
    driver.spawn(make())

    def pause_soon() -> None:
        time.sleep(0.1)
        with FakeDriver(ConnectionOptions(dial.uri(root))) as other:
            other.pause("web1")

    thread = threading.Thread(target=pause_soon)
    begin = time.monotonic()
    with driver.watch(["web1"]) as watch:
        thread.start()
        watch.wait(10)
        assert driver.get_info("web1").state == power_state.PAUSED
    thread.join()
    dial.write_faults(root, guests={"web1": {"crashes_after_s": 0.2}})
    driver.unpause("web1")
    driver.reboot("web1", "hard")
    with driver.watch(["web1"]) as watch:
        watch.wait(10)
        assert driver.get_info("web1").state == power_state.CRASHED
        before = time.monotonic()
        watch.wait(0.1)
        assert 0.1 <= time.monotonic() - before < 2
    assert time.monotonic() - begin < 5
