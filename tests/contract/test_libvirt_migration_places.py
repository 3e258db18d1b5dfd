# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that both hosts see, and that the destination knows by other names, or under names that mean something else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.driver_moves import NAME, Two, two_hosts
from contract.moving import moved
from contract.platforms.libvirt_qemu import HostedPlatform, QemuPlatform
from contract.storage_helpers import cached, created

pytestmark = pytest.mark.on("libvirt")

ELSEWHERE = "/var/lib/libvirt/contract-pools/data"


@pytest.fixture
def two(platform: HostedPlatform) -> Two:
    return two_hosts(platform)


@pytest.fixture
def folder(two: Two) -> Iterator[Path]:
    """A folder that both hosts see at this path."""
    path = two.here.lab.shared / f"places-{two.here.lab.name}"
    path.mkdir(exist_ok=True)
    yield path
    for platform in (two.here, two.there):
        with platform.connection() as connection:
            for pool in connection.listAllStoragePools():
                if pool.name() != platform.pool:
                    pool.destroy()
                    pool.undefine()
    shutil.rmtree(path)


def has_pool(driver: StorageDriver, name: str, path: str) -> None:
    driver.create_pool(Pool(name, kind=DIR, path=path))
    driver.start_pool(name)


def define(two: Two, devices: str = "", os: str = "") -> None:
    """An instance that somebody else has made."""
    assert isinstance(two.here, QemuPlatform)
    two.here.define_xml(
        f"<domain type='qemu'><name>{NAME}</name><memory unit='MiB'>96</memory>"
        f"<os><type arch='x86_64'>hvm</type>{os}</os><features><acpi/></features><devices>{devices}</devices></domain>"
    )


def test_a_pool_of_the_same_name_on_other_storage_is_not_taken_for_it(two: Two, folder: Path):
    """A disk that names its volume, not its path."""
    has_pool(two.source, "data", str(folder))
    has_pool(two.destination, "data", ELSEWHERE)
    has_pool(two.destination, "net", str(folder))
    created(two.here, two.source, "disk", pool="data", format="raw")
    created(two.there, two.destination, "disk", pool="data", format="raw")
    define(
        two,
        "<disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='data' volume='disk'/>"
        "<target dev='vda' bus='virtio'/></disk>",
    )
    two.move(two.planned())
    (disk,) = two.destination.get_instances([NAME])[NAME].disks or []
    assert disk.path == str(folder / "disk")


def test_what_is_its_own_has_to_have_a_name_on_the_destination(two: Two, folder: Path):
    """Or it would be removed later with whatever is called so there."""
    has_pool(two.source, "data", str(folder))
    has_pool(two.destination, "data", ELSEWHERE)
    two.here.spawned(two.source, NAME, disks=[Disk(role="root", size_bytes=8 * MIB, pool="data")])
    (problem,) = two.planned().problems
    assert "is in no active pool of the destination" in problem
    has_pool(two.destination, "net", str(folder))
    two.move(two.planned())
    (disk,) = two.destination.get_instances([NAME])[NAME].disks or []
    assert (disk.pool, disk.owned) == ("net", True)


def test_a_disk_that_is_attached_as_something_else_is_not_copied(two: Two):
    """Its guest would see something else in the copy."""
    volume = created(two.here, two.source, "disk", format="raw")
    define(
        two,
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{volume.path}'/>"
        "<target dev='vda' bus='virtio'/></disk>",
    )
    (problem,) = two.planned().problems
    assert "attached as qcow2" in problem


def test_the_seed_of_a_drive_with_another_medium_does_not_stay_behind(two: Two):
    image = cached(two.here, two.source, "disc")
    same = cached(two.there, two.destination, "same-disc")
    two.here.spawned(two.source, NAME, cloud_init=CloudInit("a", "b", "c"))
    (seed,) = two.source.get_instances([NAME])[NAME].disks or []
    with two.here.connection() as connection:
        connection.lookupByName(NAME).updateDeviceFlags(
            f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='{image.path}'/>"
            f"<target dev='{seed.device}' bus='{seed.bus}'/><readonly/></disk>",
            libvirt.VIR_DOMAIN_AFFECT_CONFIG,
        )
    two.move(two.planned())
    (drive,) = two.destination.get_instances([NAME])[NAME].disks or []
    assert (drive.path, drive.owned) == (same.path, False)
    assert [volume.name for volume in two.source.list_volumes(two.here.pool)] == [image.name]
    two.destination.destroy(NAME, "own")
    assert same.key in two.destination.get_volumes([same.key])


