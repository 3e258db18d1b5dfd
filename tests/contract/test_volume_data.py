# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in volumes: in and out again, whole or not at all, in bounded memory."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver, VolumeReader
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    ChecksumMismatch,
    InsufficientCapacity,
    InvalidInput,
    PoolNotFound,
    TransferError,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Content
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import Progress, Report
from contract.contents import Stretch, Sum, TestContent, dense, qcow2_image, sparse, total
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import (
    SIZE,
    SOMEWHERE,
    changes_nothing,
    child_of,
    created,
    make,
    new_pool,
    read,
    wanted,
)

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")

# Reading and sending pieces of a MiB takes some of them at a time, never a whole volume.
_BOUND_BYTES = 12 * MIB


def downloaded(storage: StorageDriver, key: VolumeKey) -> Sum:
    with storage.open_volume(key) as reader:
        found = total(reader.segments())
        assert reader.length in (None, found.length)
    return found


@pytest.mark.parametrize("told_length", [True, False])
def test_what_goes_in_comes_out(storage: StorageDriver, platform: Platform, told_length: bool):
    content = sparse(told_length=told_length)
    with where_supported(storage, "volume_transfer"):
        volume = created(platform, storage, "filled", content)
        assert volume.size_bytes == SIZE
        assert platform.storage.data(volume.key) == content.data()
        with storage.open_volume(volume.key) as reader:
            assert reader.format == "raw"
        found, expected = downloaded(storage, volume.key), total(content.segments())
        assert (found.length, found.sha256) == (expected.length, expected.sha256)
        assert downloaded(storage, volume.key) == found, "a second time too"


def test_holes_stay_holes(storage: StorageDriver, platform: Platform):
    """They take no room in the pool, and are not sent."""
    length = 64 * MIB
    content = TestContent(length, (Stretch(0, MIB), Stretch(length - MIB, MIB)))
    with where_supported(storage, "volume_transfer"):
        volume = created(platform, storage, "hollow", content)
        assert volume.allocation_bytes <= 8 * MIB
        found = downloaded(storage, volume.key)
        assert found.sha256 == total(content.segments()).sha256
        assert found.data_bytes <= 16 * MIB


