# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is special about volumes on libvirt: their files, secrets, records and the domains that make their snapshots."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    InvalidInput,
    UnsafeImage,
    Unsupported,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Encryption,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, KIB, MIB
from contract.contents import dense, qcow2_image, sparse, total
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.storage_helpers import SIZE, SOMEWHERE, cached, changes_nothing, child_of, created, make, read, wanted

pytestmark = pytest.mark.on("libvirt")


def image_info(platform: QemuPlatform, name: str) -> dict[str, Any]:
    """What QEMU itself says of a volume."""
    file = platform.lab.outer_path(f"{platform.pool_folder}/{name}")
    output = subprocess.run(["qemu-img", "info", "-U", "--output=json", file], capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(output)
    return found


@pytest.mark.parametrize(
    ("chosen", "how", "least", "most"),
    [
        ("qcow2", "off", 0, SIZE // 2),
        ("qcow2", "metadata", 256 * KIB, SIZE // 2),
        ("qcow2", "falloc", SIZE, 2 * SIZE),
        ("raw", "off", 0, 0),
        ("raw", "falloc", SIZE, SIZE),
        ("raw", "full", SIZE, SIZE),
    ],
)
def test_room_that_is_taken_in_advance(
    storage: StorageDriver, platform: QemuPlatform, chosen: str, how: str, least: int, most: int
):
    made = created(platform, storage, "reserved", format=chosen, preallocation=how)
    assert least <= made.allocation_bytes <= most
    assert (made.size_bytes, made.format) == (SIZE, chosen)


@pytest.mark.parametrize(
    ("over", "option"),
    [
        ({"format": "raw", "preallocation": "metadata"}, "preallocation"),
        ({"format": "qcow2", "preallocation": "full"}, "preallocation"),
        ({"format": "qcow2", "shareable": True}, "shareable"),
        ({"name": "one.anyvirt-volume"}, "name"),
        ({"encryption": Encryption("secret", "rot13")}, "encryption.cipher"),
    ],
)
def test_what_libvirt_cannot_make(storage: StorageDriver, platform: QemuPlatform, over: dict[str, Any], option: str):
    asked = wanted(platform, **{"name": "odd", **over})
    assert [problem.option for problem in storage.check_volume(asked)] == [option]
    with changes_nothing(platform), pytest.raises(InvalidInput):
        storage.create_volume(asked)


def test_new_qcow2_files_know_what_is_new(storage: StorageDriver, platform: QemuPlatform):
    created(platform, storage, "modern")
    assert image_info(platform, "modern")["format-specific"]["data"]["compat"] == "1.1"


def test_the_format_of_what_is_leaned_on_is_spelled_out(storage: StorageDriver, platform: QemuPlatform):
    """A raw parent whose guest writes a qcow2 header into it stays raw."""
    parent = created(platform, storage, "parent", format="raw")
    make(storage, child_of(parent, "child"))
    assert image_info(platform, "child")["backing-filename-format"] == "raw"


def test_a_file_that_comes_as_qcow2_stays_as_it_is(storage: StorageDriver, platform: QemuPlatform):
    """Also where the fresh file had something: not a byte of that is left."""
    content = qcow2_image(GIB // 4)
    made = created(platform, storage, "image", content)
    assert (made.format, made.size_bytes) == ("qcow2", GIB // 4)
    file = platform.lab.outer_path(f"{platform.pool_folder}/image")
    assert file.read_bytes() == content.file
    subprocess.run(["qemu-img", "check", "-q", file], check=True)


def test_holes_take_no_room(storage: StorageDriver, platform: QemuPlatform):
    made = created(platform, storage, "sparse", sparse(64 * MIB))
    assert made.allocation_bytes < 2 * MIB
    copy = make(storage, Volume("copy", platform.pool, source=VolumeSource(volume="sparse", copy_on_write=False)))
    assert copy.allocation_bytes < 2 * MIB


# -- encryption -------------------------------------------------------------------------------------------------------


def test_a_secret_lives_and_dies_with_its_volume(storage: StorageDriver, platform: QemuPlatform):
    with changes_nothing(platform):
        locked = Encryption("very secret", "aes-256-xts")
        completed = storage.complete_volume(wanted(platform, "locked", format="raw", encryption=locked))
        undo = storage.create_volume(completed)
        info = image_info(platform, "locked")
        assert (info["format"], info["format-specific"]["data"]["cipher-alg"]) == ("luks", "aes-256")
        with platform.connection() as connection:
            (secret,) = connection.listAllSecrets()
            described = ET.fromstring(secret.XMLDesc())
        assert described.get("private") == "yes"
        assert described.findtext("usage/volume") == read(storage, completed.key).path
        with pytest.raises(Unsupported, match="locked"):
            make(storage, Volume("copy", platform.pool, source=VolumeSource(volume="locked")))
        undo()


def test_what_a_killed_making_left_of_a_secret(storage: StorageDriver, platform: QemuPlatform):
    """The record was there, and the secret, and no volume yet."""
    with changes_nothing(platform):
        key = VolumeKey(platform.pool, "locked")
        path = f"{platform.pool_folder}/locked"
        with platform.connection() as connection:
            usage = f"<usage type='volume'><volume>{path}</volume></usage>"
            connection.secretDefineXML(f"<secret ephemeral='no' private='yes'>{usage}</secret>")
        _make_record(storage, platform, "locked", {"encrypted": True, "unfinished": True})
        assert read(storage, key).unfinished
        storage.delete_volume(key)


def _make_record(storage: Any, platform: QemuPlatform, name: str, payload: dict[str, Any]) -> None:
    handle = storage.conn.storagePoolLookupByName(platform.pool)
    storage.make_record(handle, f"{name}.anyvirt-volume", payload)


# -- records ----------------------------------------------------------------------------------------------------------


def test_only_what_has_to_be_remembered_is_written_down(storage: StorageDriver, platform: QemuPlatform):
    created(platform, storage, "plain")
    created(platform, storage, "filled", qcow2_image(MIB))
    assert platform.volumes() == {"plain", "filled"}
    created(platform, storage, "noted", metadata={"owner": "me"})
    assert platform.volumes() == {"plain", "filled", "noted", "noted.anyvirt-volume"}
    assert {volume.name for volume in storage.list_volumes(platform.pool)} == {"plain", "filled", "noted"}
    storage.set_volume_metadata(VolumeKey(platform.pool, "noted"), {})
    assert platform.volumes() == {"plain", "filled", "noted"}


def test_a_record_whose_volume_somebody_deleted(storage: StorageDriver, platform: QemuPlatform):
    """It is not taken for a volume, and not for the next one's record."""
    volume = created(platform, storage, "noted", metadata={"owner": "me"})
    with platform.connection() as connection:
        connection.storagePoolLookupByName(platform.pool).storageVolLookupByName("noted").delete()
    assert storage.list_volumes(platform.pool) == []
    assert read(storage, volume.key).unfinished
    assert created(platform, storage, "noted").metadata == {}
    assert platform.volumes() == {"noted"}


def test_nor_one_that_was_made_with_the_instance(storage: StorageDriver, platform: QemuPlatform):
    """No record tells of it, but the instance does."""
    made = platform.spawned(storage, "guest", disks=[Disk(size_bytes=SIZE, format="raw")])
    assert made.disks is not None
    key = VolumeKey(platform.pool, str(made.disks[0].volume))
    _write_window(platform, key.name)
    storage.refresh_pool(platform.pool)
    with pytest.raises(UnsafeImage, match="raw"):
        make(storage, Volume("copy", key.pool, source=VolumeSource(volume=key.name, copy_on_write=False)))
    with pytest.raises(UnsafeImage, match="raw"), storage.open_volume(key):
        pass


def _write_window(platform: QemuPlatform, name: str) -> None:
    """What a malicious guest writes to the beginning of its disk."""
    header = bytearray(qcow2_image(64 * MIB).file)
    header[8:20] = (512).to_bytes(8, "big") + (11).to_bytes(4, "big")
    header[512:523] = b"/etc/shadow"
    with platform.lab.outer_path(f"{platform.pool_folder}/{name}").open("r+b") as disk:
        disk.write(header)


@pytest.mark.parametrize("killed", [False, True])
def test_a_record_goes_with_a_volume_that_goes_with_its_instance(
    storage: StorageDriver, platform: QemuPlatform, monkeypatch: Any, killed: bool
):
    with changes_nothing(platform):
        volume = created(platform, storage, "noted", metadata={"owner": "me"})
        platform.spawned(storage, "one", disks=[Disk(volume=volume.name, pool=volume.pool)])
        if killed:
            with monkeypatch.context() as patched:
                patched.setattr(type(storage), "remove_companions", _interrupted)
                with pytest.raises(KeyboardInterrupt):
                    storage.destroy("one", "all")
            assert platform.volumes() == {"noted.anyvirt-volume", "one.anyvirt-removing"}
        storage.destroy("one", "all")


def _interrupted(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_metadata_that_is_too_long(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "noted", metadata={"owner": "me"})
    with changes_nothing(platform), pytest.raises(InvalidInput, match="metadata"):
        storage.set_volume_metadata(volume.key, {"novel": "x" * (1 << 17)})
    long = {"letter": "ü" * 5000}
    storage.set_volume_metadata(volume.key, long)
    assert read(storage, volume.key).metadata == long
    storage.set_volume_metadata(volume.key, {"a": "b"})
    assert read(storage, volume.key).metadata == {"a": "b"}


def test_a_guest_cannot_make_its_raw_disk_a_window_to_the_host(storage: StorageDriver, platform: QemuPlatform):
    """libvirt looks into files and believes what it finds; the record says what the volume really is."""
    volume = created(platform, storage, "raw", format="raw")
    _write_window(platform, "raw")
    storage.refresh_pool(platform.pool)
    found = read(storage, volume.key)
    assert (found.format, found.size_bytes, found.backing) == ("raw", SIZE, None)
    with pytest.raises(UnsafeImage, match="raw"):
        make(storage, Volume("copy", platform.pool, source=VolumeSource(volume="raw", copy_on_write=False)))
    with pytest.raises(UnsafeImage, match="raw"):
        storage.resize_volume(volume.key, 2 * SIZE)
    make(storage, child_of(volume, "child"))
    info = image_info(platform, "child")
    assert (info["backing-filename-format"], info["virtual-size"]) == ("raw", SIZE)
    with storage.open_volume(volume.key) as reader:
        assert (reader.format, total(reader.segments()).length) == ("raw", SIZE)


# -- snapshots --------------------------------------------------------------------------------------------------------


def test_the_passing_domain_is_no_instance(storage: StorageDriver, platform: QemuPlatform, monkeypatch: Any):
    """Not while it is there, nor when it was left behind; the next snapshot and the volume's end remove it."""
    volume = created(platform, storage, "state")
    seen: list[Any] = []
    original = type(storage)._end

    def left_behind(self: Any, domain: Any) -> None:
        seen.append(domain.name())
        assert storage.list_instances() == []
        assert storage.list_instances_detail() == []
        assert storage.get_instances() == {}
        assert storage.volume_uses([volume.key])[volume.key].instances == []

    monkeypatch.setattr(type(storage), "_end", left_behind)
    storage.create_volume_snapshot(volume.key, "one")
    assert len(seen) == 1
    monkeypatch.setattr(type(storage), "_end", original)
    storage.create_volume_snapshot(volume.key, "two")
    with platform.connection() as connection:
        assert connection.listAllDomains() == []
    snapshots = read(storage, volume.key, snapshots=True).snapshots or []
    assert [snapshot.name for snapshot in snapshots] == ["one", "two"]
    assert [item["name"] for item in image_info(platform, "state")["snapshots"]] == ["one", "two"]
    monkeypatch.setattr(type(storage), "_end", left_behind)
    storage.revert_volume(volume.key, "one")
    storage.delete_volume(volume.key)
    with platform.connection() as connection:
        assert connection.listAllDomains() == []


@pytest.mark.parametrize(("chosen", "name"), [("raw", "one"), ("qcow2", "17")])
def test_snapshots_that_cannot_be(storage: StorageDriver, platform: QemuPlatform, chosen: str, name: str):
    volume = created(platform, storage, "state", format=chosen)
    with changes_nothing(platform), pytest.raises((Unsupported, InvalidInput)):
        storage.create_volume_snapshot(volume.key, name)


def test_memory_that_was_saved_fits_the_disk_as_it_is(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "state")
    storage.create_volume_snapshot(volume.key, "one")
    disks = [Disk(volume=volume.name, pool=volume.pool)]
    platform.spawned(storage, "sleeper", disks=disks, power_on=True)
    storage.suspend("sleeper")
    with changes_nothing(platform), pytest.raises(VolumeInUse, match="sleeper"):
        storage.revert_volume(volume.key, "one")


# -- what happens in the middle ---------------------------------------------------------------------------------------


def test_a_child_is_read_whole_and_nothing_is_left_of_that(storage: StorageDriver, platform: QemuPlatform):
    parent = created(platform, storage, "parent", dense(MIB))
    child = make(storage, child_of(parent, "child"))
    with changes_nothing(platform):
        with storage.open_volume(child.key) as reader:
            assert reader.format == "qcow2"
            next(reader.segments())
        assert not any(name.endswith("-part") for name in platform.volumes())


def test_a_file_that_libvirt_has_not_heard_of(storage: StorageDriver, platform: QemuPlatform):
    """It is found, and it is in the way."""
    platform.lab.outer_path(f"{platform.pool_folder}/foreign").write_bytes(bytes(MIB))
    asked = wanted(platform, "foreign", format="raw")
    with pytest.raises(AlreadyExists, match="foreign"):
        storage.create_volume(asked)
    assert read(storage, asked.key).size_bytes == MIB


def test_many_uploads_at_once_into_one_pool(storage: StorageDriver, platform: QemuPlatform):
    """libvirt does not look through a pool in which somebody writes: formats are known all the same."""
    first = qcow2_image(GIB // 4)
    volume = storage.complete_volume(wanted(platform, "outer", source=SOMEWHERE, size_bytes=None), dense(MIB).facts)
    found: list[Volume] = []

    class Nested:
        what, facts, length = "outer", dense(MIB).facts, MIB

        def segments(self) -> Any:
            for number, piece in enumerate(dense(MIB).segments()):
                yield piece
                if number == 0:
                    found.append(created(platform, storage, "inner", first, metadata={"a": "b"}))

    storage.create_volume(volume, Nested())
    assert [(one.format, one.size_bytes, one.metadata) for one in found] == [("qcow2", GIB // 4, {"a": "b"})]


def test_an_instance_from_an_image_of_another_pool(storage: StorageDriver, platform: QemuPlatform):
    image = cached(platform, storage)
    made = platform.spawned(storage, "one", disks=[Disk(role="root", image=image.name, size_bytes=GIB)])
    assert made.disks is not None
    info = image_info(platform, str(made.disks[0].volume))
    assert (info["backing-filename-format"], info["full-backing-filename"]) == ("qcow2", image.path or info)
