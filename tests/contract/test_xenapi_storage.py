# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage of a XenServer pool: names that are there twice, relations of volumes, guests that keep a disk."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    InvalidInput,
    PoolNotFound,
    TimeoutExpired,
    Unsupported,
    VolumeNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    EXT,
    Image,
    Volume,
    VolumeKey,
    VolumeSource,
)
from contract.contents import sparse
from contract.storage_helpers import SIZE, changes_nothing, created, read, wanted

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


def key_of(platform: XenApiPlatform, name: str) -> VolumeKey:
    return VolumeKey(platform.pool, name)


def foreign_vdi(platform: XenApiPlatform, name: str) -> str:
    """A virtual disk that somebody else has made; its uuid."""
    with platform.session() as api:
        [sr] = api.SR.get_by_name_label(platform.pool)
        record = {
            "name_label": name,
            "name_description": "",
            "SR": sr,
            "virtual_size": str(SIZE),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        }
        return str(api.VDI.get_uuid(api.VDI.create(record)))


# -- names -----------------------------------------------------------------------------------------------------------


def test_of_two_of_one_name_ours_is_meant(storage: StorageDriver, platform: XenApiPlatform):
    ours = created(platform, storage, "twin", metadata={"whose": "ours"})
    foreign_vdi(platform, "twin")
    assert read(storage, ours.key).metadata == {"whose": "ours"}
    assert [found.metadata for found in storage.list_volumes(platform.pool) if found.name == "twin"] == [ours.metadata]
    storage.delete_volume(ours.key)
    assert read(storage, ours.key).metadata == {}, "the other one is there still"


def test_of_two_of_others_none_is_meant(storage: StorageDriver, platform: XenApiPlatform):
    uuids = [foreign_vdi(platform, "twin") for _number in range(2)]
    key = key_of(platform, "twin")
    with changes_nothing(platform):
        for call in (
            lambda: storage.get_volumes([key]),
            lambda: storage.delete_volume(key),
            lambda: storage.resize_volume(key, 2 * SIZE),
            lambda: storage.create_volume_snapshot(key, "first"),
        ):
            with pytest.raises(VolumeNotFound, match="nothing tells which is meant") as caught:
                call()
            assert all(uuid in str(caught.value) for uuid in uuids)
        with pytest.raises(AlreadyExists):
            created(platform, storage, "twin")
    assert len([found for found in storage.list_volumes(platform.pool) if found.name == "twin"]) == 2


def test_a_copy_by_another_tool_is_not_ours(storage: StorageDriver, platform: XenApiPlatform):
    """It has our record, which says whose it is; our snapshots stay ours."""
    ours = created(platform, storage, "one", metadata={"whose": "ours"})
    storage.create_volume_snapshot(ours.key, "first")
    with platform.session() as api:
        [vdi] = [ref for ref in api.VDI.get_by_name_label("one") if not api.VDI.get_is_a_snapshot(ref)]
        copy = api.VDI.clone(vdi, {})
    assert read(storage, ours.key, snapshots=True).snapshots, "the name still means ours"
    with platform.session() as api:
        api.VDI.set_name_label(copy, "copy")
    copied = read(storage, key_of(platform, "copy"), snapshots=True)
    assert (copied.metadata, copied.snapshots) == ({}, [])


def test_a_copy_of_an_instances_volume_does_not_have_its_snapshots(storage: StorageDriver, platform: XenApiPlatform):
    """Its record names no virtual disk, so that copies by other tools look like it."""
    [disk] = platform.spawned(storage, "one", disks=[Disk(size_bytes=SIZE)]).disks
    key = key_of(platform, str(disk.volume))
    storage.create_volume_snapshot(key, "first")
    with platform.session() as api:
        [vdi] = [ref for ref in api.VDI.get_by_name_label(key.name) if not api.VDI.get_is_a_snapshot(ref)]
        api.VDI.set_name_label(api.VDI.clone(vdi, {}), "copy")
    storage.delete_volume(key_of(platform, "copy"))
    snapshots = read(storage, key, snapshots=True).snapshots
    assert [snapshot.name for snapshot in snapshots or []] == ["first"]


