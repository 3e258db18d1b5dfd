# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage of a XenServer pool: names that are there twice, data on the wire, full pools, guests that keep a disk."""

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
    InsufficientCapacity,
    InvalidInput,
    PoolNotFound,
    TimeoutExpired,
    TransferError,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    EXT,
    ISCSI,
    LVM,
    Image,
    Pool,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.contents import Stretch, TestContent, dense, qcow2_image, sparse, total
from contract.storage_helpers import SIZE, SOMEWHERE, changes_nothing, created, new_pool, read, wanted
from lab.xenapi.server import XenApiServer

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


def key_of(platform: XenApiPlatform, name: str) -> VolumeKey:
    return VolumeKey(platform.pool, name)


def foreign_vdi(platform: XenApiPlatform, name: str) -> str:
    """A virtual disk that somebody else has made; its uuid."""
    with platform.session() as api:
        [sr] = api.SR.get_by_name_label(platform.pool)
        record = {
            "name_label": name,
            "name_description": "",
            "SR": sr,
            "virtual_size": str(SIZE),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        }
        return str(api.VDI.get_uuid(api.VDI.create(record)))


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


# -- names -----------------------------------------------------------------------------------------------------------


def test_of_two_of_one_name_ours_is_meant(storage: StorageDriver, platform: XenApiPlatform):
    ours = created(platform, storage, "twin", metadata={"whose": "ours"})
    foreign_vdi(platform, "twin")
    assert read(storage, ours.key).metadata == {"whose": "ours"}
    assert [found.metadata for found in storage.list_volumes(platform.pool) if found.name == "twin"] == [ours.metadata]
    storage.delete_volume(ours.key)
    assert read(storage, ours.key).metadata == {}, "the other one is there still"


def test_of_two_of_others_none_is_meant(storage: StorageDriver, platform: XenApiPlatform):
    uuids = [foreign_vdi(platform, "twin") for _number in range(2)]
    key = key_of(platform, "twin")
    with changes_nothing(platform):
        for call in (
            lambda: storage.get_volumes([key]),
            lambda: storage.delete_volume(key),
            lambda: storage.resize_volume(key, 2 * SIZE),
            lambda: storage.create_volume_snapshot(key, "first"),
        ):
            with pytest.raises(VolumeNotFound, match="nothing tells which is meant") as caught:
                call()
            assert all(uuid in str(caught.value) for uuid in uuids)
        with pytest.raises(AlreadyExists):
            created(platform, storage, "twin")
    assert len([found for found in storage.list_volumes(platform.pool) if found.name == "twin"]) == 2


def test_a_copy_by_another_tool_is_not_ours(storage: StorageDriver, platform: XenApiPlatform):
    """It has our record, which says whose it is; our snapshots stay ours."""
    ours = created(platform, storage, "one", metadata={"whose": "ours"})
    storage.create_volume_snapshot(ours.key, "first")
    with platform.session() as api:
        [vdi] = [ref for ref in api.VDI.get_by_name_label("one") if not api.VDI.get_is_a_snapshot(ref)]
        copy = api.VDI.clone(vdi, {})
    assert read(storage, ours.key, snapshots=True).snapshots, "the name still means ours"
    with platform.session() as api:
        api.VDI.set_name_label(copy, "copy")
    copied = read(storage, key_of(platform, "copy"), snapshots=True)
    assert (copied.metadata, copied.snapshots) == ({}, [])


def test_a_copy_of_an_instances_volume_does_not_have_its_snapshots(storage: StorageDriver, platform: XenApiPlatform):
    """Its record names no virtual disk, so that copies by other tools look like it."""
    [disk] = platform.spawned(storage, "one", disks=[Disk(size_bytes=SIZE)]).disks
    key = key_of(platform, str(disk.volume))
    storage.create_volume_snapshot(key, "first")
    with platform.session() as api:
        [vdi] = [ref for ref in api.VDI.get_by_name_label(key.name) if not api.VDI.get_is_a_snapshot(ref)]
        api.VDI.set_name_label(api.VDI.clone(vdi, {}), "copy")
    storage.delete_volume(key_of(platform, "copy"))
    snapshots = read(storage, key, snapshots=True).snapshots
    assert [snapshot.name for snapshot in snapshots or []] == ["first"]


