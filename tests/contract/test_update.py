# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""update_instance: what is asked changes, nothing else does, and it can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import (
    CloudInit,
    Console,
    Cpu,
    Disk,
    Instance,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import where_supported
from contract.platforms.base import Platform

Change = Callable[[Instance, Platform], dict[str, Any]]

CHANGES: dict[str, tuple[list[str], Change]] = {
    "less memory": ([], lambda now, _: {"memory_mb": 64}),
    "more memory": ([], lambda now, _: {"memory_mb": 128, "max_memory_mb": 128}),
    "memory to grow into": ([], lambda now, _: {"max_memory_mb": 256}),
    "more vcpus": ([], lambda now, _: {"vcpus": 2, "max_vcpus": 2}),
    "vcpus to grow into": (["vcpus_live"], lambda now, _: {"max_vcpus": 4}),
    "flavor": ([], lambda now, _: {"flavor": Flavor("other", 96, 1, rxtx=2.0)}),
    "description": ([], lambda now, _: {"description": "new & <improved>"}),
    "no description": ([], lambda now, _: {"description": ""}),
    "metadata": (["metadata"], lambda now, _: {"metadata": {"b": "2", "c": "<3>"}}),
    "no metadata": (["metadata"], lambda now, _: {"metadata": {}}),
    "locked": (["metadata"], lambda now, _: {"locked": True}),
    "protected": (["metadata"], lambda now, _: {"protected": True}),
    "autostart": (["autostart"], lambda now, _: {"autostart": True}),
    "one nic more": (
        ["nics"],
        lambda now, platform: {"nics": [*now.nics, platform.nic(mac="52:54:00:01:02:03")]},
    ),
    "no nic": (["nics"], lambda now, _: {"nics": []}),
    "vnc": (["vnc_address"], lambda now, _: {"console": Console(serial=True, vnc=True, vnc_listen="127.0.0.1")}),
    "command line": (["kernel_boot"], lambda now, _: {"boot": replace(now.boot, cmdline="console=ttyS0 quiet new=1")}),
    "cpu": (["vcpus_live"], lambda now, _: {"cpu": Cpu(sockets=1, cores=1, threads=1)}),
    "seed": (["cloud_init"], lambda now, _: {"cloud_init": CloudInit(user_data="#cloud-config\n")}),
    "one disk more": (["image"], lambda now, _: {"disks": [*now.disks, Disk(size_bytes=4 * MIB)]}),
    "larger root disk": (
        ["root_grow"],
        lambda now, _: {"disks": [replace(now.disks[0], size_bytes=128 * MIB), *now.disks[1:]]},
    ),
}

FOLLOWS = {
    "cloud_init": {"cloud_init_fingerprint", "disks", "cloud_init"},
    "console": {"console"},
    "disks": {"disks"},
    "max_vcpus": {"max_vcpus", "cpu"},
}
"""Options whose change is seen in other fields too."""


def base(driver: ComputeDriver, platform: Platform) -> Instance:
    over: dict[str, Any] = {"description": "old", "metadata": {"a": "1", "b": "1"}, "nics": [platform.nic()]}
    if driver.supports("image"):
        over["disks"] = [Disk(role="root", size_bytes=64 * MIB)]
    return platform.spawned(driver, "changing", **over)


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_while_off(driver: ComputeDriver, platform: Platform, change: str):
    needed, make = CHANGES[change]
    current = base(driver, platform)
    before = platform.snapshot()
    with where_supported(driver, *needed):
        if not all(driver.supports(feature) for feature in needed):
            driver.require(next(feature for feature in needed if not driver.supports(feature)))
        changed = make(current, platform)
        desired = replace(current, **changed)
        undo = driver.update_instance(current, desired, set(changed), set())
        found = driver.get_instances(["changing"])["changing"]
        _assert_changed(current, found, changed)
        if change == "larger root disk" and not platform.shrinks_disks:
            with pytest.raises(AnyvirtError, match="could not all be taken back") as caught:
                undo()
            assert "xvda" in str(caught.value.not_undone)
            return
        undo()
        assert platform.snapshot() == before
        assert driver.get_instances(["changing"])["changing"] == current


def _assert_changed(current: Instance, found: Instance, changed: dict[str, Any]) -> None:
    may_change = set(changed).union(*(FOLLOWS.get(option, set()) for option in changed))
    for field in fields(Instance):
        if field.name not in may_change:
            assert getattr(found, field.name) == getattr(current, field.name), field.name
    for option, value in changed.items():
        seen = getattr(found, option)
        if option == "cloud_init":
            assert found.cloud_init_fingerprint == value.fingerprint()
        elif option == "disks":
            assert [disk.size_bytes for disk in seen] == [disk.size_bytes for disk in value]
        elif option == "nics":
            assert [nic.mac for nic in seen] == [nic.mac for nic in value]
        elif option in ("console", "boot", "cpu"):
            for part, wanted in vars(value).items():
                assert wanted is None or getattr(seen, part) == wanted, part
        else:
            assert seen == value or (option == "description" and not value and not seen)


@pytest.mark.parametrize("change", ["more memory", "more vcpus", "command line"])
def test_what_a_running_guest_cannot_feel_is_pending(driver: ComputeDriver, platform: Platform, change: str):
    needed, make = CHANGES[change]
    with where_supported(driver, *needed):
        if needed and not driver.supports(needed[0]):
            driver.require(needed[0])
        current = platform.spawned(driver, "waiting", power_on=True)
        changed = make(current, platform)
        desired = replace(current, **changed)
        assert driver.live_options(current, desired, set(changed)) == set()
        driver.update_instance(current, desired, set(changed), set())
        found = driver.get_instances(["waiting"])["waiting"]
        for option, value in changed.items():
            assert getattr(found, option) == value
            if isinstance(value, int):
                assert found.pending[option] == (getattr(current, option), value)
        assert set(found.pending) == set(changed)
        driver.force_off("waiting")
        driver.power_on("waiting")
        assert driver.get_instances(["waiting"])["waiting"].pending == {}


@pytest.mark.parametrize("change", ["description", "metadata", "locked", "protected", "flavor", "autostart"])
def test_what_no_guest_feels_is_live(driver: ComputeDriver, platform: Platform, change: str):
    needed, make = CHANGES[change]
    with where_supported(driver, *needed):
        if needed and not driver.supports(needed[0]):
            driver.require(needed[0])
        current = platform.spawned(driver, "running", power_on=True)
        changed = make(current, platform)
        desired = replace(current, **changed)
        assert driver.live_options(current, desired, set(changed)) == set(changed)
        driver.update_instance(current, desired, set(changed), set(changed))
        found = driver.get_instances(["running"])["running"]
        assert found.pending == {}
        assert all(getattr(found, option) == value for option, value in changed.items())


def test_many_changes_at_once(driver: ComputeDriver, platform: Platform):
    current = base(driver, platform)
    before = platform.snapshot()
    changed: dict[str, Any] = {}
    for change in ("more memory", "more vcpus", "flavor", "description", "metadata", "locked", "one nic more"):
        needed, make = CHANGES[change]
        if all(driver.supports(feature) for feature in needed):
            changed.update(make(current, platform))
    undo = driver.update_instance(current, replace(current, **changed), set(changed), set())
    _assert_changed(current, driver.get_instances(["changing"])["changing"], changed)
    undo()
    assert platform.snapshot() == before
