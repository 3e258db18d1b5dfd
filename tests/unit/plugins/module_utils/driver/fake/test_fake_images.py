# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake's image cache among processes and threads, and what instances make of it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial, qcow2
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.faults import KILLED_EXIT_CODE
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    ImageNotFound,
    InvalidInput,
    UnsafeImage,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Image, Pool, Volume, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Hole, ImageFacts
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import Progress

IMAGE = Image("debian", "default", claim="me")


class Pieces:
    """A raw image of so many pieces of data."""

    what = "an image"
    facts = ImageFacts("raw", None)
    length = None

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def segments(self):
        for _number in range(self.count):
            yield b"x" * 4096
        yield Hole(MIB)


def fetched(storage: FakeStorageDriver, image: Image = IMAGE) -> Image:
    storage.reserve_image(image)
    storage.write_image(image, Pieces())
    storage.finish_image(image)
    return storage.get_images()[image.key]


def instance(name: str = "web1", **fields) -> Instance:
    return Instance(name, memory_mb=64, vcpus=1, **{"image": "debian", **fields})


def in_processes(count: int, work) -> list[int]:
    """Exit codes of so many processes that do it at once."""

    def run(number: int) -> None:
        os._exit(work(number))

    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=run, args=(number,)) for number in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    return [child.exitcode for child in children]


def test_one_of_many_processes_gets_the_name(storage, root):
    def reserve(number: int) -> int:
        with FakeStorageDriver(ConnectionOptions(dial.uri(root))) as driver:
            try:
                driver.reserve_image(replace(IMAGE, claim=f"process {number}"))
            except AlreadyExists:
                return 1
        return 0

    assert sorted(in_processes(8, reserve)) == [0, *[1] * 7]
    [image] = storage.get_images().values()
    assert image.claim.startswith("process")


def test_a_fetch_can_be_watched_and_goes_on_beating(storage, root):
    reports = []
    storage.progress = Progress(reports.append)
    storage.reserve_image(IMAGE)
    dial.write_faults(root, faults=[{"operation": "image_write", "delay_s": 0.02}])
    seen = []

    def beat() -> None:
        for number in range(1, 5):
            storage.beat_image(replace(IMAGE, beat=number))
            seen.append(storage.get_images()[IMAGE.key].beat)

    other = threading.Thread(target=beat)
    other.start()
    storage.write_image(IMAGE, Pieces(10))
    other.join()
    assert seen == [1, 2, 3, 4]
    assert [report.done for report in reports[:3]] == [0, 4096, 8192]
    assert reports[-1].ended
    storage.finish_image(replace(IMAGE, beat=4, checksum="sha256:00"))
    found = storage.get_images()[IMAGE.key]
    assert (found.complete, found.checksum, found.file_bytes) == (True, "sha256:00", 40960 + MIB)


def test_who_lost_the_name_cannot_go_on(storage, files):
    storage.reserve_image(IMAGE)
    storage.write_image(IMAGE, Pieces())
    storage.delete_image(IMAGE.key, claim="me")
    other = replace(IMAGE, claim="another")
    storage.reserve_image(other)
    before = files()
    for call in (
        lambda: storage.beat_image(IMAGE),
        lambda: storage.write_image(IMAGE, Pieces()),
        lambda: storage.finish_image(IMAGE),
    ):
        with pytest.raises(ImageNotFound, match="not reserved for this fetch any more"):
            call()
    storage.delete_image(IMAGE.key, claim="me")
    with pytest.raises(InvalidInput, match="never written"):
        storage.finish_image(other)
    assert files() == before


