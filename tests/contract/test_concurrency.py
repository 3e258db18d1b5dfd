# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once: threads on one driver, processes on one hypervisor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract import child
from contract.helpers import state_of
from contract.platforms.base import Platform

PROCESSES = 8
OPERATIONS = 25


# A driver that bears only one change at a time says so, and is given no more.
SEVERAL_AT_ONCE = ("fake", "libvirt", "lxc", "xenapi")


def test_who_bears_several_changes_at_once_says_so(driver: ComputeDriver, host: Platform):
    assert (driver.max_workers is None) == (host.name in SEVERAL_AT_ONCE)


@pytest.mark.on(*SEVERAL_AT_ONCE)
def test_threads_on_one_driver(driver: ComputeDriver, platform: Platform):
    """Several lives at once, each of its own instance."""

    def live(number: int) -> str:
        name = f"thread-{number}"
        driver.spawn(driver.complete(platform.small(name, nics=[platform.nic()])))
        current = driver.get_instances([name])[name]
        driver.update_instance(current, replace(current, description=name), {"description"}, {"description"})
        driver.force_off(name)
        driver.power_on(name)
        assert state_of(driver, name) == "running"
        assert driver.get_instances([name])[name].description == name
        if number % 2:
            driver.destroy(name)
        return name

    count = 6 if platform.starts_quickly else 2
    with ThreadPoolExecutor(max_workers=4) as workers:
        names = list(workers.map(live, range(count)))
    assert driver.list_instances() == [name for name in names if int(name[-1]) % 2 == 0]


@pytest.mark.on(*SEVERAL_AT_ONCE)
def test_threads_read_while_others_write(driver: ComputeDriver, platform: Platform):
    """An instance that goes away between two calls of a listing is no error."""

    def come_and_go(number: int) -> None:
        for _turn in range(5):
            driver.spawn(driver.complete(platform.small(f"fleeting-{number}")), power_on=False)
            driver.destroy(f"fleeting-{number}")

    with ThreadPoolExecutor(max_workers=3) as workers:
        writers = [workers.submit(come_and_go, number) for number in range(2)]
        while not all(writer.done() for writer in writers):
            driver.list_instances_detail()
            driver.get_instances()
            driver.get_host_stats()
        for writer in writers:
            writer.result()
    assert driver.list_instances() == []


@pytest.mark.on("fake", "libvirt", "xenapi")
def test_processes_lose_no_update(driver: ComputeDriver, platform: Platform):
    """Eight processes, two hundred operations: each process creates, changes and removes; what stays is all there."""
    children = [
        child.start(
            options=platform.options(),
            operation="churn",
            instance=platform.small(f"process-{number}"),
            count=OPERATIONS,
        )
        for number in range(PROCESSES)
    ]
    for process in children:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert b"done" in output
    found = driver.get_instances()
    assert sorted(found) == sorted(f"process-{number}" for number in range(PROCESSES))
    for instance in found.values():
        assert instance.metadata == {f"key-{number}": str(number) for number in range(OPERATIONS - 1)}
        assert not instance.unfinished


def test_two_processes_spawn_one_name(driver: ComputeDriver, platform: Platform):
    """One of them makes it, the others hear that the name is taken and break nothing."""
    before = platform.snapshot()
    instance = driver.complete(platform.small("contested", nics=[platform.nic()]))
    spawn = {"options": platform.options(), "operation": "spawn", "instance": instance, "power_on": False}
    children = [child.start(**spawn) for _turn in range(3)]
    results = [(process.communicate(timeout=120), process.returncode) for process in children]
    assert sorted(code for _output, code in results) == [0, 1, 1], results
    assert all(b"AlreadyExists" in errors for (_output, errors), code in results if code)
    assert not driver.get_instances(["contested"])["contested"].unfinished
    driver.destroy("contested")
    assert platform.snapshot() == before
