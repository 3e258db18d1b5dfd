# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of volumes: what was in them then comes back."""

from __future__ import annotations

import time

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    NotFound,
    VolumeInUse,
    VolumeNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Volume, VolumeKey, VolumeSource
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import SIZE, changes_nothing, created, make, read, wanted

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")

PIECE = 64 * 1024


def names(storage: StorageDriver, key: VolumeKey) -> list[str]:
    """Its snapshots, oldest first."""
    snapshots = read(storage, key, snapshots=True).snapshots
    assert snapshots is not None
    return [snapshot.name for snapshot in snapshots]


def filled(platform: Platform, storage: StorageDriver, byte: int = 1) -> Volume:
    """A volume that begins with this byte."""
    volume = created(platform, storage, "kept")
    platform.storage.fill(volume.key, byte, 0, PIECE)
    return volume


def beginning(platform: Platform, key: VolumeKey) -> int:
    """The byte with which it begins."""
    data = platform.storage.data(key)
    assert set(data[:PIECE]) == {data[0]}
    assert set(data[PIECE:]) == {0}
    return data[0]


def test_there_and_back(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"):
        volume = filled(platform, storage, 1)
        started = time.time()
        storage.create_volume_snapshot(volume.key, "first")
        platform.storage.fill(volume.key, 2, 0, PIECE)
        storage.create_volume_snapshot(volume.key, "second")
        platform.storage.fill(volume.key, 3, 0, PIECE)
        assert names(storage, volume.key) == ["first", "second"]
        assert read(storage, volume.key).snapshots is None, "not asked for"
        for snapshot in read(storage, volume.key, snapshots=True).snapshots:
            assert snapshot.created_s is None or abs(snapshot.created_s - started) < 60
        for snapshot, byte in (("first", 1), ("second", 2), ("first", 1)):
            storage.revert_volume(volume.key, snapshot)
            assert beginning(platform, volume.key) == byte
            assert names(storage, volume.key) == ["first", "second"]
        found = read(storage, volume.key)
        assert (found.name, found.size_bytes, found.backing) == ("kept", SIZE, None)


def test_reverting_twice_forgets_what_came_between(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"):
        volume = filled(platform, storage, 1)
        storage.create_volume_snapshot(volume.key, "first")
        for _turn in range(2):
            platform.storage.fill(volume.key, 9, 0, PIECE)
            storage.revert_volume(volume.key, "first")
            assert beginning(platform, volume.key) == 1


def test_a_snapshot_is_no_volume(storage: StorageDriver, platform: Platform):
    """It is in no listing but its volume's."""
    with where_supported(storage, "volume_snapshots"):
        volume = filled(platform, storage)
        before = [found.name for found in storage.list_volumes(platform.pool)]
        storage.create_volume_snapshot(volume.key, "first")
        assert [found.name for found in storage.list_volumes(platform.pool)] == before
        assert storage.get_volumes([VolumeKey(platform.pool, "first")]) == {}
        assert storage.volume_uses([volume.key])[volume.key].children == []


def test_removal_and_undo(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"):
        volume = filled(platform, storage, 1)
        storage.create_volume_snapshot(volume.key, "first")
        undo = storage.create_volume_snapshot(volume.key, "second")
        undo()
        assert names(storage, volume.key) == ["first"]
        platform.storage.fill(volume.key, 2, 0, PIECE)
        storage.delete_volume_snapshot(volume.key, "first")
        assert names(storage, volume.key) == []
        assert beginning(platform, volume.key) == 2
        with platform.calls.recording() as calls:
            storage.delete_volume_snapshot(volume.key, "first")
        assert calls.lasting_writes == []


def test_a_volume_goes_with_its_snapshots(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"), changes_nothing(platform):
        volume = filled(platform, storage)
        storage.create_volume_snapshot(volume.key, "first")
        storage.create_volume_snapshot(volume.key, "second")
        storage.delete_volume(volume.key)


def test_what_is_not_there_or_taken(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"):
        volume, ghost = filled(platform, storage), VolumeKey(platform.pool, "ghost")
        storage.create_volume_snapshot(volume.key, "first")
        with changes_nothing(platform):
            with pytest.raises(NotFound, match="second") as caught:
                storage.revert_volume(volume.key, "second")
            assert caught.value.kind == "snapshot_not_found"
            with pytest.raises(AlreadyExists, match="first"):
                storage.create_volume_snapshot(volume.key, "first")
            with pytest.raises(VolumeNotFound, match="ghost"):
                storage.create_volume_snapshot(ghost, "first")
            with pytest.raises(VolumeNotFound, match="ghost"):
                storage.revert_volume(ghost, "first")
            storage.delete_volume_snapshot(ghost, "first")


def test_a_volume_made_from_a_snapshot(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"):
        volume = filled(platform, storage, 1)
        storage.create_volume_snapshot(volume.key, "first")
        platform.storage.fill(volume.key, 2, 0, PIECE)
        source = VolumeSource(volume=volume.name, snapshot="first", copy_on_write=False)
        asked = wanted(platform, "then", size_bytes=None, source=source)
        assert storage.check_volume(asked) == []
        then = make(storage, asked)
        assert beginning(platform, then.key) == 1
        assert beginning(platform, volume.key) == 2
        storage.delete_volume(volume.key)
        assert beginning(platform, then.key) == 1


def test_while_an_instance_uses_it(storage: StorageDriver, platform: Platform):
    """A revert is never done under a guest that runs; a snapshot is either taken or refused, and nothing else."""
    with where_supported(storage, "volume_snapshots", "existing_volume"):
        volume = filled(platform, storage)
        storage.create_volume_snapshot(volume.key, "first")
        disks = [Disk(volume=volume.name, pool=volume.pool)]
        platform.spawned(storage, "user", disks=disks, power_on=True)
        with changes_nothing(platform), pytest.raises(VolumeInUse, match="user"):
            storage.revert_volume(volume.key, "first")
        try:
            storage.create_volume_snapshot(volume.key, "second")
        except VolumeInUse as error:
            assert "user" in str(error)
            assert names(storage, volume.key) == ["first"]
        else:
            assert names(storage, volume.key) == ["first", "second"]
        storage.force_off("user")
        storage.revert_volume(volume.key, "first")
        assert beginning(platform, volume.key) == 1
        [disk] = storage.get_instances(["user"])["user"].disks
        assert (disk.volume, disk.pool) == (volume.name, volume.pool), "it keeps its place in the instance"
        storage.power_on("user")


def test_snapshots_cost_no_calls_unless_asked_for(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_snapshots"):
        volume = filled(platform, storage)
        fresh = platform.storage_driver()
        with platform.calls.recording() as before:
            fresh.get_volumes([volume.key])
        storage.create_volume_snapshot(volume.key, "first")
        fresh = platform.storage_driver()
        with platform.calls.recording() as after:
            fresh.get_volumes([volume.key])
        assert len(after) == len(before)
