# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each call of a migration is made to fail in turn. Until the guest has moved, both hosts are as they were when that is
taken back; afterwards the same call made again ends what it had begun."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    MigrationAborted,
    MigrationFailed,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, LIVE, MigrationPlan
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo
from contract.helpers import state_of
from contract.migration_helpers import NAME, Ends, begin, both_ends, overseer, planned, spawned
from contract.platforms.base import Platform
from contract.secgroup_helpers import OPEN, own_nic

pytestmark = [pytest.mark.on("fake", "libvirt", "xenapi"), pytest.mark.slow]

SAMPLES = 8
"""Of how many calls there is time to make one fail where there are real guests."""


@pytest.fixture
def ends(platform: Platform) -> Ends:
    """Both hosts."""
    return both_ends(platform)


def turns(platform: Platform, count: int, samples: int = SAMPLES) -> range:
    """Which calls fail: all of them in the fake, some elsewhere, the last one among them."""
    step = 1 if platform.name == "fake" else max(1, count // samples)
    return range(count, 0, -step)


def fail_each(ends: Ends, operation: Callable[[], Undo]) -> None:
    """Nothing has changed when a call of it fails, or it can do without that call and is undone by its own undo."""
    before = ends.pictures()
    with ends.platform.calls.recording() as calls:
        undo = operation()
    undo()
    assert ends.pictures() == before, "its undo takes back all of it"
    for number in turns(ends.platform, len(calls)):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        try:
            with ends.platform.calls.recording(fail_at=number):
                undo = operation()
        except AnyvirtError as error:
            assert error.not_undone == [], told
        else:
            undo()
        assert ends.pictures() == before, told


def test_beginning(ends: Ends):
    plan = planned(ends, spawned(ends, power_on=False, autostart=True), mode=COLD)
    fail_each(ends, lambda: ends.source.begin_migration(plan))


@pytest.mark.parametrize("mode", [LIVE, COLD])
def test_accepting(ends: Ends, mode: str):
    ends.source.define_security_group(OPEN)
    nics = [own_nic(ends.platform, 1)]
    instance = spawned(ends, power_on=mode == LIVE, autostart=True, nics=nics, security_groups=["open"])
    plan = planned(ends, instance, mode=mode)
    ends.source.begin_migration(plan)
    if ends.platform.name == "libvirt":  # what a host keeps for good once it has filtered anything
        ends.destination.accept_instance(ends.source, plan)()
    fail_each(ends, lambda: ends.destination.accept_instance(ends.source, plan))


@pytest.mark.parametrize("mode", [LIVE, COLD])
def test_moving(ends: Ends, mode: str):
    """Whatever fails, one host has the guest, and where that is the source, all can be taken back."""

    def new_plan() -> MigrationPlan:
        return planned(ends, spawned(ends, power_on=mode == LIVE), mode=mode)

    plan = new_plan()
    before = ends.pictures()
    begin(ends, plan)
    with ends.platform.calls.recording() as calls:
        ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    ended(ends)
    for number in turns(ends.platform, len(calls), SAMPLES // 2):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        plan = new_plan()
        before = ends.pictures()
        begin(ends, plan)
        try:
            with ends.platform.calls.recording(fail_at=number):
                ends.source.migrate_instance(ends.destination, plan, overseer(plan))
        except AnyvirtError as error:
            if has_moved(ends, mode):
                assert not isinstance(error, (MigrationFailed, MigrationAborted)), told
                assert ends.platform.name != "fake", told
                ended(ends)
                continue
            ends.destination.discard_migration(NAME)
            ends.source.discard_migration(NAME)
            assert ends.pictures() == before, told
            ends.source.destroy(NAME)
        else:
            ended(ends)


def has_moved(ends: Ends, mode: str) -> bool:
    """Whether the source has it no more: an error that neither says that it failed nor that it was aborted leaves that
    open."""
    if NAME not in ends.source.list_instances():
        return True
    runs_here = state_of(ends.source, NAME) == "running"
    runs_there = NAME in ends.destination.list_instances() and state_of(ends.destination, NAME) == "running"
    assert not (runs_here and runs_there)
    return mode == LIVE and not runs_here


def ended(ends: Ends) -> None:
    """What has moved becomes an ordinary instance of the destination, and is removed there."""
    ends.destination.finish_destination(NAME)
    ends.source.finish_source(NAME)
    assert ends.source.list_instances() == []
    ends.destination.destroy(NAME)
    assert ends.destination.list_instances() == []


@pytest.mark.parametrize("end", ["destination", "source"])
def test_ending(ends: Ends, end: str):
    """After the guest has moved there is only forward: once more ends it."""

    def moved() -> Callable[[], object]:
        plan = planned(ends, spawned(ends, power_on=False), mode=COLD)
        begin(ends, plan)
        ends.source.migrate_instance(ends.destination, plan, overseer(plan))
        if end == "destination":
            return lambda: ends.destination.finish_destination(NAME)
        ends.destination.finish_destination(NAME)
        return lambda: ends.source.finish_source(NAME)

    finish = moved()
    with ends.platform.calls.recording() as calls:
        finish()
    ended(ends)
    for number in turns(ends.platform, len(calls)):
        finish = moved()
        try:
            with ends.platform.calls.recording(fail_at=number):
                finish()
        except AnyvirtError:
            finish()
        ended(ends)
        assert ends.platform.volumes() == set()


@pytest.mark.parametrize("end", ["destination", "source"])
def test_discarding(ends: Ends, end: str):
    """The same of what was cut short."""
    instance = spawned(ends, power_on=False)
    before = ends.pictures()
    driver = ends.destination if end == "destination" else ends.source

    def cut_short() -> None:
        begin(ends, planned(ends, instance, mode=COLD))

    cut_short()
    with ends.platform.calls.recording() as calls:
        driver.discard_migration(NAME)
    for number in turns(ends.platform, len(calls)):
        ends.destination.discard_migration(NAME)
        ends.source.discard_migration(NAME)
        assert ends.pictures() == before
        cut_short()
        try:
            with ends.platform.calls.recording(fail_at=number):
                driver.discard_migration(NAME)
        except AnyvirtError:
            driver.discard_migration(NAME)
        assert driver.get_migrations() == {}
