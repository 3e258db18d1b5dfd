# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capabilities: declared as data, and true: what is declared to be missing is refused with a hint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import (
    ACPI,
    AGENT,
    FORCED,
    HARD,
    SOFT,
    ComputeDriver,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.capabilities import FEATURES, Support
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, CloudInit, Console, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import where_supported
from contract.platforms.base import Platform


def test_each_feature_is_declared(driver: ComputeDriver):
    declared = driver.capabilities
    assert set(declared) == set(FEATURES)
    for feature, support in declared.items():
        assert isinstance(support, Support)
        assert support.works or support.note, f"{feature}: say why, or what to use instead"


def test_an_unknown_feature_is_a_mistake_of_ours(driver: ComputeDriver):
    with pytest.raises(KeyError):
        driver.supports("flying")


@pytest.mark.parametrize("feature", FEATURES)
def test_require(driver: ComputeDriver, feature: str):
    with where_supported(driver, feature):
        driver.require(feature)


OF_RUNNING: dict[str, Callable[[ComputeDriver], Any]] = {
    "shutdown_acpi": lambda driver: driver.power_off("one", ACPI, timeout_s=1),
    "shutdown_agent": lambda driver: driver.power_off("one", AGENT, timeout_s=1),
    "shutdown_forced": lambda driver: driver.power_off("one", FORCED),
    "reboot_soft": lambda driver: driver.reboot("one", SOFT, timeout_s=1),
    "reboot_hard": lambda driver: driver.reboot("one", HARD, timeout_s=1),
    "pause": lambda driver: driver.pause("one"),
    "suspend": lambda driver: driver.suspend("one"),
    "memory_live": lambda driver: driver.balloon_memory("one", 80),
    "diagnostics": lambda driver: driver.get_diagnostics("one"),
    "console_output": lambda driver: driver.get_console_output("one"),
    "vnc_console": lambda driver: driver.get_vnc_console("one"),
    "block_stats": lambda driver: driver.block_stats("one", "vda"),
    "interface_stats": lambda driver: driver.interface_stats("one", "nic0"),
    "compare_cpu": lambda driver: driver.compare_cpu(driver.get_cpu_info()),
}

TO_SPAWN: dict[str, dict[str, Any]] = {
    "image": {"image": "/images/some.qcow2"},
    "existing_volume": {"disks": [Disk(volume="some.img", pool="some")]},
    "existing_file": {"disks": [Disk(path="/images/some.img")]},
    "kernel_boot": {"boot": Boot(kernel="/boot/vmlinuz")},
    "uefi": {"boot": Boot(firmware="uefi")},
    "cloud_init": {"cloud_init": CloudInit(user_data="#cloud-config\n")},
    "autostart": {"autostart": True},
    "vnc_console": {"console": Console(vnc=True)},
    "firewall": {"security_groups": []},
    "vnc_address": {"console": Console(vnc=True, vnc_port=5999)},
}


def test_operations_that_do_not_work_are_refused(driver: ComputeDriver, platform: Platform):
    missing = [feature for feature in OF_RUNNING if not driver.supports(feature)]
    if not missing:
        return
    platform.spawned(driver, "one", power_on=True)
    before = driver.get_info("one").state
    for feature in missing:
        with where_supported(driver, feature):
            OF_RUNNING[feature](driver)
        assert driver.get_info("one").state == before, feature


def test_instances_that_do_not_work_are_refused(driver: ComputeDriver, platform: Platform):
    before = platform.snapshot()
    for feature, over in TO_SPAWN.items():
        if driver.supports(feature):
            continue
        instance = platform.small("one", **over)
        problems = driver.check_parameter_syntax(instance)
        assert problems, f"{feature}: refused before anything is sent"
        assert any(driver.name in problem.message for problem in problems), feature
        with pytest.raises(Unsupported):
            driver.spawn(driver.complete(instance), power_on=False)
        assert platform.snapshot() == before


def test_what_works_has_no_problems(driver: ComputeDriver, platform: Platform):
    over: dict[str, Any] = {"nics": [platform.nic()]}
    if driver.supports("image"):
        over["disks"] = [Disk(role="root", image=platform.image), Disk(size_bytes=MIB)]
    instance = driver.complete(platform.small("one", **over))
    assert driver.check_parameter_syntax(instance) == []
    assert driver.validate_parameters([instance]) == {}
