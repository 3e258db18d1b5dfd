# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""spawn: what stands afterwards, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    ImageNotFound,
    InsufficientCapacity,
    NetworkNotFound,
    NotFound,
    PoolNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB
from contract.helpers import state_of, where_supported
from contract.platforms.base import Platform


def test_it_runs_when_done(driver: ComputeDriver, platform: Platform):
    driver.spawn(driver.complete(platform.small("one")))
    assert state_of(driver, "one") == "running"
    found = driver.get_instances(["one"])["one"]
    assert not found.unfinished
    assert found.persistent
    assert found.pending == {}


def test_it_is_off_without_power_on(driver: ComputeDriver, platform: Platform):
    driver.spawn(driver.complete(platform.small("one")), power_on=False)
    assert state_of(driver, "one") == "shutoff"
    assert not driver.get_instances(["one"])["one"].unfinished


def test_it_is_paused_when_asked(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "start_paused"):
        driver.spawn(driver.complete(platform.small("one")), paused=True)
        assert state_of(driver, "one") == "paused"
    if not driver.supports("start_paused"):
        assert driver.list_instances() == []


def test_what_it_was_given_reads_back(driver: ComputeDriver, platform: Platform):
    wanted = platform.small(
        "full",
        vcpus=2,
        flavor=Flavor("two", 96, 2),
        autostart=driver.supports("autostart"),
        description="two words & <a mark>",
        metadata={"owner": "somebody", "a key": "a 'value' & <more>", "leer": ""},
        locked=True,
        protected=True,
        nics=[platform.nic(mac="52:54:00:0a:0b:0c"), platform.nic(mac="52:54:00:0a:0b:0d")],
    )
    completed = driver.complete(wanted)
    driver.spawn(completed, power_on=False)
    found = driver.get_instances(["full"])["full"]
    for field in ("memory_mb", "vcpus", "flavor", "autostart", "description", "metadata", "locked", "protected"):
        assert getattr(found, field) == getattr(wanted, field), field
    assert found.nics == completed.nics
    for option, value in vars(wanted.boot).items() if wanted.boot else ():
        assert value is None or getattr(found.boot, option) == value, option


def test_complete_says_what_will_be_read_back(driver: ComputeDriver, platform: Platform):
    wanted = platform.small("same", nics=[platform.nic(mac="52:54:00:0a:0b:0e")])
    if driver.supports("image"):
        wanted.image = platform.image
    completed = driver.complete(wanted)
    assert wanted == platform.small("same", nics=wanted.nics, image=wanted.image), "the original is left alone"
    driver.spawn(completed, power_on=False)
    found = driver.get_instances(["same"])["same"]
    for field in ("memory_mb", "vcpus", "nics", "console"):
        assert getattr(found, field) == getattr(driver.complete(found), field) == getattr(completed, field), field


def test_root_disk_from_an_image(driver: ComputeDriver, platform: Platform):
    before = platform.volumes()
    with where_supported(driver, "image"):
        image = platform.image or "/nowhere/image.qcow2"
        instance = platform.small("imaged", image=image, flavor=Flavor("f", 96, 1, root_gb=1))
        driver.spawn(driver.complete(instance), power_on=False)
        found = driver.get_instances(["imaged"])["imaged"]
        assert found.image == image
        root = found.disks[0]
        assert (root.role, root.owned, root.size_bytes) == ("root", True, GIB)
        assert len(platform.volumes() - before) == 1
    if not driver.supports("image"):
        assert platform.volumes() == before


def test_blank_disks(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "image"):
        flavor = Flavor("f", 96, 1, root_gb=1, swap_mb=8)
        disks = [Disk(role="root", size_bytes=GIB), Disk(size_bytes=16 * MIB)]
        driver.spawn(driver.complete(platform.small("blank", disks=disks, flavor=flavor)), power_on=False)
        found = driver.get_instances(["blank"])["blank"]
        assert found.disks
        assert {disk.size_bytes for disk in found.disks} >= {GIB, 16 * MIB}
        assert all(disk.owned for disk in found.disks)
        assert len({disk.device for disk in found.disks}) == len(found.disks)


def test_seed_disk_is_recorded_by_its_fingerprint(driver: ComputeDriver, platform: Platform):
    seed = CloudInit(user_data="#cloud-config\npassword: very-secret\n", meta_data="local-hostname: seeded\n")
    with where_supported(driver, "cloud_init"):
        driver.spawn(driver.complete(platform.small("seeded", cloud_init=seed)), power_on=False)
        found = driver.get_instances(["seeded"])["seeded"]
        assert found.cloud_init is None
        assert found.cloud_init_fingerprint == seed.fingerprint()
        assert "very-secret" not in repr(found)
        assert [disk.role for disk in found.disks].count("seed") == 1


def test_nics_without_a_mac_get_one_that_stays(driver: ComputeDriver, platform: Platform):
    macs = []
    for _turn in range(2):
        driver.spawn(driver.complete(platform.small("macs", nics=[platform.nic(), platform.nic()])), power_on=False)
        macs.append([nic.mac for nic in driver.get_instances(["macs"])["macs"].nics])
        driver.destroy("macs")
    assert macs[0] == macs[1]
    assert len(set(macs[0])) == 2


def test_a_taken_name_is_refused(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "taken")
    before = platform.snapshot()
    with pytest.raises(AlreadyExists, match="taken"):
        driver.spawn(driver.complete(platform.small("taken")))
    assert platform.snapshot() == before


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("network", NetworkNotFound),
        ("bridge", NetworkNotFound),
        ("image", ImageNotFound),
        ("pool", PoolNotFound),
        ("volume", NotFound),
        ("path", NotFound),
    ],
)
def test_what_does_not_exist_is_refused(
    driver: ComputeDriver, platform: Platform, what: str, error: type[AnyvirtError]
):
    features = {"image": "image", "pool": "image", "volume": "existing_volume", "path": "existing_file"}
    over: dict[str, Any] = {
        "network": {"nics": [Nic(network="nowhere")]},
        "bridge": {"nics": [Nic(bridge="nowhere0")]},
        "image": {"image": "/nowhere/image.qcow2"},
        "pool": {"pool": "nowhere", "disks": [Disk(size_bytes=MIB)]},
        "volume": {"disks": [Disk(volume="nowhere.img", pool=platform.pool)]},
        "path": {"disks": [Disk(path="/nowhere/disk.img")]},
    }[what]
    before = platform.snapshot()
    instance = platform.small("refused", **over)
    with where_supported(driver, *filter(None, [features.get(what)])):
        problems = driver.validate_parameters([driver.complete(instance)])
        assert list(problems) == ["refused"], problems
        assert "nowhere" in str(problems["refused"][0])
        with pytest.raises(error, match="nowhere"):
            driver.spawn(driver.complete(instance))
    assert platform.snapshot() == before


# Elsewhere the host's kernel overcommits: the guest starts, and nobody refuses it.
@pytest.mark.on("fake", "xen", "xenapi")
def test_more_memory_than_the_host_has_is_refused(driver: ComputeDriver, platform: Platform):
    before = platform.snapshot()
    total = driver.get_host_stats().memory_mb
    with pytest.raises(InsufficientCapacity):
        driver.spawn(driver.complete(platform.small("huge", memory_mb=total * 2)))
    assert platform.snapshot() == before
