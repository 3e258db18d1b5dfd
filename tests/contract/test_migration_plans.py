# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a migration: everything that keeps an instance from being moved is told at once, and nothing is changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.capabilities import support
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    COPY,
    LIVE,
    SHARED,
    MigrationWishes,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import SecurityGroup
from contract.helpers import bring_to, where_supported
from contract.migration_helpers import NAME, Ends, both_ends, overseer, plan_of, planned, spawned
from contract.platforms.base import Platform
from contract.secgroup_helpers import OPEN
from contract.secgroup_helpers import WHERE as WITH_GROUPS

LIVE_WISHES: dict[str, dict[str, Any]] = {
    "migration_bandwidth": {"bandwidth_mib_s": 100},
    "migration_abort": {"timeout_s": 60.0},
    "migration_pause": {"timeout_s": 60.0, "on_timeout": "pause"},
    "migration_post_copy": {"post_copy": True},
    "migration_auto_converge": {"auto_converge": True},
    "migration_compression": {"compression": True},
    "migration_parallel": {"parallel": 2},
    "migration_downtime": {"max_downtime_ms": 500},
    "migration_tunnelled": {"transport": "tunnelled", "manager": "source"},
    "migration_by_source": {"manager": "source"},
    "migration_transient": {"persist": False},
}
"""Wishes, by the features that fulfil them."""


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def problems(ends: Ends, instance: Any, **wishes: Any) -> str:
    """What keeps it from being moved, which planning has changed nothing for."""
    before = ends.pictures()
    with ends.platform.calls.recording() as calls:
        found = plan_of(ends, instance, False, **wishes).problems
    assert calls.lasting_writes == []
    assert ends.pictures() == before
    assert len(set(found)) == len(found), "none is told twice"
    return "\n".join(found)


@pytest.mark.thorough
def test_looking_changes_nothing(ends: Ends):
    instance = spawned(ends, power_on=False)
    assert problems(ends, instance, mode=COLD) == ""


@pytest.mark.thorough
def test_the_plan_says_what_it_is_about(ends: Ends):
    instance = spawned(ends, power_on=False)
    plan = planned(ends, instance)
    assert (plan.name, plan.mode) == (NAME, COLD), "what is off goes cold by itself"
    assert plan.record.peer == ends.destination.host_identity()
    assert not plan.record.start
    if ends.source.supports("image"):
        [move] = plan.disks
        [disk] = instance.disks or []
        assert (move.device, move.how) == (disk.device, "copy")
        assert move.source == f"{disk.pool}/{disk.volume}"
        assert move.source in plan.record.volumes
        assert move.size_bytes > 0


def test_all_problems_are_told_at_once(ends: Ends):
    instance = spawned(ends, power_on=False)
    other = ends.destination
    other.spawn(other.complete(ends.partner.small(NAME, nics=instance.nics)), power_on=False)
    told = problems(
        ends,
        instance,
        mode=COLD,
        networks={ends.platform.network or ends.platform.bridge: "nowhere"},
        pools={ends.platform.pool: "nothing"},
    )
    assert f"instance named {NAME!r}" in told
    assert "nowhere" in told
    if ends.source.supports("image"):
        assert "nothing" in told


@pytest.mark.thorough
def test_an_address_that_is_taken_there_is_a_problem(ends: Ends):
    instance = spawned(ends, power_on=False)
    ends.destination.spawn(ends.destination.complete(ends.partner.small("other", nics=instance.nics)), power_on=False)
    [nic] = instance.nics or []
    assert str(nic.mac) in problems(ends, instance, mode=COLD)


@pytest.mark.thorough
def test_its_own_host_is_no_destination(ends: Ends):
    instance = spawned(ends, power_on=False)
    same = ends.platform.migration_driver()
    plan = ends.source.plan_migrations(same, {NAME: instance}, MigrationWishes(), False)[NAME]
    assert plan.problems


@pytest.mark.thorough
def test_memory_that_is_not_there_is_a_problem(ends: Ends):
    instance = spawned(ends, power_on=False)
    free_mb = ends.destination.get_host_stats().memory_mb_free
    running = replace(instance, memory_mb=free_mb + 1024, max_memory_mb=free_mb + 1024, power_state=1)
    assert "memory" in problems(ends, running, mode=COLD)


@pytest.mark.thorough
def test_memory_counts_for_all_of_them_together(ends: Ends):
    """Of a destination that is several hosts each takes one."""
    receivers = ends.partner.receivers
    needs_mb = ends.destination.get_host_stats().memory_mb_free // receivers * 2 // 3
    instances = {}
    for number in range(receivers + 1):
        instance = spawned(ends, power_on=False, name=f"many{number}")
        instances[instance.name] = replace(instance, memory_mb=needs_mb, max_memory_mb=needs_mb, power_state=1)
    apart = [{name: instances[name]} for name in instances]
    for groups in ([instances], apart, apart):  # with the same wishes, or not; and what is planned again counts once
        found = [
            plan.problems
            for group in groups
            for plan in ends.source.plan_migrations(ends.destination, group, MigrationWishes(mode=COLD), False).values()
        ]
        assert found[:-1] == [[]] * receivers
        assert "memory" in "\n".join(found[-1])


