# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools of the fake beyond the contract: their kinds, those of host.json, and what is left of those that are gone."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    InvalidInput,
    PoolNotFound,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    DIR,
    EXT,
    FS,
    ISCSI,
    ISO,
    LVM,
    NFS,
    Pool,
    Volume,
    VolumeKey,
    VolumeSource,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB

WHOLE = {
    DIR: {"path": "/srv/a"},
    FS: {"path": "/srv/a", "devices": ["/dev/sdb"]},
    LVM: {"devices": ["/dev/sdb", "/dev/sdc"]},
    NFS: {"path": "/srv/a", "server": "nas", "export": "/vol"},
    ISCSI: {"server": "san", "target": "iqn.2026-01.example:disks"},
    EXT: {"devices": ["/dev/sdb"]},
    ISO: {"path": "/srv/a"},
}


def with_pool(storage: FakeStorageDriver, name: str = "other", **fields) -> str:
    storage.create_pool(Pool(name, **(fields or {"kind": DIR, "path": f"/srv/{name}"})))
    storage.start_pool(name)
    return name


def volume(storage: FakeStorageDriver, pool: str, name: str = "data", **fields) -> Volume:
    completed = storage.complete_volume(Volume(name, pool, **{"size_bytes": MIB, **fields}))
    storage.create_volume(completed)
    return completed


@pytest.mark.parametrize("kind", WHOLE)
def test_each_kind_is_what_it_was_made_as(storage, kind):
    wanted = Pool("other", kind=kind, **WHOLE[kind])
    assert storage.check_pool(wanted) == []
    storage.create_pool(wanted)
    found = storage.get_pools()["other"]
    assert not found.active
    assert {option: getattr(found, option) for option in ("kind", *WHOLE[kind])} == {"kind": kind, **WHOLE[kind]}
    storage.start_pool("other")
    assert [stats.type for stats in storage.get_host_stats().pools if stats.name == "other"] == [kind]


@pytest.mark.parametrize(
    ("pool", "options"),
    [
        (Pool("a", kind="rbd"), {"kind"}),
        (Pool("a", kind=DIR), {"path"}),
        (Pool("a", kind=DIR, path="srv"), {"path"}),
        (Pool("a", kind=FS, path="/srv"), {"devices"}),
        (Pool("a", kind=NFS, path="/srv"), {"server", "export"}),
        (Pool("a", kind=DIR, path="/srv", devices=["/dev/sdb"], port=3), {"devices", "port"}),
        (Pool("../a", kind=DIR, path="/srv"), {"name"}),
    ],
)
def test_what_can_never_be_a_pool(storage, pool, options):
    assert {problem.option for problem in storage.check_pool(pool)} == options
    with pytest.raises(InvalidInput):
        storage.create_pool(pool)
    assert storage.calls == []


def test_devices_have_a_size_and_may_hold_something(storage, root):
    dial.write_host(root, devices={"/dev/sdb": {"size": "3G"}, "/dev/sdc": {"size": "5G", "holds": "ext4"}})
    wanted = Pool("other", kind=LVM, devices=["/dev/sdb", "/dev/sdc"])
    with pytest.raises(AlreadyExists, match=r"/dev/sdc holds data already \(ext4\)"):
        storage.create_pool(wanted)
    storage.create_pool(wanted, overwrite=True)
    assert storage.get_pools()["other"].capacity_bytes == 8 * GIB
    with pytest.raises(AlreadyExists, match="/dev/sdb belongs to the pool 'other'"):
        storage.create_pool(Pool("more", kind=EXT, devices=["/dev/sdb"]), overwrite=True)


def test_a_file_system_that_is_there_already_is_taken_as_it_is(storage, root):
    dial.write_host(root, devices={"/dev/sdc": {"size": "5G", "holds": "ext4"}})
    wanted = {"kind": FS, "path": "/srv/a", "devices": ["/dev/sdc"]}
    with pytest.raises(AlreadyExists):
        storage.create_pool(Pool("other", fs_type="xfs", **wanted))
    storage.create_pool(Pool("other", fs_type="auto", **wanted))


