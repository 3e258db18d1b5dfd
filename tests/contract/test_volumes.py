# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: made, cloned, resized, described, removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    ImageNotFound,
    InvalidInput,
    NotFound,
    PoolNotFound,
    VolumeInUse,
    VolumeNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Encryption,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.contents import sparse
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import (
    SIZE,
    changes_nothing,
    child_of,
    clone_of,
    created,
    make,
    new_pool,
    read,
    unfinished,
    wanted,
)

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")
EVERYWHERE = pytest.mark.on("fake", "libvirt", "lxc", "xen", "xenapi")
CHEAP = pytest.mark.on("fake", "libvirt", "lxc", "xenapi")
PASSPHRASE = "correct-horse-battery-staple"


@EVERYWHERE
def test_life_of_a_volume(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"), changes_nothing(platform):
        completed = storage.complete_volume(wanted(platform, "one"))
        storage.create_volume(completed)
        found = read(storage, completed.key)
        assert (found.name, found.pool, found.size_bytes) == ("one", platform.pool, SIZE)
        assert found.format == completed.format
        assert not found.unfinished
        assert not found.is_image
        assert not found.encrypted
        assert found.backing is None
        assert found.allocation_bytes >= 0
        assert [volume.name for volume in storage.list_volumes(platform.pool) if volume.name == "one"] == ["one"]
        uses = storage.volume_uses([completed.key])[completed.key]
        assert (uses.instances, uses.children) == ([], [])
        storage.delete_volume(completed.key)
        assert storage.get_volumes([completed.key]) == {}


@CHEAP
def test_complete_says_what_will_be_read_back(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"):
        asked = wanted(platform, "same", size_bytes=SIZE + 1)
        completed = storage.complete_volume(asked)
        assert asked == wanted(platform, "same", size_bytes=SIZE + 1), "the original is left alone"
        assert completed.size_bytes > SIZE
        storage.create_volume(completed)
        found = read(storage, completed.key)
        assert (found.size_bytes, found.format) == (completed.size_bytes, completed.format)


@CHEAP
@pytest.mark.parametrize("chosen", ["raw", "qcow2", "vhd"])
def test_formats(storage: StorageDriver, platform: Platform, chosen: str):
    """Each is either refused beforehand, by its option, or what the volume then has."""
    with where_supported(storage, "volumes"):
        asked = wanted(platform, "formatted", format=chosen)
        problems = storage.check_volume(asked)
        if problems:
            assert [problem.option for problem in problems] == ["format"]
            assert chosen != {"xenapi": "vhd"}.get(platform.name, "qcow2")
            return
        found = make(storage, asked)
        assert (found.format, found.size_bytes) == (chosen, SIZE)


@CHEAP
@pytest.mark.parametrize("how", ["off", "metadata", "falloc", "full"])
def test_preallocation(storage: StorageDriver, platform: Platform, how: str):
    with where_supported(storage, "volumes"):
        asked = wanted(platform, "roomy", preallocation=how)
        problems = storage.check_volume(asked)
        if problems:
            assert [problem.option for problem in problems] == ["preallocation"]
            return
        found = make(storage, asked)
        if how in ("falloc", "full"):
            assert found.allocation_bytes >= SIZE
        elif how == "off":
            assert found.allocation_bytes < SIZE


@CHEAP
def test_a_taken_name(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"):
        created(platform, storage, "taken", sparse())
        with changes_nothing(platform):
            with pytest.raises(AlreadyExists, match="taken"):
                created(platform, storage, "taken")
            with pytest.raises(AlreadyExists, match="taken"):
                created(platform, storage, "taken", sparse(SIZE // 2))


def test_one_name_in_two_pools(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "pools"):
        new_pool(platform, storage)
        first = created(platform, storage, "twin")
        second = created(platform, storage, "twin", pool="other", size_bytes=2 * SIZE)
        found = storage.get_volumes([first.key, second.key])
        assert [found[key].size_bytes for key in (first.key, second.key)] == [SIZE, 2 * SIZE]
        storage.delete_volume(first.key)
        assert list(storage.get_volumes([first.key, second.key])) == [second.key]


@EVERYWHERE
def test_what_is_not_there(storage: StorageDriver, platform: Platform):
    ghost = VolumeKey(platform.pool, "ghost")
    with where_supported(storage, "volumes"), changes_nothing(platform):
        assert storage.get_volumes([ghost, VolumeKey("nowhere", "ghost")]) == {}
        assert storage.volume_uses([ghost])[ghost].instances == []
        storage.delete_volume(ghost)
        storage.delete_volume(VolumeKey("nowhere", "ghost"))
        with pytest.raises(VolumeNotFound, match="ghost"):
            storage.resize_volume(ghost, SIZE)
        with pytest.raises(PoolNotFound, match="nowhere"):
            created(platform, storage, "one", pool="nowhere")
    with where_supported(storage, "volume_metadata"):
        with pytest.raises(VolumeNotFound, match="ghost"):
            storage.set_volume_metadata(ghost, {})
    with where_supported(storage, "volume_transfer"):
        with pytest.raises(VolumeNotFound, match="ghost"), storage.open_volume(ghost):
            pass


@CHEAP
@pytest.mark.parametrize(
    ("source", "error"),
    [
        (VolumeSource(volume="ghost"), VolumeNotFound),
        (VolumeSource(image="ghost"), ImageNotFound),
        (VolumeSource(volume="here", snapshot="ghost"), NotFound),
        (VolumeSource(volume="here", pool="nowhere"), PoolNotFound),
        (VolumeSource(image="ghost", pool="nowhere"), NotFound),
    ],
)
def test_a_source_that_is_not_there(
    storage: StorageDriver, platform: Platform, source: VolumeSource, error: type[AnyvirtError]
):
    features = {"snapshot": "volume_snapshots", "image": "images"}
    needed = ["volumes", *(feature for option, feature in features.items() if getattr(source, option))]
    with where_supported(storage, *needed):
        created(platform, storage, "here")
        with changes_nothing(platform), pytest.raises(error, match=r"ghost|nowhere"):
            make(storage, wanted(platform, "one", source=source))
        if source.snapshot and not storage.supports("volume_snapshots"):
            storage.require("volume_snapshots")


@CHEAP
def test_sizes_that_make_no_sense(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"):
        parent = created(platform, storage, "parent")
        with changes_nothing(platform):
            with pytest.raises(InvalidInput) as caught:
                storage.complete_volume(wanted(platform, "one", size_bytes=None))
            assert [problem.option for problem in caught.value.problems] == ["size"]
            with pytest.raises(InvalidInput) as caught:
                make(storage, clone_of(parent, "one", size_bytes=SIZE // 2))
            assert [problem.option for problem in caught.value.problems] == ["size"]


@CHEAP
def test_what_can_never_be(platform: Platform):
    """Told by its option, and nothing is asked of the hypervisor."""
    closed = platform.closed_storage_driver()
    with where_supported(closed, "volumes"):
        assert closed.check_volume(wanted(platform, "fine")) == []
        for option, value in {"format": "no-such", "name": "", "preallocation": "no-such"}.items():
            problems = closed.check_volume(replace(wanted(platform, "odd"), **{option: value}))
            assert [problem.option for problem in problems] == [option], option
        nested = wanted(platform, "../escaped")
        if closed.check_volume(nested) == []:
            assert platform.name == "xenapi"  # whose names are no paths


# -- clones and children ----------------------------------------------------------------------------------------------


def test_a_clone_is_independent_of_its_source(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "volume_transfer"):
        content = sparse()
        parent = created(platform, storage, "parent", content)
        clone = make(storage, clone_of(parent, "clone"))
        assert clone.backing is None
        assert clone.size_bytes == parent.size_bytes
        assert platform.storage.data(clone.key) == content.data()
        platform.storage.fill(parent.key, 0xAA, 0, 4096)
        assert platform.storage.data(clone.key) == content.data()
        assert storage.volume_uses([parent.key])[parent.key].children == []
        storage.delete_volume(parent.key)
        platform.storage.fill(clone.key, 0xBB, 0, 4096)
        assert platform.storage.data(clone.key)[4096:] == content.data()[4096:]


def test_a_larger_clone(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "volume_transfer"):
        content = sparse()
        parent = created(platform, storage, "parent", content)
        clone = make(storage, clone_of(parent, "clone", size_bytes=2 * SIZE))
        assert clone.size_bytes == 2 * SIZE
        assert platform.storage.data(clone.key) == content.data() + bytes(SIZE)


def test_a_clone_in_another_pool(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "pools", "volume_transfer"):
        new_pool(platform, storage)
        content = sparse()
        parent = created(platform, storage, "parent", content)
        source = VolumeSource(volume="parent", pool=parent.pool, copy_on_write=False)
        clone = make(storage, Volume("clone", "other", source=source))
        assert platform.storage.data(clone.key) == content.data()


def test_a_child_leans_on_its_parent(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_copy_on_write", "volume_transfer"):
        content = sparse()
        parent = created(platform, storage, "parent", content)
        child = make(storage, child_of(parent, "child"))
        assert child.backing == str(parent.key)
        assert child.size_bytes == parent.size_bytes
        assert storage.volume_uses([parent.key])[parent.key].children == [str(child.key)]
        assert platform.storage.data(child.key) == content.data()
        platform.storage.fill(child.key, 0xCC, 0, 4096)
        assert platform.storage.data(parent.key) == content.data()
        assert platform.storage.data(child.key) == b"\xcc" * 4096 + content.data()[4096:]
        storage.delete_volume(child.key)
        assert storage.volume_uses([parent.key])[parent.key].children == []
        assert platform.storage.data(parent.key) == content.data()


def test_no_child_changes_with_its_parent(storage: StorageDriver, platform: Platform):
    """An instance that is off now may write to the parent later."""
    with where_supported(storage, "volume_copy_on_write", "volume_transfer", "attach"):
        content = sparse()
        parent = created(platform, storage, "parent", content)
        platform.spawned(storage, "user")
        disk = storage.complete_attachment("user", Disk(volume=parent.name, pool=parent.pool))
        storage.attach_volume("user", disk)
        try:
            child = make(storage, child_of(parent, "child"))
        except VolumeInUse as error:
            assert "user" in str(error)
            assert make(storage, clone_of(parent, "clone")).size_bytes == SIZE
        else:
            platform.storage.fill(parent.key, 0xCC, 0, 4096)
            assert platform.storage.data(child.key) == content.data()


def test_a_larger_child(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_copy_on_write", "volume_transfer"):
        content = sparse()
        parent = created(platform, storage, "parent", content)
        child = make(storage, child_of(parent, "child", size_bytes=2 * SIZE))
        assert child.size_bytes == 2 * SIZE
        assert read(storage, parent.key).size_bytes == SIZE
        assert platform.storage.data(child.key) == content.data() + bytes(SIZE)


def test_generations(storage: StorageDriver, platform: Platform):
    """A child of a child leans on that one alone."""
    with where_supported(storage, "volume_copy_on_write"):
        parent = created(platform, storage, "parent", sparse())
        child = make(storage, child_of(parent, "child"))
        grandchild = make(storage, child_of(child, "grandchild"))
        uses = storage.volume_uses([parent.key, child.key, grandchild.key])
        assert [uses[key].children for key in (parent.key, child.key, grandchild.key)] == [
            [str(child.key)],
            [str(grandchild.key)],
            [],
        ]
        assert platform.storage.data(grandchild.key) == sparse().data()


# -- changes ----------------------------------------------------------------------------------------------------------


@CHEAP
def test_growing(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"):
        volume = created(platform, storage, "one")
        storage.resize_volume(volume.key, 3 * SIZE)
        assert read(storage, volume.key).size_bytes == 3 * SIZE
        with platform.calls.recording() as calls:
            storage.resize_volume(volume.key, 3 * SIZE)()
        assert calls.lasting_writes == []
        assert read(storage, volume.key).size_bytes == 3 * SIZE


def test_growing_keeps_what_is_in_it(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "volume_transfer"):
        volume = created(platform, storage, "one", sparse())
        storage.resize_volume(volume.key, 2 * SIZE)
        assert platform.storage.data(volume.key) == sparse().data() + bytes(SIZE)


def test_shrinking(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "volume_shrink"):
        volume = created(platform, storage, "one")
        storage.resize_volume(volume.key, 2 * SIZE)
        storage.resize_volume(volume.key, SIZE)
        assert read(storage, volume.key).size_bytes == SIZE


@pytest.mark.parametrize("chosen", ["raw", "qcow2"])
def test_shrinking_keeps_what_is_left_of_it(storage: StorageDriver, platform: Platform, chosen: str):
    with where_supported(storage, "volumes", "volume_shrink"):
        if storage.check_volume(wanted(platform, "one", format=chosen)):
            storage.require("volume_shrink")
            return
        volume = make(storage, wanted(platform, "one", format=chosen, size_bytes=2 * SIZE))
        platform.storage.fill(volume.key, 0x77, SIZE - 4096, 8192)
        storage.resize_volume(volume.key, SIZE)
        assert platform.storage.data(volume.key) == bytes(SIZE - 4096) + b"\x77" * 4096


@CHEAP
def test_metadata(storage: StorageDriver, platform: Platform):
    metadata = {"owner": "somebody", "a key": "a 'value' & <more>\n", "leer": "", "ключ": "значение"}
    with where_supported(storage, "volumes", "volume_metadata"):
        volume = created(platform, storage, "one", metadata=metadata)
        assert volume.metadata == metadata
        with changes_nothing(platform):
            undo = storage.set_volume_metadata(volume.key, {"other": "1"})
            assert read(storage, volume.key).metadata == {"other": "1"}
            assert next(found for found in storage.list_volumes(platform.pool) if found.name == "one").metadata == {
                "other": "1"
            }
            undo()
        assert read(storage, volume.key).metadata == metadata
        storage.set_volume_metadata(volume.key, {})
        assert read(storage, volume.key).metadata == {}


def test_metadata_stays_with_its_volume(storage: StorageDriver, platform: Platform):
    """It outlives a resize and the pool's stops, and is not inherited by another volume of the name."""
    with where_supported(storage, "volumes", "volume_metadata", "pools"):
        new_pool(platform, storage)
        volume = created(platform, storage, "one", pool="other", metadata={"a": "1"})
        storage.resize_volume(volume.key, 2 * SIZE)
        storage.stop_pool("other")
        storage.start_pool("other")
        storage.refresh_pool("other")
        assert read(storage, volume.key).metadata == {"a": "1"}
        storage.delete_volume(volume.key)
        assert not created(platform, storage, "one", pool="other").metadata


def test_shareable_is_remembered(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"):
        asked = wanted(platform, "shared-one", shareable=True)
        if storage.check_volume(asked):
            return
        assert make(storage, asked).shareable
        assert not created(platform, storage, "own-one").shareable


def test_an_encrypted_volume(
    storage: StorageDriver, platform: Platform, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    """Its passphrase is nowhere to be read, and its secret goes with it."""
    with where_supported(storage, "volumes", "volume_encryption"), changes_nothing(platform):
        asked = wanted(platform, "secret-one", encryption=Encryption(passphrase=PASSPHRASE))
        completed = storage.complete_volume(asked)
        storage.create_volume(completed)
        found = read(storage, asked.key)
        assert found.encrypted
        assert found.size_bytes == SIZE
        seen: list[Any] = [asked, completed, found, platform.snapshot(), caplog.text, capfd.readouterr()]
        seen.append(storage.list_volumes(platform.pool))
        assert PASSPHRASE not in repr(seen)
        _remove_after_failures(storage, platform, asked.key)
        assert storage.get_volumes([asked.key]) == {}


def _remove_after_failures(storage: StorageDriver, platform: Platform, key: VolumeKey) -> None:
    """A removal that fails again and again, each time a call later, comes to its end with nothing left."""
    number, whole = 0, False
    while not whole:
        number += 1
        try:
            with platform.calls.recording(fail_at=number) as calls:
                storage.delete_volume(key)
        except AnyvirtError:
            continue
        whole = len(calls) < number


# -- unfinished ones --------------------------------------------------------------------------------------------------


def test_a_volume_that_was_never_finished(storage: StorageDriver, platform: Platform):
    """It is told apart, seen by nobody else, and removed or made again."""
    with where_supported(storage, "volumes", "volume_transfer"):
        before = platform.snapshot()
        if not storage.supports("volume_transfer"):
            storage.require("volume_transfer")
        key = unfinished(platform, storage, "half")
        assert read(storage, key).unfinished
        with pytest.raises(NotFound):
            make(storage, clone_of(Volume("half", key.pool), "clone"))
        with pytest.raises(VolumeNotFound):
            storage.resize_volume(key, 2 * SIZE)
        with pytest.raises(VolumeNotFound), storage.open_volume(key):
            pass
        assert created(platform, storage, "half", sparse()).unfinished is False
        assert platform.storage.data(key) == sparse().data()
        storage.delete_volume(key)
        assert platform.snapshot() == before
        unfinished(platform, storage, "half")
        storage.delete_volume(key)
        assert storage.get_volumes([key]) == {}
        assert platform.snapshot() == before


# -- many -------------------------------------------------------------------------------------------------------------


def test_reading_costs_the_same_for_many(storage: StorageDriver, platform: Platform):
    """Nothing is asked for each volume."""
    with where_supported(storage, "volumes"):
        keys, costs = [], []
        for count in (3, 12):
            while len(keys) < count:
                keys.append(created(platform, storage, f"volume{len(keys):02}", size_bytes=2 * MIB).key)
            fresh = platform.storage_driver()
            with platform.calls.recording() as calls:
                assert list(fresh.get_volumes(keys)) == keys
            with platform.calls.recording() as listing:
                assert [volume.key for volume in fresh.list_volumes(platform.pool) if volume.key in keys] == keys
            with platform.calls.recording() as using:
                assert set(fresh.volume_uses(keys)) == set(keys)
            assert calls.lasting_writes == listing.lasting_writes == using.lasting_writes == []
            costs.append((len(calls), len(listing), len(using)))
        if platform.name == "libvirt":  # which tells the facts of a volume one by one, and nothing more than that
            assert all(many - few <= 9 * 2 for few, many in zip(*costs))
        else:
            assert costs[0] == costs[1]


@EVERYWHERE
@pytest.mark.thorough
def test_strange_names(storage: StorageDriver, platform: Platform):
    """A name is either refused beforehand or just a name."""
    with where_supported(storage, "volumes"):
        for name in ("with space", "a&b<c>'d'", "ünïcode", "-dash", "dots..and.more", "x" * 200, ".hidden"):
            asked = wanted(platform, name)
            if storage.check_volume(asked):
                continue
            found = make(storage, asked)
            assert found.name == name
            assert name in [volume.name for volume in storage.list_volumes(platform.pool)]
            storage.delete_volume(asked.key)
            assert storage.get_volumes([asked.key]) == {}
