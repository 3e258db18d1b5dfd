# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come and go on the fake: guests that are in a bad mood, and what the contract leaves to the driver."""

from __future__ import annotations

import time

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InvalidInput,
    NotFound,
    TimeoutExpired,
    Unsupported,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Disk, Instance, IoLimits
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Encryption,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB

PASSPHRASE = "correct horse"


@pytest.fixture
def guest(storage):
    """A running instance without disks."""
    storage.spawn(Instance("web1", memory_mb=64, vcpus=1))
    return "web1"


def volume(storage: FakeStorageDriver, name="data", **fields) -> Volume:
    completed = storage.complete_volume(Volume(name, "default", **{"size_bytes": MIB, **fields}))
    storage.create_volume(completed)
    return completed


def attached(storage: FakeStorageDriver, name="data", instance="web1", **fields) -> Disk:
    disk = storage.complete_attachment(instance, Disk(volume=name, pool="default", **fields))
    storage.attach_volume(instance, disk)
    return disk


def disks_of(storage: FakeStorageDriver, instance="web1") -> list[Disk]:
    return storage.get_instances([instance])[instance].disks or []


@pytest.mark.parametrize(
    ("orders", "change", "seen"),
    [
        ({"holds_disks": True}, None, "it uses the disk"),
        ({"detach_s": 30}, None, "it uses the disk"),
        ({"boot_s": 30}, "reset", "it is still booting"),
        ({}, "pause", "it is paused"),
    ],
)
def test_a_guest_that_does_not_let_go_keeps_its_disk(storage, root, files, guest, orders, change, seen):
    volume(storage)
    disk = attached(storage)
    dial.write_faults(root, guests={guest: orders})
    if change == "reset":
        storage.force_off(guest)
        storage.power_on(guest)
    elif change:
        getattr(storage, change)(guest)
    before = files()
    started = time.monotonic()
    with pytest.raises(TimeoutExpired, match=seen):
        storage.detach_volume(guest, disk.device, 0.2)
    assert 0.2 <= time.monotonic() - started < 5
    assert files() == before


def test_a_guest_that_lets_go_after_a_while(storage, root, guest):
    volume(storage)
    disk = attached(storage)
    dial.write_faults(root, guests={"*": {"detach_s": 0.2}})
    storage.detach_volume(guest, disk.device, 10)
    assert disks_of(storage) == []


def test_a_guest_without_a_place_for_more(storage, root, files, guest):
    volume(storage)
    dial.write_faults(root, guests={guest: {"hotplug": False}})
    disk = storage.complete_attachment(guest, Disk(volume="data", pool="default"))
    before = files()
    for call in (storage.verify_hotplug, storage.attach_volume):
        with pytest.raises(Unsupported, match="stop it first"):
            call(guest, disk)
    assert files() == before
    storage.force_off(guest)
    storage.verify_hotplug(guest, disk)
    storage.attach_volume(guest, disk)


@pytest.mark.parametrize("state", ["suspended", "shutdown"])
def test_nothing_comes_or_goes_in_between(storage, root, files, guest, state):
    volume(storage, "old")
    old = attached(storage, "old")
    volume(storage)
    if state == "suspended":
        storage.suspend(guest)
    else:
        dial.write_faults(root, guests={guest: {"shutdown_s": 60}})
        storage.request_shutdown(guest, "acpi")
    before = files()
    disk = storage.complete_attachment(guest, Disk(volume="data", pool="default"))
    for call in (
        lambda: storage.verify_hotplug(guest, disk),
        lambda: storage.attach_volume(guest, disk),
        lambda: storage.detach_volume(guest, old.device, 5),
        lambda: storage.update_attachment(guest, old, {"limits"}),
    ):
        with pytest.raises(Unsupported, match=state):
            call()
    assert files() == before


def test_a_tray_can_be_locked(storage, root, files, guest):
    storage.force_off(guest)
    volume(storage)
    drive = storage.complete_attachment(guest, Disk(kind=CDROM))
    storage.attach_volume(guest, drive)
    storage.change_media(guest, drive.device, VolumeKey("default", "data"))
    storage.power_on(guest)
    dial.write_faults(root, guests={guest: {"locks_tray": True}})
    before = files()
    with pytest.raises(HypervisorError, match="locked the tray"):
        storage.change_media(guest, drive.device, None)
    assert files() == before
    storage.change_media(guest, drive.device, VolumeKey("default", "data"))
    storage.force_off(guest)
    storage.change_media(guest, drive.device, None)


def test_an_encrypted_volume_wants_its_passphrase(storage, files, guest):
    volume(storage, encryption=Encryption(PASSPHRASE))
    volume(storage, "open")
    for name, passphrase, complaint in (
        ("data", None, "is needed"),
        ("data", "wrong", "is not the one"),
        ("open", PASSPHRASE, "is not encrypted"),
    ):
        with pytest.raises(InvalidInput, match=complaint) as caught:
            attached(storage, name, passphrase=passphrase)
        assert PASSPHRASE not in str(caught.value)
        disks = [Disk(volume=name, pool="default", passphrase=passphrase)]
        if passphrase is not None:
            with pytest.raises(InvalidInput, match=complaint):
                storage.spawn(Instance("web2", memory_mb=64, vcpus=1, disks=disks))
    attached(storage, passphrase=PASSPHRASE)
    [disk] = disks_of(storage)
    assert (disk.passphrase, disk.encrypted) == (None, True)
    storage.force_off(guest)
    storage.power_on(guest)
    storage.destroy(guest)
    storage.spawn(Instance("web2", memory_mb=64, vcpus=1, disks=[Disk(volume="data", pool="default")]))
    assert disks_of(storage, "web2")[0].encrypted
    assert not any(PASSPHRASE.encode() in content for content in files().values())