def test_an_instance_takes_the_snapshots_of_its_volumes_along(storage: StorageDriver, platform: XenApiPlatform):
    """Also where a volume was reverted: the server does not tell then whose snapshots they are."""
    before = len(platform.server.db.refs("VDI"))
    [disk] = platform.spawned(storage, "one", disks=[Disk(size_bytes=SIZE)]).disks
    key = key_of(platform, str(disk.volume))
    storage.create_volume_snapshot(key, "first")
    storage.create_volume_snapshot(key, "second")
    storage.revert_volume(key, "first")
    assert [snapshot.name for snapshot in read(storage, key, snapshots=True).snapshots or []] == ["first", "second"]
    storage.destroy("one")
    assert len(platform.server.db.refs("VDI")) == before


def test_two_repositories_of_one_name(storage: StorageDriver, platform: XenApiPlatform):
    """As the hosts' local ones are; a host in the URI tells which is meant."""
    assert "Local storage" not in storage.get_pools()
    with changes_nothing(platform), pytest.raises(PoolNotFound, match="2 storage repositories"):
        storage.list_volumes("Local storage")
    there = platform.options(uri=f"{platform.uri}?host=xen2")
    with get_storage_driver(there) as near:
        assert isinstance(near, StorageDriver)
        assert near.get_pools()["Local storage"].kind == EXT
        near.create_volume(near.complete_volume(Volume("local", "Local storage", SIZE)))
        assert [volume.name for volume in near.list_volumes("Local storage")] == ["local"]
        near.delete_volume(VolumeKey("Local storage", "local"))


def test_what_is_no_volume(storage: StorageDriver, platform: XenApiPlatform):
    """Snapshots of machines, and what the pool keeps for itself."""
    platform.spawned(storage, "user", disks=[Disk(size_bytes=SIZE)], power_on=True)
    storage.suspend("user")
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("user")
        api.VM.snapshot(vm, "saved")
    names = [volume.name for volume in storage.list_volumes(platform.pool)]
    assert names == sorted({*names})
    assert [name for name in names if name.startswith("user")] == ["user.xvda"]
    assert read(storage, key_of(platform, "user.xvda"), snapshots=True).snapshots == []


@pytest.mark.parametrize("what", ["image", "volume"])
def test_one_of_many_gets_a_name(platform: XenApiPlatform, what: str):
    """Names can be taken twice on XenServer; who sees another steps back."""

    def take(number: int) -> bool:
        with get_storage_driver(platform.options()) as driver:
            assert isinstance(driver, StorageDriver)
            try:
                if what == "image":
                    driver.reserve_image(Image("one", platform.pool, claim=f"claim {number}"))
                else:
                    driver.create_volume(driver.complete_volume(wanted(platform, "one")))
            except (AlreadyExists, VolumeNotFound):
                return False
            return True

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(take, range(6)))
    assert won.count(True) <= 1
    with platform.session() as api:
        assert len(api.VDI.get_by_name_label("one")) == won.count(True)
    if not any(won):  # they stepped back from each other all the time
        assert take(7)


def test_an_instance_leaves_no_snapshots(storage: StorageDriver, platform: XenApiPlatform):
    empty = platform.volumes()
    platform.spawned(storage, "user", disks=[Disk(size_bytes=SIZE)])
    storage.create_volume_snapshot(key_of(platform, "user.xvda"), "first")
    storage.destroy("user")
    assert platform.volumes() == empty


# -- pools -----------------------------------------------------------------------------------------------------------


def test_what_was_forgotten_is_found_again(storage: StorageDriver, platform: XenApiPlatform):
    pool = platform.storage.new_pool("other")
    storage.create_pool(pool)
    storage.start_pool("other")
    created(platform, storage, "kept", sparse(), pool="other")
    storage.delete_pool("other")
    storage.create_pool(pool)
    storage.start_pool("other")
    [volume] = storage.list_volumes("other")
    assert volume.size_bytes == SIZE


