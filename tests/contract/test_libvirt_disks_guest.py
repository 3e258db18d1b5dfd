# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come and go under real guests, which say what they see, write, and read it again elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    TimeoutExpired,
    Unsupported,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Boot, Disk, IoLimits
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Encryption, VolumeKey
from contract.guest_disks import (
    GuestDisks,
    booted,
    disk_of,
    label_disc,
    make_encrypted,
    of,
    unplug_behind_its_back,
)
from contract.helpers import state_of
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.storage_helpers import SIZE, changes_nothing, created, discs, fail_each_call

pytestmark = pytest.mark.on("libvirt")
TIMEOUT_S = 30.0
PORT = "pcie-root-port"


def plugged(guest: GuestDisks, disk: Disk) -> Disk:
    """Attach it to the running guest, which sees it."""
    completed = guest.storage.complete_attachment(guest.name, disk)
    guest.storage.verify_hotplug(guest.name, completed)
    sight = rf"DISK {completed.device} size="
    seen = guest.said(sight)
    guest.storage.attach_volume(guest.name, completed)
    assert guest.says(sight, times=seen + 1)
    return completed


def unplugged(guest: GuestDisks, device: str) -> None:
    """Detach it from the running guest, which sees it vanish."""
    seen = guest.said(rf"DISK {device} gone")
    guest.storage.detach_volume(guest.name, device, TIMEOUT_S)
    assert guest.says(rf"DISK {device} gone", times=seen + 1)


def test_the_life_of_a_volume(storage: StorageDriver, platform: QemuPlatform):
    """Made, plugged in, written to, unplugged, read in another guest, grown, kept, changed, and gone back."""
    volume = created(platform, storage, "data")
    one, two = booted(storage, platform, "one"), booted(storage, platform, "two")
    device = plugged(one, of(volume)).device
    assert one.says(rf"DISK {device} size={SIZE} ro=0")
    one.write(device, "first words")
    unplugged(one, device)
    device = plugged(two, of(volume)).device
    assert two.read(device) == "first words"
    storage.resize_volume(volume.key, 2 * SIZE)
    assert two.says(rf"DISK {device} size={2 * SIZE}")
    unplugged(two, device)
    storage.create_volume_snapshot(volume.key, "before")
    device = plugged(two, of(volume)).device
    two.write(device, "second words")
    unplugged(two, device)
    storage.revert_volume(volume.key, "before")
    device = plugged(one, of(volume)).device
    assert one.read(device) == "first words"


