# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CD drives: discs go in and come out."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceNotFound, NotFound, VolumeNotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import changes_nothing, created, discs

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")
RUNNING = pytest.mark.parametrize("running", [False, True])


def with_a_drive(platform: Platform, storage: StorageDriver, *, running: bool = False) -> str:
    """The instance ``one`` with an empty CD drive; the drive's device."""
    platform.spawned(storage, "one", disks=[Disk(kind=CDROM)], power_on=running)
    if running:
        platform.prepare_hotplug(storage, "one")  # a guest resets its drives as it starts
    return drive_of(storage).device


def drive_of(storage: StorageDriver) -> Disk:
    [drive] = [disk for disk in storage.get_instances(["one"])["one"].disks if disk.kind == CDROM]
    return drive


def medium_of(storage: StorageDriver) -> VolumeKey | None:
    drive = drive_of(storage)
    return VolumeKey(drive.pool, drive.volume) if drive.volume is not None else None


@RUNNING
def test_in_and_out(storage: StorageDriver, platform: Platform, running: bool):
    with where_supported(storage, "cdrom_media", "volumes"):
        first, second = discs(platform, storage)
        device = with_a_drive(platform, storage, running=running)
        assert medium_of(storage) is None
        for key in (first, second, None, None, second, second):
            storage.change_media("one", device, key)
            assert medium_of(storage) == key
        assert drive_of(storage).read_only
        [use] = storage.volume_uses([second])[second].instances
        assert (use.instance, use.device, use.active, use.read_only) == ("one", device, running, True)
        if running:
            storage.force_off("one")
        storage.power_on("one")
        assert medium_of(storage) == second, "it stays in"


@RUNNING
def test_undo(storage: StorageDriver, platform: Platform, running: bool):
    with where_supported(storage, "cdrom_media", "volumes"):
        first, second = discs(platform, storage)
        device = with_a_drive(platform, storage, running=running)
        for before, after in ((None, first), (first, second), (first, None)):
            storage.change_media("one", device, before)
            with changes_nothing(platform):
                undo = storage.change_media("one", device, after)
                assert medium_of(storage) == after
                undo()
            assert medium_of(storage) == before


def test_what_is_not_there(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "cdrom_media", "volumes"):
        first, _second = discs(platform, storage)
        volume = created(platform, storage, "data")
        platform.spawned(storage, "one", disks=[Disk(kind=CDROM), Disk(volume=volume.name, pool=volume.pool)])
        drive = drive_of(storage).device
        [disk] = [disk.device for disk in storage.get_instances(["one"])["one"].disks if disk.kind != CDROM]
        with changes_nothing(platform):
            with pytest.raises(VolumeNotFound, match="ghost"):
                storage.change_media("one", drive, VolumeKey(first.pool, "ghost"))
            with pytest.raises(InstanceNotFound, match="ghost"):
                storage.change_media("ghost", drive, first)
            for device in ("vdz", disk):
                with pytest.raises(NotFound, match=device):
                    storage.change_media("one", device, first)


def test_one_disc_in_two_drives(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "cdrom_media", "volumes"):
        first, _second = discs(platform, storage)
        for name in ("one", "two"):
            platform.spawned(storage, name, disks=[Disk(kind=CDROM)])
            device = storage.get_instances([name])[name].disks[0].device
            storage.change_media(name, device, first)
            storage.power_on(name)
        assert [use.active for use in storage.volume_uses([first])[first].instances] == [True, True]


def test_a_drive_that_is_attached_empty(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "cdrom_media", "volumes"):
        first, _second = discs(platform, storage)
        platform.spawned(storage, "one")
        drive = storage.complete_attachment("one", Disk(kind=CDROM))
        with changes_nothing(platform):
            storage.attach_volume("one", drive)()
        storage.attach_volume("one", drive)
        assert medium_of(storage) is None
        storage.change_media("one", drive_of(storage).device, first)
        assert medium_of(storage) == first
