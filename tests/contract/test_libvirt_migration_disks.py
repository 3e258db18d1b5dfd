# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of instances that are moved between two real libvirt hosts: found out whether shared, and copied."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    ChecksumMismatch,
    InsufficientCapacity,
    MigrationAborted,
    MigrationFailed,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    LIVE,
    MigrationPlan,
    MigrationProgress,
    MigrationWishes,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Encryption, Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Segment
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import UndoStack
from contract.driver_moves import NAME, Two, two_hosts
from contract.helpers import state_of
from contract.platforms.libvirt_qemu import HostedPlatform, QemuPlatform
from contract.storage_helpers import SIZE, cached, created, discs

pytestmark = pytest.mark.on("libvirt")

OTHER_CONTENT = "sha256:" + "1" * 64


@pytest.fixture
def two(platform: HostedPlatform) -> Two:
    return two_hosts(platform)


@pytest.fixture
def common(two: Two) -> Iterator[str]:
    """A pool that is one folder on both hosts, and that both have."""
    folder = two.here.lab.shared / two.here.lab.name
    folder.mkdir(exist_ok=True)
    for driver in (two.source, two.destination):
        driver.create_pool(Pool("common", kind=DIR, path=str(folder)))
        driver.start_pool("common")
    yield "common"
    for platform in (two.here, two.there):
        forget_pools(platform)
    shutil.rmtree(folder)


def forget_pools(platform: HostedPlatform) -> None:
    """Remove the pools of a test, and not their folders, which others may need."""
    with platform.connection() as connection:
        for pool in connection.listAllStoragePools():
            if pool.name() != platform.pool:
                pool.destroy()
                pool.undefine()


def make(two: Two, *disks: Disk, **over: object) -> Instance:
    """An instance that is off, with these disks."""
    return two.here.spawned(two.source, NAME, disks=list(disks), **over)


def disk_of(two: Two, name: str, byte: int = 7, **over: object) -> Disk:
    """A volume of the source with something in it, as a disk."""
    volume = created(two.here, two.source, name, **over)
    two.here.storage.fill(volume.key, byte, MIB, 2 * MIB)
    return Disk(volume=name, pool=volume.pool)


def how(plan: MigrationPlan) -> dict[str, str]:
    return {move.device: move.how for move in plan.disks}


# -- shared or not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probing", [False, True])
def test_storage_that_both_see_is_shared_and_nothing_is_left_of_looking(two: Two, common: str, probing: bool):
    make(two, disk_of(two, "common-disk", pool=common), disk_of(two, "own-disk"))
    before = two.pictures()
    plan = two.planned(probing=probing)
    assert (plan.problems, plan.warnings) == ([], [])
    assert how(plan) == {"vda": "shared", "vdb": "copy"}
    assert plan.record.volumes == (f"{two.here.pool}/own-disk",)
    assert two.pictures() == before


def test_a_shared_disk_is_not_touched_and_stays_when_the_instance_has_gone(two: Two, common: str):
    disk = disk_of(two, "common-disk", pool=common)
    make(two, disk)
    plan = two.planned()
    two.move(plan)
    assert two.source.list_instances() == []
    key = VolumeKey(common, "common-disk")
    assert two.there.storage.data(key)[MIB : 3 * MIB] == bytes([7]) * 2 * MIB
    assert not two.destination.get_volumes([key])[key].unfinished


def test_a_folder_that_has_another_name_on_the_destination_is_shared_as_well(two: Two, common: str):
    elsewhere = "/var/lib/libvirt/elsewhere"
    two.there.run_on_host("mkdir", "-p", elsewhere)
    two.there.run_on_host("mount", "--bind", str(two.here.lab.shared / two.here.lab.name), elsewhere)
    try:
        two.destination.create_pool(Pool("elsewhere", kind=DIR, path=elsewhere))
        two.destination.start_pool("elsewhere")
        make(two, disk_of(two, "common-disk", pool=common))
        two.destination.stop_pool(common)
        two.destination.delete_pool(common)
        plan = two.planned(MigrationWishes(mode=COLD, pools={common: "elsewhere"}))
        assert how(plan) == {"vda": "shared"}
        two.move(plan)
        (moved,) = two.destination.get_instances([NAME])[NAME].disks or []
        assert (moved.pool, moved.volume, moved.path) == ("elsewhere", "common-disk", f"{elsewhere}/common-disk")
    finally:
        forget_pools(two.there)
        two.there.run_on_host("umount", elsewhere)


