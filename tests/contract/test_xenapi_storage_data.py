# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data on its way to and from a XenServer pool: what is sent, where to, and what goes wrong on the way."""

from __future__ import annotations

import gzip
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi import storage as storage_module
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    InsufficientCapacity,
    InvalidInput,
    TransferError,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Image,
    Volume,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.contents import Stretch, TestContent, dense, qcow2_image, sparse, total
from contract.storage_helpers import SIZE, SOMEWHERE, changes_nothing, created, wanted
from lab.xenapi.server import XenApiServer

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


def wire_bytes(server: XenApiServer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each upload from now on has sent."""
    from lab.xenapi import httprequest

    counted: list[int] = []
    real = httprequest.HttpRequest.read

    def read_counted(self: httprequest.HttpRequest, length: int) -> bytes:
        data = real(self, length)
        counted.append(len(data))
        return data

    monkeypatch.setattr(httprequest.HttpRequest, "read", read_counted)
    return counted


def test_holes_and_zeros_are_not_sent(
    storage: StorageDriver, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch
):
    size, data = 64 * MIB, 200_000
    content = TestContent(size, (Stretch(5 * MIB + 100, data), Stretch(40 * MIB, data, 2)))
    sent = wire_bytes(platform.server, monkeypatch)
    volume = created(platform, storage, "sparse", content)
    assert sum(sent) < 2 * data + 6 * 65536
    assert platform.storage.data(volume.key) == content.data()
    assert (volume.allocation_bytes or 0) <= 8 * MIB


def test_the_same_comes_back_without_its_holes(storage: StorageDriver, platform: XenApiPlatform):
    content = sparse(64 * MIB)
    volume = created(platform, storage, "sparse", content)
    with storage.open_volume(volume.key) as reader:
        assert (reader.format, reader.length) == ("raw", 64 * MIB)
        came = total(reader.segments())
    assert (came.length, came.sha256) == (64 * MIB, total(content.segments()).sha256)
    assert came.data_bytes < 4 * MIB


def test_a_server_that_sends_raw_disks_only(
    storage: StorageDriver, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch
):
    from lab.xenapi.behaviour import raw_vdis

    volume = created(platform, storage, "sparse", sparse())
    monkeypatch.delitem(raw_vdis._TYPES, "vhd")
    with storage.open_volume(volume.key) as reader:
        assert total(reader.segments())[:2] == total(sparse().segments())[:2]


@pytest.mark.parametrize("break_at", [100, 3000, 2 * MIB])
def test_a_download_that_breaks_off(
    storage: StorageDriver, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch, break_at: int
):
    from lab.xenapi.behaviour import raw_vdis

    volume = created(platform, storage, "sparse", sparse())
    whole = raw_vdis.vhd.image

    def cut(*args):
        data = b"".join(whole(*args))
        yield data[:break_at]

    monkeypatch.setattr(raw_vdis.vhd, "image", cut)
    with pytest.raises(TransferError, match="ends too early"), storage.open_volume(volume.key) as reader:
        total(reader.segments())


def test_a_vhd_image_is_unpacked(storage: StorageDriver, platform: XenApiPlatform):
    """It is what another pool has sent."""
    source = created(platform, storage, "source", sparse())
    with platform.session() as api:
        [vdi] = api.VDI.get_by_name_label("source")
    image = VhdContent(b"".join(storage.download(vdi, "vhd")), SIZE)
    volume = created(platform, storage, "copy", image)
    assert platform.storage.data(volume.key) == platform.storage.data(source.key)
    broken = VhdContent(image.file[:-4096], SIZE)
    with changes_nothing(platform), pytest.raises(TransferError, match="too early"):
        created(platform, storage, "broken", broken)


def test_content_of_unknown_length(storage: StorageDriver, platform: XenApiPlatform):
    content = Unmeasured(sparse().data())
    completed = storage.complete_volume(wanted(platform, "new", source=SOMEWHERE, size_bytes=SIZE), content.facts)
    completed.size_bytes = None
    storage.create_volume(completed, content)
    assert platform.storage.data(completed.key) == sparse().data()


def test_other_images_are_refused_with_a_hint(storage: StorageDriver, platform: XenApiPlatform):
    with changes_nothing(platform), pytest.raises(InvalidInput, match="qemu-img convert -O raw"):
        created(platform, storage, "image", qcow2_image(SIZE))


def test_more_than_there_is_room_for(storage: StorageDriver, platform: XenApiPlatform):
    pool = platform.storage.make_small_pool()
    with changes_nothing(platform), pytest.raises(InsufficientCapacity, match="full"):
        created(platform, storage, "big", dense(32 * MIB), pool=pool)


def test_data_of_a_pool_that_the_master_does_not_reach(storage: StorageDriver, platform: XenApiPlatform):
    """The master sends who uploads to another host as soon as it is asked; content that can be read once is not read
    for nothing."""
    with get_storage_driver(replace(platform.options(), uri=f"{platform.uri}?host=xen2")) as far:
        assert isinstance(far, StorageDriver)
        volume = far.complete_volume(Volume("far", "Local storage", source=SOMEWHERE), sparse().facts)
        content = Once(dense(SIZE))
        far.create_volume(volume, content)
        with far.open_volume(volume.key) as reader:
            assert total(reader.segments())[:2] == total(dense(SIZE).segments())[:2]
        image = Image("far-image", "Local storage", claim="me")
        far.reserve_image(image)
        assert far.write_image(image, Once(dense(SIZE))) == SIZE


def test_a_volume_that_is_being_filled_is_nobodys_leftover(
    storage: StorageDriver, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch
):
    """Two make one volume, and the first is at it for longer than the second is patient: the first succeeds."""
    monkeypatch.setattr(storage_module, "_PATIENCE_S", 0.5)
    half, go_on = threading.Event(), threading.Event()
    slow = Slow(dense(SIZE), half, go_on)
    volume = storage.complete_volume(wanted(platform, "one", source=SOMEWHERE), slow.facts)
    with ThreadPoolExecutor(1) as pool, get_storage_driver(platform.options()) as rival:
        assert isinstance(rival, StorageDriver)
        first = pool.submit(storage.create_volume, volume, slow)
        try:
            assert half.wait(10)
            with pytest.raises(AlreadyExists, match="being filled"):
                rival.create_volume(volume, sparse())
        finally:
            go_on.set()
        first.result(20)
    assert platform.storage.data(volume.key) == dense(SIZE).data()


def test_a_session_that_ends_in_the_middle(storage: StorageDriver, platform: XenApiPlatform):
    half, go_on = threading.Event(), threading.Event()
    slow = Slow(dense(SIZE), half, go_on)
    volume = storage.complete_volume(wanted(platform, "one", source=SOMEWHERE), slow.facts)
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(storage.create_volume, volume, slow)
        assert half.wait(10)
        platform.server.expire_sessions()
        go_on.set()
        upload.result(20)
    with storage.open_volume(volume.key) as reader:
        segments = reader.segments()
        first = next(segments)
        platform.server.expire_sessions()
        rest = list(segments)
    assert total(iter([first, *rest]))[:2] == total(dense(SIZE).segments())[:2]


def test_a_pool_that_falls_silent_in_the_middle(storage: StorageDriver, platform: XenApiPlatform):
    """Nothing hangs, and what is left is made anew."""
    half, go_on = threading.Event(), threading.Event()
    slow = Slow(dense(64 * MIB), half, go_on)
    with get_storage_driver(platform.options(call_timeout_s=2)) as hasty, ThreadPoolExecutor(1) as pool:
        assert isinstance(hasty, StorageDriver)
        volume = hasty.complete_volume(wanted(platform, "one", source=SOMEWHERE, size_bytes=None), slow.facts)
        upload = pool.submit(hasty.create_volume, volume, slow)
        assert half.wait(10)
        platform.server.freeze()
        began = time.monotonic()
        go_on.set()
        try:
            with pytest.raises(AnyvirtError):
                upload.result(60)
        finally:
            platform.server.thaw()
        assert time.monotonic() - began < 40
    storage.create_volume(volume, dense(64 * MIB))
    assert platform.storage.data(volume.key) == dense(64 * MIB).data()


def test_over_tls(platform: XenApiPlatform):
    with XenApiServer(tls=True) as server:
        options = ConnectionOptions(server.uri, server.username, server.password, ca_path=str(server.ca_file))
        with get_storage_driver(options) as driver:
            assert isinstance(driver, StorageDriver)
            content = sparse(16 * MIB)
            volume = driver.complete_volume(Volume("new", "shared", source=SOMEWHERE), content.facts)
            driver.create_volume(volume, content)
            with driver.open_volume(volume.key) as reader:
                assert total(reader.segments())[:2] == total(content.segments())[:2]


class Slow:
    """Content of which the second half takes long."""

    def __init__(self, content: TestContent, half: threading.Event, go_on: threading.Event) -> None:
        self.what, self.facts, self.length = content.what, content.facts, content.length
        self._data, self._half, self._go_on = content.data(), half, go_on

    def segments(self):
        middle = len(self._data) // 2
        yield from (self._data[at : at + MIB] for at in range(0, middle, MIB))
        self._half.set()
        self._go_on.wait(20)
        yield from (self._data[at : at + MIB] for at in range(middle, len(self._data), MIB))


class Once:
    """What comes from a server, which sends it once."""

    def __init__(self, content: TestContent) -> None:
        self.what, self.facts, self.length = content.what, content.facts, content.length
        self._segments = content.segments()

    def segments(self):
        segments, self._segments = self._segments, None
        return segments


class VhdContent:
    """A VHD file."""

    what = "a VHD image"

    def __init__(self, file: bytes, size_bytes: int) -> None:
        from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import ImageFacts

        self.file = file
        self.facts = ImageFacts("vhd", size_bytes)
        self.length = len(file)

    def segments(self):
        yield from (self.file[at : at + 5000] for at in range(0, len(self.file), 5000))


class Unmeasured:
    """What a compressed stream unpacks to, which does not say how much that is."""

    what = "a stream"
    length = None

    def __init__(self, data: bytes) -> None:
        from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import ImageFacts

        self.facts = ImageFacts("raw", None)
        self._packed = gzip.compress(data, 1)

    def segments(self):
        yield gzip.decompress(self._packed)
