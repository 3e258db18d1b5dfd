# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance takes along when it moves cold: all its disks, with what is in them, wherever they go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from contract.helpers import state_of
from contract.migration_helpers import (
    DISK_BYTES,
    NAME,
    Ends,
    as_it_is,
    begun,
    both_ends,
    moved,
    overseer,
    plan_of,
    planned,
    spawned,
)
from contract.platforms.base import Platform
from contract.test_undo import rich

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def keys_of(instance: Instance) -> list[VolumeKey]:
    """The volumes that a guest can write to."""
    disks = [disk for disk in instance.disks or () if disk.volume and not disk.read_only]
    return [VolumeKey(disk.pool or "", disk.volume or "") for disk in disks]


def test_an_instance_with_everything(ends: Ends):
    ends.source.spawn(rich(ends.platform, ends.source, NAME), power_on=False)
    instance = ends.source.get_instances([NAME])[NAME]
    keys = keys_of(instance)
    assert len(keys) >= 2
    for number, key in enumerate(keys):
        ends.platform.storage.fill(key, number + 1, 65536 * number, 5000)
    contents = [ends.platform.storage.data(key) for key in keys]
    moved(ends, instance, mode=COLD)
    there = ends.destination.get_instances([NAME])[NAME]
    assert as_it_is(there) == as_it_is(instance)
    assert [ends.partner.storage.data(key) for key in keys] == contents
    assert ends.platform.volumes() == set()
    ends.destination.power_on(NAME)
    assert state_of(ends.destination, NAME) == "running"


def test_disks_go_to_the_pool_that_is_named(ends: Ends):
    if not ends.source.supports("pools"):
        return
    pool = ends.partner.storage.new_pool("elsewhere")
    ends.destination.create_pool(pool)
    ends.destination.start_pool(pool.name)
    instance = spawned(ends, power_on=False)
    [key] = keys_of(instance)
    ends.platform.storage.fill(key, 3, 0, 5000)
    content = ends.platform.storage.data(key)
    moved(ends, instance, mode=COLD, pools={key.pool: pool.name})
    there = ends.destination.get_instances([NAME])[NAME]
    assert [disk.pool for disk in there.disks or ()] == [pool.name]
    [arrived] = keys_of(there)
    assert ends.partner.storage.data(arrived) == content
    ends.destination.destroy(NAME)
    ends.destination.stop_pool(pool.name)
    ends.destination.delete_pool(pool.name, delete_data=True)


def test_snapshots_of_volumes_go_along_or_are_told_of(ends: Ends):
    if not ends.source.supports("volume_snapshots"):
        return
    instance = spawned(ends, power_on=False)
    [key] = keys_of(instance)
    ends.platform.storage.fill(key, 1, 0, 5000)
    old = ends.platform.storage.data(key)
    ends.source.create_volume_snapshot(key, "old")
    ends.platform.storage.fill(key, 2, 0, 5000)
    plan = plan_of(ends, instance, mode=COLD)
    if plan.problems:
        assert "snapshot" in " ".join(plan.problems)
        return
    moved(ends, instance, mode=COLD)
    found = ends.destination.get_volumes([key], snapshots=True)[key].snapshots or []
    if not found:
        assert "snapshot" in " ".join(plan.warnings)
        return
    assert [snapshot.name for snapshot in found] == ["old"]
    ends.destination.revert_volume(key, "old")
    assert ends.partner.storage.data(key) == old


def test_a_child_of_an_image_that_both_have_is_sent_without_it(ends: Ends):
    if not ends.source.supports("migration_incremental") or ends.platform.image is None:
        return
    instance = spawned(
        ends, power_on=False, image=ends.platform.image, disks=[Disk(role="root", image=ends.platform.image)]
    )
    [key] = keys_of(instance)
    ends.platform.storage.fill(key, 4, 0, 5000)
    content = ends.platform.storage.data(key)
    plan = planned(ends, instance, mode=COLD)
    [move] = [move for move in plan.disks if move.source == str(key)]
    moved(ends, instance, mode=COLD)
    backing = ends.destination.get_volumes([key])[key].backing
    assert (backing is not None) == (move.how == "incremental")
    assert ends.partner.storage.data(key) == content


def test_it_is_resized_on_its_way(ends: Ends):
    instance = spawned(ends, power_on=False)
    plan = begun(ends, instance, mode=COLD)
    ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    accepted = ends.destination.get_instances([NAME])[NAME]
    larger = replace(accepted, memory_mb=128, max_memory_mb=128)
    ends.destination.update_instance(accepted, larger, {"memory_mb", "max_memory_mb"}, ())
    ends.destination.power_on(NAME)
    ends.destination.finish_destination(NAME)
    ends.source.finish_source(NAME)
    there = ends.destination.get_instances([NAME])[NAME]
    assert (there.memory_mb, there.migration) == (128, None)
    assert state_of(ends.destination, NAME) == "running"
    assert [disk.size_bytes for disk in there.disks or ()] == [DISK_BYTES]