@pytest.mark.parametrize("named", ["<nvram>{}</nvram>", "<nvram type='file'><source file='{}'/></nvram>"])
def test_variables_that_both_hosts_see_stay_where_they_are(two: Two, folder: Path, named: str):
    assert isinstance(two.here, QemuPlatform)
    variables = folder / "variables.fd"
    variables.write_bytes(b"1" * 540672)
    loader = f"<loader readonly='yes' type='pflash'>{two.here.guest.kernel}</loader>"
    define(two, os=loader + named.format(variables))
    plan = two.planned()
    two.source.begin_migration(plan)
    two.destination.accept_instance(two.source, plan)
    two.destination.discard_migration(NAME)
    two.source.discard_migration(NAME)
    assert variables.exists(), "given up"
    two.move(two.planned())
    assert variables.exists(), "finished"
    two.destination.destroy(NAME)
    assert not variables.exists(), "they are its own"


def test_what_a_definition_that_stays_shares_is_not_removed_with_it(two: Two, folder: Path):
    """Its seed and its variables, which it has where it lives."""
    assert isinstance(two.here, QemuPlatform)
    for driver in (two.source, two.destination):
        has_pool(driver, "data", str(folder))
    variables = folder / "variables.fd"
    variables.write_bytes(b"1" * 540672)
    two.here.spawned(two.source, NAME, pool="data", cloud_init=CloudInit("a", "b", "c"))
    nvram = f"<loader readonly='yes' type='pflash'>{two.here.guest.kernel}</loader><nvram>{variables}</nvram>"
    with two.here.connection() as connection:
        text = connection.lookupByName(NAME).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        connection.defineXML(text.replace("</os>", f"{nvram}</os>"))
    seed = (two.source.get_instances([NAME])[NAME].disks or [])[0]
    two.move(two.planned(), keep_definition=True)
    two.source.destroy(NAME, "none")
    assert two.source.list_instances() == []
    assert variables.exists()
    assert Path(seed.path or "").exists()


@pytest.mark.parametrize("shared", [False, True])
def test_a_seed_that_was_left_does_not_hinder_the_instance_from_coming_back(two: Two, folder: Path, shared: bool):
    for driver in (two.source, two.destination):
        has_pool(driver, "data", str(folder))
    pool = "data" if shared else two.here.pool
    disk = Disk(role="root", size_bytes=8 * MIB, pool="data")
    two.here.spawned(two.source, NAME, disks=[disk], pool=pool, cloud_init=CloudInit("a", "b", "c"))
    moved(two.here, two.there, name=NAME, undefine_source=False)
    assert moved(two.there, two.here, name=NAME).one["problems"] == []
    disks = two.source.get_instances([NAME])[NAME].disks or []
    assert all(disk.owned for disk in disks)
    two.source.destroy(NAME)
    for platform in (two.here, two.there):
        with platform.connection() as connection:
            names = [pool.listVolumes() for pool in connection.listAllStoragePools() if pool.refresh() == 0]
        assert not any(names), names


def test_a_chain_that_the_destination_sees_in_part_is_copied_whole(two: Two, folder: Path):
    """What the rest of it leans on may be something else there."""
    for driver in (two.source, two.destination):
        has_pool(driver, "data", str(folder))
    base = created(two.here, two.source, "base", format="raw")
    created(two.there, two.destination, "base", format="raw")
    middle, top = folder / "middle", f"{two.here.pool_folder}/top"
    two.here.storage.fill(base.key, 7, 0, MIB)
    for path, below, of in ((middle, base.path, "raw"), (top, middle, "qcow2")):
        two.here.run_on_host("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(below), "-F", of, str(path))
    for pool in ("data", two.here.pool):
        two.source.look_again(two.source.conn.storagePoolLookupByName(pool))
    key = VolumeKey(two.here.pool, "top")
    two.here.spawned(two.source, NAME, disks=[Disk(volume=key.name, pool=key.pool)])
    plan = two.planned()
    assert [move.how for move in plan.disks] == ["copy"]
    two.move(plan)
    assert two.there.storage.data(key)[:MIB] == bytes([7]) * MIB


def test_what_others_have_not_finished_is_in_the_way(two: Two):
    """Nobody clears it away for this instance, which would be stopped in vain."""
    volume = created(two.here, two.source, "disk", format="raw")
    two.here.spawned(two.source, NAME, disks=[Disk(volume=volume.name, pool=volume.pool)])
    pool = two.destination.conn.storagePoolLookupByName(two.there.pool)
    two.destination.make_record(pool, f"{volume.name}.anyvirt-volume", {"unfinished": "another"})
    (problem,) = two.planned().problems
    assert "already" in problem


def test_a_list_of_files_that_is_old_is_not_believed(two: Two, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """As a client of NFS has it, or libvirt's daemon while others write to the pool."""
    for driver in (two.source, two.destination):
        has_pool(driver, "data", str(folder))
    two.here.spawned(two.source, NAME, disks=[Disk(role="root", size_bytes=8 * MIB, pool="data")])
    before = two.pictures()
    monkeypatch.setattr(two.destination, "sees", lambda path: "probe" not in path)
    assert [move.how for move in two.planned().disks] == ["shared"]
    assert two.pictures() == before