def test_asked_for_shared_storage_that_is_not_there_is_a_problem(two: Two):
    make(two, disk_of(two, "own-disk"))
    plan = two.planned(MigrationWishes(mode=COLD, storage="shared"))
    assert len(plan.problems) == 1
    assert "does not see" in plan.problems[0]
    assert "vda" in plan.problems[0]


# -- copied ------------------------------------------------------------------------------------------------------------


def test_a_cold_copy_has_all_that_was_there(two: Two):
    """A copy-on-write child whose image the destination has under another name, a raw and a qcow2 volume with
    snapshots, and a seed."""
    base = cached(two.here, two.source, "base")
    there = cached(two.there, two.destination, "same-under-another-name")
    assert there.checksum == base.checksum
    raw = disk_of(two, "raw-disk", 5, format="raw", metadata={"who": "me"})
    deep = disk_of(two, "deep-disk", 6)
    two.source.create_volume_snapshot(VolumeKey(two.here.pool, "deep-disk"), "before")
    make(two, Disk(role="root", image="base", pool=two.here.pool), raw, deep, cloud_init=CloudInit("a", "b", "c"))
    root = two.source.get_instances([NAME])[NAME].disks[0]
    keys = [VolumeKey(two.here.pool, name) for name in (root.volume, "raw-disk", "deep-disk")]
    two.here.storage.fill(keys[0], 9, 3 * MIB, MIB)
    contents = [two.here.storage.data(key) for key in keys]
    plan = two.planned()
    assert how(plan) == {"vda": "incremental", "vdb": "copy", "vdc": "copy", "hda": "remade"}
    result = two.move(plan)
    assert [two.there.storage.data(key) for key in keys] == contents
    assert result.disk_bytes is not None
    assert result.disk_bytes < 8 * MIB, "holes are not sent"
    found = two.destination.get_volumes(keys, snapshots=True)
    assert not any(volume.unfinished for volume in found.values())
    assert found[keys[0]].backing == str(there.key)
    assert found[keys[1]].metadata == {"who": "me"}
    assert (found[keys[1]].allocation_bytes or 0) <= 4 * MIB
    assert [snapshot.name for snapshot in found[keys[2]].snapshots or []] == ["before"]
    assert two.source.list_instances() == []
    left = {volume.name for volume in two.source.list_volumes(two.here.pool)}
    assert left == {"base", "raw-disk", "deep-disk"}, "what was its own has gone with it"
    two.destination.power_on(NAME)
    two.there.wait_ready(two.destination, NAME)


@pytest.mark.parametrize("has_image", [True, False])
def test_a_guest_that_runs_takes_along_what_is_not_there(two: Two, has_image: bool):
    cached(two.here, two.source, "base")
    there = cached(two.there, two.destination, "same-under-another-name") if has_image else None
    make(two, Disk(role="root", image="base", pool=two.here.pool), cloud_init=CloudInit("a", "b", "c"))
    root = two.source.get_instances([NAME])[NAME].disks[0]
    key = VolumeKey(two.here.pool, root.volume)
    two.here.storage.fill(key, 9, 3 * MIB, MIB)
    content = two.here.storage.data(key)
    two.source.power_on(NAME)
    plan = two.planned(MigrationWishes(mode=LIVE))
    assert how(plan) == {"vda": "incremental" if has_image else "copy", "hda": "remade"}
    two.move(plan)
    assert state_of(two.destination, NAME) == "running"
    volume = two.destination.get_volumes([key])[key]
    assert (volume.backing, volume.unfinished) == (str(there.key) if there else None, False)
    assert {found.name for found in two.source.list_volumes(two.here.pool)} == {"base"}
    two.destination.power_off(NAME)
    assert two.there.storage.data(key) == content


def test_what_the_destination_has_no_image_for_is_copied_whole(two: Two):
    cached(two.here, two.source, "base")
    other = cached(two.there, two.destination, "other")
    two.destination.finish_image(dataclasses.replace(other, checksum=OTHER_CONTENT))
    make(two, Disk(role="root", image="base", pool=two.here.pool))
    root = VolumeKey(two.here.pool, two.source.get_instances([NAME])[NAME].disks[0].volume)
    two.here.storage.fill(root, 9, 3 * MIB, MIB)
    content = two.here.storage.data(root)
    plan = two.planned()
    assert how(plan) == {"vda": "copy"}
    two.move(plan)
    assert two.there.storage.data(root) == content
    assert two.destination.get_volumes([root])[root].backing is None
    assert {volume.name for volume in two.source.list_volumes(two.here.pool)} == {"base"}


