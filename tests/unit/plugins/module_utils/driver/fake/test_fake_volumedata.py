# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of the fake's volumes: kept once, read in the form of each volume's format, and swept away."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.datafiles import NewFile, sweep
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.store import VOLUMES, Store
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storedforms import guest_segments
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InsufficientCapacity,
    InvalidInput,
    TransferError,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Encryption,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Hole, ImageFacts

KEY = VolumeKey("default", "data")
RANDOM = random.Random(1).randbytes(3 * 4096)
DISK = RANDOM + bytes(2 * MIB) + RANDOM[:1000] + bytes(MIB - 1000)


THEIR_OPTIONS = {
    "qcow2": (["-c"], ["-o", "compat=0.10"]),
    "vhd": (["-o", "force_size"], ["-o", "subformat=fixed,force_size"]),
}


class Given:
    """Content made of these segments."""

    what = "test content"
    length = None

    def __init__(self, *segments, facts=None, then=None):
        self.parts = segments
        self.facts = facts or ImageFacts("raw", None)
        self.then = then

    def segments(self):
        yield from self.parts
        if self.then is not None:
            raise self.then


def upload(storage, content, **fields):
    wanted = Volume(KEY.name, KEY.pool, source=VolumeSource(path="/content"), **fields)
    return storage.create_volume(storage.complete_volume(wanted, content.facts), content)


def joined(segments) -> bytes:
    return b"".join(bytes(part.length) if isinstance(part, Hole) else part for part in segments)


def stored(storage, key=KEY) -> bytes:
    with storage.open_volume(key) as reader:
        found = joined(reader.segments())
        assert len(found) == reader.length
    return found


def data_files(root) -> list[Path]:
    return [path for path in Path(root).glob("hosts/*/data/*") if path.is_file()]


