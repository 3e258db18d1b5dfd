# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 in the middle of a resize, of confirming it and of taking it back: running the task again ends well."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract.helpers import state_of
from contract.kills import killed_at_many_points
from contract.platforms.base import Platform
from contract.task import done, run, small
from contract.test_resize_revert import NEW, OLD, fill, has_disks, now, require_size

pytestmark = pytest.mark.slow

NAME = "resized"
ROUNDS = {"libvirt": 4, "xenapi": 4, "lxc": 1, "xen": 1}
CHANCE = 20265
STEP = 4
"""Of the fake's changes, between two kills."""


def killed(platform: Platform, duration_s: float, params: dict[str, Any]) -> Any:
    """Have a task done by processes that are killed."""
    task = {"operation": "task", "params": params}
    return killed_at_many_points(platform, random.Random(CHANCE), duration_s, ROUNDS, STEP, **task)


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def resizing(platform: Platform, driver: ComputeDriver) -> dict[str, Any]:
    disks = {"disks": [{"size": "48M"}, {"size": "4M", "format": "raw"}]} if has_disks(driver) else {}
    if not driver.supports("existing_file") and has_disks(driver):
        disks = {"disks": [{"size": "48M"}, {"size": "4M"}]}
    return {"name": NAME, "memory_mb": 128, "revertible": True, **disks}


def made(platform: Platform, driver: ComputeDriver) -> None:
    params = resizing(platform, driver)
    disks = [{**disk, "size": size} for disk, size in zip(params.get("disks", []), ("32M", "4M"))]
    done(platform, **small(platform, NAME, **({"disks": disks} if disks else {})))


def is_clean(driver: ComputeDriver, platform: Platform, plain: set[str]) -> None:
    """Nothing of a resize is left."""
    assert now(driver).resize is None
    assert platform.volumes() == plain
    if has_disks(driver):
        disk = (now(driver).disks or [])[0]
        storage = platform.storage_driver()
        [pool] = {disk.pool}
        assert pool is not None
        found = [volume for volume in storage.list_volumes(pool) if volume.name == disk.volume]
        assert len(found) == 1
        [with_snapshots] = storage.get_volumes([found[0].key], snapshots=True).values()
        assert not with_snapshots.snapshots


def test_killed_while_it_is_resized(driver: ComputeDriver, platform: Platform):
    made(platform, driver)
    fill(platform, driver, now(driver), 1)
    plain = platform.volumes()
    params = resizing(platform, driver)
    duration_s = timed(lambda: done(platform, **params))
    done(platform, name=NAME, state="resize_reverted")
    for _turn in killed(platform, duration_s, params):
        done(platform, **params)
        again = run(platform, **params)
        assert (again.changed, again.calls.lasting_writes) == (False, [])
        resized = now(driver)
        assert resized.memory_mb == 128
        require_size(platform, driver, resized, NEW, 1)
        fill(platform, driver, resized, 2)
        done(platform, name=NAME, state="resize_reverted")
        assert now(driver).memory_mb == 96
        require_size(platform, driver, now(driver), OLD, 1)
        is_clean(driver, platform, plain)


@pytest.mark.thorough
@pytest.mark.parametrize("state", ["resize_confirmed", "resize_reverted"])
def test_killed_while_it_ends(driver: ComputeDriver, platform: Platform, state: str):
    made(platform, driver)
    plain = platform.volumes()
    params = resizing(platform, driver)
    fill(platform, driver, now(driver), 1)
    done(platform, **params)
    duration_s = timed(lambda: done(platform, name=NAME, state=state))
    begin_anew(driver, platform)
    for _turn in killed(platform, duration_s, {"name": NAME, "state": state}):
        done(platform, name=NAME, state=state)
        again = run(platform, name=NAME, state=state)
        assert (again.changed, again.calls.lasting_writes) == (False, [])
        is_clean(driver, platform, plain)
        sizes = (128, NEW) if state == "resize_confirmed" else (96, OLD)
        assert now(driver).memory_mb == sizes[0]
        require_size(platform, driver, now(driver), sizes[1], 1)
        begin_anew(driver, platform)


def begin_anew(driver: ComputeDriver, platform: Platform) -> None:
    """The instance, resized, with nobody's answer yet."""
    driver.destroy(NAME)
    made(platform, driver)
    fill(platform, driver, now(driver), 1)
    done(platform, **resizing(platform, driver))


@pytest.mark.thorough
@pytest.mark.thorough
def test_killed_while_a_running_one_is_taken_back(driver: ComputeDriver, platform: Platform):
    """It runs in the end, wherever the first run was killed."""
    made(platform, driver)
    params = {**resizing(platform, driver), "state": "running", "apply": "restart", "shutdown": {"method": "forced"}}
    back = {"name": NAME, "state": "resize_reverted", "shutdown": {"method": "forced"}}
    done(platform, **params)
    duration_s = timed(lambda: done(platform, **back))
    for _turn in killed(platform, duration_s, back):
        done(platform, **back)
        assert state_of(driver, NAME) == "running"
        assert now(driver).resize is None
        assert now(driver).memory_mb == 96
        done(platform, **params)


@pytest.mark.thorough
def test_removed_in_the_middle(driver: ComputeDriver, platform: Platform):
    """An instance whose resize was cut short goes without leaving anything."""
    before = platform.volumes()
    made(platform, driver)
    params = resizing(platform, driver)
    duration_s = timed(lambda: done(platform, **params))
    driver.destroy(NAME)
    made(platform, driver)
    for _turn in killed(platform, duration_s, params):
        done(platform, name=NAME, state="absent")
        assert platform.volumes() == before
        made(platform, driver)
