# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migration: an instance moves to another host of its kind, and nothing of it stays where it was."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ALL, NONE, OWN
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    InstanceMigrating,
    InstanceNotFound,
    MigrationAborted,
    TimeoutExpired,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    DEPARTED,
    INCOMING,
    LIVE,
    OUTGOING,
    MigrationProgress,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from contract.helpers import state_of
from contract.migration_helpers import NAME, Ends, as_it_is, begun, both_ends, moved, overseer, planned, spawned
from contract.platforms.base import Platform

SLOW_MIB_S = 1
"""So slow that what is done about a migration comes before its end."""


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def is_gone(ends: Ends, name: str = NAME) -> bool:
    """Whether the source has nothing of it any more."""
    return name not in ends.source.list_instances() and ends.source.get_migrations([name]) == {}


# -- the whole way ----------------------------------------------------------------------------------------------------


def test_an_instance_that_is_off_moves_with_its_disk(ends: Ends):
    empty = ends.platform.snapshot()
    instance = spawned(ends, power_on=False, description="goes far", metadata={"owner": "somebody"})
    [disk] = instance.disks or [None]
    if disk is not None:
        key = VolumeKey(disk.pool or "", disk.volume or "")
        ends.platform.storage.fill(key, 7, 4096, 70000)
        content = ends.platform.storage.data(key)
    result = moved(ends, instance, mode=COLD)
    assert result.total_ms is None or result.total_ms >= 0
    there = ends.destination.get_instances([NAME])[NAME]
    assert as_it_is(there) == as_it_is(instance)
    assert there.migration is None
    assert ends.destination.get_migrations() == {}
    assert state_of(ends.destination, NAME) == "shutoff"
    if disk is not None:
        assert ends.partner.storage.data(key) == content
    assert is_gone(ends)
    ends.destination.destroy(NAME)
    assert ends.platform.snapshot() == empty


@pytest.mark.thorough
def test_a_running_instance_moves_cold_and_is_started_there(ends: Ends):
    instance = spawned(ends, power_on=True)
    moved(ends, instance, mode=COLD)
    assert state_of(ends.destination, NAME) == "running"
    assert is_gone(ends)


@pytest.mark.thorough
@pytest.mark.parametrize("paused", [False, True])
def test_a_running_instance_moves_live(ends: Ends, paused: bool):
    if LIVE not in ends.modes or (paused and not ends.platform.moves_paused):
        return  # what cannot is told so: test_migration_plans
    instance = spawned(ends, power_on=True)
    if paused:
        ends.source.pause(NAME)
        instance = ends.source.get_instances([NAME])[NAME]
    result = moved(ends, instance, mode=LIVE)
    assert state_of(ends.destination, NAME) == ("paused" if paused else "running")
    assert as_it_is(ends.destination.get_instances([NAME])[NAME]) == as_it_is(instance)
    assert is_gone(ends)
    assert result.downtime_ms is None or result.downtime_ms < 30000
    assert result.total_ms is None or result.total_ms > 0
    assert not result.post_copy


# -- what is recorded, and taken back ---------------------------------------------------------------------------------


def test_both_ends_tell_of_it_and_it_can_be_taken_back(ends: Ends):
    instance = spawned(ends, power_on=False)
    before = ends.pictures()
    plan = planned(ends, instance, mode=COLD)
    assert ends.pictures() == before
    undo_begin = ends.source.begin_migration(plan)
    undo_accept = ends.destination.accept_instance(ends.source, plan)
    here = ends.source.get_instances([NAME])[NAME].migration
    assert here is not None
    assert (here.id, here.direction, here.mode, here.start) == (plan.record.id, OUTGOING, COLD, False)
    assert here.peer == ends.destination.host_identity()
    records = [(ends.source, here)]
    if ends.platform.accepts_beforehand:
        there = ends.destination.get_instances([NAME])[NAME].migration
        assert there is not None
        assert (there.id, there.direction, there.mode) == (plan.record.id, INCOMING, COLD)
        assert there.peer == ends.source.host_identity()
        assert state_of(ends.destination, NAME) == "shutoff"
        records.append((ends.destination, there))
    for driver, record in records:
        assert list(driver.get_migrations()) == [NAME]
        assert driver.get_migrations([NAME])[NAME] == (record, None)
        assert driver.get_migrations(["other"]) == {}
    undo_accept()
    undo_begin()
    assert ends.pictures() == before
    assert ends.source.get_instances([NAME])[NAME].migration is None


@pytest.mark.thorough
def test_one_that_was_cut_short_is_discarded_on_both_ends(ends: Ends):
    instance = spawned(ends, power_on=False)
    before = ends.pictures()
    begun(ends, instance, mode=COLD)
    assert ends.source.abort_migration(NAME) is False, "there is no job"
    removed = " ".join(ends.destination.discard_migration(NAME))
    assert (f"instance {NAME}" in removed) == ends.platform.accepts_beforehand
    ends.source.discard_migration(NAME)
    assert ends.pictures() == before
    with ends.platform.calls.recording() as calls:
        assert ends.destination.discard_migration(NAME) == []
        assert ends.source.discard_migration(NAME) == []
    assert calls.lasting_writes == []