@pytest.mark.parametrize("kind", [EXT, LVM])
def test_devices(storage: StorageDriver, platform: XenApiPlatform, kind: str):
    """What is on them is not overwritten unless that is asked for; XenAPI sees only storage repositories there."""
    pool = Pool("disk", kind=kind, devices=["/dev/sdb"])
    with changes_nothing(platform), pytest.raises(AlreadyExists, match="overwrite: true"):
        storage.create_pool(pool)
    storage.create_pool(pool, overwrite=True)
    assert storage.get_pools()["disk"].devices == ["/dev/sdb"]
    with changes_nothing(platform), pytest.raises(AlreadyExists, match="'disk'"):
        storage.create_pool(Pool("rival", kind=kind, devices=["/dev/sdb"]), overwrite=True)
    storage.start_pool("disk")
    created(platform, storage, "kept", sparse(), pool="disk")
    storage.delete_pool("disk")
    with changes_nothing(platform), pytest.raises(AlreadyExists, match="overwrite: true"):
        storage.create_pool(Pool("disk", kind=LVM if kind == EXT else EXT, devices=["/dev/sdb"]))
    storage.create_pool(pool)
    storage.start_pool("disk")
    assert [volume.size_bytes for volume in storage.list_volumes("disk")] == [SIZE], "it was taken as it was"
    storage.delete_pool("disk")
    storage.create_pool(pool, overwrite=True)
    storage.start_pool("disk")
    assert storage.list_volumes("disk") == []


def test_a_device_by_another_name(storage: StorageDriver, platform: XenApiPlatform, monkeypatch: pytest.MonkeyPatch):
    """Only probing tells that it is in use, and a driver finds repositories of its own kind only."""
    from lab.xenapi import probing

    storage.create_pool(Pool("disk", kind=EXT, devices=["/dev/sdb"]), overwrite=True)
    there = probing._is_there

    def by_each_name(one: object, kind: str, host: str, device_config: dict[str, str]) -> bool:
        names = {**device_config, "device": device_config.get("device", "").replace("/dev/disk/by-id/b", "/dev/sdb")}
        return there(one, kind, host, names)

    monkeypatch.setattr(probing, "_is_there", by_each_name)
    for kind in (EXT, LVM):
        with changes_nothing(platform), pytest.raises(AlreadyExists, match="there is the pool disk"):
            storage.create_pool(Pool("rival", kind=kind, devices=["/dev/disk/by-id/b"]), overwrite=True)


def test_a_pool_with_the_memory_of_a_suspended_instance(storage: StorageDriver, platform: XenApiPlatform):
    """It would be lost with the pool, and the instance could not come back."""
    new_pool(platform, storage, "memory")
    with platform.session() as api:
        [sr] = api.SR.get_by_name_label("memory")
        [pool] = api.pool.get_all()
        api.pool.set_suspend_image_SR(pool, sr)
        for host in api.host.get_all():
            api.host.set_suspend_image_sr(host, sr)
    platform.spawned(storage, "sleeper", power_on=True)
    with platform.session() as api:
        [vm] = api.VM.get_by_name_label("sleeper")
        api.VM.suspend(vm)
        assert api.VDI.get_SR(api.VM.get_suspend_VDI(vm)) == sr
    with changes_nothing(platform):
        for take_away in (storage.stop_pool, storage.delete_pool):
            with pytest.raises(VolumeInUse, match="sleeper"):
                take_away("memory")