def test_while_it_runs_only_limits_change(storage, guest):
    volume(storage)
    attached(storage, cache="none", boot_order=1)
    [disk] = disks_of(storage)
    disk.limits, disk.cache = IoLimits(total_iops=100, total_bytes=0), "writeback"
    with pytest.raises(Unsupported, match=r"cache of disk vda .* stop it first"):
        storage.update_attachment(guest, disk, {"limits", "cache"})
    with pytest.raises(Unsupported, match="detach it"):
        storage.update_attachment(guest, disk, {"bus"})
    storage.update_attachment(guest, disk, {"limits"})
    assert disks_of(storage)[0].limits == IoLimits(total_iops=100)
    assert disks_of(storage)[0].cache == "none"
    assert storage.get_instances([guest])[guest].pending == {}
    storage.force_off(guest)
    undo = storage.update_attachment(guest, disk, {"cache"})
    assert disks_of(storage)[0].cache == "writeback"
    undo()
    assert disks_of(storage)[0].cache == "none"
    disk.device = "vdz"
    with pytest.raises(NotFound, match="it has vda"):
        storage.update_attachment(guest, disk, {"cache"})


def test_two_disks_want_the_same_place(storage, guest):
    volume(storage)
    volume(storage, "other")
    attached(storage, boot_order=1)
    with pytest.raises(InvalidInput, match="vda is in the place 1 already"):
        attached(storage, "other", boot_order=1)


def test_who_may_have_a_volume(storage, guest):
    storage.force_off(guest)
    parent = volume(storage)
    storage.spawn(Instance("web2", memory_mb=64, vcpus=1))
    attached(storage)
    with pytest.raises(AlreadyExists, match="has the volume default/data already, as vda"):
        attached(storage)
    for fields in ({}, {"read_only": True}):
        with pytest.raises(VolumeInUse, match="vda of instance 'web1'"):
            attached(storage, instance="web2", **fields)
    with pytest.raises(InvalidInput, match="only raw volumes can be shared"):
        attached(storage, instance="web2", shareable=True)
    storage.detach_volume(guest, "vda", 1)
    source = VolumeSource(volume=parent.name, copy_on_write=True)
    volume(storage, "child", size_bytes=None, source=source)
    with pytest.raises(VolumeInUse, match="default/child lean on it"):
        attached(storage)
    attached(storage, read_only=True)


def test_a_detached_root_disk_is_nobodys_and_can_come_back(storage, files):
    storage.spawn(Instance("web1", memory_mb=64, vcpus=1, disks=[Disk(role="root", size_bytes=MIB)]), power_on=False)
    before = files()
    undo = storage.detach_volume("web1", "vda", 1)
    undo()
    assert files() == before
    storage.detach_volume("web1", "vda", 1)
    storage.destroy("web1")
    assert [found.name for found in storage.list_volumes("default")] == ["web1-vda.qcow2"]


def test_what_comes_back_takes_its_old_place(storage, guest):
    for name in ("a", "b", "c"):
        volume(storage, name)
        attached(storage, name)
    undo = storage.detach_volume(guest, "vdb", 1)
    undo()
    assert [disk.volume for disk in disks_of(storage)] == ["a", "b", "c"]
    assert storage.list_disks(guest) == ["vda", "vdb", "vdc"]


@pytest.mark.parametrize(
    ("disk", "options"),
    [
        (Disk(), {"volume"}),
        (Disk(kind=CDROM), set()),
        (Disk(volume="a/b", pool=".."), {"volume", "pool"}),
        (Disk(volume="a", bus="floppy", cache="much", discard="never"), {"bus", "cache", "discard"}),
        (Disk(volume="a", device="nvme0"), {"device"}),
        (Disk(volume="a", device="vda", bus="scsi"), {"device"}),
        (Disk(volume="a", serial="\u00e4", boot_order=0), {"serial", "boot_order"}),
        (Disk(volume="a", kind=CDROM, read_only=False), {"read_only"}),
        (Disk(volume="a", limits=IoLimits(total_iops=1, read_iops=1)), {"limits.total_iops"}),
        (Disk(volume="a", limits=IoLimits(read_bytes=-1)), {"limits.read_bytes"}),
    ],
)
def test_what_can_never_be_attached(storage, guest, disk, options):
    assert {problem.option for problem in storage.check_attachment(disk)} == options
    if options:
        disk.device, disk.bus = disk.device or "vda", disk.bus or "virtio"
        with pytest.raises(InvalidInput):
            storage.attach_volume(guest, disk)


@pytest.mark.parametrize(("device", "bus"), [("vdq", "virtio"), ("sdb", "scsi"), ("xvdc", "xen"), ("hda", "ide")])
def test_the_name_of_a_device_tells_its_bus(storage, guest, device, bus):
    assert storage.complete_attachment(guest, Disk(volume="a", device=device)).bus == bus
