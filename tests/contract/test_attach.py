# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come and go, on instances that are off and on ones that run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ALL, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    InstanceNotFound,
    NotFound,
    PoolNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, IoLimits
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Volume
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import state_of, where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import SIZE, changes_nothing, created, new_pool, read

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")
TIMEOUT_S = 20.0


def disk_of(volume: Volume, **over: Any) -> Disk:
    """The volume as a disk, as a user asks for it."""
    return Disk(**{"volume": volume.name, "pool": volume.pool, **over})


def attach(storage: StorageDriver, instance: str, disk: Disk) -> Disk:
    """Attach it and return what it reads back as."""
    completed = storage.complete_attachment(instance, disk)
    storage.attach_volume(instance, completed)
    return next(found for found in disks_of(storage, instance) if found.device == completed.device)


def disks_of(driver: ComputeDriver, instance: str) -> list[Disk]:
    return driver.get_instances([instance])[instance].disks or []


def sources_of(driver: ComputeDriver, instance: str) -> list[str | None]:
    return [disk.volume for disk in disks_of(driver, instance)]


def instance(platform: Platform, storage: StorageDriver, name: str = "one", *, running: bool = False) -> str:
    """One without disks, which can be given some at once when it runs."""
    platform.spawned(storage, name, power_on=running)
    if running and platform.name != "libvirt":  # under which a guest need not be up to be given something
        platform.prepare_hotplug(storage, name)
    return name


RUNNING = pytest.mark.parametrize("running", [False, True])


@RUNNING
def test_attached_at_once_and_for_good(storage: StorageDriver, platform: Platform, running: bool):
    with where_supported(storage, "attach", "volumes", *["attach_live"] * running):
        volume = created(platform, storage, "data")
        instance(platform, storage, running=running)
        found = attach(storage, "one", disk_of(volume))
        assert (found.volume, found.pool) == (volume.name, volume.pool)
        assert found.device
        assert found.size_bytes == volume.size_bytes
        assert not found.owned
        assert not found.read_only
        after = storage.get_instances(["one"])["one"]
        assert after.pending == {}
        [use] = storage.volume_uses([volume.key])[volume.key].instances
        assert (use.instance, use.device, use.active) == ("one", found.device, running)
        if running:
            assert found.device in storage.list_disks("one")
            storage.force_off("one")
        storage.power_on("one")
        assert sources_of(storage, "one") == ["data"], "it is persistent"
        assert storage.volume_uses([volume.key])[volume.key].instances[0].active


@pytest.mark.on("fake", "xenapi")  # guests under libvirt have to let go: test_guest_disks
@RUNNING
def test_detached_at_once_and_for_good(storage: StorageDriver, platform: Platform, running: bool):
    with where_supported(storage, "attach", "volumes", *["attach_live"] * running):
        volume = created(platform, storage, "data")
        instance(platform, storage, running=running)
        with changes_nothing(platform):
            found = attach(storage, "one", disk_of(volume))
            storage.detach_volume("one", found.device, TIMEOUT_S)
        assert sources_of(storage, "one") == []
        assert storage.get_instances(["one"])["one"].pending == {}
        assert read(storage, volume.key).size_bytes == SIZE
        assert storage.volume_uses([volume.key])[volume.key].instances == []


