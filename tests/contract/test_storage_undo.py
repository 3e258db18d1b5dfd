# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Undo in storage: each call of an operation is made to fail in turn, and all is as it was before, each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Encryption, Volume
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Content
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo
from contract.contents import sparse
from contract.helpers import where_supported
from contract.platforms.base import Platform, Snapshot
from contract.storage_helpers import (
    SIZE,
    SOMEWHERE,
    cached,
    child_of,
    clone_of,
    created,
    discs,
    fail_each_call,
    image_content,
    new_pool,
    read,
    reserved,
    wanted,
)

pytestmark = [pytest.mark.on("fake", "libvirt", "xenapi"), pytest.mark.slow]

Prepare = Callable[[Platform, StorageDriver], Callable[[], Undo]]


class Case(NamedTuple):
    """An operation that can be undone: what it needs, and how to come to where it can begin."""

    features: tuple[str, ...]
    prepare: Prepare
    times: int | None = None
    """How many failures there is time for on libvirt, where encrypting takes seconds."""


def _volume(storage: StorageDriver, volume: Volume, content: Content | None = None) -> Callable[[], Undo]:
    completed = storage.complete_volume(volume, content.facts if content else None)
    return lambda: storage.create_volume(completed, content)


def _create_volume(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    metadata = {"owner": "somebody"} if storage.supports("volume_metadata") else None
    return _volume(storage, wanted(platform, "one", metadata=metadata))


def _fill_volume(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    return _volume(storage, wanted(platform, "one", size_bytes=2 * SIZE, source=SOMEWHERE), sparse())


def _encrypt_volume(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    return _volume(storage, wanted(platform, "one", encryption=Encryption(passphrase="very-secret")))


def _clone_volume(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    return _volume(storage, clone_of(created(platform, storage, "parent", sparse()), "one", size_bytes=2 * SIZE))


def _make_child(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    return _volume(storage, child_of(created(platform, storage, "parent", sparse()), "one"))


def _resize(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    volume = created(platform, storage, "one")
    return lambda: storage.resize_volume(volume.key, 2 * SIZE)


def _describe(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    volume = created(platform, storage, "one", metadata={"owner": "somebody"})
    return lambda: storage.set_volume_metadata(volume.key, {"owner": "nobody", "more": "1"})


def _snapshot(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    volume = created(platform, storage, "one")
    return lambda: storage.create_volume_snapshot(volume.key, "first")


def _create_pool(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    return lambda: storage.create_pool(platform.storage.new_pool("other"))


def _start_pool(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    storage.create_pool(platform.storage.new_pool("other"))
    storage.start_pool("other")
    storage.stop_pool("other")
    return lambda: storage.start_pool("other")


def _stop_pool(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    new_pool(platform, storage)
    return lambda: storage.stop_pool("other")


def _attach(platform: Platform, storage: StorageDriver, *, running: bool = False) -> Callable[[], Undo]:
    volume = created(platform, storage, "data")
    platform.spawned(storage, "one", power_on=running)
    if running:
        platform.prepare_hotplug(storage, "one")
    disk = storage.complete_attachment("one", Disk(volume=volume.name, pool=volume.pool))
    return lambda: storage.attach_volume("one", disk)


def _attach_live(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    return _attach(platform, storage, running=True)


def _detach(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    _attach(platform, storage)()
    [disk] = storage.get_instances(["one"])["one"].disks
    return lambda: storage.detach_volume("one", disk.device, 20)


def _change_media(platform: Platform, storage: StorageDriver) -> Callable[[], Undo]:
    first, second = discs(platform, storage)
    [drive] = platform.spawned(storage, "one", disks=[Disk(kind=CDROM)]).disks
    storage.change_media("one", drive.device, first)
    return lambda: storage.change_media("one", drive.device, second)


CASES = {
    "create_volume": Case(("volumes",), _create_volume),
    "fill_volume": Case(("volumes", "volume_transfer"), _fill_volume),
    "encrypt_volume": Case(("volumes", "volume_encryption"), _encrypt_volume, times=1),
    "clone_volume": Case(("volumes", "volume_transfer"), _clone_volume),
    "make_child": Case(("volumes", "volume_copy_on_write", "volume_transfer"), _make_child),
    "describe": Case(("volumes", "volume_metadata"), _describe),
    "snapshot": Case(("volumes", "volume_snapshots"), _snapshot),
    "create_pool": Case(("pools",), _create_pool),
    "start_pool": Case(("pools",), _start_pool),
    "stop_pool": Case(("pools",), _stop_pool),
    "attach": Case(("attach", "volumes"), _attach),
    "detach": Case(("attach", "volumes"), _detach),
    "change_media": Case(("cdrom_media", "volumes"), _change_media),
}
# On libvirt a running guest has to let go of a disk: those are told with its real guests.
LIVE_CASES = {"attach_live": Case(("attach", "attach_live", "volumes"), _attach_live)}


def run(case: Case, storage: StorageDriver, platform: Platform) -> None:
    with where_supported(storage, *case.features):
        operation = case.prepare(platform, storage)
        if all(storage.supports(feature) for feature in case.features):
            fail_each_call(platform, operation, case.times if platform.name == "libvirt" else None)
        else:
            operation()


@pytest.mark.parametrize("name", CASES)
def test_each_call_fails_once(storage: StorageDriver, platform: Platform, name: str):
    run(CASES[name], storage, platform)


@pytest.mark.on("fake", "xenapi")
@pytest.mark.parametrize("name", LIVE_CASES)
def test_each_call_fails_once_while_it_runs(storage: StorageDriver, platform: Platform, name: str):
    run(LIVE_CASES[name], storage, platform)


def test_growing(storage: StorageDriver, platform: Platform):
    """Where a volume cannot shrink again, its growth cannot be taken back; its failures leave it as it was."""
    with where_supported(storage, "volumes"):
        if storage.supports("volume_shrink"):
            fail_each_call(platform, _resize(platform, storage))
            return
        number, grown = 0, False
        grow = _resize(platform, storage)
        before = platform.snapshot()
        while not grown:
            number += 1
            with platform.calls.recording(fail_at=number) as calls:
                try:
                    undo = grow()
                    grown = True
                except AnyvirtError as error:
                    assert error.not_undone == []
            if not grown:
                assert platform.snapshot() == before, f"call {number}: {calls[-1].name}"
        with pytest.raises(Unsupported):
            undo()


# -- what has no undo: it is done, or not begun, or mended by the next ------------------------------------------------


def removal_fails_each_time(platform: Platform, make_it: Callable[[], None], remove: Callable[[], None]) -> None:
    """Whatever call fails, the next removal ends it; nothing is left that nobody would find."""
    before = platform.snapshot()
    make_it()
    with platform.calls.recording() as calls:
        remove()
    assert platform.snapshot() == before
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        make_it()
        try:
            with platform.calls.recording(fail_at=number):
                remove()
        except AnyvirtError:
            remove()
        assert platform.snapshot() == before, told


def test_removal_of_a_volume(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes"):
        metadata = {"owner": "somebody"} if storage.supports("volume_metadata") else None
        volume = storage.complete_volume(wanted(platform, "one", metadata=metadata))

        def make_it() -> None:
            storage.create_volume(volume)
            if storage.supports("volume_snapshots"):
                storage.create_volume_snapshot(volume.key, "first")

        removal_fails_each_time(platform, make_it, lambda: storage.delete_volume(volume.key))


def test_removal_of_a_pool(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        removal_fails_each_time(
            platform,
            lambda: new_pool(platform, storage),
            lambda: storage.delete_pool("other", delete_data=True),
        )


def test_removal_of_a_snapshot(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "volume_snapshots"):
        volume = created(platform, storage, "one")
        removal_fails_each_time(
            platform,
            lambda: storage.create_volume_snapshot(volume.key, "first"),
            lambda: storage.delete_volume_snapshot(volume.key, "first"),
        )


def test_removal_of_an_image(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "images"):
        key = cached(platform, storage).key
        storage.delete_image(key)
        removal_fails_each_time(platform, lambda: cached(platform, storage), lambda: storage.delete_image(key))


def test_a_revert_brings_back_all_or_nothing(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "volumes", "volume_snapshots"):
        volume = created(platform, storage, "one")
        storage.create_volume_snapshot(volume.key, "first")
        with platform.calls.recording() as calls:
            storage.revert_volume(volume.key, "first")
        for number, call in enumerate(calls, start=1):
            if not call.writes:
                continue
            told = f"call {number} of {len(calls)}: {call.name}"
            platform.storage.fill(volume.key, 5, 0, 4096)
            try:
                with platform.calls.recording(fail_at=number):
                    storage.revert_volume(volume.key, "first")
            except AnyvirtError as error:
                assert error.not_undone == [], told
                assert platform.storage.data(volume.key)[0] in (0, 5), told
                storage.revert_volume(volume.key, "first")
            assert platform.storage.data(volume.key) == bytes(SIZE), told
            found = read(storage, volume.key, snapshots=True)
            assert [snapshot.name for snapshot in found.snapshots] == ["first"], told


def test_fetching_an_image(storage: StorageDriver, platform: Platform):
    """Whatever call fails, giving up the claim leaves nothing, and an image is whole or not complete."""
    with where_supported(storage, "images"):
        before: Snapshot = platform.snapshot()

        def fetch() -> None:
            image = reserved(platform, storage, "image")
            storage.beat_image(image)
            storage.write_image(image, image_content(platform))
            storage.finish_image(image)

        with platform.calls.recording() as calls:
            fetch()
        [key] = storage.get_images()
        storage.delete_image(key)
        assert platform.snapshot() == before
        for number in range(1, len(calls) + 1):
            told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
            try:
                with platform.calls.recording(fail_at=number):
                    fetch()
            except AnyvirtError:
                found = storage.get_images().get(key)
                if found is not None and found.complete:
                    storage.delete_image(key)  # it was the very last call
                storage.delete_image(key, claim="me")
            else:
                assert storage.get_images()[key].complete, told
                storage.delete_image(key)
            assert platform.snapshot() == before, told