def test_iscsi(storage: StorageDriver, platform: XenApiPlatform):
    """The only LUN of a target is found; of several one has to be named."""
    target = "iqn.2026-01.org.example:disk"
    san = Pool("san", kind=ISCSI, server="10.88.1.30", target=target)
    with changes_nothing(platform), pytest.raises(AlreadyExists, match="overwrite: true"):
        storage.create_pool(san)
    storage.create_pool(san, overwrite=True)
    found = storage.get_pools()["san"]
    assert (found.kind, found.server, found.target, found.shared) == (ISCSI, "10.88.1.30", target, True)
    assert len(found.devices or []) == 1
    several = Pool("two", kind=ISCSI, server="10.88.1.30", target=f"{target}:two")
    with changes_nothing(platform), pytest.raises(InvalidInput, match="2 LUNs") as caught:
        storage.create_pool(several)
    several.devices = [str(caught.value).rpartition(" ")[2]]
    storage.create_pool(several, overwrite=True)
    assert storage.get_pools()["two"].devices == several.devices


def test_autostart_is_always_so(storage: StorageDriver, platform: XenApiPlatform):
    with changes_nothing(platform):
        assert storage.get_pools()[platform.pool].autostart is True
        storage.set_pool_autostart(platform.pool, True)()
        with pytest.raises(Unsupported, match="when they start"):
            storage.set_pool_autostart(platform.pool, False)


# -- data ------------------------------------------------------------------------------------------------------------


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


# -- relations -------------------------------------------------------------------------------------------------------


def test_a_child_of_another_pool_is_refused(storage: StorageDriver, platform: XenApiPlatform):
    storage.create_pool(platform.storage.new_pool("other"))
    storage.start_pool("other")
    created(platform, storage, "source", sparse())
    child = Volume("child", "other", source=VolumeSource(volume="source", pool=platform.pool, copy_on_write=True))
    with pytest.raises(InvalidInput, match=r"source\.copy_on_write"):
        storage.complete_volume(child)
    child.source.copy_on_write = None
    storage.create_volume(storage.complete_volume(child))
    assert platform.storage.data(child.key) == sparse().data()
    assert read(storage, child.key).backing is None


def test_a_volume_of_a_snapshot(storage: StorageDriver, platform: XenApiPlatform):
    source = created(platform, storage, "source", sparse())
    storage.create_volume_snapshot(source.key, "first")
    platform.storage.fill(source.key, 7, 0, SIZE)
    for copy_on_write, backing in ((True, str(source.key)), (False, None)):
        origin = VolumeSource(volume="source", snapshot="first", copy_on_write=copy_on_write)
        volume = Volume(f"of-{copy_on_write}", platform.pool, source=origin)
        storage.create_volume(storage.complete_volume(volume))
        assert platform.storage.data(volume.key) == sparse().data()
        assert read(storage, volume.key).backing == backing
    assert storage.volume_uses([source.key])[source.key].children == [f"{platform.pool}/of-True"]


def test_no_snapshots_of_shareable_volumes(storage: StorageDriver, platform: XenApiPlatform):
    volume = created(platform, storage, "one", shareable=True)
    with changes_nothing(platform), pytest.raises(Unsupported, match="shareable"):
        storage.create_volume_snapshot(volume.key, "first")


def test_a_guest_that_keeps_its_disk(storage: StorageDriver, platform: XenApiPlatform):
    boot = Boot(kernel="/boot/guest/vmlinuz", initrd="/boot/guest/initrd.img", cmdline="lab.keeps-disks")
    platform.spawned(storage, "user", boot=boot, power_on=True)
    created(platform, storage, "one")
    disk = storage.complete_attachment("user", Disk(volume="one", pool=platform.pool))
    storage.attach_volume("user", disk)
    began = time.monotonic()
    with changes_nothing(platform), pytest.raises(TimeoutExpired, match=disk.device):
        storage.detach_volume("user", str(disk.device), 1.0)
    assert time.monotonic() - began < 8
    assert storage.get_instances(["user"])["user"].pending == {}
    platform.server.faults.fail("VBD.unplug", "DEVICE_DETACH_REJECTED", "VBD", "it", "busy", times=None)
    with changes_nothing(platform), pytest.raises(TimeoutExpired):
        storage.detach_volume("user", str(disk.device), 0.5)
    platform.server.faults.clear()


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
