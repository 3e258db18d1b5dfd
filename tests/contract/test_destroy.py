# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""destroy: from any state, what it takes along and what it leaves."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ALL, NONE, OWN, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AlreadyExists
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import bring_to, where_supported
from contract.platforms.base import Platform

SEED = CloudInit(user_data="#cloud-config\n", meta_data="local-hostname: seeded\n")


def test_an_instance_that_is_not_there_is_gone_already(driver: ComputeDriver, platform: Platform):
    with platform.calls.recording() as calls:
        assert driver.destroy("never") == []
    assert calls.writes == []


@pytest.mark.parametrize("state", ["running", "paused", "shutoff", "suspended"])
def test_from_any_state_nothing_is_left(driver: ComputeDriver, platform: Platform, state: str):
    before = platform.snapshot()
    needed = {"paused": ["pause"], "suspended": ["suspend"]}.get(state, [])
    driver.spawn(driver.complete(platform.small("gone")))
    with where_supported(driver, *needed):
        bring_to(driver, "gone", state)
    removed = driver.destroy("gone")
    assert removed
    assert any("gone" in what for what in removed)
    assert driver.list_instances() == []
    assert platform.snapshot() == before


def test_a_second_destroy_does_nothing(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "gone")
    driver.destroy("gone")
    with platform.calls.recording() as calls:
        assert driver.destroy("gone") == []
    assert calls.writes == []


@pytest.mark.parametrize("delete_volumes", [OWN, ALL, NONE])
def test_volumes(driver: ComputeDriver, platform: Platform, delete_volumes: str):
    """What its spawn made is its own; a volume that was there before is another's; the seed always goes."""
    if not driver.supports("image"):
        return test_disks_are_refused(driver, platform)
    platform.spawned(driver, "other", disks=[Disk(size_bytes=8 * MIB)])
    [disk] = driver.get_instances(["other"])["other"].disks
    driver.destroy("other", NONE)
    foreign = disk.volume
    assert platform.volumes() == {foreign}
    disks = [Disk(role="root", size_bytes=16 * MIB), Disk(volume=foreign, pool=platform.pool)]
    platform.spawned(driver, "one", disks=disks, cloud_init=SEED)
    assert len(platform.volumes()) == 3
    owned = {disk.volume for disk in driver.get_instances(["one"])["one"].disks if disk.role == "root"}
    driver.destroy("one", delete_volumes)
    assert platform.volumes() == {OWN: {foreign}, ALL: set(), NONE: {foreign, *owned}}[delete_volumes]
    return None


def test_disks_are_refused(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "image"):
        platform.spawned(driver, "one", disks=[Disk(size_bytes=8 * MIB)])


def test_a_volume_that_another_instance_uses_stays(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "image", "existing_volume"):
        first = platform.spawned(driver, "first", disks=[Disk(size_bytes=8 * MIB)])
        volume = first.disks[0].volume
        platform.spawned(driver, "second", disks=[Disk(volume=volume, pool=platform.pool, read_only=True)])
        driver.destroy("second", ALL)
        assert platform.volumes() == {volume}
        platform.spawned(driver, "second", disks=[Disk(volume=volume, pool=platform.pool, read_only=True)])
        driver.destroy("first", ALL)
        assert platform.volumes() == {volume}


def test_the_image_stays(driver: ComputeDriver, platform: Platform):
    before = platform.snapshot()
    with where_supported(driver, "image"):
        image = platform.image
        platform.spawned(driver, "one", image=image, flavor=Flavor("f", 96, 1, root_gb=1))
        driver.destroy("one", ALL)
        platform.spawned(driver, "two", image=image)
        driver.destroy("two", ALL)
    assert platform.snapshot() == before


def test_leftover_volumes_are_not_taken_for_an_instance(driver: ComputeDriver, platform: Platform):
    """A volume kept on purpose is no remains of a killed destroy, and a new spawn does not overwrite it."""
    with where_supported(driver, "image"):
        platform.spawned(driver, "one", disks=[Disk(role="root", size_bytes=8 * MIB)])
        driver.destroy("one", NONE)
        assert driver.find_remains(["one"]) == set()
        assert driver.destroy("one") == []
        before = platform.snapshot()
        with pytest.raises(AlreadyExists):
            platform.spawned(driver, "one", disks=[Disk(role="root", size_bytes=8 * MIB)])
        assert platform.snapshot() == before