def test_an_instance_takes_the_snapshots_of_its_volumes_along(storage: StorageDriver, platform: XenApiPlatform):
    """Also where a volume was reverted: the server does not tell then whose snapshots they are."""
    before = len(platform.server.db.refs("VDI"))
    [disk] = platform.spawned(storage, "one", disks=[Disk(size_bytes=SIZE)]).disks
    key = key_of(platform, str(disk.volume))
    storage.create_volume_snapshot(key, "first")
    storage.create_volume_snapshot(key, "second")
    storage.revert_volume(key, "first")
    assert [snapshot.name for snapshot in read(storage, key, snapshots=True).snapshots or []] == ["first", "second"]
    storage.destroy("one")
    assert len(platform.server.db.refs("VDI")) == before


def test_two_repositories_of_one_name(storage: StorageDriver, platform: XenApiPlatform):
    """As the hosts' local ones are; a host in the URI tells which is meant."""
    assert "Local storage" not in storage.get_pools()
    with changes_nothing(platform), pytest.raises(PoolNotFound, match="2 storage repositories"):
        storage.list_volumes("Local storage")
    there = platform.options(uri=f"{platform.uri}?host=xen2")
    with get_storage_driver(there) as near:
        assert isinstance(near, StorageDriver)
        assert near.get_pools()["Local storage"].kind == EXT
        near.create_volume(near.complete_volume(Volume("local", "Local storage", SIZE)))
        assert [volume.name for volume in near.list_volumes("Local storage")] == ["local"]
        near.delete_volume(VolumeKey("Local storage", "local"))


def test_what_is_no_volume(storage: StorageDriver, platform: XenApiPlatform):
    """Snapshots of machines, and what the pool keeps for itself."""
    platform.spawned(storage, "user", disks=[Disk(size_bytes=SIZE)], power_on=True)
    storage.suspend("user")
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("user")
        api.VM.snapshot(vm, "saved")
    names = [volume.name for volume in storage.list_volumes(platform.pool)]
    assert names == sorted({*names})
    assert [name for name in names if name.startswith("user")] == ["user.xvda"]
    assert read(storage, key_of(platform, "user.xvda"), snapshots=True).snapshots == []


@pytest.mark.parametrize("what", ["image", "volume"])
def test_one_of_many_gets_a_name(platform: XenApiPlatform, what: str):
    """Names can be taken twice on XenServer; who sees another steps back."""

    def take(number: int) -> bool:
        with get_storage_driver(platform.options()) as driver:
            assert isinstance(driver, StorageDriver)
            try:
                if what == "image":
                    driver.reserve_image(Image("one", platform.pool, claim=f"claim {number}"))
                else:
                    driver.create_volume(driver.complete_volume(wanted(platform, "one")))
            except (AlreadyExists, VolumeNotFound):
                return False
            return True

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(take, range(6)))
    assert won.count(True) <= 1
    with platform.session() as api:
        assert len(api.VDI.get_by_name_label("one")) == won.count(True)
    if not any(won):  # they stepped back from each other all the time
        assert take(7)


def test_an_instance_leaves_no_snapshots(storage: StorageDriver, platform: XenApiPlatform):
    empty = platform.volumes()
    platform.spawned(storage, "user", disks=[Disk(size_bytes=SIZE)])
    storage.create_volume_snapshot(key_of(platform, "user.xvda"), "first")
    storage.destroy("user")
    assert platform.volumes() == empty


# -- relations -------------------------------------------------------------------------------------------------------


