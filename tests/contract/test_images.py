# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image cache: reserved by one, used once it is whole, kept while anybody leans on it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    ChecksumMismatch,
    ImageNotFound,
    InsufficientCapacity,
    PoolNotFound,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Image, Volume, VolumeSource
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB
from contract import child
from contract.contents import Watched, dense, sparse, total
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import (
    SIZE,
    cached,
    changes_nothing,
    created,
    image_content,
    make,
    read,
    reserved,
    wanted,
)

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")
RIVALS = 4


def test_life_of_an_image(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"), changes_nothing(platform):
        image = reserved(platform, storage, "image")
        found = storage.get_images()[image.key]
        assert not found.complete
        assert found.claim == "me"
        for beat in (1, 2, 3):
            storage.beat_image(replace(image, beat=beat))
            assert storage.get_images()[image.key].beat == beat
        content = image_content(platform)
        assert storage.write_image(image, content) == total(content.segments()).length
        assert not storage.get_images()[image.key].complete
        image = replace(
            image,
            beat=4,
            source="https://images.example.org/one.img",
            checksum="sha256:" + "1" * 64,
            source_checksum="sha512:" + "2" * 128,
            fetched_s=1_700_000_000.0,
            file_bytes=content.length,
        )
        storage.finish_image(image)
        found = storage.get_images()[image.key]
        assert found.complete
        for option in ("name", "pool", "size_bytes", "source", "checksum", "source_checksum", "fetched_s"):
            assert getattr(found, option) == getattr(image, option), option
        assert storage.get_images([platform.pool])[image.key] == found
        storage.delete_image(image.key)
        assert image.key not in storage.get_images()


def test_an_image_is_a_volume_of_its_pool(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        image = cached(platform, storage)
        [listed] = [volume for volume in storage.list_volumes(platform.pool) if volume.name == image.name]
        assert listed.is_image
        volume = read(storage, image.key)
        assert volume.is_image
        assert not volume.unfinished
        assert volume.size_bytes == SIZE
        assert not created(platform, storage, "other").is_image


def test_one_of_several_processes_reserves_it(storage: StorageDriver, platform: Platform):
    """The others hear that the name is taken."""
    with where_supported(storage, "images"):
        storage.require("images")
        images = [Image("image", platform.pool, format="raw", claim=f"rival-{number}") for number in range(RIVALS)]
        children = [
            child.start(options=platform.options(), operation="storage", method="reserve_image", arguments=(image,))
            for image in images
        ]
        results = [(process.communicate(timeout=120), process.returncode) for process in children]
        assert sorted(code for _output, code in results) == [0] + [1] * (RIVALS - 1), results
        assert all(b"AlreadyExists" in errors for (_output, errors), code in results if code)
        winner = next(number for number, (_outputs, code) in enumerate(results) if code == 0)
        assert storage.get_images()[images[0].key].claim == f"rival-{winner}"


def test_a_name_that_is_taken(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        reserved(platform, storage, "reserved")
        cached(platform, storage, "whole")
        created(platform, storage, "volume")
        with changes_nothing(platform):
            for name in ("reserved", "whole", "volume"):
                with pytest.raises(AlreadyExists, match=name):
                    reserved(platform, storage, name, claim="another")
            for name in ("reserved", "whole"):
                with pytest.raises(AlreadyExists, match=name):
                    created(platform, storage, name)
        with pytest.raises(PoolNotFound, match="nowhere"):
            reserved(platform, storage, "image", pool="nowhere")


def test_a_reservation_that_was_lost(storage: StorageDriver, platform: Platform):
    """Whoever was taken for dead and comes back changes nothing of his successor's."""
    with where_supported(storage, "images"):
        lost = reserved(platform, storage, "image", claim="slow")
        storage.delete_image(lost.key, claim="slow")
        reserved(platform, storage, "image", claim="quick")
        with changes_nothing(platform):
            with pytest.raises(ImageNotFound, match="image"):
                storage.beat_image(replace(lost, beat=7))
            with pytest.raises(ImageNotFound, match="image"):
                storage.finish_image(lost)
            storage.delete_image(lost.key, claim="slow")
        assert storage.get_images()[lost.key].claim == "quick"
        storage.delete_image(lost.key, claim="quick")
        with pytest.raises(ImageNotFound, match="image"):
            storage.beat_image(lost)
        with pytest.raises(ImageNotFound, match="image"):
            storage.finish_image(lost)


def test_its_beat_goes_on_while_it_is_filled(storage: StorageDriver, platform: Platform):
    """From another thread, through the same driver; others see it."""
    with where_supported(storage, "images"):
        image = reserved(platform, storage, "image")
        other = platform.storage_driver()

        def beat() -> None:
            with ThreadPoolExecutor(max_workers=1) as beside:
                beside.submit(storage.beat_image, replace(image, beat=5)).result(timeout=20)
            found = other.get_images()[image.key]
            assert (found.beat, found.complete) == (5, False)

        content = Watched(image_content(platform, 4 * SIZE), beat)
        storage.write_image(image, content)
        storage.finish_image(image)
        assert storage.get_images()[image.key].complete


def test_a_finished_image_is_nobodys_claim(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        image = cached(platform, storage)
        with changes_nothing(platform):
            storage.delete_image(image.key, claim="me")
            with pytest.raises(ImageNotFound):
                storage.beat_image(replace(image, claim="me", beat=9))


@pytest.mark.parametrize("filled", [False, True])
def test_an_unfinished_image_is_never_used(storage: StorageDriver, platform: Platform, filled: bool):
    with where_supported(storage, "images"):
        image = reserved(platform, storage, "image")
        if filled:
            storage.write_image(image, image_content(platform))
        before = platform.snapshot()
        with pytest.raises(AnyvirtError) as caught:
            platform.spawned(storage, "one", image="image", disks=[Disk(role="root", image="image")])
        assert caught.value.kind == "image_not_found"
        with pytest.raises(ImageNotFound, match="image"):
            make(storage, wanted(platform, "child", size_bytes=None, source=VolumeSource(image="image")))
        assert [volume.name for volume in storage.list_volumes(platform.pool) if volume.name == "image"] == []
        assert platform.snapshot() == before


def test_content_that_turns_out_wrong(storage: StorageDriver, platform: Platform):
    """Nothing of it can be used, and the name is free again once the claim is given up."""
    with where_supported(storage, "images"), changes_nothing(platform):
        image = reserved(platform, storage, "image", format="raw")
        with pytest.raises(ChecksumMismatch, match="because the test says so"):
            storage.write_image(image, sparse(ends="wrong"))
        assert not storage.get_images()[image.key].complete
        storage.delete_image(image.key, claim="me")
        assert storage.get_images() == {}
        cached(platform, storage)
        storage.delete_image(image.key)


def test_a_full_pool(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        storage.require("images")
        small = platform.storage.make_small_pool()
        length = platform.storage.room_bytes + 8 * MIB
        with changes_nothing(platform):
            image = reserved(platform, storage, "image", pool=small, format="raw", size_bytes=length)
            with pytest.raises(InsufficientCapacity, match=small):
                storage.write_image(image, dense(length))
            storage.delete_image(image.key, claim="me")


def test_an_instance_made_from_it(storage: StorageDriver, platform: Platform):
    """A copy-on-write child, at once, that keeps the image from deletion as long as it is there."""
    with where_supported(storage, "images", "image", "spawn"):
        image = cached(platform, storage)
        flavor = Flavor("f", 96, 1, root_gb=1)
        platform.spawned(storage, "one", image=image.name, flavor=flavor)
        found = storage.get_instances(["one"])["one"]
        root = found.disks[0]
        assert (root.role, root.owned, root.size_bytes) == ("root", True, GIB)
        assert found.image == image.name
        uses = storage.volume_uses([image.key])[image.key]
        assert uses.children == [f"{root.pool}/{root.volume}"]
        with changes_nothing(platform), pytest.raises(VolumeInUse, match=root.volume):
            storage.delete_image(image.key)
        storage.destroy("one")
        storage.delete_image(image.key)
        assert image.key not in storage.get_images()


def test_a_volume_made_from_it(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images", "volume_copy_on_write"):
        image = cached(platform, storage)
        source = VolumeSource(image=image.name)
        asked = Volume("child", platform.pool, source=source)
        assert storage.check_volume(asked) == []
        leaning = make(storage, asked)
        assert leaning.backing == str(image.key)
        assert leaning.size_bytes == SIZE
        whole = make(storage, Volume("whole", platform.pool, source=replace(source, copy_on_write=False)))
        assert whole.backing is None
        assert not whole.is_image
        if platform.name != "fake":  # which keeps the image's file as it came
            assert platform.storage.data(leaning.key) == platform.storage.data(whole.key) != bytes(SIZE)
        with pytest.raises(VolumeInUse, match="child"):
            storage.delete_image(image.key)
        storage.delete_volume(leaning.key)
        storage.delete_image(image.key)
        assert read(storage, whole.key).size_bytes == SIZE


def test_removal_a_second_time(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        image = cached(platform, storage)
        storage.delete_image(image.key)
        with platform.calls.recording() as calls:
            storage.delete_image(image.key)
            storage.delete_image(image.key, claim="me")
        assert calls.lasting_writes == []


def test_reading_costs_the_same_for_many(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        costs = []
        for count in (3, 12):
            while (number := len(storage.get_images())) < count:
                reserved(platform, storage, f"image{number}")
            with platform.calls.recording() as calls:
                assert len(platform.storage_driver().get_images()) == count
            assert calls.lasting_writes == []
            costs.append(len(calls))
        if platform.name == "libvirt":  # which reads the record of each
            assert costs[1] - costs[0] <= 9 * 8
        else:
            assert costs[0] == costs[1]


def test_what_a_pool_would_refuse_is_known_beforehand(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"), changes_nothing(platform):
        assert storage.check_image(platform.pool, image_content(platform).facts) == []
