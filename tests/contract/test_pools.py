# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools: made, started, stopped, removed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    AnyvirtError,
    PoolNotEmpty,
    PoolNotFound,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Pool, VolumeKey
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import changes_nothing, created, new_pool

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")
EVERYWHERE = pytest.mark.on("fake", "libvirt", "lxc", "xen", "xenapi")
CHEAP = pytest.mark.on("fake", "libvirt", "lxc", "xenapi")


@EVERYWHERE
def test_what_is_there(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        pools = storage.get_pools()
        pool = pools[platform.pool]
        assert pool.name == platform.pool
        assert pool.kind
        assert pool.active
        assert pool.capacity_bytes > 0
        assert 0 <= pool.used_bytes <= pool.capacity_bytes
        assert 0 < pool.available_bytes <= pool.capacity_bytes


def test_the_default_pool_is_one_of_them(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        try:
            assert storage.default_pool() in storage.get_pools()
        except PoolNotFound as error:
            assert "pool" in str(error)


@EVERYWHERE
def test_life_of_a_pool(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"), changes_nothing(platform):
        wanted = platform.storage.new_pool("other")
        assert storage.check_pool(wanted) == []
        storage.create_pool(wanted)
        found = storage.get_pools()["other"]
        for option, value in vars(wanted).items():
            assert value in (None, False) or getattr(found, option) == value, option
        storage.start_pool("other")
        found = storage.get_pools()["other"]
        assert found.active
        assert found.capacity_bytes > 0
        assert storage.list_volumes("other") == []
        storage.stop_pool("other")
        assert not storage.get_pools()["other"].active
        storage.start_pool("other")
        storage.stop_pool("other")
        storage.delete_pool("other", delete_data=True)
        assert "other" not in storage.get_pools()


@CHEAP
def test_a_second_time_there_is_nothing_to_do(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        new_pool(platform, storage)
        with changes_nothing(platform), platform.calls.recording() as calls:
            storage.start_pool("other")()
        assert storage.get_pools()["other"].active
        assert calls.lasting_writes == []
        storage.stop_pool("other")
        with changes_nothing(platform), platform.calls.recording() as calls:
            storage.stop_pool("other")()
        assert not storage.get_pools()["other"].active
        assert calls.lasting_writes == []
        storage.delete_pool("other")
        with changes_nothing(platform), platform.calls.recording() as calls:
            storage.delete_pool("other")
        assert calls.lasting_writes == []


@CHEAP
def test_undo(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        with changes_nothing(platform):
            undo_create = storage.create_pool(platform.storage.new_pool("other"))
            inactive = platform.snapshot()
            undo_start = storage.start_pool("other")
            active = platform.snapshot()
            storage.stop_pool("other")()
            assert platform.snapshot() == active
            assert storage.get_pools()["other"].active
            undo_start()
            assert platform.snapshot() == inactive
            undo_create()
        assert "other" not in storage.get_pools()


@CHEAP
def test_autostart(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        new_pool(platform, storage)
        before = storage.get_pools()["other"].autostart
        if before is None or platform.name == "xenapi":
            return
        undo = storage.set_pool_autostart("other", not before)
        assert storage.get_pools()["other"].autostart is (not before)
        undo()
        assert storage.get_pools()["other"].autostart is before


@CHEAP
def test_a_taken_name(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools"):
        new_pool(platform, storage)
        again = replace(platform.storage.new_pool("other"), **_another_place(platform))
        with changes_nothing(platform), pytest.raises(AlreadyExists, match="other"):
            storage.create_pool(again)


def _another_place(platform: Platform) -> dict[str, str]:
    elsewhere = platform.storage.new_pool("elsewhere")
    return {"export": elsewhere.export} if elsewhere.export else {"path": elsewhere.path}


@CHEAP
def test_a_taken_place(storage: StorageDriver, platform: Platform):
    """Two pools in one folder would write over each other's volumes."""
    with where_supported(storage, "pools"):
        new_pool(platform, storage)
        with changes_nothing(platform), pytest.raises(AlreadyExists):
            storage.create_pool(replace(platform.storage.new_pool("other"), name="rival"))


@EVERYWHERE
def test_no_such_pool(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools", "volumes"), changes_nothing(platform):
        calls = (
            lambda: storage.start_pool("ghost"),
            lambda: storage.stop_pool("ghost"),
            lambda: storage.refresh_pool("ghost"),
            lambda: storage.list_volumes("ghost"),
        )
        for call in calls:
            with pytest.raises(PoolNotFound, match="ghost") as caught:
                call()
            assert caught.value.kind == "pool_not_found"
        assert storage.get_volumes([VolumeKey("ghost", "volume")]) == {}
        storage.delete_pool("ghost")


@CHEAP
def test_autostart_of_no_such_pool(storage: StorageDriver, platform: Platform):
    with pytest.raises(AnyvirtError) as caught:
        storage.set_pool_autostart("ghost", True)
    assert caught.value.kind in ("pool_not_found", "unsupported")


@CHEAP
def test_a_pool_that_is_not_active(storage: StorageDriver, platform: Platform):
    """It is there, nothing in it can be used, and nothing in it is lost."""
    with where_supported(storage, "pools", "volumes"):
        new_pool(platform, storage)
        volume = created(platform, storage, "kept", pool="other")
        storage.stop_pool("other")
        assert "other" in storage.get_pools()
        with pytest.raises(PoolNotFound, match="other"):
            storage.list_volumes("other")
        with pytest.raises(PoolNotFound, match="other"):
            created(platform, storage, "more", pool="other")
        storage.start_pool("other")
        storage.refresh_pool("other")
        assert [found.name for found in storage.list_volumes("other")] == ["kept"]
        assert storage.get_volumes([volume.key])[volume.key].size_bytes == volume.size_bytes


@CHEAP
def test_removal_keeps_data_unless_told_otherwise(storage: StorageDriver, platform: Platform):
    with where_supported(storage, "pools", "volumes"):
        new_pool(platform, storage)
        created(platform, storage, "kept", pool="other")
        with changes_nothing(platform), pytest.raises(PoolNotEmpty, match="kept"):
            storage.delete_pool("other", delete_data=True)
        storage.delete_pool("other")
        assert "other" not in storage.get_pools()


@pytest.mark.on("fake", "libvirt", "lxc")
def test_data_that_was_kept_is_there_again(storage: StorageDriver, platform: Platform):
    """A pool that is made where one was before has its volumes."""
    with where_supported(storage, "pools", "volumes"):
        new_pool(platform, storage)
        created(platform, storage, "kept", pool="other")
        storage.delete_pool("other")
        new_pool(platform, storage)
        assert [found.name for found in storage.list_volumes("other")] == ["kept"]


def test_a_pool_with_a_disk_of_an_instance(storage: StorageDriver, platform: Platform):
    """It cannot be stopped while the instance is active, nor removed as long as there is the instance."""
    with where_supported(storage, "pools", "volumes", "existing_volume"):
        new_pool(platform, storage)
        volume = created(platform, storage, "used", pool="other")
        disks = [Disk(volume=volume.name, pool="other")]
        platform.spawned(storage, "user", disks=disks, power_on=True)
        with changes_nothing(platform):
            with pytest.raises(VolumeInUse, match="user"):
                storage.stop_pool("other")
            for delete_data in (False, True):
                with pytest.raises((VolumeInUse, PoolNotEmpty), match=r"user|used"):
                    storage.delete_pool("other", delete_data=delete_data)
        storage.force_off("user")
        with pytest.raises(VolumeInUse, match="user"):
            storage.delete_pool("other")
        storage.stop_pool("other")
        if platform.name != "libvirt":  # whose guests open the files themselves
            with pytest.raises(AnyvirtError):
                storage.power_on("user")
        storage.start_pool("other")
        storage.power_on("user")


@EVERYWHERE
def test_what_can_never_be(storage: StorageDriver, platform: Platform):
    """Wrong wishes are told by their option, before anything is asked of the hypervisor."""
    closed = platform.closed_storage_driver()
    with where_supported(storage, "pools"):
        problems = closed.check_pool(Pool("odd", kind="no-such-kind"))
        assert [problem.option for problem in problems] == ["kind"]
        assert "no-such-kind" in problems[0].message
        incomplete = Pool("odd", kind=platform.storage.new_pool("odd").kind)
        assert closed.check_pool(incomplete) != []
        assert closed.check_pool(replace(platform.storage.new_pool("odd"), volume_group="vg")) != []
        assert closed.check_pool(platform.storage.new_pool("odd")) == []


def test_reading_costs_the_same_for_many_pools(storage: StorageDriver, platform: Platform):
    """Where the hypervisor has a call for all of them."""
    with where_supported(storage, "pools"):
        counts = []
        for number in range(4):
            if number in (0, 3):
                with platform.calls.recording() as calls:
                    assert len(storage.get_pools()) > number
                assert calls.lasting_writes == []
                counts.append(len(calls))
            new_pool(platform, storage, f"pool{number}")
        if platform.name != "libvirt":  # which tells pools one by one
            assert counts[0] == counts[1]
