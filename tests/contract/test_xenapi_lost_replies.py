# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection drops before or after a call took effect: the next run converges, and nothing is there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract.platforms.xenapi import HOUSEKEEPING
from contract.task import done, nic, run, small

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = [pytest.mark.on("xenapi"), pytest.mark.slow]

NAME = "one"


def wanted(platform: XenApiPlatform) -> dict[str, Any]:
    return small(
        platform,
        NAME,
        state="running",
        image=platform.image,
        disks=[{"size": "8M"}],
        networks=[nic(platform)],
        cloud_init={"user_data": {"users": ["one"]}},
        metadata={"owner": "us"},
    )


def picture(platform: XenApiPlatform) -> tuple[int, int, list[str]]:
    """How many machines of the name there are, how many disks and NICs, and which volumes."""
    with platform.session() as api:
        machines = api.VM.get_by_name_label(NAME)
        devices = sum(len(api.VM.get_VBDs(vm)) + len(api.VM.get_VIFs(vm)) for vm in machines)
    return len(machines), devices, sorted(platform.volumes())


@pytest.mark.parametrize("when", ["before", "after"])
def test_of_a_creation(driver: ComputeDriver, platform: XenApiPlatform, when: str):
    empty = platform.snapshot()
    params = wanted(platform)
    calls = done(platform, **params).calls
    whole = picture(platform)
    done(platform, name=NAME, state="absent")
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        platform.server.faults.drop("*", when=when, skip=number - 1, but=HOUSEKEEPING)
        first = run(platform, **params)
        assert first.kind in (None, "hypervisor_unavailable"), (told, first.result)
        assert picture(platform)[0] <= 1, told
        done(platform, **params)
        assert picture(platform) == whole, told
        assert not done(platform, **params).changed, told
        done(platform, name=NAME, state="absent")
        assert platform.snapshot() == empty, told


@pytest.mark.parametrize("when", ["before", "after"])
def test_of_a_removal(driver: ComputeDriver, platform: XenApiPlatform, when: str):
    empty = platform.snapshot()
    done(platform, **wanted(platform))
    calls = done(platform, name=NAME, state="absent").calls
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        done(platform, **wanted(platform))
        platform.server.faults.drop("*", when=when, skip=number - 1, but=HOUSEKEEPING)
        first = run(platform, name=NAME, state="absent")
        assert first.kind in (None, "hypervisor_unavailable"), (told, first.result)
        done(platform, name=NAME, state="absent")
        assert platform.snapshot() == empty, told


@pytest.mark.parametrize("when", ["before", "after"])
def test_of_a_change(driver: ComputeDriver, platform: XenApiPlatform, when: str):
    done(platform, **wanted(platform))
    changed = {"memory_mb": 80, "description": "other", "networks": [nic(platform), nic(platform)]}
    back = {"memory_mb": 96, "description": "", "networks": [nic(platform)], "purge_networks": True}
    calls = done(platform, name=NAME, **changed).calls
    done(platform, name=NAME, **back)
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        platform.server.faults.drop("*", when=when, skip=number - 1, but=HOUSEKEEPING)
        first = run(platform, name=NAME, **changed)
        assert first.kind in (None, "hypervisor_unavailable"), (told, first.result)
        done(platform, name=NAME, **changed)
        found = driver.get_instances([NAME])[NAME]
        assert (found.memory_mb, found.description, len(found.nics or [])) == (80, "other", 2), told
        assert not done(platform, name=NAME, **changed).changed, told
        done(platform, name=NAME, **back)
