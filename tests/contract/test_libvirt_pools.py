# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of libvirt that need more than a folder: file systems on loop devices, LVM where the kernel has it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InsufficientCapacity,
    InvalidInput,
    PoolNotEmpty,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Pool, Volume, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.contents import dense, sparse, total
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.platforms.libvirt_xen import XenPlatform
from contract.storage_helpers import SOMEWHERE, changes_nothing
from lab.proc import run

_DEVICE_BYTES = 64 * MIB
_MOUNT = "/var/lib/libvirt/on-a-device"


@pytest.fixture
def device(platform: QemuPlatform, tmp_path: Path) -> Iterator[str]:
    """A block device of the host, with nothing on it."""
    file = tmp_path / "device"
    with file.open("wb") as backing:
        backing.truncate(_DEVICE_BYTES)
    name = run(["losetup", "--find", "--show", file]).stdout.strip()
    number = os.stat(name).st_rdev
    platform.run_on_host("mknod", "-m", "600", name, "b", str(os.major(number)), str(os.minor(number)))
    try:
        yield name
    finally:
        platform.cleanup()
        run(["losetup", "--detach", name])
        platform.run_on_host("rm", "-f", name)


def pool_on(device: str, **over: str) -> Pool:
    return Pool("disk", **{"kind": "fs", "devices": [device], "fs_type": "ext4", "path": _MOUNT, **over})


@pytest.mark.on("libvirt")
def test_a_file_system_is_made(storage: StorageDriver, platform: QemuPlatform, device: str):
    with changes_nothing(platform):
        wanted = pool_on(device)
        assert storage.check_pool(wanted) == []
        storage.create_pool(wanted)
        found = storage.get_pools()["disk"]
        assert (found.kind, found.devices, found.fs_type, found.path) == ("fs", [device], "ext4", _MOUNT)
        assert (found.active, found.capacity_bytes) == (False, None)
        storage.start_pool("disk")
        assert 0 < storage.get_pools()["disk"].capacity_bytes < _DEVICE_BYTES
        assert storage.list_volumes("disk") == []
        storage.delete_pool("disk", delete_data=True)


@pytest.mark.on("libvirt")
def test_a_file_system_that_is_there_is_kept(storage: StorageDriver, platform: QemuPlatform, device: str):
    storage.create_pool(pool_on(device))
    storage.start_pool("disk")
    storage.create_volume(storage.complete_volume(Volume("kept", "disk", size_bytes=MIB)))
    storage.delete_pool("disk")
    for again in (pool_on(device), pool_on(device, fs_type="auto"), pool_on(device, path=f"{_MOUNT}/elsewhere")):
        storage.create_pool(again, overwrite=True)
        storage.start_pool("disk")
        assert [volume.name for volume in storage.list_volumes("disk")] == ["kept"]
        storage.delete_pool("disk")
    platform.run_on_host("rm", "-r", _MOUNT)


@pytest.mark.on("libvirt")
def test_other_data_is_only_overwritten_on_demand(storage: StorageDriver, platform: QemuPlatform, device: str):
    run(["mkswap", device])
    with changes_nothing(platform), pytest.raises(AlreadyExists, match="overwrite"):
        storage.create_pool(pool_on(device))
    storage.create_pool(pool_on(device), overwrite=True)
    storage.start_pool("disk")
    assert storage.get_pools()["disk"].fs_type == "ext4"


@pytest.mark.on("libvirt")
def test_undo_of_a_file_system(storage: StorageDriver, platform: QemuPlatform, device: str):
    with changes_nothing(platform):
        storage.create_pool(pool_on(device))()


@pytest.mark.on("libvirt")
def test_a_device_that_is_not_there(storage: StorageDriver, platform: QemuPlatform):
    with changes_nothing(platform), pytest.raises(HypervisorError, match="disk"):
        storage.create_pool(pool_on("/dev/no-such-device"))


@pytest.mark.on("libvirt")
def test_a_full_file_system(storage: StorageDriver, platform: QemuPlatform, device: str):
    storage.create_pool(pool_on(device))
    storage.start_pool("disk")
    content = dense(_DEVICE_BYTES)
    before = storage.get_pools()["disk"].used_bytes
    with pytest.raises(InsufficientCapacity):
        storage.create_volume(storage.complete_volume(Volume("huge", "disk", source=SOMEWHERE), content.facts), content)
    assert storage.get_volumes([VolumeKey("disk", "huge")]) == {}
    storage.refresh_pool("disk")
    assert storage.get_pools()["disk"].used_bytes == pytest.approx(before, abs=MIB)