@pytest.mark.thorough
def test_what_is_on_its_way_is_not_moved_a_second_time(ends: Ends):
    instance = spawned(ends, power_on=False)
    plan = planned(ends, instance, mode=COLD)
    again = planned(ends, instance, mode=COLD)
    assert again.record.id != plan.record.id
    ends.source.begin_migration(plan)
    with pytest.raises(InstanceMigrating):
        ends.source.begin_migration(again)


@pytest.mark.thorough
def test_what_is_not_there_cannot_begin(ends: Ends):
    instance = spawned(ends, power_on=False)
    plan = planned(ends, instance, mode=COLD)
    ends.source.destroy(NAME)
    with pytest.raises(InstanceNotFound):
        ends.source.begin_migration(plan)


# -- the ends ---------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_ending_what_has_ended_does_nothing(ends: Ends):
    spawned(ends, power_on=False)
    before = ends.pictures()
    with ends.platform.calls.recording() as calls:
        ends.source.finish_destination(NAME)
        assert ends.source.finish_source(NAME) == []
        assert ends.source.finish_source("nobody") == []
        assert ends.source.discard_migration("nobody") == []
        assert ends.source.abort_migration(NAME) is False
    assert calls.lasting_writes == []
    assert ends.pictures() == before


@pytest.mark.thorough
@pytest.mark.parametrize("delete_volumes", [OWN, NONE, ALL])
def test_copied_volumes_go_or_stay(ends: Ends, delete_volumes: str):
    if not ends.source.supports("image") or (delete_volumes == NONE and not ends.platform.leaves_sources):
        return
    instance = spawned(ends, power_on=False)
    volumes = ends.platform.volumes()
    moved(ends, instance, mode=COLD, delete_volumes=delete_volumes)
    assert is_gone(ends)
    assert ends.platform.volumes() == (volumes if delete_volumes == NONE else set())
    assert ends.source.find_remains([NAME]) == set()


@pytest.mark.thorough
def test_a_definition_can_stay(ends: Ends):
    if not ends.platform.leaves_sources:
        return
    instance = spawned(ends, power_on=False)
    plan = begun(ends, instance, mode=COLD)
    ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    ends.destination.finish_destination(NAME)
    assert ends.source.finish_source(NAME, keep_definition=True) == []
    record = ends.source.get_instances([NAME])[NAME].migration
    assert record is not None
    assert (record.phase, record.peer) == (DEPARTED, ends.destination.host_identity())
    assert state_of(ends.source, NAME) == "shutoff"
    with ends.platform.calls.recording() as calls:
        assert ends.source.finish_source(NAME, keep_definition=True) == []
    assert calls.lasting_writes == []
    assert f"instance {NAME}" in ends.source.finish_source(NAME)
    assert is_gone(ends)


# -- stopping it ------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_live_migration_is_aborted_on_request(ends: Ends):
    if LIVE not in ends.modes or not ends.source.supports("migration_abort"):
        return
    instance = spawned(ends, power_on=True)
    before = ends.pictures()
    wishes = {"bandwidth_mib_s": SLOW_MIB_S} if ends.source.supports("migration_bandwidth") else {}
    plan = planned(ends, instance, mode=LIVE, **wishes)
    undo_begin = ends.source.begin_migration(plan)
    undo_accept = ends.destination.accept_instance(ends.source, plan)
    seen: list[MigrationProgress] = []
    with ends.platform.slow_migration(), pytest.raises(MigrationAborted):
        ends.source.migrate_instance(ends.destination, plan, overseer(plan, lambda: len(seen) < 2, seen.append))
    assert seen
    assert state_of(ends.source, NAME) == "running"
    if ends.platform.accepts_beforehand:
        assert state_of(ends.destination, NAME) == "shutoff"
    undo_accept()
    undo_begin()
    assert ends.pictures() == before


@pytest.mark.thorough
def test_a_live_migration_that_takes_too_long_is_aborted(ends: Ends):
    features = ("migration_live", "migration_abort", "migration_bandwidth")
    if not all(ends.source.supports(feature) for feature in features):
        return
    instance = spawned(ends, power_on=True)
    plan = begun(ends, instance, mode=LIVE, bandwidth_mib_s=SLOW_MIB_S, timeout_s=0.3)
    with pytest.raises(TimeoutExpired) as caught:
        ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    assert NAME in str(caught.value)
    assert state_of(ends.source, NAME) == "running"
    ends.destination.discard_migration(NAME)
    ends.source.discard_migration(NAME)
    assert ends.destination.list_instances() == []
    assert ends.source.get_instances([NAME])[NAME].migration is None
