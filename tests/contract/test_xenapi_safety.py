# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is not an instance's own stays, whatever is removed, repeated or cut short."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ALL, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    HypervisorUnavailable,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")

CREATING = ".anyvirt-creating"


def made(driver: ComputeDriver, name: str = "one", **over: Any) -> Instance:
    wanted = Instance(name, **{"memory_mb": 96, "vcpus": 1, "pool": "shared", **over})
    driver.spawn(driver.complete(wanted), power_on=False)
    return driver.get_instances([name])[name]


def with_disk(driver: ComputeDriver, disk: Disk) -> Any:
    now = driver.get_instances(["one"])["one"]
    desired = replace(now, disks=[*(now.disks or []), disk])
    return driver.update_instance(now, desired, {"disks"}, {"disks"})


def record_of(api: Any, name: str) -> dict[str, Any]:
    [vm] = api.VM.get_by_name_label(name)
    return dict(json.loads(api.VM.get_other_config(vm)["anyvirt"]))


def test_a_disk_that_somebody_has_detached_is_not_made_anew(driver: ComputeDriver, platform: XenApiPlatform):
    made(driver, disks=[Disk(size_bytes=MIB)])
    with_disk(driver, Disk(size_bytes=MIB))
    with platform.session() as api:
        [vdi] = api.VDI.get_by_name_label("one.xvdb")
        [vbd] = api.VDI.get_VBDs(vdi)
        api.VBD.destroy(vbd)
        with pytest.raises(AlreadyExists, match=r"one\.xvdb"):
            with_disk(driver, Disk(size_bytes=MIB))
        assert api.VDI.get_by_name_label("one.xvdb") == [vdi]


def made_with_half_a_disk(driver: ComputeDriver, platform: XenApiPlatform) -> None:
    """An instance with one disk, and what a killed change leaves of another."""
    made(driver, disks=[Disk(size_bytes=MIB)])
    for call in ("VBD.create", "VDI.destroy"):
        platform.server.faults.drop(call, times=None)
    with pytest.raises(HypervisorUnavailable):
        with_disk(driver, Disk(size_bytes=MIB))
    platform.server.faults.clear()


def test_a_disk_of_a_killed_change_is_made_anew(driver: ComputeDriver, platform: XenApiPlatform):
    made_with_half_a_disk(driver, platform)
    with_disk(driver, Disk(size_bytes=MIB))
    assert platform.volumes() == {"one.xvda", "one.xvdb"}
    driver.destroy("one")
    assert platform.volumes() == set()


def test_a_disk_of_a_killed_change_remains_and_is_removed(driver: ComputeDriver, platform: XenApiPlatform):
    made_with_half_a_disk(driver, platform)
    driver.destroy("one")
    assert driver.find_remains(["one"]) == {"one"}
    driver.destroy("one")
    assert platform.volumes() == set()


def test_a_clone_of_a_killed_change_is_removed(driver: ComputeDriver, platform: XenApiPlatform):
    """The change was killed before the clone got its name, and before the mark was taken off its source."""
    made(driver)
    with platform.session() as api:
        [source] = api.VDI.get_by_name_label("golden-image")
        mark = f"anyvirt-clone:{record_of(api, 'one')['id']}"
        api.VDI.add_to_other_config(source, mark, api.VDI.get_uuid(source))
        api.VDI.clone(source)
        snapshot = api.VDI.snapshot(source)
        with_disk(driver, Disk(image="golden-image"))
        assert mark not in api.VDI.get_other_config(source)
        assert sorted(api.VDI.get_by_name_label("golden-image")) == sorted([source, snapshot])
    [disk] = driver.get_instances(["one"])["one"].disks or []
    assert disk.image == "golden-image"