@pytest.mark.parametrize("operation", ["image_reserve", "image_write", "image_finish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fetch_that_is_killed_leaves_what_the_next_one_removes(storage, root, files, operation, when):
    dial.write_faults(root, faults=[{"operation": operation, "kill": True, "when": when}])
    before = files()

    def fetch(_number: int) -> int:
        with FakeStorageDriver(ConnectionOptions(dial.uri(root))) as driver:
            fetched(driver)
        return 0

    assert in_processes(1, fetch) == [KILLED_EXIT_CODE]
    dial.write_faults(root)
    found = storage.get_images().get(IMAGE.key)
    assert (found is not None and found.complete) == (operation == "image_finish" and when == "after")
    storage.delete_image(IMAGE.key)
    assert files() == before
    assert fetched(storage).complete


def test_instances_are_children_of_an_image_and_keep_it(storage, files):
    fetched(storage)
    before = files()
    storage.spawn(instance())
    [disk] = storage.get_instances()["web1"].disks
    assert (disk.image, disk.size_bytes, disk.format) == ("debian", 4 * 4096 + MIB, "qcow2")
    key = VolumeKey(disk.pool, disk.volume)
    assert storage.get_volumes([key])[key].backing == "default/debian"
    assert storage.volume_uses([IMAGE.key])[IMAGE.key].children == [str(key)]
    for call in (lambda: storage.delete_image(IMAGE.key), lambda: storage.resize_volume(IMAGE.key, 4 * MIB)):
        with pytest.raises(VolumeInUse):
            call()
    storage.destroy("web1")
    assert files() == before
    storage.delete_image(IMAGE.key)
    assert files() == {}


def test_the_instances_own_pool_comes_first(storage):
    storage.create_pool(Pool("other", kind="dir", path="/srv/other"))
    storage.start_pool("other")
    for pool in ("default", "other"):
        fetched(storage, replace(IMAGE, pool=pool))
    storage.spawn(instance(pool="other"))
    assert len(storage.volume_uses([VolumeKey("other", "debian")])[VolumeKey("other", "debian")].children) == 1
    storage.delete_image(IMAGE.key)
    storage.spawn(instance("web2"))
    assert len(storage.volume_uses([VolumeKey("other", "debian")])[VolumeKey("other", "debian")].children) == 2


def test_a_volume_does_not_take_the_name_of_an_image_that_is_fetched(storage, files):
    storage.reserve_image(IMAGE)
    before = files()
    with pytest.raises(AlreadyExists, match="reserved for an image"):
        storage.create_volume(storage.complete_volume(Volume(IMAGE.name, IMAGE.pool, size_bytes=MIB)))
    assert files() == before


def test_what_is_not_complete_or_no_image_is_not_used(storage, files):
    storage.reserve_image(IMAGE)
    storage.create_volume(storage.complete_volume(Volume("plain", "default", size_bytes=MIB)))
    before = files()
    for name in ("debian", "plain", "nothing"):
        assert storage.validate_parameters([instance(image=name)])["web1"][0].option == "image"
        with pytest.raises(ImageNotFound, match=f"no image '{name}'"):
            storage.spawn(instance(image=name))
    assert files() == before


def test_a_file_that_leans_on_others_is_no_image(storage, files, tmp_path):
    file = tmp_path / "image.qcow2"
    file.write_bytes(b"".join(qcow2.encoded(MIB, [], lambda _at, _length: b"", backing="/etc/shadow")))
    for fields in ({"image": str(file)}, {"image": None, "disks": [Disk(image=str(file))]}):
        with pytest.raises(UnsafeImage, match="/etc/shadow"):
            storage.spawn(instance(**fields))
        assert "/etc/shadow" in storage.validate_parameters([instance(**fields)])["web1"][0].message
    assert files() == {}
    file.write_bytes(b"".join(qcow2.encoded(MIB, [], lambda _at, _length: b"")))
    storage.spawn(instance(image=str(file)))
    assert storage.get_instances()["web1"].disks[0].size_bytes == MIB
    file.unlink()
    storage.force_off("web1")
    with pytest.raises(ImageNotFound):
        storage.power_on("web1")


def test_nobody_writes_to_an_image(storage):
    fetched(storage)
    with pytest.raises(VolumeInUse, match="name it as the image"):
        storage.spawn(instance(image=None, disks=[Disk(volume="debian", pool="default")]))
    storage.spawn(instance(image=None, disks=[Disk(volume="debian", pool="default", read_only=True)]))
    storage.destroy("web1", "all")
    assert storage.get_images()[IMAGE.key].complete


def test_in_a_pool_without_children_an_instance_gets_a_whole_copy(storage, root):
    dial.write_host(root, pools={"default": {"kind": "lvm"}})
    fetched(storage)
    storage.spawn(instance())
    [disk] = storage.get_instances()["web1"].disks
    key = VolumeKey(disk.pool, disk.volume)
    assert storage.get_volumes([key])[key].backing is None
    assert dial.read_volume(root, key) == b"x" * 4 * 4096 + bytes(MIB)
    storage.delete_image(IMAGE.key)
    assert dial.read_volume(root, key).startswith(b"xxxx")
    storage.destroy("web1")
    assert list(Path(root).rglob("data/*")) == []