@pytest.mark.parametrize("form", ["qcow2", "vhd", "raw"])
@pytest.mark.parametrize("size", [len(DISK), len(DISK) + 700 * MIB])
def test_guests_data_takes_the_form_of_the_format_and_comes_back_from_it(storage, root, tmp_path, form, size):
    storage.create_volume(storage.complete_volume(Volume(KEY.name, KEY.pool, size_bytes=size, format=form)))
    dial.write_volume(root, KEY, 0, RANDOM)
    dial.write_volume(root, KEY, len(RANDOM) + 2 * MIB, RANDOM[:1000])
    dial.write_volume(root, KEY, size - 1, b"!")
    file = NewFile(str(tmp_path))
    with storage.open_volume(KEY) as reader:
        assert reader.format == form
        for segment in reader.segments():
            file.write(segment)
        assert file.length == reader.length
    file.close()
    data = {"data": file.name, "data_bytes": file.length, "data_format": form}
    position, found = 0, {}
    for segment in guest_segments(str(tmp_path), data, size):
        if not isinstance(segment, Hole) and segment.strip(b"\0"):
            found[position] = segment
        position += segment.length if isinstance(segment, Hole) else len(segment)
    assert position == size
    assert next(iter(found.values())).startswith(RANDOM)
    assert list(found.values())[-1].endswith(b"!")


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
@pytest.mark.parametrize(("form", "theirs"), [("qcow2", "qcow2"), ("vhd", "vpc")])
def test_other_programs_read_what_is_downloaded_and_we_read_theirs(storage, root, tmp_path, form, theirs):
    storage.create_volume(storage.complete_volume(Volume(KEY.name, KEY.pool, size_bytes=len(DISK), format=form)))
    dial.write_volume(root, KEY, 0, DISK)
    image, raw = tmp_path / "image", tmp_path / "raw"
    image.write_bytes(stored(storage))

    def run(*arguments) -> None:
        subprocess.run(["qemu-img", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    if form == "qcow2":
        run("check", "-f", theirs, image)
    run("convert", "-f", theirs, "-O", "raw", image, raw)
    assert raw.read_bytes() == DISK
    for options in THEIR_OPTIONS[form]:
        run("convert", "-f", "raw", "-O", theirs, *options, raw, image)
        storage.delete_volume(KEY)
        upload(storage, Given(image.read_bytes(), facts=ImageFacts(form, len(DISK))))
        assert stored(storage) == image.read_bytes()
        assert dial.read_volume(root, KEY) == DISK


def test_what_is_resized_has_the_form_of_its_new_size(storage, root):
    blank = stored_qcow2(storage, len(DISK))
    upload(storage, Given(blank, facts=ImageFacts("qcow2", len(DISK))))
    dial.write_volume(root, KEY, 0, DISK)
    storage.resize_volume(KEY, 2 * len(DISK))
    assert int.from_bytes(stored(storage)[24:32], "big") == 2 * len(DISK)
    undo = storage.resize_volume(KEY, MIB)
    assert dial.read_volume(root, KEY) == DISK[:MIB]
    undo()
    storage.resize_volume(KEY, MIB)
    storage.resize_volume(KEY, 2 * MIB)
    assert dial.read_volume(root, KEY) == DISK[:MIB] + bytes(MIB)


def test_what_a_child_loses_is_not_brought_back_by_its_parent(storage, root):
    upload(storage, Given(DISK))
    child = Volume("child", "default", source=VolumeSource(volume=KEY.name, copy_on_write=True))
    storage.create_volume(storage.complete_volume(child))
    storage.resize_volume(child.key, MIB)()
    assert dial.read_volume(root, child.key) == DISK
    storage.resize_volume(child.key, MIB)
    storage.resize_volume(child.key, 4 * MIB)
    assert dial.read_volume(root, child.key) == DISK[:MIB] + bytes(3 * MIB)


def test_what_was_written_since_it_grew_stays_when_that_is_taken_back(storage, root):
    storage.create_volume(storage.complete_volume(Volume(KEY.name, KEY.pool, size_bytes=MIB)))
    undo = storage.resize_volume(KEY, 2 * MIB)
    dial.write_volume(root, KEY, 0, RANDOM)
    undo()
    assert dial.read_volume(root, KEY) == RANDOM + bytes(MIB - len(RANDOM))


def test_an_upload_into_something_larger_is_larger(storage, root):
    image = stored_qcow2(storage, MIB)
    upload(storage, Given(image, facts=ImageFacts("qcow2", MIB)), size_bytes=3 * MIB)
    assert int.from_bytes(stored(storage)[24:32], "big") == 3 * MIB
    assert dial.read_volume(root, KEY) == bytes(3 * MIB)


def stored_qcow2(storage, size: int) -> bytes:
    """A qcow2 image with nothing in it."""
    key = VolumeKey("default", "blank")
    storage.create_volume(storage.complete_volume(Volume(key.name, key.pool, size_bytes=size, format="qcow2")))
    found = stored(storage, key)
    storage.delete_volume(key)
    return found


def test_a_copy_in_another_format_has_the_same_data(storage, root):
    upload(storage, Given(DISK, facts=ImageFacts("raw", len(DISK))))
    wanted = Volume("copy", "default", format="qcow2", source=VolumeSource(volume=KEY.name))
    storage.create_volume(storage.complete_volume(wanted))
    assert stored(storage, wanted.key).startswith(b"QFI\xfb")
    assert dial.read_volume(root, wanted.key) == DISK
    assert len(data_files(root)) == 1


def test_copies_share_their_data_until_one_is_written_to(storage, root):
    upload(storage, Given(RANDOM))
    child = Volume("child", "default", source=VolumeSource(volume=KEY.name, copy_on_write=True))
    copy = Volume("copy", "default", source=VolumeSource(volume="child"))
    for wanted in (child, copy):
        storage.create_volume(storage.complete_volume(wanted))
    assert len(data_files(root)) == 1
    dial.write_volume(root, copy.key, 1, b"abc")
    assert dial.read_volume(root, copy.key) == RANDOM[:1] + b"abc" + RANDOM[4:]
    assert dial.read_volume(root, child.key) == stored(storage) == RANDOM
    assert len(data_files(root)) == 2
    for key in (copy.key, child.key, KEY):
        storage.delete_volume(key)
    assert data_files(root) == []


def test_holes_stay_holes(storage, root):
    upload(storage, Given(RANDOM, Hole(64 * MIB), bytes(MIB), RANDOM))
    [file] = data_files(root)
    assert file.stat().st_size == 65 * MIB + 2 * len(RANDOM)
    assert file.stat().st_blocks * 512 <= 2 * len(RANDOM) + 65536
    [found] = storage.get_volumes([KEY]).values()
    assert found.allocation_bytes == 2 * len(RANDOM)
    with storage.open_volume(KEY) as reader:
        assert sum(part.length for part in reader.segments() if isinstance(part, Hole)) >= 64 * MIB


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (Given(RANDOM, then=TransferError("broken off")), TransferError),
        (Given(RANDOM, Hole(3 * MIB), RANDOM), InsufficientCapacity),
        (Given(RANDOM, facts=ImageFacts("vdi", MIB)), InvalidInput),
    ],
)
def test_nothing_stays_of_an_upload_that_fails(storage, root, files, content, error):
    dial.write_host(root, pools={"default": {"size": "2M"}})
    storage.create_volume(storage.complete_volume(Volume("before", "default", size_bytes=4096)))
    before = files()
    with pytest.raises(error):
        upload(storage, content)
    assert files() == before


