# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage of a XenServer pool when replies get lost and calls fail: the next run finishes the work, and nothing is left
behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    HypervisorUnavailable,
    NotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Volume, VolumeKey
from contract.contents import sparse
from contract.platforms.xenapi import HOUSEKEEPING
from contract.storage_helpers import SIZE, cached, child_of, clone_of, created, wanted
from lab.xenapi import volumes
from lab.xenapi.vdi_store import store_of

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = [pytest.mark.on("xenapi"), pytest.mark.slow]

WHENS = ("before", "after")
GIVEN = ("golden-image", "tools.iso", "golden system")
PATIENCE = "ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.storage._PATIENCE_S"
Operation = Callable[[], object]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PATIENCE, 2.0)


def each_call_lost(
    platform: XenApiPlatform, when: str, prepare: Operation, operation: Operation
) -> Iterator[tuple[str, AnyvirtError | None]]:
    """Carry the operation out again and again, with each of its calls lost in turn; tells what came of it."""
    empty(platform)
    prepare()
    with platform.calls.recording() as calls:
        operation()
    for number in range(1, len(calls) + 1):
        empty(platform)
        prepare()
        platform.server.faults.drop("*", when=when, skip=number - 1, but=HOUSEKEEPING)
        error = None
        try:
            operation()
        except AnyvirtError as raised:
            error = raised
        platform.server.faults.clear()
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        assert error is None or isinstance(error, (HypervisorUnavailable, AlreadyExists)), (told, repr(error))
        yield told, error


def empty(platform: XenApiPlatform) -> None:
    """Take away what a test has made; a server that was reset would send the driver's tasks no events."""
    platform.remove_everything({"nobody"})
    with platform.session() as api:
        for sr in api.SR.get_by_name_label("other"):
            for pbd in api.SR.get_PBDs(sr):
                api.PBD.unplug(pbd)
            api.SR.destroy(sr)
        for vdi, record in api.VDI.get_all_records().items():
            if record["name_label"] not in GIVEN:
                api.VDI.destroy(vdi)


def marks(platform: XenApiPlatform) -> list[str]:
    db = platform.server.db
    return [
        key for vdi in db.refs("VDI") for key in db.get("VDI", vdi, "other_config") if key.startswith("anyvirt-clone")
    ]


def vdis(platform: XenApiPlatform) -> int:
    return len(platform.server.db.refs("VDI"))


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("kind", ["blank", "content", "child", "copy", "larger child"])
def test_of_a_creation(storage: StorageDriver, platform: XenApiPlatform, when: str, kind: str):
    def prepare() -> None:
        if kind not in ("blank", "content"):
            created(platform, storage, "source", sparse())

    def volume() -> Volume:
        if kind in ("blank", "content"):
            return storage.complete_volume(wanted(platform, "new"))
        source = Volume("source", platform.pool)
        made = clone_of(source, "new") if kind == "copy" else child_of(source, "new")
        if kind == "larger child":
            made.size_bytes = 2 * SIZE
        return storage.complete_volume(made)

    def operation() -> None:
        storage.create_volume(volume(), sparse() if kind == "content" else None)

    key = VolumeKey(platform.pool, "new")
    before = vdis(platform)
    for told, _error in each_call_lost(platform, when, prepare, operation):
        found = storage.get_volumes([key]).get(key)
        if found is None or found.unfinished:
            operation()
        volume_of = storage.get_volumes([key])[key]
        assert not volume_of.unfinished, told
        if kind != "blank":
            assert platform.storage.data(key)[:SIZE] == sparse().data(), told
        assert marks(platform) == [], told
        assert vdis(platform) == before + (1 if kind in ("blank", "content") else 2), told


@pytest.mark.parametrize("when", WHENS)
def test_of_a_deletion(storage: StorageDriver, platform: XenApiPlatform, when: str):
    key = VolumeKey(platform.pool, "old")
    before = vdis(platform)

    def prepare() -> None:
        created(platform, storage, "old")
        storage.create_volume_snapshot(key, "first")

    for told, _error in each_call_lost(platform, when, prepare, lambda: storage.delete_volume(key)):
        storage.delete_volume(key)
        assert vdis(platform) == before, told