@pytest.mark.on("libvirt")
def test_a_making_that_was_cut_short(storage: StorageDriver, platform: QemuPlatform):
    """What a killed process left of a pool is no pool, and does not keep the next one from being made."""
    folder = f"{platform.new_pool_path}-cut-short"
    wanted = Pool("other", kind="dir", path=folder)
    xml = f"<pool type='dir'><name>anyvirt-build-other</name><target><path>{folder}</path></target></pool>"
    with platform.connection() as connection:
        connection.storagePoolDefineXML(xml).build()
    assert "other" not in storage.get_pools()
    assert "anyvirt-build-other" not in storage.get_pools()
    storage.create_pool(wanted)
    storage.start_pool("other")
    storage.delete_pool("other", delete_data=True)
    with platform.connection() as connection:
        assert [pool.name() for pool in connection.listAllStoragePools()] == [platform.pool]


@pytest.mark.on("libvirt")
def test_a_pool_whose_folder_vanished(storage: StorageDriver, platform: QemuPlatform):
    folder = f"{platform.new_pool_path}-vanishing"
    storage.create_pool(Pool("other", kind="dir", path=folder))
    storage.start_pool("other")
    storage.create_volume(storage.complete_volume(Volume("lost", "other", size_bytes=MIB)))
    platform.run_on_host("rm", "-r", folder)
    with pytest.raises(HypervisorError, match="other"):
        storage.create_volume(storage.complete_volume(Volume("more", "other", size_bytes=MIB, metadata={"a": "b"})))
    storage.delete_pool("other")
    assert "other" not in storage.get_pools()
    storage.create_pool(Pool("other", kind="dir", path=folder))
    storage.start_pool("other")
    assert storage.list_volumes("other") == []
    storage.delete_pool("other", delete_data=True)


@pytest.mark.on("libvirt")
def test_a_foreign_folder_is_no_volume(storage: StorageDriver, platform: QemuPlatform):
    folder = f"{platform.new_pool_path}-shared"
    storage.create_pool(Pool("other", kind="dir", path=folder))
    storage.start_pool("other")
    platform.run_on_host("mkdir", f"{folder}/somebody's")
    storage.refresh_pool("other")
    assert storage.list_volumes("other") == []
    with pytest.raises(PoolNotEmpty, match="other"):
        storage.delete_pool("other", delete_data=True)
    assert storage.get_pools()["other"].active
    platform.run_on_host("rmdir", f"{folder}/somebody's")
    storage.delete_pool("other", delete_data=True)
    assert not stat.S_ISDIR(_mode(platform, folder))


def _mode(platform: QemuPlatform, folder: str) -> int:
    outer = platform.lab.outer_path(folder)
    return outer.stat().st_mode if outer.exists() else 0


@pytest.mark.on("xen")
def test_lvm(storage: StorageDriver, platform: XenPlatform):
    """The one long story of LVM, since each of its steps takes seconds in an emulated host."""
    lab = platform.lab
    device = lab.run(f"truncate -s {_DEVICE_BYTES} /srv/lvm.img && losetup -f --show /srv/lvm.img").strip()
    try:
        _tell_of_lvm(storage, device)
        lab.run("lvcreate -an -Zn -L 4M -n hidden vg")
        with pytest.raises(PoolNotEmpty, match="lvs"):
            storage.delete_pool("lvm", delete_data=True)
        assert storage.get_pools()["lvm"].active
        lab.run("lvremove -y vg/hidden")
        storage.delete_pool("lvm", delete_data=True)
        assert "lvm" not in storage.get_pools()
        assert lab.run("pvs --noheadings").strip() == ""
    finally:
        lab.run(f"vgremove -ff -y vg 2>/dev/null; losetup -d {device}; rm -f /srv/lvm.img")


def _tell_of_lvm(storage: StorageDriver, device: str) -> None:
    with pytest.raises(InvalidInput, match="devices"):
        storage.create_pool(Pool("lvm", kind="lvm", volume_group="vg"))
    storage.create_pool(Pool("lvm", kind="lvm", volume_group="vg", devices=[device]))
    storage.start_pool("lvm")
    pool = storage.get_pools()["lvm"]
    assert (pool.kind, pool.volume_group, pool.devices, pool.active) == ("lvm", "vg", [device], True)

    content = sparse(8 * MIB)
    volume = storage.complete_volume(
        Volume("data", "lvm", source=SOMEWHERE, size_bytes=9 * MIB, metadata={"owner": "me"}), content.facts
    )
    assert volume.size_bytes == 12 * MIB, "in whole extents"
    undo = storage.create_volume(volume, content)
    found = storage.get_volumes([volume.key])[volume.key]
    assert (found.format, found.size_bytes, found.metadata) == ("raw", 12 * MIB, {"owner": "me"})
    with storage.open_volume(volume.key) as reader:
        assert reader.length == 12 * MIB
        assert total(reader.segments()).length == 12 * MIB
    assert [other.name for other in storage.list_volumes("lvm")] == ["data"]
    with pytest.raises(Unsupported, match="logical"):
        storage.resize_volume(volume.key, 16 * MIB)
    with pytest.raises(InsufficientCapacity):
        storage.create_volume(storage.complete_volume(Volume("huge", "lvm", size_bytes=2 * _DEVICE_BYTES)))
    undo()
    assert storage.list_volumes("lvm") == []
