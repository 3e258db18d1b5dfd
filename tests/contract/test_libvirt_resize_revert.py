# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of disks of all sorts on libvirt, and when it cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    SnapshotNotFound,
    Unsupported,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.resize import SIZES, WAITING, ResizeRecord
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.task import run
from lab.errors import LabError

pytestmark = pytest.mark.on("libvirt")

NAME = "resized"
OLD, NEW = 32 * MIB, 48 * MIB


def grown(driver: ComputeDriver, current: Instance) -> None:
    """Resize its first disk so that it can be taken back."""
    first, *others = current.disks or []
    desired = Instance(NAME, disks=[replace(first, size_bytes=NEW), *others])
    values = {name: getattr(current, name) for name in SIZES}
    before = ResizeRecord(1.0, **values, sizes=((first.device or "", OLD),))
    driver.resize_revertibly(current, desired, {"disks"}, before)


def now(driver: ComputeDriver) -> Instance:
    return driver.get_instances([NAME])[NAME]


def kept(driver: ComputeDriver) -> list[str]:
    record = now(driver).resize
    assert record is not None
    return [name for _device, name in record.kept]


def test_a_file_in_no_pool(driver: ComputeDriver, platform: QemuPlatform):
    path = "/srv/resized.qcow2"
    platform.run_on_host("qemu-img", "create", "-q", "-f", "qcow2", path, str(OLD))
    try:
        disks = [Disk(path=path, format="qcow2"), Disk(size_bytes=4 * MIB, format="raw")]
        current = platform.spawned(driver, NAME, disks=disks)
        assert (current.disks or [])[0].size_bytes == OLD
        grown(driver, current)
        assert kept(driver) == ["resized.qcow2.anyvirt-kept"]
        assert (now(driver).disks or [])[0].size_bytes == NEW
        driver.revert_resize(NAME)
        driver.confirm_resize(NAME)
        assert (now(driver).disks or [])[0].size_bytes == OLD
        with pytest.raises(LabError):
            platform.run_on_host("test", "-e", f"{path}.anyvirt-kept")
    finally:
        driver.destroy(NAME)
        platform.run_on_host("rm", "-f", path)


def test_a_snapshot_only_where_it_can_be_deleted_again(driver: ComputeDriver, platform: QemuPlatform):
    current = platform.spawned(driver, NAME, disks=[Disk(size_bytes=OLD), Disk(size_bytes=4 * MIB)])
    grown(driver, current)
    assert kept(driver) == ["anyvirt-resize"]
    driver.confirm_resize(NAME)
    driver.destroy(NAME)
    current = platform.spawned(driver, NAME, disks=[Disk(size_bytes=OLD), Disk(size_bytes=4 * MIB, format="raw")])
    grown(driver, current)
    [name] = kept(driver)
    assert name.endswith(".anyvirt-kept")
    assert name in platform.volumes()
    assert all(volume.name != name for volume in platform.storage_driver().list_volumes(platform.pool))


def test_snapshots_that_a_copy_would_not_have(driver: ComputeDriver, platform: QemuPlatform):
    current = platform.spawned(driver, NAME, disks=[Disk(size_bytes=OLD), Disk(size_bytes=4 * MIB, format="raw")])
    disk = (current.disks or [])[0]
    key = VolumeKey(disk.pool or "", disk.volume or "")
    storage = platform.storage_driver()
    storage.create_volume_snapshot(key, "mine")
    with pytest.raises(Unsupported, match="mine"):
        grown(driver, current)
    assert now(driver).resize is None
    for check in (True, False):  # and that is known before the guest is stopped for it
        refused = run(platform, check=check, name=NAME, disks=[{"size": "48M"}, {"size": "4M"}], revertible=True)
        assert (refused.kind, refused.calls.lasting_writes) == ("unsupported", [])
        assert "mine" in refused.result["msg"]
    assert [snapshot.name for snapshot in storage.get_volumes([key], snapshots=True)[key].snapshots or []] == ["mine"]


def test_a_raw_disk_that_came_later(driver: ComputeDriver, platform: QemuPlatform):
    """QEMU does not delete the snapshot then, and says nothing; we do."""
    current = platform.spawned(driver, NAME, disks=[Disk(size_bytes=OLD)])
    grown(driver, current)
    resized = now(driver)
    more = [*(resized.disks or []), Disk(size_bytes=4 * MIB, format="raw")]
    driver.update_instance(resized, Instance(NAME, disks=more, pool=resized.pool), {"disks"}, {"disks"})
    driver.power_on(NAME)
    with pytest.raises(HypervisorError, match="stop it"):
        driver.confirm_resize(NAME)
    driver.force_off(NAME)
    driver.confirm_resize(NAME)
    assert now(driver).resize is None


def test_what_others_lean_on_is_left_alone(driver: ComputeDriver, platform: QemuPlatform):
    current = platform.spawned(driver, NAME, disks=[Disk(size_bytes=OLD)])
    disk = (current.disks or [])[0]
    storage = platform.storage_driver()
    grown(driver, current)
    assert disk.pool is not None
    assert disk.volume is not None
    parent = VolumeKey(disk.pool, disk.volume)
    path = f"{disk.path}.child"
    platform.run_on_host("qemu-img", "create", "-q", "-f", "qcow2", "-b", disk.path or "", "-F", "qcow2", path)
    assert storage.volume_uses([parent])[parent].children
    with pytest.raises(VolumeInUse, match=NAME):
        driver.revert_resize(NAME)
    record = now(driver).resize
    assert record is not None
    assert record.phase == WAITING, "nothing was begun"


def test_what_was_kept_is_gone(driver: ComputeDriver, platform: QemuPlatform):
    """Somebody has deleted it: going back is refused, and confirming ends well."""
    current = platform.spawned(driver, NAME, disks=[Disk(size_bytes=OLD)])
    grown(driver, current)
    disk = (current.disks or [])[0]
    key = VolumeKey(disk.pool or "", disk.volume or "")
    platform.storage_driver().delete_volume_snapshot(key, "anyvirt-resize")
    with pytest.raises(SnapshotNotFound, match="gone"):
        driver.revert_resize(NAME)
    driver.confirm_resize(NAME)
    assert now(driver).resize is None
