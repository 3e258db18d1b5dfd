# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The serial console's log, and where VNC listens."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidPowerState, NotFound, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Console
from contract.helpers import where_supported
from contract.platforms.base import Platform


def test_the_console_is_kept_and_bounded(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "console_output"):
        platform.spawned(driver, "one", power_on=True)
        if not driver.supports("console_output"):
            driver.get_console_output("one")
        text = platform.wait_ready(driver, "one")
        end = driver.get_console_output("one", 20)
        assert len(end) == 20
        assert end in driver.get_console_output("one") or end[-5:] == text[-5:]
        assert isinstance(text, bytes)


def test_only_what_it_wrote_since_its_last_start(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "console_output"):
        platform.spawned(driver, "one", power_on=True)
        if not driver.supports("console_output"):
            driver.get_console_output("one")
        platform.wait_ready(driver, "one")
        driver.force_off("one")
        assert platform.ready in driver.get_console_output("one"), "it can be read when the guest is off"
        driver.power_on("one")
        assert platform.wait_ready(driver, "one").count(platform.ready) == 1


def test_an_instance_that_never_ran_wrote_nothing(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    with where_supported(driver, "console_output"):
        assert driver.get_console_output("one") == b""


def test_no_console_no_log(driver: ComputeDriver, platform: Platform):
    if driver.supports("console_output"):
        platform.spawned(driver, "dumb", console=Console(serial=False))
        with pytest.raises(Unsupported, match="dumb"):
            driver.get_console_output("dumb")


def test_vnc(driver: ComputeDriver, platform: Platform):
    with where_supported(driver, "vnc_console"):
        driver.spawn(driver.complete(platform.small("one", console=Console(serial=True, vnc=True))), power_on=False)
        with pytest.raises(InvalidPowerState):
            driver.get_vnc_console("one")
        driver.power_on("one")
        where = driver.get_vnc_console("one")
        assert where.host == "127.0.0.1"
        if where.url is None:
            assert where.port >= 5900
        else:
            assert f"//{where.host}:{where.port}/" in where.url


def test_no_vnc(driver: ComputeDriver, platform: Platform):
    console = Console(serial=True, vnc=False)
    if driver.check_parameter_syntax(platform.small("one", console=console)):
        assert driver.supports("vnc_console"), "what a hypervisor lacks need not be taken away"
        return
    with where_supported(driver, "vnc_console"):
        platform.spawned(driver, "one", console=console, power_on=True)
        with pytest.raises(NotFound, match="one"):
            driver.get_vnc_console("one")
