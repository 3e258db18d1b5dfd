# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at random points of a spawn or destroy, and then the same again: the second run mends what the first left."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract import child
from contract.helpers import state_of
from contract.platforms.base import Platform, Snapshot
from contract.test_undo import rich

ROUNDS = {"fake": 50, "libvirt": 10, "lxc": 4, "xen": 2, "xenapi": 10}
NAME = "rich"


def run_and_kill(platform: Platform, chance: random.Random, duration_s: float, changes: int, **task: Any) -> bool:
    """Run the task in a child and kill it somewhere in the middle; whether it was killed."""
    clients = platform.clients()
    if platform.name == "fake":
        process = child.start(options=platform.options(), die_at=chance.randint(1, changes), **task)
        output, errors = process.communicate(timeout=60)
    else:
        process = child.start(options=platform.options(), **task)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, duration_s))
        process.kill()
        output, errors = process.communicate(timeout=60)
    platform.settle(clients)
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    return b"done" not in output


def again(driver: ComputeDriver, instance: Any) -> None:
    """What a second run does about an instance that is wanted: remove an unfinished one, make a missing one."""
    found = driver.get_instances([NAME]).get(NAME)
    if found is not None and found.unfinished:
        driver.destroy(NAME)
        found = None
    if found is None and driver.find_remains([NAME]):
        driver.destroy(NAME)
    if found is None:
        driver.spawn(instance)
    driver.power_on(NAME)


def measured(driver: ComputeDriver, platform: Platform, instance: Any) -> tuple[dict[str, float], Snapshot, Snapshot]:
    empty = platform.snapshot()
    started = time.monotonic()
    driver.spawn(instance)
    spawned = time.monotonic()
    full = platform.snapshot()
    removing = time.monotonic()
    driver.destroy(NAME)
    return {"spawn": spawned - started, "destroy": time.monotonic() - removing}, empty, full


@pytest.mark.slow
def test_spawn_and_destroy_killed_at_random_points(driver: ComputeDriver, platform: Platform):
    instance = rich(platform, driver, NAME)
    durations, empty, full = measured(driver, platform, instance)
    assert platform.snapshot() == empty
    chance = random.Random(20261)
    killed = 0
    for _turn in range(ROUNDS[platform.name]):
        killed += run_and_kill(
            platform, chance, durations["spawn"], 120, operation="spawn", instance=instance, power_on=True
        )
        again(driver, instance)
        assert state_of(driver, NAME) == "running"
        assert kinds_of(platform.snapshot()) == kinds_of(full)
        killed += run_and_kill(platform, chance, durations["destroy"], 60, operation="destroy", name=NAME)
        driver.destroy(NAME)
        assert driver.list_instances() == []
        assert driver.find_remains([NAME]) == set()
        assert platform.snapshot() == empty
    assert killed > ROUNDS[platform.name] // 2


def kinds_of(snapshot: Snapshot) -> Any:
    """What there is, without what differs from one spawn to the next (addresses, ids)."""
    if "files" not in snapshot:
        return sorted(snapshot)
    return sorted(snapshot["files"]), {pool: sorted(volumes) for pool, volumes in snapshot["pools"].items()}


@pytest.mark.slow
def test_an_unfinished_instance_is_told_apart(driver: ComputeDriver, platform: Platform):
    """Wherever a spawn is cut short, what it left is either nothing or marked as unfinished."""
    instance = rich(platform, driver, NAME)
    empty = platform.snapshot()
    durations = measured(driver, platform, instance)[0]
    chance = random.Random(7)
    for _turn in range(max(2, ROUNDS[platform.name] // 5)):
        done = not run_and_kill(
            platform, chance, durations["spawn"], 120, operation="spawn", instance=instance, power_on=False
        )
        found = driver.get_instances([NAME])
        if done:
            assert not found[NAME].unfinished
        elif NAME in found and not found[NAME].unfinished:
            assert state_of(driver, NAME) == "shutoff", "finished just before it was killed"
        driver.destroy(NAME)
        assert platform.snapshot() == empty