def test_what_is_off_does_not_move_live(ends: Ends):
    instance = spawned(ends, power_on=False)
    told = problems(ends, instance, mode=LIVE)
    if LIVE in ends.modes:
        assert "shutoff" in told
    assert told


@pytest.mark.thorough
def test_what_is_suspended_is_told_to_be_resumed(ends: Ends):
    if not ends.source.supports("suspend") or ends.platform.moves_suspended:
        return
    spawned(ends, power_on=False)
    bring_to(ends.source, NAME, "suspended")
    assert problems(ends, ends.source.get_instances([NAME])[NAME])


@pytest.mark.thorough
@pytest.mark.parametrize("feature", LIVE_WISHES)
def test_wishes_that_are_not_fulfilled_are_problems(ends: Ends, feature: str):
    if LIVE not in ends.modes:
        feature, wishes = "migration_live", {}
    else:
        wishes = LIVE_WISHES[feature]
    instance = replace(ends.source.complete(ends.platform.small(NAME, nics=[])), power_state=1)
    found = plan_of(ends, _on_source(ends, instance), False, mode=LIVE, **wishes).problems
    note = support(ends.source.capabilities, feature).note
    if ends.source.supports(feature):
        assert [problem for problem in found if "peer_uri" not in problem] == [], "which only this address needs"
    else:
        assert any(ends.source.name in problem and note in problem for problem in found), found


def _on_source(ends: Ends, instance: Any) -> Any:
    """The same, which the source has, and which is said to run."""
    if NAME not in ends.source.list_instances():
        ends.source.spawn(replace(instance, power_state=0), power_on=False)
    return replace(ends.source.get_instances([NAME])[NAME], power_state=1)


@pytest.mark.thorough
def test_storage_that_only_one_host_sees_is_not_shared(ends: Ends):
    if not ends.source.supports("image"):
        return
    instance = spawned(ends, power_on=False)
    assert "storage" in problems(ends, instance, mode=COLD, storage=SHARED)
    assert problems(ends, instance, mode=COLD, storage=COPY) == ""


@pytest.mark.thorough
def test_a_volume_that_is_in_the_way_is_a_problem(ends: Ends):
    if not ends.source.supports("image"):
        return
    instance = spawned(ends, power_on=False)
    other = ends.destination
    kept = spawned(Ends(ends.partner, other, ends.source), power_on=False)
    assert [disk.volume for disk in kept.disks or ()] == [disk.volume for disk in instance.disks or ()]
    other.destroy(NAME, "none")
    [disk] = instance.disks or []
    assert disk.volume in ends.partner.volumes()
    assert str(disk.volume) in problems(ends, instance, mode=COLD)


@pytest.mark.thorough
@pytest.mark.on(*WITH_GROUPS)
def test_groups_that_mean_something_else_there_are_a_problem(ends: Ends):
    ends.source.define_security_group(OPEN)
    nics = [ends.platform.nic(addresses=["192.0.2.7"])]
    instance = spawned(ends, power_on=False, security_groups=["open"], nics=nics)
    assert problems(ends, instance, mode=COLD) == "", "one that is not there is taken over"
    ends.destination.define_security_group(SecurityGroup("open"))
    assert "'open'" in problems(ends, instance, mode=COLD)
    ends.destination.define_security_group(OPEN)
    assert problems(ends, instance, mode=COLD) == ""


@pytest.mark.thorough
@pytest.mark.on("libvirt", "lxc", "xenapi")
def test_a_driver_of_another_kind_is_refused(ends: Ends, tmp_path: Any):
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.migrationdriver import FakeMigrationDriver
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions

    instance = spawned(ends, power_on=False)
    with FakeMigrationDriver(ConnectionOptions(f"fake://{tmp_path}")) as other:
        assert isinstance(other, FakeMigrationDriver)
        try:
            plan = ends.source.plan_migrations(other, {NAME: instance}, MigrationWishes(), False)[NAME]
        except AnyvirtError:
            return
    assert plan.problems


@pytest.mark.on("lxc")
def test_going_live_all_the_same_is_refused(ends: Ends):
    """Whoever does not look at the plan's problems gets an error, and both hosts stay as they are."""
    assert LIVE not in ends.modes
    instance = spawned(ends, power_on=True)
    before = ends.pictures()
    plan = plan_of(ends, instance, mode=LIVE)
    with where_supported(ends.source, "migration_live"):
        undo_begin = ends.source.begin_migration(plan)
        try:
            undo_accept = ends.destination.accept_instance(ends.source, plan)
            try:
                ends.source.migrate_instance(ends.destination, plan, overseer(plan))
            finally:
                undo_accept()
        finally:
            undo_begin()
    assert ends.pictures() == before
    assert ends.source.get_info(NAME).state == power_state.RUNNING
