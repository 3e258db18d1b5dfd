# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 in the middle of work on storage, and then the same again: the second run mends what the first left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Encryption, Volume
from contract.contents import sparse
from contract.helpers import where_supported
from contract.kills import killed_at_many_points
from contract.platforms.base import Platform
from contract.storage_helpers import (
    SIZE,
    SOMEWHERE,
    changes_nothing,
    child_of,
    created,
    image_content,
    read,
    reserved,
    wanted,
)

pytestmark = [pytest.mark.on("fake", "libvirt", "xenapi"), pytest.mark.slow]

ROUNDS = {"libvirt": 3, "xenapi": 4}


class Work(NamedTuple):
    """A call of the driver's, by name."""

    method: str
    arguments: tuple[Any, ...]

    def run(self, storage: StorageDriver) -> None:
        getattr(storage, self.method)(*self.arguments)

    def duration_s(self, storage: StorageDriver) -> float:
        """How long it takes; it is done then."""
        started = time.monotonic()
        self.run(storage)
        return time.monotonic() - started

    def killed(self, platform: Platform, duration_s: float) -> Iterator[None]:
        """Have it done by children that are killed: in the fake at each change of a file, elsewhere at random moments
        of that time. Whoever is given the platform after one has to put it back as it was."""
        task = {"operation": "storage", "method": self.method, "arguments": self.arguments}
        return killed_at_many_points(platform, random.Random(20264), duration_s, ROUNDS, **task)


def kill_often(
    platform: Platform, storage: StorageDriver, work: Work, again: Callable[[], None], take_back: Callable[[], None]
) -> None:
    """Kill the work at many points; ``again`` does it once more and looks at what is there then."""
    before = platform.snapshot()
    duration_s = work.duration_s(storage)
    take_back()
    assert platform.snapshot() == before
    for _turn in work.killed(platform, duration_s):
        again()
        take_back()
        assert platform.snapshot() == before


def made_again(storage: StorageDriver, work: Work, volume: Volume) -> None:
    """What a second run does about a volume that is wanted: make a missing or an unfinished one."""
    found = storage.get_volumes([volume.key]).get(volume.key)
    if found is None or found.unfinished:
        work.run(storage)
    assert not read(storage, volume.key).unfinished


@pytest.mark.parametrize("kind", ["blank", "filled", "child", "encrypted"])
def test_volumes_that_are_made(storage: StorageDriver, platform: Platform, kind: str):
    needed = {"filled": "volume_transfer", "child": "volume_copy_on_write", "encrypted": "volume_encryption"}
    content = None
    if kind == "encrypted" and platform.name == "libvirt":
        return  # takes seconds each time, and is made as blank ones are
    with where_supported(storage, "volumes", *filter(None, [needed.get(kind)])):
        volume = wanted(platform, "one")
        if kind == "filled":
            content = sparse()
            volume = wanted(platform, "one", source=SOMEWHERE)
        elif kind == "child":
            volume = child_of(created(platform, storage, "parent", sparse()), "one")
        elif kind == "encrypted":
            volume = wanted(platform, "one", encryption=Encryption(passphrase="very-secret"))
        if storage.supports("volume_metadata"):
            volume.metadata = {"owner": "somebody"}
        completed = storage.complete_volume(volume, content.facts if content else None)
        work = Work("create_volume", (completed, content))

        def again() -> None:
            made_again(storage, work, completed)
            found = read(storage, completed.key)
            assert (found.size_bytes, found.format) == (completed.size_bytes, completed.format)
            assert found.encrypted == (kind == "encrypted")
            assert found.metadata == volume.metadata or not storage.supports("volume_metadata")
            if kind in ("filled", "child"):
                assert platform.storage.data(completed.key) == sparse().data()

        kill_often(platform, storage, work, again, lambda: storage.delete_volume(completed.key))


def test_volumes_that_are_removed(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"), changes_nothing(platform):
        volume = storage.complete_volume(wanted(platform, "one"))
        storage.create_volume(volume)
        work = Work("delete_volume", (volume.key,))
        duration_s = work.duration_s(storage)
        storage.create_volume(volume)
        for _turn in work.killed(platform, duration_s):
            work.run(storage)
            assert storage.get_volumes([volume.key]) == {}
            storage.create_volume(volume)
        storage.delete_volume(volume.key)


def test_volumes_that_are_attached(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "attach", "volumes"):
        volume = created(platform, storage, "data")
        platform.spawned(storage, "one")
        disk = storage.complete_attachment("one", Disk(volume=volume.name, pool=volume.pool))
        work = Work("attach_volume", ("one", disk))

        def again() -> None:
            if not storage.get_instances(["one"])["one"].disks:
                work.run(storage)
            [found] = storage.get_instances(["one"])["one"].disks
            assert (found.volume, found.device) == (volume.name, disk.device)

        kill_often(platform, storage, work, again, lambda: storage.detach_volume("one", disk.device, 20))


@pytest.mark.parametrize("phase", ["reserve_image", "write_image", "finish_image"])
def test_images_that_are_fetched(storage: StorageDriver, platform: Platform, phase: str):
    """The next to come takes the dead one's claim away and begins anew, unless the image is whole."""
    with where_supported(storage, "images"):
        image = reserved(platform, storage, "image")
        storage.delete_image(image.key, claim=image.claim)
        before = platform.snapshot()
        content = image_content(platform)
        works = {
            "reserve_image": Work("reserve_image", (image,)),
            "write_image": Work("write_image", (image, content)),
            "finish_image": Work("finish_image", (image,)),
        }
        durations = {name: work.duration_s(storage) for name, work in works.items()}
        storage.delete_image(image.key)

        def come_to_phase() -> None:
            for name, work in works.items():
                if name == phase:
                    break
                work.run(storage)

        come_to_phase()
        for _turn in works[phase].killed(platform, durations[phase]):
            found = storage.get_images().get(image.key)
            if found is not None and not found.complete:
                storage.delete_image(image.key, claim=found.claim)
                found = None
            if found is None:
                assert platform.snapshot() == before
                for work in works.values():
                    work.run(storage)
            assert storage.get_images()[image.key].complete
            assert read(storage, image.key).size_bytes == SIZE
            storage.delete_image(image.key)
            assert platform.snapshot() == before
            come_to_phase()


def test_pools_that_are_made(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        pool = platform.storage.new_pool("other")
        work = Work("create_pool", (pool,))

        def again() -> None:
            if "other" not in storage.get_pools():
                work.run(storage)
            storage.start_pool("other")
            assert storage.list_volumes("other") == []

        def take_back() -> None:
            storage.delete_pool("other", delete_data=True)

        kill_often(platform, storage, work, again, take_back)


def test_work_that_goes_on_is_not_taken_for_dead(storage: StorageDriver, platform: Platform):
    """An image that another process fetches just now is neither complete nor free."""
    with where_supported(storage, "images"), changes_nothing(platform):
        image = reserved(platform, storage, "image", claim="somebody")
        found = storage.get_images()[image.key]
        assert (found.claim, found.complete) == ("somebody", False)
        assert read(storage, image.key).unfinished
        storage.delete_image(image.key, claim="somebody")
