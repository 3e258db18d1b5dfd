# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cold migration that was cut short is begun anew: its record is replaced in one step, so that at each moment there
is one that says that the instance is to be started."""

from __future__ import annotations

import os

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migration import MigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError, InstanceMigrating
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    MigrationPlan,
    MigrationRecord,
)
from contract.child import die_at
from contract.helpers import state_of
from contract.migration_helpers import NAME, Ends, begun, both_ends, plan_of, spawned
from contract.platforms.base import Platform

pytestmark = [pytest.mark.on("fake", "libvirt", "lxc", "xenapi")]


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def stopped(ends: Ends) -> tuple[Instance, MigrationPlan]:
    """An instance that a cold migration has stopped, which was killed then; and how it was to be moved."""
    instance = spawned(ends, power_on=True, autostart=True)
    plan = begun(ends, instance, mode=COLD)
    ends.destination.discard_migration(NAME)
    return instance, plan


def once_more(ends: Ends) -> MigrationPlan:
    """How it is moved after all, given as it was."""
    seen = ends.source.get_instances([NAME])[NAME]
    seen.power_state, seen.migration = power_state.RUNNING, None
    return plan_of(ends, seen, mode=COLD)


def kept(driver: MigrationDriver) -> MigrationRecord:
    """The record of its migration."""
    record = driver.get_instances([NAME])[NAME].migration
    assert record is not None
    return record


def test_the_new_record_takes_the_place_of_the_old_one(ends: Ends):
    instance, plan = stopped(ends)
    again = once_more(ends)
    undo = ends.source.begin_migration(again, replacing=plan.record.id)
    record = kept(ends.source)
    assert (record.id, record.start) == (again.record.id, True)
    undo()
    found = ends.source.get_instances([NAME])[NAME]
    assert (found.migration, found.autostart) == (None, instance.autostart)


def test_only_what_is_to_be_replaced_is(ends: Ends):
    _instance, plan = stopped(ends)
    again = once_more(ends)
    with pytest.raises(InstanceMigrating):
        ends.source.begin_migration(again, replacing="another")
    with pytest.raises(InstanceMigrating):
        ends.source.begin_migration(again)
    assert kept(ends.source).id == plan.record.id
    ends.source.discard_migration(NAME)
    with pytest.raises(InstanceMigrating):
        ends.source.begin_migration(again, replacing=plan.record.id)
    assert ends.source.get_migrations() == {}


@pytest.mark.slow
def test_whatever_fails_one_of_them_is_there(ends: Ends):
    _instance, plan = stopped(ends)
    last = plan.record.id
    number = calls_made = 0
    while number <= calls_made:
        again = once_more(ends)
        failed = False
        with ends.platform.calls.recording(fail_at=number or None) as calls:
            try:
                ends.source.begin_migration(again, replacing=last)
            except AnyvirtError as error:
                failed = True
                assert error.not_undone == []
        calls_made = max(calls_made, len(calls))
        record = kept(ends.source)
        assert record.id in ((last, again.record.id) if failed else (again.record.id,))
        assert record.start
        last = record.id
        number += 1
    ends.source.power_on(NAME)
    ends.source.discard_migration(NAME)
    assert ends.source.get_instances([NAME])[NAME].autostart is True


@pytest.mark.on("fake")
@pytest.mark.slow
def test_whenever_it_is_killed_one_of_them_is_there(ends: Ends):
    _instance, plan = stopped(ends)
    last, number, was_killed = plan.record.id, 0, True
    while was_killed:
        number += 1
        again = once_more(ends)
        was_killed = _killed(ends, again, last, number)
        record = kept(ends.source)
        assert record.id in (last, again.record.id)
        assert record.start
        last = record.id
    assert number > 2
    assert state_of(ends.source, NAME) == "shutoff"


def _killed(ends: Ends, plan: MigrationPlan, replacing: str, number: int) -> bool:
    """Begin in a process that dies at that change of a file; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        die_at(number)
        with ends.platform.closed_migration_driver() as source:
            assert isinstance(source, MigrationDriver)
            source.begin_migration(plan, replacing=replacing)
        os._exit(0)
    _pid, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)