@pytest.mark.parametrize("when", WHENS)
def test_of_a_snapshot(storage: StorageDriver, platform: XenApiPlatform, when: str):
    key = VolumeKey(platform.pool, "one")
    before = vdis(platform)
    for told, _error in each_call_lost(
        platform, when, lambda: created(platform, storage, "one"), lambda: storage.create_volume_snapshot(key, "first")
    ):
        with suppress(AlreadyExists):
            storage.create_volume_snapshot(key, "first")
        names = [snapshot.name for snapshot in storage.get_volumes([key], snapshots=True)[key].snapshots or []]
        assert names == ["first"], told
        assert vdis(platform) == before + 2, told
        assert marks(platform) == [], told


def reverted_is_whole(storage: StorageDriver, platform: XenApiPlatform, told: str) -> None:
    """The volume is there once, an instance has it at its place, and its snapshots are all there."""
    key = VolumeKey(platform.pool, "one")
    found = storage.get_volumes([key], snapshots=True)[key]
    assert [snapshot.name for snapshot in found.snapshots or []] == ["first", "second"], told
    assert (found.metadata, found.size_bytes) == ({"a": "b"}, SIZE), told
    disks = {disk.device: disk for disk in storage.get_instances(["user"])["user"].disks or []}
    assert (disks["xvdc"].volume, disks["xvdc"].read_only) == ("one", False), told
    assert marks(platform) == [], told


def prepare_revert(storage: StorageDriver, platform: XenApiPlatform) -> None:
    created(platform, storage, "one", metadata={"a": "b"})
    key = VolumeKey(platform.pool, "one")
    platform.storage.fill(key, 1, 0, 4096)
    storage.create_volume_snapshot(key, "first")
    platform.storage.fill(key, 2, 0, 4096)
    storage.create_volume_snapshot(key, "second")
    platform.storage.fill(key, 3, 0, 4096)
    platform.spawned(storage, "user", power_on=False)
    disk = Disk(device="xvdc", volume="one", pool=platform.pool)
    storage.attach_volume("user", storage.complete_attachment("user", disk))


@pytest.mark.parametrize("when", WHENS)
def test_of_going_back(storage: StorageDriver, platform: XenApiPlatform, when: str):
    key = VolumeKey(platform.pool, "one")
    for told, error in each_call_lost(
        platform, when, lambda: prepare_revert(storage, platform), lambda: storage.revert_volume(key, "first")
    ):
        assert platform.storage.data(key)[:1] in (b"\1", b"\3"), told
        if error is None:
            assert platform.storage.data(key)[:1] == b"\1", told
        storage.revert_volume(key, "first")
        assert platform.storage.data(key)[:4096] == b"\1" * 4096, told
        reverted_is_whole(storage, platform, told)


def test_a_revert_that_fails_anywhere_changes_nothing(storage: StorageDriver, platform: XenApiPlatform):
    key = VolumeKey(platform.pool, "one")
    prepare_revert(storage, platform)
    with platform.calls.recording() as calls:
        storage.revert_volume(key, "first")
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        empty(platform)
        prepare_revert(storage, platform)
        before = vdis(platform)
        with suppress(AnyvirtError), platform.calls.recording(fail_at=number):
            storage.revert_volume(key, "first")
        reverted_is_whole(storage, platform, told)
        assert vdis(platform) == before, told
        storage.power_on("user")


def killed_reverts(storage: StorageDriver, platform: XenApiPlatform, key: VolumeKey) -> Iterator[tuple[int, str, int]]:
    """Prepare the revert anew for each of its calls, and fail from that call on: what a process that is gone would not
    undo any more. Yields the call's number, its name for messages, and how many disks there were before."""
    prepare_revert(storage, platform)
    with platform.calls.recording() as calls:
        storage.revert_volume(key, "first")
    for number in range(1, len(calls) + 1):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        empty(platform)
        prepare_revert(storage, platform)
        before = vdis(platform)
        platform.server.faults.fail("*", "INTERNAL_ERROR", "dead", skip=number - 1, times=None, but=HOUSEKEEPING)
        with pytest.raises(AnyvirtError):
            storage.revert_volume(key, "first")
        platform.server.faults.clear()
        yield number, told, before


