# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of disks, conditions, and what only XenAPI knows of a VM."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.devices import (
    device_name,
    device_number,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.extras import (
    differing,
    domain_type,
    merged,
    read_extras,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.query import MOST, any_of


@pytest.mark.parametrize(
    ("position", "device"), [(0, "xvda"), (3, "xvdd"), (25, "xvdz"), (26, "xvdaa"), (254, "xvdiu")]
)
def test_devices(position: int, device: str):
    assert device_name(str(position)) == device
    assert device_number(device) == position


def test_devices_of_others():
    assert device_name("hdc") == "hdc"
    assert device_number("hdc") is None


def test_conditions():
    assert any_of("VM", ["b", "a", "a"]) == 'field "VM" = "a" or field "VM" = "b"'
    assert any_of("VM", []) is None
    assert any_of("name__label", ['say "hi"']) is None
    assert any_of("name__label", ["a\\"]) is None
    assert any_of("VM", [str(number) for number in range(MOST + 1)]) is None


@pytest.mark.parametrize(
    ("declared", "policy", "expected"),
    [("pv", "", "pv"), ("pv_in_pvh", "", "pv"), ("pvh", "", "pvh"), ("hvm", "x", "hvm"), ("unspecified", "", "pv")],
)
def test_domain_types(declared: str, policy: str, expected: str):
    assert domain_type({"domain_type": declared, "HVM_boot_policy": policy}) == expected


def test_domain_type_of_old_versions():
    assert domain_type({"domain_type": "unspecified", "HVM_boot_policy": "BIOS order"}) == "hvm"


def test_reading_extras():
    vm: dict[str, Any] = {
        "domain_type": "hvm",
        "HVM_boot_policy": "BIOS order",
        "affinity": "OpaqueRef:h1",
        "PV_bootloader": "",
        "platform": {"nx": "true"},
        "VCPUs_params": {},
        "xenstore_data": {"vm-data": "", "vm-data/hostname": "web1"},
        "other_config": {"anyvirt": "{}", "folder": "/a"},
    }
    assert read_extras(vm, {"OpaqueRef:h1": "xen1"}) == {
        "domain_type": "hvm",
        "affinity": "xen1",
        "platform": {"nx": "true"},
        "xenstore_data": {"vm-data": "", "vm-data/hostname": "web1"},
        "other_config": {"folder": "/a"},
    }


CURRENT = {"domain_type": "hvm", "platform": {"nx": "true", "acpi": "1"}, "affinity": "xen1"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"domain_type": "hvm", "platform": {"nx": True, "acpi": 1}, "affinity": "xen1"}, set()),
        ({"platform": {"nx": False}}, {"platform"}),
        ({"platform": {"nx": None}}, {"platform"}),
        ({"platform": {"viridian": None}}, set()),
        ({"xenstore_data": {"vm-data/a": "b"}}, {"xenstore_data"}),
        ({"affinity": ""}, {"affinity"}),
        ({"bootloader": ""}, set()),
        ({"bootloader": "pygrub"}, {"bootloader"}),
        ({"template": "whatever"}, set()),
    ],
)
def test_what_differs(wanted: dict[str, Any], expected: set[str]):
    assert differing(CURRENT, wanted) == expected


def test_merging():
    assert merged({"a": "1", "b": "2"}, {"b": None, "c": True, "d": None}) == {"a": "1", "c": "true"}
