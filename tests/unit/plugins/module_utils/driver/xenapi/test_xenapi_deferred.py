# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that wait for the next start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.deferred import (
    WaitingSeed,
    defer,
    overlay,
    show_unplugged,
    waiting_options,
    waiting_seed,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.metadata import (
    Record,
    read_record,
    with_record,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import (
    CDROM,
    Boot,
    Cpu,
    Disk,
    Instance,
    Nic,
)

FIRST, SECOND = Nic(network="lab", mac="52:00:00:00:00:01"), Nic(bridge="xenbr0", mac="52:00:00:00:00:02")


def actual(**over: Any) -> Instance:
    """As XenAPI has it."""
    values = {
        "memory_mb": 96,
        "max_memory_mb": 96,
        "vcpus": 1,
        "max_vcpus": 1,
        "nics": [FIRST],
        "boot": Boot(kernel="/boot/k", cmdline="quiet"),
        "cpu": Cpu(mode="default"),
        "hypervisor": {"domain_type": "pv", "platform": {"acpi": "1"}},
        "power_state": power_state.RUNNING,
    }
    return Instance("one", **{**values, **over})


def shown(deferred: dict[str, Any], now: Instance | None = None, **of_record: Any) -> Instance:
    """As it is read, after a way through the VM's other_config."""
    vm = {"uuid": "u", "other_config": with_record({}, Record(id="i", vm_uuid="u", deferred=deferred, **of_record))}
    record = read_record(vm)
    assert record is not None
    instance = now or actual()
    overlay(instance, record)
    return instance


DEFERRABLE: dict[str, Any] = {
    "memory_mb": 128,
    "max_memory_mb": 256,
    "vcpus": 2,
    "max_vcpus": 4,
    "nics": [FIRST, SECOND],
    "boot": Boot(kernel="/boot/k", cmdline="other"),
    "cpu": Cpu(mode="default", sockets=2, cores=2, threads=1),
}


@pytest.mark.parametrize("option", DEFERRABLE)
def test_there_and_back(option: str):
    value = DEFERRABLE[option]
    before = getattr(actual(), option)
    deferred = defer({}, actual(), replace(actual(), **{option: value}), {option})
    assert set(deferred) == {option}
    found = shown(deferred)
    assert getattr(found, option) == value
    assert found.pending == {option: (before, value)}
    instance, options = waiting_options(actual(), Record(deferred=deferred))
    assert (getattr(instance, option), options) == (value, {option})
    assert defer(deferred, actual(), replace(actual(), **{option: before}), {option}) == {}


def test_what_cannot_wait_does_not():
    desired = replace(actual(), description="other", metadata={"a": "b"}, disks=[])
    assert defer({}, actual(), desired, {"description", "metadata", "disks", "console"}) == {}


def test_nothing_is_pending_of_one_that_is_off():
    found = shown({"vcpus": 2}, actual(power_state=power_state.SHUTOFF))
    assert (found.vcpus, found.pending) == (2, {})


def test_of_a_suspended_one_it_is():
    assert shown({"vcpus": 2}, actual(power_state=power_state.SUSPENDED)).pending == {"vcpus": (1, 2)}


def test_what_the_guest_has_counts():
    """The VM says two, its guest was started with one, and our record with three."""
    now = actual(vcpus=2, pending={"vcpus": (1, 2)})
    assert shown({"vcpus": 3}, now).pending == {"vcpus": (1, 3)}
    now = actual(vcpus=2, pending={"vcpus": (1, 2)})
    assert shown({"vcpus": 1}, now).pending == {}
    now = actual(vcpus=2, pending={"vcpus": (1, 2)})
    assert defer({}, now, replace(now, vcpus=1), {"vcpus"}) == {}


def test_an_empty_text_takes_away_and_is_not_read_back():
    deferred = defer({}, actual(), replace(actual(), boot=Boot(kernel="/boot/k", cmdline="")), {"boot"})
    assert deferred == {"boot": {"kernel": "/boot/k"}}
    assert shown(deferred).boot == Boot(kernel="/boot/k")


def test_extras_add_up():
    deferred = defer({}, actual(), Instance("one", hypervisor={"platform": {"a": 1}}), {"hypervisor"})
    more = Instance("one", hypervisor={"platform": {"b": True, "acpi": None}, "bootloader": "pygrub", "template": "x"})
    deferred = defer(deferred, actual(), more, {"hypervisor"})
    assert deferred == {"hypervisor": {"platform": {"a": 1, "b": True, "acpi": None}, "bootloader": "pygrub"}}
    found = shown(deferred)
    assert found.hypervisor == {"domain_type": "pv", "platform": {"a": "1", "b": "true"}, "bootloader": "pygrub"}
    assert found.pending["hypervisor"] == (
        {"bootloader": None, "platform": {"acpi": "1"}},
        {"bootloader": "pygrub", "platform": {"a": "1", "b": "true"}},
    )
    back = Instance("one", hypervisor={"platform": {"a": None, "b": None, "acpi": "1"}, "bootloader": ""})
    assert defer(deferred, actual(), back, {"hypervisor"}) == {}


def test_a_seed_waits():
    waiting = {"cloud_init": {"vdi": "uuid", "was": "old"}}
    assert waiting_seed(Record(deferred=waiting)) == WaitingSeed("uuid", "old")
    assert shown(waiting, cloud_init_fingerprint="new").pending == {"cloud_init": ("old", "new")}
    assert defer(waiting, actual(), replace(actual(), vcpus=2), {"vcpus"}) == {**waiting, "vcpus": 2}
    assert waiting_options(actual(), Record(deferred=waiting))[1] == set()


@pytest.mark.parametrize(
    "nonsense",
    [
        {"memory_mb": "much"},
        {"nics": 5},
        {"nics": [{"color": "red"}]},
        {"boot": {"color": "red"}},
        {"boot": None},
        {"hypervisor": "x"},
        {"hypervisor": {"platform": 3}},
        {"cloud_init": {}},
        {"cloud_init": "x"},
        {"nothing": 1},
    ],
)
def test_what_others_write_into_the_record_does_no_harm(nonsense: dict[str, Any]):
    assert shown(nonsense) == actual()
    assert waiting_seed(Record(deferred=nonsense)) is None
    assert waiting_options(actual(), Record(deferred=nonsense))[1] == set()


def test_disks_that_are_not_plugged_yet_are_pending():
    def vbd(number: int, plugged: bool, kind: str = "Disk") -> dict[str, Any]:
        return {"userdevice": str(number), "currently_attached": plugged, "type": kind}

    disks = [Disk(device="xvda"), Disk(device="xvdb"), Disk(device="xvdd", kind=CDROM)]
    instance = actual(disks=disks)
    show_unplugged(instance, [vbd(0, True), vbd(1, False), vbd(3, False, "CD")])
    assert instance.pending == {"disks": ([disks[0], disks[2]], disks)}
    instance = actual(disks=disks, power_state=power_state.SHUTOFF)
    show_unplugged(instance, [vbd(0, False), vbd(1, False)])
    assert instance.pending == {}
