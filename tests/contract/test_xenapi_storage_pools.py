# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage repositories of a XenServer pool: what is on their devices, who needs them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storageuri import get_storage_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    InvalidInput,
    PoolNotFound,
    Unsupported,
    VolumeInUse,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    EXT,
    ISCSI,
    LVM,
    NFS,
    Pool,
)
from contract.contents import sparse
from contract.storage_helpers import SIZE, changes_nothing, created, new_pool

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

pytestmark = pytest.mark.on("xenapi")


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


def test_pools_of_other_hosts_are_left_alone(storage: StorageDriver, platform: XenApiPlatform):
    """With ?host= a name means what is of that host, also where only another host has something of that name."""
    uris = [f"{platform.uri}?host={host}" for host in ("xen1", "xen2")]
    with ExitStack() as stack:
        one, two = (stack.enter_context(get_storage_driver(platform.options(uri=uri))) for uri in uris)
        assert isinstance(one, StorageDriver)
        assert isinstance(two, StorageDriver)
        pool = Pool("disk", kind=EXT, devices=["/dev/sdb"])
        one.create_pool(pool, overwrite=True)
        with changes_nothing(platform):
            assert "disk" not in two.get_pools()
            two.delete_pool("disk")
            two.delete_pool("disk", delete_data=True)
            with pytest.raises(PoolNotFound):
                two.start_pool("disk")
            with pytest.raises(AlreadyExists):
                two.create_pool(Pool("disk", kind=NFS, server="10.88.1.20", export="/export/disk"))
        two.create_pool(pool, overwrite=True)
        two.start_pool("disk")
        assert (one.get_pools()["disk"].active, two.get_pools()["disk"].active) == (False, True)
        two.delete_pool("disk")
        assert "disk" in one.get_pools()
