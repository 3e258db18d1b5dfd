# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""While an instance is moved, and when it has gone, the other modules let it alone and say what to do."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, COPY, MigrationWishes
from ansible_collections.anyvirt.compute.plugins.module_utils.model.resize import SIZES, ResizeRecord
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.facts import gather
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.pools import reconcile_pools
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volumes import reconcile_volumes
from contract.migration_helpers import NAME, both_ends, spawned
from contract.platforms.base import Platform
from contract.task import run

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")


def test_nobody_else_changes_it(platform: Platform):
    ends = both_ends(platform)
    instance = spawned(ends, power_on=False)
    wishes = MigrationWishes(mode=COLD)
    plan = ends.source.plan_migrations(ends.destination, {NAME: instance}, wishes, True)[NAME]
    assert plan.problems == []
    take_back = ends.source.begin_migration(plan)
    for params in ({"state": "running"}, {"memory_mb": 128}, {"state": "absent"}):
        refused = run(platform, name=NAME, **params)
        assert refused.kind == "instance_migrating", params
        assert "virt_migrate" in refused.result["msg"]
        assert refused.calls.lasting_writes == []
    assert not run(platform, name=NAME).changed
    extra = {"name": "extra.qcow2" if platform.name != "xenapi" else "extra", "pool": platform.pool, "size": "8M"}
    attaching = run(platform, reconcile=reconcile_volumes, volumes=None, **extra, state="attached", instance=NAME)
    assert attaching.kind == "instance_migrating"
    disk = (instance.disks or [])[0]
    own = {"name": disk.volume, "pool": disk.pool, "volumes": None}
    for params in (
        {"state": "detached", "instance": NAME},
        {"state": "absent", "detach_first": True},
        {"state": "present", "size": "1G"},
        {"state": "present", "snapshots": ["copied"]},
    ):
        refused = run(platform, reconcile=reconcile_volumes, **own, **params)
        assert refused.kind == "instance_migrating", (params, refused.result)
        assert refused.calls.lasting_writes == []
    shown = ends.source.get_instances([NAME])[NAME].migration
    assert shown is not None
    assert shown.direction == "outgoing"
    [facts] = gather(ends.source, ["config"], [NAME])["instances"]
    told = facts["config"]["migration"]
    assert (told["direction"], told["mode"], told["phase"]) == ("outgoing", COLD, "moving")
    assert told["peer"] == ends.destination.host_identity()
    take_back()
    assert run(platform, name=NAME, memory_mb=128).changed


@pytest.mark.on("fake", "libvirt")
def test_where_its_disks_are_copied(platform: Platform):
    """Neither their pools nor the copies, which are no volumes of the destination yet, are taken away meanwhile."""
    ends = both_ends(platform)
    instance = spawned(ends, power_on=False)
    wishes = MigrationWishes(mode=COLD, storage=COPY)
    plan = ends.source.plan_migrations(ends.destination, {NAME: instance}, wishes, True)[NAME]
    assert plan.problems == []
    ends.source.begin_migration(plan)
    ends.destination.accept_instance(ends.source, plan)
    [disk] = plan.disks
    for end, place in ((platform, disk.source), (platform.partner(), disk.destination)):
        pool, _slash, name = place.partition("/")
        for state in ("stopped", "absent"):
            refused = run(end, reconcile=reconcile_pools, pools=None, name=pool, state=state)
            assert refused.kind == "instance_migrating", (place, state, refused.result)
            assert refused.calls.lasting_writes == []
        for params in ({"state": "present", "size": "1G"}, {"state": "absent", "detach_first": True}):
            refused = run(end, reconcile=reconcile_volumes, volumes=None, name=name, pool=pool, **params)
            assert refused.kind == "instance_migrating", (place, params, refused.result)
            assert refused.calls.lasting_writes == []
        in_use = run(end, reconcile=reconcile_volumes, volumes=None, name=name, pool=pool, state="absent")
        assert in_use.kind == "volume_in_use"


def test_one_with_a_resize_that_waits_stays(platform: Platform):
    """What is kept of its disks would not travel."""
    ends = both_ends(platform)
    instance = spawned(ends, power_on=False)
    before = ResizeRecord(1.0, **{size: getattr(instance, size) for size in SIZES})
    wanted = Instance(NAME, memory_mb=128, max_memory_mb=128)
    ends.source.resize_revertibly(instance, wanted, {"memory_mb", "max_memory_mb"}, before)
    resized = ends.source.get_instances([NAME])
    plan = ends.source.plan_migrations(ends.destination, resized, MigrationWishes(mode=COLD), True)[NAME]
    assert any("resize" in problem for problem in plan.problems), plan.problems
