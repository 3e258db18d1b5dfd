# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes that want the same at the same time, on libvirt, whose calls know nothing of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AlreadyExists, VolumeInUse
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.contents import dense
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.storage_helpers import SOMEWHERE, changes_nothing, created, read, unfinished, wanted

pytestmark = pytest.mark.on("libvirt")


class Interrupted:
    """Content, with something that happens before its end."""

    what = "interrupted content"

    def __init__(self, happens: Callable[[], None]) -> None:
        self._content = dense(MIB)
        self._happens = happens
        self.facts, self.length = self._content.facts, self._content.length

    def segments(self) -> Iterator[Any]:
        yield from self._content.segments()
        self._happens()


def write_record(storage: Any, platform: QemuPlatform, payload: dict[str, Any]) -> None:
    pool = storage.conn.storagePoolLookupByName(platform.pool)
    storage.save_record(pool.storageVolLookupByName("one.anyvirt-volume"), payload)


def test_one_volume_for_two_instances(storage: StorageDriver, platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch):
    """Neither sees the other's disk when it looks: the last to look again lets go."""
    volume = created(platform, storage, "one")
    disks = {}
    for name in ("first", "second"):
        platform.spawned(storage, name)
        disks[name] = storage.complete_attachment(name, Disk(volume=volume.name, pool=volume.pool))
    original = type(storage)._require_attachable  # type: ignore[attr-defined]

    def look(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        monkeypatch.undo()
        self.attach_volume("second", disks["second"])

    monkeypatch.setattr(type(storage), "_require_attachable", look)
    with pytest.raises(VolumeInUse, match="second"):
        storage.attach_volume("first", disks["first"])
    assert [use.instance for use in storage.volume_uses([volume.key])[volume.key].instances] == ["second"]
    assert not storage.get_instances(["first"])["first"].disks


def test_a_leftover_that_was_none(storage: StorageDriver, platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch):
    """Who makes it is done before it is removed."""
    key = unfinished(platform, storage, "one")

    def look(*_arguments: object) -> None:
        write_record(storage, platform, {"metadata": {"by": "another"}})

    monkeypatch.setattr(type(storage), "_require_leftover", look)
    with pytest.raises(AlreadyExists, match="one"):
        storage.create_volume(storage.complete_volume(wanted(platform, "one")))
    assert read(storage, key).metadata == {"by": "another"}


@pytest.mark.parametrize("metadata", [None, {"by": "me"}])
def test_a_volume_that_was_taken_over(storage: StorageDriver, platform: QemuPlatform, metadata: dict[str, str] | None):
    """What has its name now is not removed by the one that lost it, nor called finished."""
    content = Interrupted(lambda: write_record(storage, platform, {"unfinished": "another"}))
    asked = wanted(platform, "one", source=SOMEWHERE, size_bytes=None, metadata=metadata)
    with pytest.raises(AlreadyExists, match="another process"):
        storage.create_volume(storage.complete_volume(asked, content.facts), content)
    assert platform.volumes() == {"one", "one.anyvirt-volume"}
    assert read(storage, asked.key).unfinished


def test_a_record_that_is_just_being_made(storage: StorageDriver, platform: QemuPlatform):
    """Reading others' volumes does not fail over it."""
    with changes_nothing(platform):
        volume = created(platform, storage, "one", metadata={"a": "b"})
        busy = storage.libvirt.libvirtError("volume 'one.anyvirt-volume' is still being allocated.")  # type: ignore[attr-defined]
        errors = [busy, busy]
        handle = storage.conn.storagePoolLookupByName(platform.pool)  # type: ignore[attr-defined]
        record = handle.storageVolLookupByName("one.anyvirt-volume")
        download = record.download

        def refuse_at_first(*arguments: Any) -> Any:
            if errors:
                raise errors.pop()
            return download(*arguments)

        record.download = refuse_at_first
        assert storage.read_record(record)["metadata"] == {"a": "b"}  # type: ignore[attr-defined]
        storage.delete_volume(volume.key)


def test_undo_keeps_the_disks_of_others(storage: StorageDriver, platform: QemuPlatform):
    platform.spawned(storage, "one")
    volumes = [created(platform, storage, name) for name in ("mine", "theirs")]
    disks = [storage.complete_attachment("one", Disk(volume=volumes[0].name, pool=volumes[0].pool))]
    undo = storage.attach_volume("one", disks[0])
    disks.append(storage.complete_attachment("one", Disk(volume=volumes[1].name, pool=volumes[1].pool)))
    storage.attach_volume("one", disks[1])
    undo()
    left = storage.get_instances(["one"])["one"].disks or []
    assert [(disk.device, disk.volume) for disk in left] == [(disks[1].device, "theirs")]


def test_disks_of_a_transient_instance(storage: StorageDriver, platform: QemuPlatform):
    """Its configuration, as libvirt tells it, is that of its start."""
    volume = created(platform, storage, "one")
    platform.spawned(storage, "passing", power_on=True)
    with platform.connection() as connection:
        connection.lookupByName("passing").undefine()
    disk = storage.complete_attachment("passing", Disk(volume=volume.name, pool=volume.pool))
    storage.attach_volume("passing", disk)
    found = storage.get_instances(["passing"])["passing"]
    assert [(one.device, one.volume) for one in found.disks or []] == [(disk.device, "one")]
    assert (found.persistent, found.pending or {}) == (False, {})


def test_two_disks_for_one_instance(storage: StorageDriver, platform: QemuPlatform, monkeypatch: pytest.MonkeyPatch):
    """The record of both volumes is one text, which another process replaces."""
    volume = created(platform, storage, "one")
    platform.spawned(storage, "guest")
    disk = storage.complete_attachment("guest", Disk(volume=volume.name, pool=volume.pool))
    original = type(storage)._note  # type: ignore[attr-defined]

    def note(self: Any, view: Any, noted: Disk, done: Any) -> None:
        monkeypatch.undo()
        original(self, view, noted, done)
        self.write_instance_record(view, view.record)

    monkeypatch.setattr(type(storage), "_note", note)
    storage.attach_volume("guest", disk)
    assert [one.volume for one in storage.get_instances(["guest"])["guest"].disks or []] == ["one"]