def test_a_disk_grows_on_its_way(two: Two):
    make(two, Disk(role="root", size_bytes=SIZE, pool=two.here.pool))
    disks = two.source.get_instances([NAME])[NAME].disks
    root = VolumeKey(two.here.pool, disks[0].volume)
    two.here.storage.fill(root, 3, 0, MIB)
    two.move(two.planned(disks=[dataclasses.replace(disks[0], size_bytes=2 * SIZE)]))
    assert two.there.storage.data(root) == bytes([3]) * MIB + bytes(2 * SIZE - MIB)
    assert two.destination.get_instances([NAME])[NAME].disks[0].size_bytes == 2 * SIZE


def test_a_disc_is_found_in_the_other_hosts_image_cache(two: Two):
    image = cached(two.here, two.source, "disc")
    same = cached(two.there, two.destination, "same-disc")
    make(two, Disk(kind="cdrom", read_only=True, volume=image.name, pool=image.pool))
    plan = two.planned()
    assert plan.problems == []
    two.move(plan)
    (drive,) = two.destination.get_instances([NAME])[NAME].disks
    assert (drive.pool, drive.volume, drive.path) == (same.pool, same.name, same.path)


# -- what cannot be moved ----------------------------------------------------------------------------------------------


def test_everything_that_is_in_the_way_is_told_at_once(two: Two):
    (disc, _other) = discs(two.here, two.source)
    created(two.there, two.destination, "taken")
    nowhere = two.here.lab.outer_path("/var/lib/libvirt/nowhere")
    nowhere.mkdir(exist_ok=True)
    two.here.run_on_host("qemu-img", "create", "-q", "-f", "raw", "/var/lib/libvirt/nowhere/file", "1M")
    make(
        two,
        disk_of(two, "taken"),
        dataclasses.replace(disk_of(two, "both-write", format="raw", shareable=True), shareable=True),
        Disk(path="/var/lib/libvirt/nowhere/file"),
        Disk(kind="cdrom", read_only=True, volume=disc.name, pool=disc.pool),
    )
    plan = two.planned()
    shutil.rmtree(nowhere)
    told = "\n".join(plan.problems)
    assert "volume 'contract/taken' on the destination already" in told
    assert "'/var/lib/libvirt/nowhere/file', which is in no storage pool" in told
    assert "has no image with the same checksum" in told
    assert "instances that share it write to it" in told
    assert len(plan.problems) == 4


def test_a_pool_that_is_not_there_is_told_once(two: Two):
    folder = "/var/lib/libvirt/contract-pools/only-here"
    two.source.create_pool(Pool("only-here", kind=DIR, path=folder))
    two.source.start_pool("only-here")
    two.here.storage.has_folders = True
    try:
        make(two, disk_of(two, "own-disk", pool="only-here"))
        plan = two.planned()
        assert len(plan.problems) == 1
        assert "no active pool 'only-here' on the destination" in plan.problems[0]
        assert two.planned(MigrationWishes(mode=COLD, pools={"only-here": two.there.pool})).problems == []
    finally:
        forget_pools(two.here)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_both_hosts_as_they_were(two: Two):
    small = two.there.storage.make_small_pool()
    make(two, disk_of(two, "large", size_bytes=64 * MIB, format="raw"))
    for offset in range(0, 40, 10):
        two.here.storage.fill(VolumeKey(two.here.pool, "large"), 1 + offset, offset * MIB, 10 * MIB)
    plan = two.planned(MigrationWishes(mode=COLD, pools={two.here.pool: small}))
    assert any("its disks need" in problem for problem in plan.problems)
    plan.problems.clear()  # it may become full later
    two.try_to_move(plan, InsufficientCapacity)


def test_other_data_than_was_sent_are_noticed(two: Two, monkeypatch: pytest.MonkeyPatch):
    make(two, disk_of(two, "own-disk"))
    plan = two.planned()
    receive = two.destination.receive

    def other(*arguments: object, **options: object) -> Iterator[Segment]:
        for segment in receive(*arguments, **options):  # type: ignore[arg-type]
            yield segment.replace(b"\x07", b"\x08", 1) if isinstance(segment, bytes) else segment

    monkeypatch.setattr(two.destination, "receive", other)
    two.try_to_move(plan, ChecksumMismatch)


