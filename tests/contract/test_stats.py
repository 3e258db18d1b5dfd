# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of disks, NICs and guests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidPowerState, NotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import BlockStats, Disk, InterfaceStats
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import where_supported
from contract.platforms.base import Platform


def test_while_running(driver: ComputeDriver, platform: Platform):
    over: dict[str, Any] = {"nics": [platform.nic(), platform.nic()]}
    if driver.supports("image"):
        over["disks"] = [Disk(role="root", size_bytes=8 * MIB), Disk(size_bytes=8 * MIB)]
    platform.spawned(driver, "busy", power_on=True, **over)
    interfaces = driver.list_interfaces("busy")
    assert len(set(interfaces)) == 2
    disks = driver.list_disks("busy")
    assert len(set(disks)) == len(over.get("disks", []))
    with where_supported(driver, "interface_stats"):
        for interface in interfaces:
            stats = driver.interface_stats("busy", interface)
            assert isinstance(stats, InterfaceStats)
            assert all(isinstance(value, int) for value in stats)
    with where_supported(driver, "block_stats"):
        for disk in disks or ["vda"]:
            stats = driver.block_stats("busy", disk)
            assert isinstance(stats, BlockStats)
            assert all(isinstance(value, int) for value in stats)
    with where_supported(driver, "diagnostics"):
        diagnostics = driver.get_diagnostics("busy")
        assert diagnostics
        assert all(isinstance(key, str) and isinstance(value, int) for key, value in diagnostics.items())
        assert "cpu0_time_ns" in diagnostics or "cpu_time_ns" in diagnostics
        if platform.name in ("fake", "libvirt", "xenapi"):
            assert "nic0_rx_bytes" in diagnostics


def test_all_at_once(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "on", power_on=True)
    platform.spawned(driver, "also", power_on=True)
    platform.spawned(driver, "off")
    with where_supported(driver, "diagnostics"):
        assert set(driver.get_all_diagnostics()) == {"on", "also"}
        assert set(driver.get_all_diagnostics(["on", "off", "ghost"])) == {"on"}
        assert set(driver.get_all_diagnostics()["on"]) == set(driver.get_diagnostics("on"))


OF_RUNNING: dict[str, Callable[[ComputeDriver], object]] = {
    "block_stats": lambda driver: driver.block_stats("off", "vda"),
    "interface_stats": lambda driver: driver.interface_stats("off", driver.list_interfaces("off")[0]),
    "diagnostics": lambda driver: driver.get_diagnostics("off"),
}


@pytest.mark.parametrize("feature", OF_RUNNING)
def test_while_off(driver: ComputeDriver, platform: Platform, feature: str):
    platform.spawned(driver, "off", nics=[platform.nic()])
    with where_supported(driver, feature):
        if driver.supports(feature):
            with pytest.raises(InvalidPowerState, match="off"):
                OF_RUNNING[feature](driver)
        else:
            OF_RUNNING[feature](driver)


def test_unknown_devices(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one", power_on=True)
    with where_supported(driver, "block_stats"):
        if driver.supports("block_stats"):
            with pytest.raises(NotFound, match="nodisk"):
                driver.block_stats("one", "nodisk")
        else:
            driver.block_stats("one", "nodisk")
    with where_supported(driver, "interface_stats"):
        if driver.supports("interface_stats"):
            with pytest.raises(NotFound, match="nonic"):
                driver.interface_stats("one", "nonic")
        else:
            driver.interface_stats("one", "nonic")
