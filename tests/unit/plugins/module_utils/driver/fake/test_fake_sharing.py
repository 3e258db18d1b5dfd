# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that several hosts of the fake see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InsufficientCapacity,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    NFS,
    Pool,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB

KEY = VolumeKey("nas", "one")
HOSTS = ("a", "b")


def host(root: str, name: str) -> FakeStorageDriver:
    driver = FakeStorageDriver(ConnectionOptions(dial.uri(root, name)))
    driver.open()
    return driver


@pytest.fixture
def hosts(root: str) -> tuple[FakeStorageDriver, FakeStorageDriver]:
    """Two, with a pool of the same name that is the same."""
    for name in HOSTS:
        dial.write_host(root, name, pools={"default": {}, "nas": {"size": "1G", "shared": True}})
    return host(root, "a"), host(root, "b")


def make(driver: FakeStorageDriver, key: VolumeKey = KEY, size_bytes: int = MIB) -> None:
    driver.create_volume(driver.complete_volume(Volume(key.name, pool=key.pool, size_bytes=size_bytes)))


def files(root: str) -> list[str]:
    """All files with data."""
    return [path.name for path in Path(root).rglob("data/*")]


def test_both_see_what_either_makes(hosts):
    a, b = hosts
    make(a)
    assert a.get_pools()["nas"].shared
    assert [volume.name for volume in b.list_volumes("nas")] == ["one"]
    with pytest.raises(AlreadyExists):
        make(b)
    b.delete_volume(KEY)
    assert a.get_volumes([KEY]) == {}


def test_room_is_that_of_both(hosts):
    a, b = hosts
    make(a, size_bytes=GIB * 2 // 3)
    assert b.get_pools()["nas"].available_bytes == GIB - GIB * 2 // 3
    with pytest.raises(InsufficientCapacity):
        make(b, VolumeKey("nas", "two"), GIB // 2)


def test_other_pools_and_other_roots_are_not_shared(hosts, root, tmp_path):
    a, b = hosts
    make(a, VolumeKey("default", "one"))
    assert b.list_volumes("default") == []
    make(a)
    dial.write_host(root, "c", pools={"nas": {}})
    assert host(root, "c").list_volumes("nas") == []
    elsewhere = str(tmp_path / "elsewhere")
    dial.write_host(elsewhere, "a", pools={"nas": {"shared": True}})
    assert host(elsewhere, "a").list_volumes("nas") == []


def test_a_pool_that_a_task_makes_can_be_shared(root):
    a, b = host(root, "a"), host(root, "b")
    for driver in (a, b):
        pool = Pool("web", kind=NFS, path="/mnt/web", server="nas", export="/web", shared=True)
        driver.create_pool(pool)
        driver.start_pool("web")
    make(a, VolumeKey("web", "one"))
    assert [volume.name for volume in b.list_volumes("web")] == ["one"]


def test_data_is_the_same_wherever_it_was_written(hosts, root):
    a, b = hosts
    make(a)
    dial.write_volume(root, KEY, 5, b"from a", "a")
    assert dial.read_volume(root, KEY, "b")[:11] == bytes(5) + b"from a"
    dial.write_volume(root, KEY, 11, b" and b", "b")
    assert dial.read_volume(root, KEY, "a")[:17] == bytes(5) + b"from a and b"
    b.delete_volume(VolumeKey("default", "nothing"))  # which sweeps
    a.delete_volume(VolumeKey("default", "nothing"))
    assert dial.read_volume(root, KEY, "a")[:17] == bytes(5) + b"from a and b"
    assert len(files(root)) == 1
    a.delete_volume(KEY)
    b.delete_volume(VolumeKey("default", "nothing"))
    assert files(root) == []


def test_a_copy_on_another_host_keeps_the_data_that_it_has_in_common(hosts, root):
    a, b = hosts
    make(a)
    dial.write_volume(root, KEY, 0, b"common", "a")

    copy = VolumeKey("default", "copy")
    wanted = Volume("copy", pool="default", source=VolumeSource(volume="one", pool="nas"))
    b.create_volume(b.complete_volume(wanted))
    a.delete_volume(KEY)
    assert dial.read_volume(root, copy, "b")[:6] == b"common"


def test_a_volume_goes_with_the_instance_of_its_own_host_only(hosts):
    a, b = hosts
    for driver in (a, b):
        disks = [Disk(pool="nas", size_bytes=MIB)] if driver is a else None
        driver.spawn(driver.complete(Instance("web1", memory_mb=64, vcpus=1, disks=disks)), power_on=False)
    [disk] = a.get_instances(["web1"])["web1"].disks
    key = VolumeKey("nas", disk.volume)
    assert b.destroy("web1", "all") == ["instance web1"]
    assert b.find_remains(["web1"]) == set()
    b.resize_volume(key, 2 * MIB)
    assert a.get_volumes([key])[key].size_bytes == 2 * MIB
    assert f"volume {key}" in a.destroy("web1"), "it still is its owner"
    assert b.get_volumes([key]) == {}


def test_settings_that_make_no_sense_are_told_once(hosts, root):
    a, _b = hosts
    Path(root, "hosts/a/host.json").write_text("{")
    assert len(a.verify()) == 1
    with pytest.raises(HypervisorError):
        a.get_pools()


def test_nothing_is_shared_before_anybody_shares(root):
    driver = host(root, "a")
    make(driver, VolumeKey("default", "one"))
    assert not os.path.exists(os.path.join(root, "shared"))