def test_pools_of_the_host_file_change_and_come_back(storage, root, files):
    dial.write_host(root, pools={"default": {}, "slow": {"kind": "nfs", "path": "/mnt", "active": False}})
    before = files()
    undo = storage.start_pool("slow")
    assert storage.get_pools()["slow"].active
    undo()
    storage.set_pool_autostart("slow", False)()
    assert files() == before
    storage.delete_pool("slow")
    assert "slow" not in storage.get_pools()
    undo = storage.create_pool(Pool("slow", kind=LVM, devices=["/dev/sdb"]))
    assert (storage.get_pools()["slow"].kind, storage.get_pools()["slow"].path) == (LVM, None)
    undo()
    assert "slow" not in storage.get_pools()


def test_after_a_restart_of_the_host_only_some_are_active(storage, root):
    for name in ("first", "second"):
        with_pool(storage, name)
    storage.set_pool_autostart("first", True)
    dial.restart_host(root)
    assert {name for name, pool in storage.get_pools().items() if pool.active} == {"default", "first"}


def test_volumes_stay_where_they_are_when_their_pool_is_forgotten(storage):
    with_pool(storage)
    key = volume(storage, "other").key
    storage.delete_pool("other")
    assert storage.get_volumes([key]) == {}
    with_pool(storage)
    assert set(storage.get_volumes([key])) == {key}
    storage.delete_pool("other")
    with_pool(storage, path="/srv/elsewhere", kind=DIR)
    assert storage.get_volumes([key]) == {}


def test_a_pool_is_needed_by_what_leans_on_its_volumes(storage, make):
    with_pool(storage)
    volume(storage, "other", "parent", format="qcow2")
    source = VolumeSource(volume="parent", pool="other", copy_on_write=True)
    child = volume(storage, "default", "child", size_bytes=None, source=source)
    storage.spawn(make(disks=[Disk(volume=child.name, pool=child.pool)]))
    with pytest.raises(VolumeInUse, match="'web1'"):
        storage.stop_pool("other")
    storage.force_off("web1")
    storage.stop_pool("other")
    with pytest.raises(VolumeInUse, match="'web1'"):
        storage.delete_pool("other")


@pytest.mark.parametrize("kind", [LVM, EXT, ISCSI, ISO])
def test_what_can_be_in_a_pool_depends_on_its_kind(storage, kind):
    pool = with_pool(storage, kind=kind, **WHOLE[kind])
    if kind in (ISCSI, ISO):
        with pytest.raises(InvalidInput):
            volume(storage, pool)
        return
    made = volume(storage, pool, size_bytes=MIB + 1)
    assert (made.format, made.size_bytes) == {LVM: ("raw", 4 * MIB), EXT: ("vhd", 2 * MIB)}[kind]
    assert made.preallocation == {LVM: "full", EXT: "off"}[kind]
    with pytest.raises(InvalidInput, match="format"):
        volume(storage, pool, "other", format="iso")


def test_disks_of_instances_are_as_their_pool_makes_them(storage, make, root):
    dial.write_host(root, pools={"default": {"kind": "lvm"}, "san": {"kind": "iscsi"}})
    storage.spawn(make(cloud_init=None))
    assert {found.format for found in storage.list_volumes("default")} == {"raw"}
    with pytest.raises(InvalidInput, match="has the volumes"):
        storage.spawn(make("web2", cloud_init=None, pool="san"))
    with pytest.raises(InvalidInput, match="holds raw, not qcow2"):
        storage.spawn(make("web2", disks=[Disk(size_bytes=MIB, format="qcow2")], cloud_init=None))


def test_names_of_pools_that_are_not_there(storage):
    for call in (storage.start_pool, storage.stop_pool, storage.refresh_pool, storage.list_volumes):
        with pytest.raises(PoolNotFound, match="nowhere"):
            call("nowhere")
    storage.delete_pool("nowhere")
    assert storage.get_volumes([VolumeKey("nowhere", "a"), VolumeKey("default", "../a")]) == {}


def test_a_kind_in_the_host_file_has_to_be_one(storage, root):
    dial.write_host(root, pools={"default": {"kind": "cloud"}})
    with pytest.raises(HypervisorError, match=r"pools\.default\.kind"):
        storage.get_pools()