def test_a_volume_larger_than_its_content(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_transfer"):
        volume = created(platform, storage, "roomy", sparse(), size_bytes=2 * SIZE)
        assert volume.size_bytes == 2 * SIZE
        assert platform.storage.data(volume.key) == sparse().data() + bytes(SIZE)


@pytest.mark.parametrize("told", [True, False])
def test_a_volume_smaller_than_its_content(storage: StorageDriver, platform: Platform, told: bool):
    content = replace(sparse(2 * SIZE, told_length=told), told_size=told)
    with where_supported(storage, "volume_transfer"), changes_nothing(platform):
        with pytest.raises((InvalidInput, TransferError), match=r"size|larger than 8M"):
            created(platform, storage, "tight", content, size_bytes=SIZE)
        assert not storage.get_volumes([VolumeKey(platform.pool, "tight")])
        if not storage.supports("volume_transfer"):
            storage.require("volume_transfer")


@pytest.mark.on("fake", "libvirt")
def test_an_image_file_as_content(storage: StorageDriver, platform: Platform):
    """It becomes a volume of its own format, with the disk that is in it."""
    content = qcow2_image(2 * SIZE)
    with where_supported(storage, "volume_transfer"):
        volume = created(platform, storage, "imaged", content)
        assert (volume.format, volume.size_bytes) == ("qcow2", 2 * SIZE)
        with storage.open_volume(volume.key) as reader:
            assert reader.format == "qcow2"
        found, expected = downloaded(storage, volume.key), total(content.segments())
        assert (found.length, found.sha256) == (expected.length, expected.sha256)


@pytest.mark.parametrize("length", [1, 511, MIB + 1])
def test_odd_lengths(storage: StorageDriver, platform: Platform, length: int):
    with where_supported(storage, "volume_transfer"):
        content = dense(length)
        volume = created(platform, storage, "odd", content)
        assert volume.size_bytes >= length
        data = platform.storage.data(volume.key)
        assert data[:length] == content.data()
        assert set(data[length:]) <= {0}


def test_content_that_turns_out_wrong_at_its_end(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_transfer"), changes_nothing(platform):
        with pytest.raises(ChecksumMismatch, match="because the test says so") as caught:
            created(platform, storage, "bad", sparse(ends="wrong"))
        assert caught.value.not_undone == []
        assert not storage.get_volumes([VolumeKey(platform.pool, "bad")])
        if not storage.supports("volume_transfer"):
            storage.require("volume_transfer")


def test_memory_does_not_grow_with_the_data(storage: StorageDriver, platform: Platform):
    content: Content = dense(48 * MIB)
    with where_supported(storage, "volume_transfer"):
        volume = storage.complete_volume(wanted(platform, "large", size_bytes=None, source=SOMEWHERE), content.facts)
        gc.collect()
        tracemalloc.start()
        try:
            storage.create_volume(volume, content)
            assert _peak() < _BOUND_BYTES
            tracemalloc.reset_peak()
            assert downloaded(storage, volume.key).length == 48 * MIB
            assert _peak() < _BOUND_BYTES
        finally:
            tracemalloc.stop()


def _peak() -> int:
    return tracemalloc.get_traced_memory()[1]


def test_a_full_pool(storage: StorageDriver, platform: Platform):
    """A clear error, nothing is left behind, and the room is there for others."""
    with where_supported(storage, "volume_transfer"):
        if not storage.supports("volume_transfer"):
            storage.require("volume_transfer")
        small = platform.storage.make_small_pool()
        room = platform.storage.room_bytes
        with changes_nothing(platform):
            with pytest.raises(InsufficientCapacity, match=small) as caught:
                created(platform, storage, "huge", dense(room + 8 * MIB), pool=small)
            assert caught.value.not_undone == []
            assert storage.list_volumes(small) == []
        fitting = dense(room // 2)
        volume = created(platform, storage, "fitting", fitting, pool=small)
        assert platform.storage.data(volume.key) == fitting.data()


@pytest.mark.on("fake", "libvirt")
@pytest.mark.parametrize("how", ["falloc", "full"])
def test_a_full_pool_of_reserved_room(storage: StorageDriver, platform: Platform, how: str):
    with where_supported(storage, "volumes"):
        small = platform.storage.make_small_pool()
        room = platform.storage.room_bytes
        with changes_nothing(platform):
            with pytest.raises(InsufficientCapacity, match=small):
                created(platform, storage, "huge", pool=small, size_bytes=2 * room, preallocation=how)
            assert storage.list_volumes(small) == []


@pytest.mark.on("fake", "libvirt")
def test_a_clone_that_does_not_fit(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_transfer"):
        small = platform.storage.make_small_pool()
        large = created(platform, storage, "large", dense(2 * platform.storage.room_bytes))
        source = type(SOMEWHERE)(volume=large.name, pool=large.pool, copy_on_write=False)
        with changes_nothing(platform), pytest.raises(InsufficientCapacity, match=small):
            make(storage, wanted(platform, "clone", pool=small, size_bytes=None, source=source))


def test_a_child_comes_out_whole(storage: StorageDriver, platform: Platform):
    """What is downloaded leans on nothing."""
    with where_supported(storage, "volume_transfer", "volume_copy_on_write"):
        content = sparse()
        parent = created(platform, storage, "parent", content)
        child = make(storage, child_of(parent, "child"))
        with storage.open_volume(child.key) as reader:
            if reader.format == "raw":
                assert total(reader.segments()).sha256 == total(content.segments()).sha256


def test_what_is_being_written_to_cannot_be_read(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_transfer", "existing_volume"):
        volume = created(platform, storage, "busy", sparse())
        disks = [Disk(volume=volume.name, pool=volume.pool)]
        platform.spawned(storage, "writer", disks=disks, power_on=True)
        with pytest.raises(VolumeInUse, match="writer"), storage.open_volume(volume.key):
            pass
        storage.force_off("writer")
        if platform.name != "libvirt":  # whose guests may have written by then
            assert downloaded(storage, volume.key).sha256 == total(sparse().segments()).sha256


def test_a_pool_that_is_not_active(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volume_transfer", "pools"):
        new_pool(platform, storage)
        volume = created(platform, storage, "kept", sparse(), pool="other")
        storage.stop_pool("other")
        with pytest.raises(PoolNotFound, match="other"), storage.open_volume(volume.key):
            pass
        storage.start_pool("other")
        assert downloaded(storage, volume.key).sha256 == total(sparse().segments()).sha256


def test_a_reader_who_stops_early(storage: StorageDriver, platform: Platform):
    """Leaves nothing open behind: the volume can be removed, and read again."""
    with where_supported(storage, "volume_transfer"):
        volume = created(platform, storage, "long", dense(SIZE))
        with storage.open_volume(volume.key) as reader:
            next(iter(reader.segments()))
        with storage.open_volume(volume.key):
            pass
        assert downloaded(storage, volume.key).sha256 == total(dense(SIZE).segments()).sha256
        with pytest.raises(KeyboardInterrupt), storage.open_volume(volume.key) as reader:
            _interrupted(reader)
        storage.delete_volume(volume.key)
        assert not storage.get_volumes([volume.key])


def _interrupted(reader: VolumeReader) -> None:
    next(iter(reader.segments()))
    raise KeyboardInterrupt


def test_progress_is_told(storage: StorageDriver, platform: Platform):
    reports: list[Report] = []
    with where_supported(storage, "volume_transfer"):
        storage.progress = Progress(reports.append)
        volume = created(platform, storage, "watched", dense(SIZE))
        assert reports
        assert any(report.done for report in reports)
        assert reports[-1].ended
        assert all(report.total in (None, SIZE) for report in reports)
        assert read(storage, volume.key).size_bytes == SIZE
