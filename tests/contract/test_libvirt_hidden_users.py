# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of volumes that are hard to see, and what a careless order of calls would lose."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.scratchdomains import InternalSnapshots
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    InvalidInput,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Encryption,
    Image,
    Pool,
    Volume,
    VolumeKey,
    VolumeSource,
)
from contract.platforms.libvirt_qemu import QemuPlatform
from contract.storage_helpers import SIZE, changes_nothing, child_of, clone_of, created, make, read, unfinished, wanted

pytestmark = pytest.mark.on("libvirt")

_DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os><devices>{devices}</devices></domain>"""
_DISK = (
    "<disk type='file'><driver name='qemu' type='{format}'/><source file='{path}'/>"
    "<target dev='vda' bus='virtio'/></disk>"
)


def domain(name: str, path: str, data_format: str = "qcow2") -> str:
    return _DOMAIN.format(name=name, devices=_DISK.format(format=data_format, path=path))


def users(storage: StorageDriver, volume: Volume) -> list[str]:
    found = storage.volume_uses([volume.key])[volume.key]
    return sorted([use.instance for use in found.instances] + found.children)


@pytest.fixture
def linked(storage: StorageDriver, platform: QemuPlatform, tmp_path: Path) -> Iterator[Path]:
    """The pool ``real`` in a folder, and a link to that."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    storage.create_pool(Pool("real", "dir", path=str(tmp_path / "real")))
    storage.start_pool("real")
    yield tmp_path
    platform.cleanup()


def test_another_pool_whose_folder_is_gone(storage: StorageDriver, platform: QemuPlatform, linked: Path):
    """libvirt stops it as soon as it looks into it."""
    volume = make(storage, wanted(platform, "data"))
    platform.spawned(storage, "one", disks=[Disk(volume="data", pool=platform.pool)])
    shutil.rmtree(linked / "real")
    storage.destroy("one", "all")
    assert not storage.get_pools()["real"].active, "libvirt has looked"
    assert storage.list_instances() == []
    assert volume.name not in {found.name for found in storage.list_volumes(platform.pool)}


def test_a_path_through_a_symlink(storage: StorageDriver, platform: QemuPlatform, linked: Path):
    volume = make(storage, Volume("data", "real", size_bytes=SIZE))
    platform.define_xml(domain("by-link", f"{linked}/link/data"))
    assert users(storage, volume) == ["by-link"]
    with pytest.raises(VolumeInUse, match="by-link"):
        storage.delete_pool("real")
    platform.spawned(storage, "one", disks=[Disk(volume="data", pool="real")])
    storage.destroy("one", "all")
    assert read(storage, volume.key)


def test_a_second_pool_on_the_same_folder(storage: StorageDriver, platform: QemuPlatform, linked: Path):
    volume = make(storage, Volume("data", "real", size_bytes=SIZE))
    storage.create_pool(Pool("twin", "dir", path=f"{linked}/link"))
    storage.start_pool("twin")
    leaning = VolumeSource(volume="data", pool="twin", copy_on_write=True)
    make(storage, Volume("kid", platform.pool, source=leaning))
    assert users(storage, volume) == [f"{platform.pool}/kid"]
    disk = "<disk type='volume'><source pool='twin' volume='data'/><target dev='vda' bus='virtio'/></disk>"
    platform.define_xml(_DOMAIN.format(name="by-twin", devices=disk))
    assert users(storage, volume) == ["by-twin", f"{platform.pool}/kid"]


def test_a_child_that_libvirt_has_not_heard_of(storage: StorageDriver, platform: QemuPlatform):
    volume = created(platform, storage, "data")
    folder = platform.pool_folder
    platform.run_on_host(
        "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", f"{folder}/data", f"{folder}/overlay"
    )
    assert users(storage, volume) == [f"{platform.pool}/overlay"]


def test_an_external_snapshot(storage: StorageDriver, platform: QemuPlatform):
    """libvirt makes its files behind the back of the pool, and an instance that is off does not tell of the chain."""
    volume = created(platform, storage, "data")
    platform.define_xml(domain("chained", f"{platform.pool_folder}/data"))
    with platform.connection() as connection:
        handle = connection.lookupByName("chained")
        for name in ("one", "two"):
            handle.snapshotCreateXML(
                f"<domainsnapshot><name>{name}</name></domainsnapshot>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
            )
    assert len(users(storage, volume)) == 1
    storage.destroy("chained", "own")
    assert users(storage, volume) == [f"{platform.pool}/data.one"]


def test_files_in_no_pool_that_lean_on_a_volume(storage: StorageDriver, platform: QemuPlatform, linked: Path):
    """Their instance is off, so libvirt knows of nothing but the topmost."""
    volume = make(storage, Volume("data", "real", size_bytes=SIZE))
    below, top = linked / "below.qcow2", linked / "top.qcow2"
    for name, base in ((below, "link/data"), (top, below.name)):
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, name.name], cwd=linked, check=True
        )
    platform.define_xml(domain("apart", str(top)))
    assert users(storage, volume) == [str(below)]
    platform.spawned(storage, "one", disks=[Disk(volume="data", pool="real")])
    storage.destroy("one", "all")
    assert users(storage, volume) == [str(below)]