def test_disks_with_anothers_mark_are_not_removed(driver: ComputeDriver, platform: XenApiPlatform):
    """Somebody has cloned a VM while a spawn that was killed later was cloning one of its disks."""
    made(driver, "other", disks=[Disk(size_bytes=MIB)])
    with platform.session() as api:
        [template] = api.VM.get_by_name_label("golden")
        clone = api.VM.clone(template, f"one{CREATING}")
        api.VM.add_to_other_config(clone, "anyvirt", json.dumps({"id": "killed", "unfinished": True}))
        [vdi] = api.VDI.get_by_name_label("other.xvda")
        api.VDI.add_to_other_config(vdi, "anyvirt-clone:killed", "another's UUID")
        [source] = api.VDI.get_by_name_label("golden-image")
        api.VDI.add_to_other_config(source, "anyvirt-clone:killed", api.VDI.get_uuid(source))
        snapshot = api.VDI.snapshot(source)
        driver.destroy("one")
        assert api.VDI.get_by_name_label("other.xvda") == [vdi]
        assert snapshot in api.VDI.get_by_name_label("golden-image")
        assert api.VM.get_by_name_label(f"one{CREATING}") == []


def test_a_removal_that_was_cut_short_and_asked_for_otherwise(driver: ComputeDriver, platform: XenApiPlatform):
    """A volume that was to go along at first, and is not to any more, stays."""
    with platform.session() as api:
        made(driver, "other", disks=[Disk(size_bytes=MIB)])
        driver.destroy("other", "none")
        [volume] = api.VDI.get_by_name_label("other.xvda")
        made(driver, disks=[Disk(volume="other.xvda", pool="shared")])
        platform.server.faults.drop("VM.destroy", "before", times=None)
        platform.server.faults.drop("VDI.set_other_config", "before", times=None, skip=1)
        with pytest.raises(AnyvirtError):
            platform.driver(call_timeout_s=5.0).destroy("one", ALL)
        platform.server.faults.clear()
        driver.destroy("one")
        assert api.VDI.get_by_name_label("other.xvda") == [volume]
        assert driver.find_remains(["one"]) == set()


def test_anothers_clone_is_not_removed(driver: Any, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch):
    """Another run has begun to make the same instance, and has not written its record yet."""
    run_task = driver.run_task

    def meanwhile(method: str, *params: Any, **options: Any) -> Any:
        if method == "VM.clone":
            with platform.session() as api:
                api.VM.clone(*params)
                params = ("OpaqueRef:gone", *params[1:])
        return run_task(method, *params, **options)

    monkeypatch.setattr(driver, "run_task", meanwhile)
    wanted = driver.complete(Instance("one", memory_mb=96, vcpus=1, hypervisor={"template": "golden"}))
    with pytest.raises(AnyvirtError):
        driver.spawn(wanted)
    assert len(platform.server.db.find("VM", name_label=f"one{CREATING}")) == 1


def test_volumes_that_are_looked_up_while_others_are_deleted(
    driver: Any, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch
):
    places, fetch = driver.places(), driver.fetch
    places.vdis(["golden-image"])

    def meanwhile(*params: Any) -> Any:
        places.forget_vdis()
        return fetch(*params)

    monkeypatch.setattr(driver, "fetch", meanwhile)
    found = places.vdis(["golden-image", "tools.iso"])
    assert [len(found["golden-image"]), len(found["tools.iso"])] == [1, 1]


def test_other_settings_of_the_pool_stay(driver: ComputeDriver, platform: XenApiPlatform):
    """Somebody sets something of the pool while the start of an instance with autostart is failing."""
    db = platform.server.db
    [pool] = db.refs("pool")
    db.set("pool", pool, other_config={"mine": "1"})
    platform.server.faults.fail("VM.start", "HOST_NOT_ENOUGH_FREE_MEMORY", "1", "2")
    platform.server.faults.delay("VM.start", 1.0)
    timer = threading.Timer(
        0.5, lambda: db.set("pool", pool, other_config={**db.get("pool", pool, "other_config"), "yours": "2"})
    )
    timer.start()
    with pytest.raises(AnyvirtError):
        driver.spawn(driver.complete(Instance("one", memory_mb=96, vcpus=1, pool="shared", autostart=True)))
    timer.join()
    assert db.get("pool", pool, "other_config") == {"mine": "1", "yours": "2"}


