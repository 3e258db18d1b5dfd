# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading: right, and in a constant number of calls."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from contract.platforms.base import Platform


def test_nothing_there(driver: ComputeDriver):
    assert driver.list_instances() == []
    assert driver.list_instances_detail() == []
    assert driver.get_instances() == {}
    assert driver.get_instances([]) == {}
    assert driver.list_instances_detail([]) == []


def test_listing(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "beta")
    platform.spawned(driver, "alpha", power_on=True)
    assert driver.list_instances() == ["alpha", "beta"]
    details = driver.list_instances_detail()
    assert [info.name for info in details] == ["alpha", "beta"]
    assert [info.state for info in details] == [power_state.RUNNING, power_state.SHUTOFF]
    for info in details:
        assert (info.max_mem_kib, info.num_cpu, info.persistent) == (96 * 1024, 1, True)
    assert details[1].autostart is False
    assert details[0].mem_kib <= 96 * 1024
    assert details[0].cpu_time_ns is None or details[0].cpu_time_ns >= 0


def test_names_that_do_not_exist_are_left_out(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    platform.spawned(driver, "two")
    assert [info.name for info in driver.list_instances_detail(["two", "three"])] == ["two"]
    assert list(driver.get_instances(["two", "three"])) == ["two"]


def test_get_info_agrees_with_the_listing(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    [listed] = driver.list_instances_detail(["one"])
    asked = driver.get_info("one")
    for field in ("name", "state", "max_mem_kib", "num_cpu"):
        assert getattr(asked, field) == getattr(listed, field), field


def test_get_instances_tells_the_power_state(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "on", power_on=True)
    platform.spawned(driver, "off")
    states = {name: instance.power_state for name, instance in driver.get_instances().items()}
    assert states == {"on": power_state.RUNNING, "off": power_state.SHUTOFF}


def test_another_connection_reads_the_same(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one", description="x", metadata={"a": "b"}, nics=[platform.nic()])
    assert platform.driver().get_instances() == driver.get_instances()


READS = {
    "list_instances": lambda driver: driver.list_instances(),
    "list_instances_detail": lambda driver: driver.list_instances_detail(),
    "get_all_diagnostics": lambda driver: driver.get_all_diagnostics(),
    "get_info": lambda driver: driver.get_info("many-0"),
    "get_host_stats": lambda driver: driver.get_host_stats(),
    "find_remains": lambda driver: driver.find_remains([f"many-{number}" for number in range(50)]),
    "get_addresses": lambda driver: driver.get_addresses([f"many-{number}" for number in range(50)]),
    "validate_parameters": lambda driver: driver.validate_parameters(list(driver.get_instances().values())),
    "get_instances": lambda driver: driver.get_instances(),
}
EACH_COSTS_CALLS = {"get_instances", "validate_parameters", "get_addresses"}
"""There is no bulk call for configurations, so each instance may cost two calls more."""
NO_BULK_STATS = {"lxc", "xen"}
"""Here libvirt has no bulk call for states and counters either."""

SIZES_ONE_BY_ONE = ("lxc", "xen")
"""libvirt has no bulk call for the sizes of these, so a listing costs one more for each."""


@pytest.mark.slow
def test_fifty_cost_as_many_calls_as_five(driver: ComputeDriver, platform: Platform):
    counts: dict[str, list[int]] = {read: [] for read in READS}
    for first, end in ((0, 5), (5, 50)):
        for number in range(first, end):
            driver.spawn(driver.complete(platform.small(f"many-{number}", nics=[platform.nic()])), power_on=False)
        reader = platform.driver()
        for read, ask in READS.items():
            ask(reader)
            with platform.calls.recording() as calls:
                ask(reader)
            assert calls.writes == [], read
            counts[read].append(len(calls))
    for read, (few, many) in counts.items():
        each = 2 if read in EACH_COSTS_CALLS and platform.name not in ("fake", "xenapi") else 0
        if read == "list_instances_detail" and platform.name in SIZES_ONE_BY_ONE:
            each = 1
        allowed = few + each * 45
        assert 0 < few <= 30, (read, few)
        assert many <= allowed, (read, few, many)