def test_a_child_of_another_pool_is_refused(storage: StorageDriver, platform: XenApiPlatform):
    storage.create_pool(platform.storage.new_pool("other"))
    storage.start_pool("other")
    created(platform, storage, "source", sparse())
    child = Volume("child", "other", source=VolumeSource(volume="source", pool=platform.pool, copy_on_write=True))
    with pytest.raises(InvalidInput, match=r"source\.copy_on_write"):
        storage.complete_volume(child)
    child.source.copy_on_write = None
    storage.create_volume(storage.complete_volume(child))
    assert platform.storage.data(child.key) == sparse().data()
    assert read(storage, child.key).backing is None


def test_a_volume_of_a_snapshot(storage: StorageDriver, platform: XenApiPlatform):
    source = created(platform, storage, "source", sparse())
    storage.create_volume_snapshot(source.key, "first")
    platform.storage.fill(source.key, 7, 0, SIZE)
    for copy_on_write, backing in ((True, str(source.key)), (False, None)):
        origin = VolumeSource(volume="source", snapshot="first", copy_on_write=copy_on_write)
        volume = Volume(f"of-{copy_on_write}", platform.pool, source=origin)
        storage.create_volume(storage.complete_volume(volume))
        assert platform.storage.data(volume.key) == sparse().data()
        assert read(storage, volume.key).backing == backing
    assert storage.volume_uses([source.key])[source.key].children == [f"{platform.pool}/of-True"]


def test_no_snapshots_of_shareable_volumes(storage: StorageDriver, platform: XenApiPlatform):
    volume = created(platform, storage, "one", shareable=True)
    with changes_nothing(platform), pytest.raises(Unsupported, match="shareable"):
        storage.create_volume_snapshot(volume.key, "first")


@pytest.mark.parametrize("power_on", [False, True])
def test_an_undo_leaves_the_disks_of_others(storage: StorageDriver, platform: XenApiPlatform, power_on: bool):
    """Chains of one task run side by side."""
    platform.spawned(storage, "user", power_on=power_on)
    disks = {}
    for name in ("one", "two", "three"):
        created(platform, storage, name)
    for name in ("one", "two"):
        disks[name] = storage.complete_attachment("user", Disk(volume=name, pool=platform.pool))
        undo = storage.attach_volume("user", disks[name])
        if name == "one":
            take_back_one = undo
    take_back_one()
    assert volumes_of(storage) >= {"two"}
    assert "one" not in volumes_of(storage)
    take_back_detachment = storage.detach_volume("user", str(disks["two"].device), 5)
    disks["three"] = storage.complete_attachment(
        "user", Disk(volume="three", pool=platform.pool), [disks["two"].device]
    )
    storage.attach_volume("user", disks["three"])
    take_back_detachment()
    assert volumes_of(storage) >= {"two", "three"}


def volumes_of(storage: StorageDriver) -> set[str | None]:
    return {disk.volume for disk in storage.get_instances(["user"])["user"].disks or []}


def test_a_guest_that_keeps_its_disk(storage: StorageDriver, platform: XenApiPlatform):
    boot = Boot(kernel="/boot/guest/vmlinuz", initrd="/boot/guest/initrd.img", cmdline="lab.keeps-disks")
    platform.spawned(storage, "user", boot=boot, power_on=True)
    created(platform, storage, "one")
    disk = storage.complete_attachment("user", Disk(volume="one", pool=platform.pool))
    storage.attach_volume("user", disk)
    began = time.monotonic()
    with changes_nothing(platform), pytest.raises(TimeoutExpired, match=disk.device):
        storage.detach_volume("user", str(disk.device), 1.0)
    assert time.monotonic() - began < 8
    assert storage.get_instances(["user"])["user"].pending == {}
    platform.server.faults.fail("VBD.unplug", "DEVICE_DETACH_REJECTED", "VBD", "it", "busy", times=None)
    with changes_nothing(platform), pytest.raises(TimeoutExpired):
        storage.detach_volume("user", str(disk.device), 0.5)
    platform.server.faults.clear()
