# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo: each call of an operation is made to fail in turn, and the platform is as it was before, each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import state_of, where_supported
from contract.platforms.base import Platform


def rich(platform: Platform, driver: ComputeDriver, name: str = "rich") -> Instance:
    """An instance that makes use of all that the driver can make for one."""
    over: dict[str, Any] = {
        "nics": [platform.nic()],
        "description": "rich",
        "metadata": {"owner": "somebody"},
        "flavor": Flavor("rich", 96, 1, swap_mb=8 if driver.supports("image") else 0),
    }
    if driver.supports("autostart"):
        over["autostart"] = True
    if driver.supports("image"):
        over["image"] = platform.image
        over["disks"] = [Disk(role="root", image=platform.image), Disk(role="data", size_bytes=8 * MIB)]
    if driver.supports("cloud_init"):
        over["cloud_init"] = CloudInit(user_data="#cloud-config\n", meta_data="local-hostname: rich\n")
    return driver.complete(platform.small(name, **over))


def turns(platform: Platform, count: int) -> range:
    """Which calls to make fail: all of them, or a few where starting takes long."""
    return range(1, count + 1, 1 if platform.starts_quickly else max(1, count // 6))


@pytest.mark.slow
@pytest.mark.parametrize("power_on", [True, False])
def test_spawn(driver: ComputeDriver, platform: Platform, power_on: bool):
    instance = rich(platform, driver)
    driver.spawn(instance, power_on=power_on)
    driver.destroy("rich")
    before = platform.snapshot()
    with platform.calls.recording() as calls:
        driver.spawn(instance, power_on=power_on)
    driver.destroy("rich")
    assert platform.snapshot() == before
    assert calls.writes
    for number in turns(platform, len(calls)):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        try:
            with platform.calls.recording(fail_at=number):
                driver.spawn(instance, power_on=power_on)
        except AnyvirtError as error:
            assert error.not_undone == [], told
            assert error.rolled_back is not False, told
        else:  # a call that it can do without
            assert state_of(driver, "rich") == ("running" if power_on else "shutoff"), told
            driver.destroy("rich")
        assert platform.snapshot() == before, told
    driver.spawn(instance, power_on=power_on)


def test_spawn_in_a_pool_made_on_demand(driver: ComputeDriver, platform: Platform):
    """The pool outlives the instance, but not a spawn that failed."""
    disks = [Disk(size_bytes=MIB)]
    wanted = platform.small("pooled", pool="on-demand", pool_path=platform.new_pool_path, disks=disks)
    with where_supported(driver, "image", "new_pool"):
        instance = driver.complete(wanted)
        before = platform.snapshot()
        number, whole = 0, False
        while not whole:
            number += 1
            fresh = platform.driver()  # pools are removed behind its back below, and a driver may remember them
            try:
                with platform.calls.recording(fail_at=number) as calls:
                    fresh.spawn(instance, power_on=False)
            except AnyvirtError as error:
                assert error.not_undone == [], f"call {number}"
            else:
                found = fresh.get_instances(["pooled"])["pooled"]
                assert [disk.pool for disk in found.disks or []] == ["on-demand"]
                whole = len(calls) < number  # nothing was left to fail
                fresh.destroy("pooled")
                platform.cleanup_pools()
            assert platform.snapshot() == before, f"call {number}"
        assert number > 3


@pytest.mark.parametrize("running", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_destroy(driver: ComputeDriver, platform: Platform, running: bool):
    """It undefines first and deletes after: when it fails the instance is whole or gone, and the next one ends it."""
    empty = platform.snapshot()
    instance = rich(platform, driver)
    driver.spawn(instance, power_on=running)
    with platform.calls.recording() as calls:
        driver.destroy("rich")
    assert platform.snapshot() == empty
    for number in turns(platform, len(calls)):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        driver.spawn(instance, power_on=running)
        volumes = platform.volumes()
        try:
            with platform.calls.recording(fail_at=number):
                driver.destroy("rich")
        except AnyvirtError:
            if "rich" in driver.list_instances():
                assert platform.volumes() >= volumes, f"{told}: a disk is gone and the instance is not"
                assert not driver.get_instances(["rich"])["rich"].unfinished
            elif platform.volumes():
                assert driver.find_remains(["rich", "other"]) == {"rich"}, told
            driver.destroy("rich")
        assert driver.find_remains(["rich"]) == set()
        assert platform.snapshot() == empty, told


@pytest.mark.parametrize("running", [False, True])
def test_update(driver: ComputeDriver, platform: Platform, running: bool):
    driver.spawn(rich(platform, driver), power_on=running)
    current = driver.get_instances(["rich"])["rich"]
    desired = replace(
        current,
        memory_mb=64,
        vcpus=1,
        description="poor",
        metadata={"owner": "nobody"},
        locked=True,
        flavor=Flavor("poor", 64, 1),
    )
    options = {"memory_mb", "description", "metadata", "locked", "flavor"}
    if driver.supports("nics"):
        options.add("nics")
        desired.nics = [*(current.nics or []), platform.nic(mac="52:54:00:01:02:03")]
    if driver.supports("cloud_init"):
        options.add("cloud_init")
        desired.cloud_init = CloudInit(user_data="#cloud-config\n# other\n", meta_data="local-hostname: poor\n")
    if driver.supports("autostart"):
        options.add("autostart")
        desired.autostart = False
    live = driver.live_options(current, desired, options) - {"memory_mb"}  # a guest that still boots gives none back
    before = platform.snapshot()
    with platform.calls.recording() as calls:
        undo = driver.update_instance(current, desired, options, live)
    assert platform.snapshot() != before
    undo()
    assert platform.snapshot() == before
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        try:
            with platform.calls.recording(fail_at=number):
                undo = driver.update_instance(current, desired, options, live)
        except AnyvirtError as error:
            assert error.not_undone == [], told
        else:
            undo()
        assert platform.snapshot() == before, told