def test_what_is_made_right_now_is_nobody_elses(storage, root):
    with_lock = NewFile(str(Path(root, "hosts", "fake1")))
    record = {"pool": "default", "name": "data", "size_bytes": 1, "format": "raw", "owner": None, "backing": None}
    store = Store(str(Path(root, "hosts", "fake1")))
    with store.writing() as changes:
        changes.put(VOLUMES, str(KEY), {**record, "making": with_lock.name})
    wanted = storage.complete_volume(Volume(KEY.name, KEY.pool, size_bytes=MIB))
    with pytest.raises(AlreadyExists, match="being made right now"):
        storage.create_volume(wanted)
    with_lock.close()
    storage.create_volume(wanted)
    assert not storage.get_volumes([KEY])[KEY].unfinished
    sweep(store)
    assert data_files(root) == []


def test_what_is_being_written_is_not_swept_away(storage, root):
    class Swept(Given):
        """Others remove volumes between the pieces, and before the record tells of the file."""

        def segments(self):
            for part in self.parts:
                storage.delete_volume(VolumeKey("default", "other"))
                yield part

    folder = str(Path(root, "hosts", "fake1"))
    file = NewFile(folder)
    sweep(Store(folder))
    assert [path.name for path in data_files(root)] == [file.name]
    file.close()
    sweep(Store(folder))
    assert data_files(root) == []
    upload(storage, Swept(RANDOM, RANDOM))
    assert stored(storage) == 2 * RANDOM


def test_who_is_overtaken_says_so_and_takes_nothing_away(storage, root):
    class Overtaken(Given):
        def segments(self):
            yield RANDOM
            with storage.__class__(storage.options) as other:
                other.delete_volume(KEY)
                other.create_volume(other.complete_volume(Volume(KEY.name, KEY.pool, size_bytes=MIB)))

    with pytest.raises(HypervisorError, match="removed by somebody else"):
        upload(storage, Overtaken())
    assert storage.get_volumes([KEY])[KEY].size_bytes == MIB
    assert data_files(root) == []


def test_each_piece_can_be_slowed_and_failed(storage, root):
    dial.write_faults(root, faults=[{"operation": "volume_write", "skip": 2, "error": "transfer_error"}])
    with pytest.raises(TransferError):
        upload(storage, Given(RANDOM, RANDOM, RANDOM))
    dial.write_faults(root)
    upload(storage, Given(RANDOM, RANDOM, RANDOM))
    storage.calls.clear()
    stored(storage)
    assert storage.calls == ["volume_open", "volume_read"]


def test_of_a_passphrase_nothing_is_kept(storage, files):
    secret = "correct horse"
    wanted = Volume(KEY.name, KEY.pool, size_bytes=MIB, encryption=Encryption(secret))
    storage.create_volume(storage.complete_volume(wanted))
    assert storage.get_volumes([KEY])[KEY].encrypted
    assert secret not in repr(wanted)
    assert not any(secret.encode() in content for content in files().values())


def test_another_pool_with_its_own_room(storage, root):
    dial.write_host(root, pools={"default": {"size": "3M"}})
    storage.create_volume(storage.complete_volume(Volume("one", "default", size_bytes=2 * MIB)))
    found = storage.get_pools()["default"]
    assert (found.used_bytes, found.available_bytes) == (2 * MIB, MIB)
    storage.resize_volume(VolumeKey("default", "one"), 3 * MIB)
    with pytest.raises(InsufficientCapacity):
        storage.create_volume(storage.complete_volume(Volume("two", "default", size_bytes=4096)))
