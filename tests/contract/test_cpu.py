# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's processor, and whether a guest of another one could run here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import IncompatibleCpu
from contract.helpers import where_supported


def test_description(driver: ComputeDriver):
    cpu = driver.get_cpu_info()
    assert cpu.arch
    assert min(cpu.sockets, cpu.cores, cpu.threads) >= 1
    assert cpu == driver.get_host_stats().cpu_info


def test_its_own_processor_is_compatible(driver: ComputeDriver):
    with where_supported(driver, "compare_cpu"):
        driver.compare_cpu(driver.get_cpu_info())


def test_a_processor_with_more_than_ours_is_not(driver: ComputeDriver):
    with where_supported(driver, "compare_cpu"):
        cpu = driver.get_cpu_info()
        with pytest.raises(IncompatibleCpu, match="sparc"):
            driver.compare_cpu(replace(cpu, arch="sparc"))
        lacking = next(
            feature for feature in ("amx-tile", "avx512-fp16", "sse4a", "3dnow") if feature not in cpu.features
        )
        with pytest.raises(IncompatibleCpu):
            driver.compare_cpu(replace(cpu, features=[*cpu.features, lacking]))