def test_detached_while_it_is_off(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        with changes_nothing(platform):
            found = attach(storage, "one", disk_of(volume))
            storage.detach_volume("one", found.device, TIMEOUT_S)
        assert read(storage, volume.key).size_bytes == SIZE


def test_undo(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        completed = storage.complete_attachment("one", disk_of(volume))
        with changes_nothing(platform):
            storage.attach_volume("one", completed)()
        assert sources_of(storage, "one") == []
        storage.attach_volume("one", completed)
        with changes_nothing(platform):
            undo = storage.detach_volume("one", completed.device, TIMEOUT_S)
            assert sources_of(storage, "one") == []
            undo()
        assert sources_of(storage, "one") == ["data"]


def test_the_next_free_device(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volumes = [created(platform, storage, f"data{number}") for number in range(4)]
        instance(platform, storage)
        devices = [attach(storage, "one", disk_of(volume)).device for volume in volumes[:3]]
        assert len(set(devices)) == 3
        assert devices == sorted(devices)
        storage.detach_volume("one", devices[1], TIMEOUT_S)
        assert storage.complete_attachment("one", disk_of(volumes[3])).device == devices[1]
        taken = storage.complete_attachment("one", disk_of(volumes[3]), [devices[1]]).device
        assert taken not in devices


def test_a_device_of_ones_choice(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume, other = created(platform, storage, "data"), created(platform, storage, "other")
        instance(platform, storage)
        first = storage.complete_attachment("one", disk_of(volume)).device
        later = first[:-1] + chr(ord(first[-1]) + 2)
        assert attach(storage, "one", disk_of(volume, device=later)).device == later
        with changes_nothing(platform):
            with pytest.raises(AlreadyExists) as caught:
                storage.complete_attachment("one", disk_of(other, device=later))
            assert later in str(caught.value)
            assert "data" in str(caught.value), "what is there"
            assert first in str(caught.value), "the next free one"


def test_completing_needs_no_volume_and_changes_nothing(storage: StorageDriver, platform: Platform):
    """The plan that makes a volume is the one that attaches it."""
    with where_supported(storage, "attach"):
        instance(platform, storage)
        asked = Disk(volume="to-be-made", pool=platform.pool)
        with changes_nothing(platform), platform.calls.recording() as calls:
            completed = storage.complete_attachment("one", asked)
        assert calls.lasting_writes == []
        assert completed.device
        assert completed.bus
        assert completed.read_only is False
        assert asked == Disk(volume="to-be-made", pool=platform.pool), "the original is left alone"
        assert storage.check_attachment(completed) == []


def test_what_is_not_there(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        completed = storage.complete_attachment("one", disk_of(volume))
        with changes_nothing(platform):
            for disk, error in (
                (replace(completed, volume="ghost"), VolumeNotFound),
                (replace(completed, pool="nowhere"), PoolNotFound),
            ):
                with pytest.raises(error, match=r"ghost|nowhere"):
                    storage.attach_volume("one", disk)
            for call in (
                lambda: storage.complete_attachment("ghost", disk_of(volume)),
                lambda: storage.attach_volume("ghost", completed),
                lambda: storage.detach_volume("ghost", "vda", TIMEOUT_S),
                lambda: storage.verify_hotplug("ghost", completed),
            ):
                with pytest.raises(InstanceNotFound, match="ghost"):
                    call()
            with pytest.raises(NotFound, match=completed.device) as caught:
                storage.detach_volume("one", completed.device, TIMEOUT_S)
            assert caught.value.kind == "not_found"


def test_twice_the_same(storage: StorageDriver, platform: Platform):
    """A second attachment finds the device taken, and changes nothing."""
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        completed = storage.complete_attachment("one", disk_of(volume))
        storage.attach_volume("one", completed)
        with changes_nothing(platform):
            try:
                storage.attach_volume("one", completed)
            except (AlreadyExists, VolumeInUse) as error:
                assert completed.device in str(error) or volume.name in str(error)
        assert sources_of(storage, "one") == ["data"]


def test_busy_elsewhere(storage: StorageDriver, platform: Platform):
    """Two that write to one volume would ruin it; read only, or shareable, it is fine."""
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage, "first")
        attach(storage, "first", disk_of(volume))
        storage.power_on("first")
        instance(platform, storage, "second")
        completed = storage.complete_attachment("second", disk_of(volume))
        with changes_nothing(platform):
            with pytest.raises(VolumeInUse, match="first"):
                storage.attach_volume("second", completed)
        storage.force_off("first")
        storage.detach_volume("first", disks_of(storage, "first")[0].device, TIMEOUT_S)
        storage.attach_volume("second", completed)


def test_read_only_for_several(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        for name in ("first", "second"):
            instance(platform, storage, name)
            assert attach(storage, name, disk_of(volume, read_only=True)).read_only
            storage.power_on(name)
        uses = storage.volume_uses([volume.key])[volume.key].instances
        assert sorted((use.instance, use.active, use.read_only) for use in uses) == [
            ("first", True, True),
            ("second", True, True),
        ]


def test_shareable_for_several(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        asked = Volume("data", platform.pool, SIZE, format="raw", shareable=True)
        if storage.check_volume(asked):
            asked.format = None
        if storage.check_volume(asked):
            return
        storage.create_volume(storage.complete_volume(asked))
        for name in ("first", "second"):
            instance(platform, storage, name)
            attach(storage, name, disk_of(asked, shareable=True))
            storage.power_on(name)
        uses = storage.volume_uses([asked.key])[asked.key].instances
        assert [use.active for use in uses] == [True, True]


def test_an_instance_takes_what_is_its_own_and_leaves_the_rest(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        platform.spawned(storage, "one", disks=[Disk(size_bytes=8 * MIB)])
        attach(storage, "one", disk_of(volume))
        storage.destroy("one")
        assert platform.volumes() == {"data"}
        assert read(storage, volume.key).size_bytes == SIZE
        assert storage.volume_uses([volume.key])[volume.key].instances == []


def test_unless_all_is_to_go(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"), changes_nothing(platform):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        attach(storage, "one", disk_of(volume))
        storage.destroy("one", ALL)


def test_uses_of_an_instances_own_disks(storage: StorageDriver, platform: Platform):
    """Volumes that a spawn made are in use as any other."""
    with where_supported(storage, "volumes", "image"):
        [disk] = platform.spawned(storage, "one", disks=[Disk(size_bytes=8 * MIB)]).disks
        key = next(volume.key for volume in storage.list_volumes(disk.pool) if volume.name == disk.volume)
        [use] = storage.volume_uses([key])[key].instances
        assert (use.instance, use.device, use.active, use.read_only) == ("one", disk.device, False, False)


def test_an_attached_volume_grows_and_does_not_shrink(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        attach(storage, "one", disk_of(volume))
        storage.resize_volume(volume.key, 2 * SIZE)
        assert disks_of(storage, "one")[0].size_bytes == read(storage, volume.key).size_bytes == 2 * SIZE
        with changes_nothing(platform), pytest.raises((VolumeInUse, Unsupported)) as caught:
            storage.resize_volume(volume.key, SIZE)
        assert "one" in str(caught.value) or not storage.supports("volume_shrink")


def test_growing_while_it_runs(storage: StorageDriver, platform: Platform):
    """Either the guest is told, or it is refused and the volume is as it was."""
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        attach(storage, "one", disk_of(volume))
        storage.power_on("one")
        try:
            storage.resize_volume(volume.key, 2 * SIZE)
        except (VolumeInUse, Unsupported) as error:
            assert "one" in str(error)
            assert read(storage, volume.key).size_bytes == SIZE
        else:
            assert read(storage, volume.key).size_bytes == 2 * SIZE


def test_hotplug_is_asked_of_the_hypervisor(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "attach_live"):
        instance(platform, storage, running=True)
        disk = storage.complete_attachment("one", Disk(volume="to-be-made", pool=platform.pool))
        with changes_nothing(platform), platform.calls.recording() as calls:
            storage.verify_hotplug("one", disk)
        assert calls.lasting_writes == []


def test_tuning(storage: StorageDriver, platform: Platform):
    tuned = {"cache": "none", "discard": "unmap", "serial": "ABC123"}
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        disk = disk_of(volume, **tuned)
        problems = storage.check_attachment(disk)
        assert bool(problems) != storage.supports("disk_tuning")
        assert {problem.option for problem in problems} <= set(tuned)
        if problems:
            return
        found = attach(storage, "one", disk)
        assert {option: getattr(found, option) for option in tuned} == tuned


def test_limits(storage: StorageDriver, platform: Platform):
    limits, others = IoLimits(total_bytes=10 * MIB, total_iops=500), IoLimits(read_bytes=MIB, write_iops=100)
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        instance(platform, storage)
        disk = disk_of(volume, limits=limits)
        problems = storage.check_attachment(disk)
        assert bool(problems) != storage.supports("io_limits")
        if problems:
            assert problems[0].option.startswith("limits")
            return
        found = attach(storage, "one", disk)
        assert _given(found.limits) == _given(limits)
        with changes_nothing(platform):
            undo = storage.update_attachment("one", replace(found, limits=others), {"limits"})
            assert _given(disks_of(storage, "one")[0].limits) == _given(others)
            undo()
        assert _given(disks_of(storage, "one")[0].limits) == _given(limits)
        storage.update_attachment("one", replace(found, limits=IoLimits()), {"limits"})
        assert not _given(disks_of(storage, "one")[0].limits)


def _given(limits: IoLimits | None) -> dict[str, int]:
    return {name: value for name, value in vars(limits or IoLimits()).items() if value}


def test_in_a_pool_that_stops(storage: StorageDriver, platform: Platform):
    """An instance that is off keeps its disk; what cannot be reached cannot be attached."""
    with where_supported(storage, "attach", "volumes", "pools"):
        new_pool(platform, storage)
        volume, other = (created(platform, storage, name, pool="other") for name in ("data", "more"))
        instance(platform, storage)
        attach(storage, "one", disk_of(volume))
        completed = storage.complete_attachment("one", disk_of(other))
        storage.stop_pool("other")
        with changes_nothing(platform), pytest.raises(PoolNotFound, match="other"):
            storage.attach_volume("one", completed)
        storage.start_pool("other")
        storage.power_on("one")
        assert state_of(storage, "one") == "running"
        assert sources_of(storage, "one") == ["data"]