def test_a_revert_that_was_killed_anywhere_is_taken_back(storage: StorageDriver, platform: XenApiPlatform):
    key = VolumeKey(platform.pool, "one")
    for _number, told, before in killed_reverts(storage, platform, key):
        storage.revert_volume(key, "second")
        assert platform.storage.data(key)[:1] == b"\2", told
        reverted_is_whole(storage, platform, told)
        assert vdis(platform) == before, told


def test_what_a_guest_writes_after_a_revert_was_killed_anywhere_stays(storage: StorageDriver, platform: XenApiPlatform):
    """An instance that is started then has one of the two; the next task keeps that one, and the volume is in use."""
    key = VolumeKey(platform.pool, "one")
    for number, told, before in killed_reverts(storage, platform, key):
        assert [use.instance for use in storage.volume_uses([key])[key].instances] == ["user"], told
        storage.power_on("user")
        had_it = written_by_guest(platform, b"\x63" * 4096)
        assert [use.active for use in storage.volume_uses([key])[key].instances if had_it] == [True] * had_it, told
        if number % 2:  # the next task may come while it runs, or later
            storage.set_volume_metadata(key, {"a": "b"})
        storage.power_off("user")
        storage.set_volume_metadata(key, {"a": "b"})
        if had_it:
            with storage.open_volume(key) as reader:
                assert next(reader.segments())[:4096] == b"\x63" * 4096, told
        storage.revert_volume(key, "second")
        reverted_is_whole(storage, platform, told)
        assert vdis(platform) == before, told


def written_by_guest(platform: XenApiPlatform, data: bytes) -> int:
    """Write into the disk that the instance has at its place; how many it has there."""
    db = platform.server.db
    [vm] = db.find("VM", name_label="user", is_a_template=False)
    vdis_there = [
        db.get("VBD", vbd, "VDI") for vbd in db.get("VM", vm, "VBDs") if db.get("VBD", vbd, "userdevice") == "2"
    ]
    for vdi in vdis_there:
        with db.lock:
            store_of(db).write(volumes.content_name(db, vdi), 0, data)
    return len(vdis_there)


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("power_on", [False, True])
def test_of_attaching_and_detaching(storage: StorageDriver, platform: XenApiPlatform, when: str, power_on: bool):
    disk = Disk(device="xvdc", volume="one", pool=platform.pool)

    def prepare() -> None:
        created(platform, storage, "one")
        platform.spawned(storage, "user", power_on=power_on)

    def has() -> bool:
        return any(one.device == "xvdc" for one in storage.get_instances(["user"])["user"].disks or [])

    def attach() -> None:
        storage.attach_volume("user", storage.complete_attachment("user", disk))

    for told, _error in each_call_lost(platform, when, prepare, attach):
        if not has():
            attach()
        assert storage.get_instances(["user"])["user"].pending == {}, told

    def prepare_attached() -> None:
        prepare()
        attach()

    for told, _error in each_call_lost(
        platform, when, prepare_attached, lambda: storage.detach_volume("user", "xvdc", 5.0)
    ):
        with suppress(NotFound):
            storage.detach_volume("user", "xvdc", 5.0)
        assert not has(), told
        attach()


@pytest.mark.parametrize("when", WHENS)
def test_of_fetching_an_image(storage: StorageDriver, platform: XenApiPlatform, when: str):
    key = VolumeKey(platform.pool, "image")
    before = vdis(platform)
    for told, error in each_call_lost(platform, when, lambda: None, lambda: cached(platform, storage, "image")):
        found = storage.get_images().get(key)
        if error is not None and found is not None and not found.complete:
            storage.delete_image(key, found.claim)
            found = None
        if found is None:
            cached(platform, storage, "image")
        assert storage.get_images()[key].complete, told
        assert vdis(platform) == before + 1, told


@pytest.mark.parametrize("when", WHENS)
def test_of_making_a_pool(storage: StorageDriver, platform: XenApiPlatform, when: str):
    pool = platform.storage.new_pool("other")

    def operation() -> None:
        storage.create_pool(pool)
        storage.start_pool("other")

    for told, _error in each_call_lost(platform, when, lambda: None, operation):
        if "other" not in storage.get_pools():
            storage.create_pool(pool)
        storage.start_pool("other")
        assert storage.get_pools()["other"].active, told
        with platform.session() as api:
            assert len(api.SR.get_by_name_label("other")) == 1, told
