# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""plug_vifs and unplug_vifs."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AlreadyExists
from contract.helpers import where_supported
from contract.platforms.base import Platform

FIRST, SECOND = "52:54:00:01:00:01", "52:54:00:01:00:02"


def macs(driver: ComputeDriver, name: str) -> list[str | None]:
    return [nic.mac for nic in driver.get_instances([name])[name].nics or []]


def test_while_off(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one", nics=[platform.nic(mac=FIRST)])
    with where_supported(driver, "nics"):
        driver.plug_vifs("one", [platform.nic(mac=SECOND)])
        assert macs(driver, "one") == [FIRST, SECOND]
        driver.unplug_vifs("one", [FIRST, "52:54:00:99:99:99"])
        assert macs(driver, "one") == [SECOND]
        before = platform.snapshot()
        driver.unplug_vifs("one", [FIRST])
        assert platform.snapshot() == before


def test_while_running(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one", power_on=True)
    platform.prepare_hotplug(driver, "one")
    with where_supported(driver, "nics_live"):
        driver.plug_vifs("one", [platform.nic(mac=FIRST)])
        found = driver.get_instances(["one"])["one"]
        assert [nic.mac for nic in found.nics or []] == [FIRST]
        assert found.pending == {}
        assert len(driver.list_interfaces("one")) == 1
        driver.unplug_vifs("one", [FIRST])
        found = driver.get_instances(["one"])["one"]
        assert not found.nics
        assert found.pending == {}
        assert driver.list_interfaces("one") == []


def test_a_mac_that_is_taken(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one", nics=[platform.nic(mac=FIRST)])
    platform.spawned(driver, "two")
    problems = driver.validate_parameters([driver.complete(platform.small("three", nics=[platform.nic(mac=FIRST)]))])
    assert list(problems) == ["three"]
    assert FIRST in str(problems["three"][0])
    assert "one" in str(problems["three"][0])
    before = platform.snapshot()
    with where_supported(driver, "nics"), pytest.raises(AlreadyExists, match=FIRST):
        driver.plug_vifs("two", [platform.nic(mac=FIRST)])
    assert platform.snapshot() == before


def test_its_own_mac_is_not_taken(driver: ComputeDriver, platform: Platform):
    instance = platform.spawned(driver, "one", nics=[platform.nic(mac=FIRST)])
    assert driver.validate_parameters([instance]) == {}