@pytest.mark.parametrize("call", ["VIF.create", "VM.set_name_label", "VM.provision", "VM.start"])
def test_a_given_volume_outlives_a_spawn_that_fails(driver: ComputeDriver, platform: XenApiPlatform, call: str):
    made(driver, "other", disks=[Disk(size_bytes=MIB)])
    driver.destroy("other", "none")
    before = platform.snapshot()
    disks = [Disk(size_bytes=16 * MIB), Disk(size_bytes=8 * MIB), Disk(volume="other.xvda", pool="shared")]
    wanted = Instance("one", memory_mb=96, vcpus=1, disks=disks, nics=[platform.nic()])
    platform.server.faults.fail(call)
    with pytest.raises(AnyvirtError) as caught:
        driver.spawn(driver.complete(replace(wanted, hypervisor={"template": "golden"})))
    assert caught.value.not_undone == []
    assert platform.snapshot() == before


@pytest.mark.parametrize("call", ["VIF.create", "VM.set_name_label", "VM.provision", "VM.start"])
def test_a_given_volume_outlives_a_spawn_that_is_killed(driver: ComputeDriver, platform: XenApiPlatform, call: str):
    made(driver, "other", disks=[Disk(size_bytes=MIB)])
    driver.destroy("other", "none")
    before = platform.snapshot()
    disks = [Disk(size_bytes=16 * MIB), Disk(size_bytes=8 * MIB), Disk(volume="other.xvda", pool="shared")]
    wanted = Instance("one", memory_mb=96, vcpus=1, disks=disks, nics=[platform.nic()])
    killed = platform.driver(call_timeout_s=5.0)
    instance = killed.complete(replace(wanted, hypervisor={"template": "golden"}))
    for pattern in (call, "V*.destroy", "VM.hard_shutdown"):
        platform.server.faults.drop(pattern, times=None)
    with pytest.raises(AnyvirtError):
        killed.spawn(instance)
    platform.server.faults.clear()
    driver.destroy("one")
    assert platform.snapshot() == before


def test_snapshots_of_read_only_disks_go_along(driver: ComputeDriver, platform: XenApiPlatform):
    before = platform.snapshot()
    given = [Disk(volume="golden-image", pool="shared", read_only=True)]
    driver.spawn(driver.complete(platform.small("one", disks=given)), power_on=False)
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("one")
        api.VM.snapshot(vm, "before the change", [])
    driver.destroy("one")
    assert platform.snapshot() == before


def test_what_a_killed_clone_has_of_read_only_disks_goes_along(driver: ComputeDriver, platform: XenApiPlatform):
    db = platform.server.db
    [template] = db.find("VM", name_label="golden")
    for vbd in db.get("VM", template, "VBDs"):
        db.set("VBD", vbd, mode="RO")
    before = platform.snapshot()
    with platform.session() as api:
        api.VM.clone(template, f"one{CREATING}")
    driver.destroy("one")
    assert platform.snapshot() == before


@pytest.mark.parametrize("over", [{"managed": False}, {"SR": "udev"}], ids=["not managed", "a device"])
def test_what_cannot_be_deleted_is_left(driver: ComputeDriver, platform: XenApiPlatform, over: dict[str, Any]):
    """A disk of the host's, which is given to the instance."""
    db = platform.server.db
    made(driver, "other", disks=[Disk(size_bytes=MIB)])
    driver.destroy("other", "none")
    made(driver, disks=[Disk(volume="other.xvda", pool="shared")])
    [vdi] = db.find("VDI", name_label="other.xvda")
    if "SR" in over:
        db.set("SR", db.get("VDI", vdi, "SR"), type=over["SR"])
    else:
        db.set("VDI", vdi, **over)
    platform.driver().destroy("one", ALL)
    assert driver.find_remains(["one"]) == set()
    assert db.find("VDI", name_label="other.xvda") == [vdi]