def test_its_options_are_seen_in_the_guest(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data", format="raw")
    guest = booted(storage, platform, "one")
    limits = IoLimits(write_bytes=64 * 1024, read_iops=50)
    wanted = of(volume, serial="ANYVIRT-0001", cache="none", discard="unmap", limits=limits)
    device = plugged(guest, wanted).device
    assert guest.run("serial", device) == "ANYVIRT-0001"
    assert guest.run("discards", device) != "0"
    slow_s = guest.seconds_to_fill(device)
    found = disk_of(storage, "one", device)
    assert (found.serial, found.cache, found.discard, found.limits) == ("ANYVIRT-0001", "none", "unmap", limits)
    undo = storage.update_attachment("one", replace(found, limits=IoLimits()), {"limits"})
    assert guest.seconds_to_fill(device) < slow_s / 2
    assert disk_of(storage, "one", device).limits is None
    undo()
    assert disk_of(storage, "one", device).limits == limits
    with changes_nothing(platform), pytest.raises(Unsupported, match="stop it first"):
        storage.update_attachment("one", replace(found, cache="writeback"), {"cache"})


def test_read_only_is_read_only(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    device = plugged(guest, of(volume, read_only=True)).device
    assert guest.says(rf"DISK {device} size={SIZE} ro=1")


@pytest.mark.parametrize("bus", ["scsi", "usb"])
def test_on_other_buses(storage: StorageDriver, platform: QemuPlatform, bus: str):
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    before = storage.complete_attachment("one", of(volume, bus=bus))
    storage.attach_volume("one", before)
    if bus == "scsi":  # the test guest has no driver for USB disks
        assert guest.says(rf"DISK sda size={SIZE}")
        guest.write("sda", "over SCSI")
        assert guest.read("sda") == "over SCSI"
        storage.detach_volume("one", "sda", TIMEOUT_S)
        assert guest.says(r"DISK sda gone")


@pytest.mark.parametrize("bus", ["ide", "sata"])
def test_buses_that_cannot(storage: StorageDriver, platform: QemuPlatform, bus: str):
    volume = created(platform, storage, "data")
    platform.spawned(storage, "one", power_on=True)
    disk = storage.complete_attachment("one", of(volume, bus=bus))
    with changes_nothing(platform):
        for call in (storage.verify_hotplug, storage.attach_volume):
            with pytest.raises(Unsupported, match=rf"bus {bus}.*virtio.*stop the instance"):
                call("one", disk)


def test_no_place_left_on_pci_express(storage: StorageDriver, platform: QemuPlatform):
    """What is said of places beforehand is what libvirt finds."""
    volumes = [created(platform, storage, f"data{number}") for number in range(8)]
    root, port = (
        "<controller type='pci' index='{}' model='{}'/>".format(*one) for one in ((0, "pcie-root"), (6, PORT))
    )
    guest = booted(storage, platform, "one", hypervisor={"machine": "q35", "xml": [root, port]})
    for volume in volumes:
        disk = storage.complete_attachment("one", of(volume))
        try:
            storage.verify_hotplug("one", disk)
        except Unsupported as error:
            assert PORT in str(error)
            break
        plugged(guest, of(volume))
    else:
        pytest.fail("there is no end of places")
    last = disk_of(storage, "one", storage.get_instances(["one"])["one"].disks[-1].device)
    unplugged(guest, last.device)
    storage.verify_hotplug("one", disk)


def test_a_guest_that_does_not_run_keeps_its_disk(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    device = plugged(guest, of(volume)).device
    storage.pause("one")
    with changes_nothing(platform):
        with pytest.raises(TimeoutExpired) as caught:
            storage.detach_volume("one", device, 1.0)
        assert "paused" in caught.value.last_seen
        assert device in str(caught.value)
    storage.unpause("one")
    guest.write(device, "still here")
    assert guest.read(device) == "still here"
    assert not guest.says(rf"DISK {device} gone", timeout_s=2)
    unplugged(guest, device)


def test_a_paused_guest_finds_its_disk_when_it_goes_on(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    storage.pause("one")
    disk = storage.complete_attachment("one", of(volume))
    storage.verify_hotplug("one", disk)
    storage.attach_volume("one", disk)
    storage.unpause("one")
    assert guest.says(rf"DISK {disk.device} size={SIZE}")


def test_a_guest_that_hears_nothing(storage: StorageDriver, platform: QemuPlatform):
    """Its firmware waits for a disk to boot from, and nobody will ever let go of anything."""
    volume = created(platform, storage, "data")
    platform.spawned(storage, "one", power_on=True, boot=Boot(order=["network"]))
    disk = storage.complete_attachment("one", of(volume))
    storage.attach_volume("one", disk)
    with changes_nothing(platform):
        with pytest.raises(TimeoutExpired, match="let go"):
            storage.detach_volume("one", disk.device, 2.0)
        assert disk_of(storage, "one", disk.device).volume == "data"
        assert storage.get_instances(["one"])["one"].pending == {}
    storage.force_off("one")
    storage.detach_volume("one", disk.device, TIMEOUT_S)


def test_a_guest_that_lets_go_too_late(storage: StorageDriver, platform: QemuPlatform):
    """What is configured then no longer runs: attaching plugs it in again, detaching ends it."""
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    disk = plugged(guest, of(volume))
    unplug_behind_its_back(platform, "one", disk.device)
    assert guest.says(rf"DISK {disk.device} gone")
    assert "disks" in storage.get_instances(["one"])["one"].pending
    storage.attach_volume("one", storage.complete_attachment("one", of(volume)))
    assert guest.says(rf"DISK {disk.device} size={SIZE}", times=2)
    assert storage.get_instances(["one"])["one"].pending == {}
    unplug_behind_its_back(platform, "one", disk.device)
    assert guest.says(rf"DISK {disk.device} gone", times=2)
    storage.detach_volume("one", disk.device, TIMEOUT_S)
    assert storage.get_instances(["one"])["one"].disks == []


def test_suspended(storage: StorageDriver, platform: QemuPlatform):
    """What it goes on with lies in its saved memory."""
    volume = created(platform, storage, "data")
    booted(storage, platform, "one")
    disk = storage.complete_attachment("one", of(volume))
    storage.suspend("one")
    with changes_nothing(platform):
        for call in (storage.verify_hotplug, storage.attach_volume):
            with pytest.raises(Unsupported, match="resume it or stop it first"):
                call("one", disk)
    assert state_of(storage, "one") == "suspended"


def test_busy_in_a_running_guest(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    device = plugged(guest, of(volume)).device
    platform.spawned(storage, "two")
    with changes_nothing(platform), pytest.raises(VolumeInUse, match=f"'one' writes to .*data, as {device}"):
        storage.attach_volume("two", storage.complete_attachment("two", of(volume)))


def test_two_guests_share_a_volume(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data", format="raw", shareable=True)
    one, two = booted(storage, platform, "one"), booted(storage, platform, "two")
    here, there = (plugged(guest, of(volume, shareable=True)).device for guest in (one, two))
    one.write(here, "for both")
    assert two.read(there) == "for both"


def test_an_encrypted_volume(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "vault", format="raw", encryption=Encryption(passphrase="open sesame"))
    guest = booted(storage, platform, "one")
    device = plugged(guest, of(volume)).device
    guest.write(device, "a secret")
    assert guest.read(device) == "a secret"
    assert "open sesame" not in platform.domain_xml("one")
    unplugged(guest, device)
    device = plugged(guest, of(volume)).device
    assert guest.read(device) == "a secret"


def test_an_encrypted_volume_made_elsewhere(storage: StorageDriver, platform: QemuPlatform):
    """Its passphrase comes with the attachment; a wrong one leaves nothing behind."""
    volume = make_encrypted(platform, "vault", SIZE, "open sesame")
    guest = booted(storage, platform, "one")
    with changes_nothing(platform):
        for passphrase, message in ((None, "passphrase"), ("wrong", "vda")):
            disk = storage.complete_attachment("one", of(volume, passphrase=passphrase))
            with pytest.raises(Exception, match=message) as caught:
                storage.attach_volume("one", disk)
            assert "wrong" not in str(caught.value)
    device = plugged(guest, of(volume, passphrase="open sesame")).device
    guest.write(device, "a secret")
    assert guest.read(device) == "a secret"


def test_media_are_seen_in_the_guest(storage: StorageDriver, platform: QemuPlatform):
    first, second = discs(platform, storage)
    guest = booted(storage, platform, "one", disks=[Disk(kind=CDROM)])
    drive = storage.get_instances(["one"])["one"].disks[0].device
    assert guest.says(r"MEDIUM sr0 none")
    for number, key in enumerate((first, second), 1):
        label_disc(platform, key, f"DISC{number}")
        storage.change_media("one", drive, key)
        assert guest.says(rf"MEDIUM sr0 label=disc{number}")
    storage.change_media("one", drive, None)
    assert guest.says(r"MEDIUM sr0 none", times=2)


def held(storage: StorageDriver, platform: QemuPlatform, *seconds: str) -> tuple[str, VolumeKey, VolumeKey]:
    """The instance ``one``, whose guest holds the tray, for ever or for so long: its drive, the disc in it, another."""
    first, second = discs(platform, storage)
    label_disc(platform, first, "DISC1")
    guest = booted(storage, platform, "one", disks=[Disk(kind=CDROM)])
    drive = storage.get_instances(["one"])["one"].disks[0].device
    storage.change_media("one", drive, first)
    assert guest.says(r"MEDIUM sr0 label=disc1")
    guest.start("hold", "sr0", *seconds)
    assert guest.tray_is_locked(drive)
    return drive, first, second


def test_a_locked_tray(storage: StorageDriver, platform: QemuPlatform):
    drive, first, second = held(storage, platform)
    for key in (second, None):
        with changes_nothing(platform), pytest.raises(HypervisorError, match="locked the tray"):
            storage.change_media("one", drive, key)
    assert disk_of(storage, "one", drive).volume == first.name


def test_a_tray_that_is_held_for_a_moment(storage: StorageDriver, platform: QemuPlatform):
    """As by any program that looks into the drive just when the medium is changed."""
    drive, _first, second = held(storage, platform, "4")
    storage.change_media("one", drive, second)
    assert disk_of(storage, "one", drive).volume == second.name


@pytest.mark.slow
def test_each_call_of_attach_and_detach_fails_in_turn(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data")
    booted(storage, platform, "one")
    disk = storage.complete_attachment("one", of(volume, limits=IoLimits(total_iops=500)))
    fail_each_call(platform, lambda: storage.attach_volume("one", disk))
    storage.attach_volume("one", disk)
    fail_each_call(platform, lambda: storage.detach_volume("one", disk.device, TIMEOUT_S))
    less = replace(disk, limits=IoLimits(total_iops=100))
    fail_each_call(platform, lambda: storage.update_attachment("one", less, {"limits"}))


@pytest.mark.slow
def test_killed_between_any_two_calls(storage: StorageDriver, platform: QemuPlatform):
    """And run again: then it is as if it had gone well at once."""
    volume = created(platform, storage, "data")
    guest = booted(storage, platform, "one")
    without = platform.snapshot()
    disk = plugged(guest, of(volume))
    attached = platform.snapshot()
    storage.detach_volume("one", disk.device, TIMEOUT_S)
    assert platform.snapshot() == without
    number, finished = 0, False
    while not finished:
        number += 1
        finished = guest.killed_at(number, "attach_volume", disk)
        storage.attach_volume("one", storage.complete_attachment("one", of(volume)))
        assert platform.snapshot() == attached, f"attaching, killed at call {number}"
        assert storage.get_instances(["one"])["one"].pending == {}
        finished &= guest.killed_at(number, "detach_volume", disk.device, TIMEOUT_S)
        if storage.get_instances(["one"])["one"].disks:
            storage.detach_volume("one", disk.device, TIMEOUT_S)
        assert platform.snapshot() == without, f"detaching, killed at call {number}"
        assert storage.get_instances(["one"])["one"].pending == {}
    assert number > 5


def test_an_instance_made_with_an_encrypted_volume(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "vault", format="raw", encryption=Encryption(passphrase="open sesame"))
    guest = booted(storage, platform, "one", disks=[of(volume)])
    assert guest.said(rf"DISK vda size={SIZE} ")
    assert disk_of(storage, "one", "vda").encrypted