def test_what_children_lean_on_is_not_reverted(storage: StorageDriver, platform: QemuPlatform):
    parent = created(platform, storage, "parent")
    storage.create_volume_snapshot(parent.key, "one")
    make(storage, child_of(parent, "kid"))
    with pytest.raises(VolumeInUse, match="kid"):
        storage.revert_volume(parent.key, "one")


def test_a_passphrase_is_not_lost(storage: StorageDriver, platform: QemuPlatform):
    """libvirt has not heard of the volume, since its pool was just started by another."""
    volume = created(platform, storage, "locked", format="raw", encryption=Encryption("first"))
    folder = platform.pool_folder
    platform.run_on_host("mv", f"{folder}/locked", f"{folder}/../locked")
    storage.refresh_pool(platform.pool)
    platform.run_on_host("mv", f"{folder}/../locked", f"{folder}/locked")
    with platform.connection() as connection:
        before = [secret.UUIDString() for secret in connection.listAllSecrets()]
    with pytest.raises(AlreadyExists):
        storage.create_volume(
            storage.complete_volume(wanted(platform, "locked", format="raw", encryption=Encryption("second")))
        )
    with platform.connection() as connection:
        assert [secret.UUIDString() for secret in connection.listAllSecrets()] == before
    assert volume.encrypted


def test_a_half_made_volume_that_somebody_has(storage: StorageDriver, platform: QemuPlatform):
    """What a killed run left was removed, and another volume is there in its place: it is not made again."""
    key = unfinished(platform, storage, "data")
    with platform.connection() as connection:
        pool = connection.storagePoolLookupByName(platform.pool)
        pool.storageVolLookupByName("data").delete()
        pool.createXML("<volume><name>data</name><capacity>1048576</capacity></volume>")
    platform.define_xml(domain("owner", f"{platform.pool_folder}/data", "raw"))
    assert read(storage, key).unfinished
    with changes_nothing(platform), pytest.raises(VolumeInUse, match="owner"):
        storage.create_volume(storage.complete_volume(wanted(platform, "data")))


def test_no_passing_domain_stays_of_a_copy_of_a_snapshot(
    storage: StorageDriver, platform: QemuPlatform, monkeypatch: Any
):
    state = created(platform, storage, "state")
    storage.create_volume_snapshot(state.key, "one")
    wanted_copy = storage.complete_volume(
        Volume("copy", platform.pool, source=VolumeSource(volume="state", snapshot="one"))
    )
    before = platform.snapshot()
    with monkeypatch.context() as killed:  # nothing is cleaned up
        for method in ("_end", "drop"):
            killed.setattr(type(storage), method, lambda *_arguments: None)
        killed.setattr(InternalSnapshots, "revert", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage.create_volume(wanted_copy)
    storage.delete_volume(wanted_copy.key)
    assert platform.snapshot() == before


def _interrupted(*_arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "name",
    ["a b", "it's", '"q"', "ü-ñ-日本", "a&<b>", "a,b=c", "a:b", "a%20b", "-rf", "a\\b", "$(id)", "json:{}", "a,,b"],
)
def test_names(storage: StorageDriver, platform: QemuPlatform, name: str):
    base = created(platform, storage, name, metadata={"a": name})
    assert base.metadata == {"a": name}
    kid = make(storage, child_of(base, name + ".kid"))
    assert kid.backing == str(base.key)
    copy = make(storage, clone_of(base, name + ".copy"))
    storage.create_volume_snapshot(base.key, name)
    assert [snapshot.name for snapshot in read(storage, base.key, snapshots=True).snapshots or []] == [name]
    storage.delete_volume_snapshot(base.key, name)
    assert read(storage, base.key, snapshots=True).snapshots == []
    platform.spawned(storage, "one")
    disk = storage.complete_attachment("one", Disk(volume=copy.name, pool=copy.pool))
    storage.attach_volume("one", disk)
    assert users(storage, copy) == ["one"]
    assert [found.volume for found in storage.get_instances(["one"])["one"].disks or []] == [copy.name]
    storage.detach_volume("one", str(disk.device), 5)
    for each in (kid, copy, base):
        storage.delete_volume(each.key)


@pytest.mark.parametrize("name", ["a.anyvirt-volume", "x.anyvirt-part", "../x", "."])
def test_images_with_odd_names(storage: StorageDriver, platform: QemuPlatform, name: str):
    with changes_nothing(platform), pytest.raises(InvalidInput):
        storage.reserve_image(Image(name, platform.pool, claim="me"))


def test_a_whole_copy_that_a_killed_reader_left_goes_with_the_instance(
    storage: StorageDriver, platform: QemuPlatform, monkeypatch: Any
):
    with changes_nothing(platform):
        parent = created(platform, storage, "parent")
        make(storage, child_of(parent, "kid"))
        platform.spawned(storage, "one", disks=[Disk(volume="kid", pool=platform.pool)])
        with monkeypatch.context() as killed:
            killed.setattr(type(storage), "drop", lambda *_arguments: None)
            with storage.open_volume(VolumeKey(platform.pool, "kid")):
                pass
        assert "kid.anyvirt-part" in platform.volumes()
        storage.destroy("one", "all")
        storage.delete_volume(parent.key)