def test_a_copy_can_be_stopped(two: Two):
    make(two, disk_of(two, "own-disk"))
    two.try_to_move(two.planned(), MigrationAborted, heed=lambda progress: progress.phase != "disks")


def test_one_that_somebody_starts_while_it_is_copied_stays(two: Two):
    make(two, disk_of(two, "own-disk"))

    def start(_progress: MigrationProgress) -> bool:
        with two.here.connection() as connection:
            domain = connection.lookupByName(NAME)
            if not domain.isActive():
                domain.create()
        return True

    with pytest.raises(MigrationFailed, match="somebody has started"):
        two.move(two.planned(), start)
    assert state_of(two.source, NAME) == "running"
    assert two.source.get_instances([NAME])[NAME].migration is None
    assert two.destination.list_instances() == []


def test_what_a_killed_move_left_is_removed_and_nothing_else(two: Two):
    other = created(two.there, two.destination, "bystander")
    make(two, disk_of(two, "own-disk"), cloud_init=CloudInit("a", "b", "c"))
    before = two.pictures()
    plan = two.planned()
    two.source.begin_migration(plan)
    two.destination.accept_instance(two.source, plan)
    arrived = two.destination.get_instances([NAME])[NAME]
    assert arrived.migration is not None
    assert set(arrived.migration.volumes) == {move.destination for move in plan.disks}
    assert [volume.name for volume in two.destination.list_volumes(two.there.pool)] == [other.name]
    removed = two.destination.discard_migration(NAME)
    assert {*(f"volume {key}" for key in arrived.migration.volumes), f"instance {NAME}"} <= set(removed)
    two.source.discard_migration(NAME)
    assert two.pictures() == before


def test_a_volume_that_somebody_else_made_meanwhile_is_left_alone(two: Two):
    make(two, disk_of(two, "own-disk"))
    plan = two.planned()
    theirs = created(two.there, two.destination, "own-disk")
    two.there.storage.fill(theirs.key, 1, 0, MIB)
    before = two.pictures()
    with pytest.raises(AnyvirtError, match="already"):
        two.move(plan)
    assert two.pictures() == before
    assert two.there.storage.data(theirs.key)[:MIB] == bytes([1]) * MIB


@pytest.mark.parametrize("has_source", [False, True])
def test_the_firmwares_variables_come_along(two: Two, has_source: bool):
    assert isinstance(two.here, QemuPlatform)
    two.here.burden(NAME, "nvram")
    path = f"/var/lib/libvirt/qemu/nvram/{NAME}_VARS.fd"
    here, there = (platform.lab.outer_path(path) for platform in (two.here, two.there))
    there.parent.mkdir(parents=True, exist_ok=True)
    if has_source:  # libvirt's newer way of naming them
        with two.here.connection() as connection:
            text = connection.lookupByName(NAME).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            newer = f"<nvram type='file'><source file='{path}'/></nvram>"
            connection.defineXML(text.replace(f"<nvram>{path}</nvram>", newer))
    variables = os.urandom(540672)
    here.write_bytes(variables)
    two.move(two.planned())
    assert there.read_bytes() == variables
    assert not here.exists()
    two.destination.destroy(NAME, "all")
    assert not there.exists()


def test_an_encrypted_disk_needs_its_passphrase_there(two: Two):
    secret = Encryption(passphrase="open sesame")
    volume = created(two.here, two.source, "locked", format="raw", encryption=secret)
    make(two, Disk(volume=volume.name, pool=volume.pool))
    (problem,) = two.planned().problems
    assert "passphrase" in problem
    assert volume.path is not None
    with UndoStack() as done:
        two.destination.keep_secret("the volume", volume.path, secret.passphrase, done)
    content = two.here.lab.outer_path(volume.path).read_bytes()
    two.move(two.planned())
    assert two.there.lab.outer_path(volume.path).read_bytes() == content
    (disk,) = two.destination.get_instances([NAME])[NAME].disks or []
    assert disk.encrypted
    assert two.destination.get_volumes([volume.key])[volume.key].encrypted
    two.destination.power_on(NAME)
    assert state_of(two.destination, NAME) == "running"
