# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What running guests can be given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.live import live_options, split_extras
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Boot, Disk, Instance, Nic

BASE = Instance(
    "one",
    memory_mb=96,
    max_memory_mb=128,
    vcpus=2,
    max_vcpus=4,
    disks=[Disk(device="xvda", size_bytes=1024)],
    nics=[],
    hypervisor={"domain_type": "hvm", "platform": {"acpi": "1"}},
    power_state=power_state.RUNNING,
)
NEW_DISK = Disk(size_bytes=1024)


def is_live(option: str, value: Any, **now: Any) -> bool:
    current = replace(BASE, **now)
    return live_options(current, replace(current, **{option: value}), {option}) == {option}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("memory_mb", 128, True),
        ("memory_mb", 64, True),
        ("memory_mb", 129, False),
        ("max_memory_mb", 256, False),
        ("vcpus", 4, True),
        ("vcpus", 2, True),
        ("vcpus", 1, False),
        ("vcpus", 5, False),
        ("max_vcpus", 8, False),
        ("nics", [], True),
        ("boot", Boot(order=["network"]), False),
        ("disks", [*(BASE.disks or []), NEW_DISK], True),
        ("disks", [*(BASE.disks or []), replace(NEW_DISK, read_only=True)], False),
        ("disks", [*(BASE.disks or []), Disk(kind=CDROM)], False),
        ("disks", [Disk(device="xvda", size_bytes=2048)], False),
        ("hypervisor", {"other_config": {"a": "1"}, "affinity": "xen1", "xenstore_data": {"vm-data/a": "1"}}, True),
        ("hypervisor", {"other_config": {"a": "1"}, "platform": {"acpi": "0"}}, False),
        ("hypervisor", {"other_config": {"a": "1"}, "platform": {"acpi": "1"}}, True),
        ("description", "other", True),
        ("autostart", True, True),
        ("cloud_init", None, False),
    ],
)
def test_of_a_running_guest(option: str, value: Any, expected: bool):
    assert is_live(option, value) == expected


@pytest.mark.parametrize("state", [power_state.PAUSED, power_state.SUSPENDED])
def test_of_one_that_stands_still(state: int):
    assert not is_live("memory_mb", 112, power_state=state)
    assert not is_live("nics", [Nic("lab")], power_state=state)
    assert is_live("locked", True, power_state=state)


@pytest.mark.parametrize("state", [power_state.RUNNING, power_state.PAUSED, power_state.SUSPENDED])
def test_how_it_is_filtered(state: int):
    mac = "02:16:3e:00:00:01"
    for option, value in (
        ("firewall", "none"),
        ("security_groups", []),
        ("project", "shop"),
        ("allow_project_net_traffic", True),
        ("nics", [Nic("lab", mac=mac.upper(), addresses=["10.0.0.7"])]),
    ):
        assert is_live(option, value, power_state=state, nics=[Nic("lab", mac=mac)]), option


def test_addresses_of_nics_that_wait_wait_with_them():
    nics = [Nic("lab", mac="02:16:3e:00:00:01")]
    wanted = [replace(nics[0], addresses=["10.0.0.7"])]
    state = power_state.PAUSED
    assert not is_live("nics", wanted, power_state=state, nics=nics, pending={"nics": ([], nics)})


@pytest.mark.parametrize("state", sorted(power_state.OFF))
def test_of_one_that_is_off(state: int):
    assert is_live("max_memory_mb", 512, power_state=state)
    assert is_live("boot", Boot(), power_state=state)


def test_what_the_guest_has_counts_and_not_what_waits():
    pending = {"max_memory_mb": (128, 512), "max_vcpus": (4, 8), "vcpus": (4, 2)}
    waiting = {"max_memory_mb": 512, "max_vcpus": 8, "pending": pending}
    assert not is_live("memory_mb", 256, **waiting)
    assert not is_live("vcpus", 3, **waiting)
    assert is_live("vcpus", 4, **waiting)


def test_pv_guests_take_disks_that_they_may_only_read():
    disks = [*(BASE.disks or []), replace(NEW_DISK, read_only=True)]
    assert is_live("disks", disks, hypervisor={"domain_type": "pv"})


def test_extras_are_split():
    assert split_extras({"affinity": "a", "platform": {}, "bootloader": "b"}) == (
        {"affinity": "a"},
        {"platform": {}, "bootloader": "b"},
    )
