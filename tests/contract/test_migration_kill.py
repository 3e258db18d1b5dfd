# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at each change of a file while an instance is moved: never do two hosts run it, the hosts tell what was going
on, and the same task run again ends with it on the destination and nothing left behind."""

from __future__ import annotations

import os
import sys

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migration import MigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    CLIENT,
    COLD,
    LIVE,
    SOURCE,
    MigrationPlan,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from contract import moving
from contract.child import die_at
from contract.helpers import eventually, state_of
from contract.migration_helpers import DISK_BYTES, NAME, Drivers, Ends, both_ends, carried_out, planned, spawned
from contract.platforms.base import Platform

pytestmark = [pytest.mark.on("fake"), pytest.mark.slow]

STEP = 8
"""How many changes of a file lie between two at which it is killed."""

MOST = 400
"""More than there are."""


def killed(ends: Ends, plan: MigrationPlan, number: int) -> bool:
    """Have the whole migration made by a child that dies at that change of a file; whether it came so far. It is a
    fork, which begins at once: there are many of them."""
    pid = os.fork()
    if pid == 0:
        try:
            die_at(number)
            with ends.platform.closed_migration_driver() as source, ends.partner.closed_migration_driver() as there:
                assert isinstance(source, MigrationDriver)
                assert isinstance(there, MigrationDriver)
                carried_out(Drivers(source, there), plan)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _pid, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def executing(ends: Ends) -> int:
    """On how many hosts the guest runs; in the order in which one that moves meanwhile is not seen twice."""
    found = 0
    for driver in (ends.destination, ends.source):
        if NAME in driver.list_instances():
            found += state_of(driver, NAME) == "running"
    return found


@pytest.mark.parametrize(("mode", "manager"), [(LIVE, CLIENT), (LIVE, SOURCE), (COLD, CLIENT)])
@pytest.mark.parametrize("first", [1, 5])
def test_killed_at_many_points(platform: Platform, mode: str, manager: str, first: int):
    ends = both_ends(platform)
    empty = ends.pictures()
    for number in range(first, MOST, STEP):
        plan = planned(ends, with_something_on_its_disk(ends), mode=mode, manager=manager)
        was_killed = killed(ends, plan, number)
        assert executing(ends) <= 1
        assert mode == COLD or eventually(lambda: executing(ends) == 1), "it stands still for a moment at most"
        moving.moved(platform, platform.partner(), name=NAME, mode=mode, manager=manager)
        assert_moved(ends)
        once_more = moving.moved(platform, platform.partner(), name=NAME, mode=mode, manager=manager)
        assert not once_more.changed
        assert once_more.calls.writes == []
        ends.destination.destroy(NAME)
        ends.source.delete_volume(VolumeKey(platform.pool, "none"))  # the fake sweeps when something is removed
        assert ends.pictures() == empty
        if not was_killed:
            assert number > first + 5 * STEP
            return
    raise AssertionError("it makes more changes than that")


def with_something_on_its_disk(ends: Ends) -> Instance:
    """A running instance."""
    instance = spawned(ends, power_on=True, disks=[Disk(size_bytes=DISK_BYTES)])
    ends.platform.storage.fill(key_of(instance), 7, 4096, 4096)
    return instance


def assert_moved(ends: Ends) -> None:
    """All of it is on the destination, and nothing on the source."""
    assert executing(ends) == 1
    instance = ends.destination.get_instances([NAME])[NAME]
    assert state_of(ends.destination, NAME) == "running"
    assert instance.migration is None
    assert ends.partner.storage.data(key_of(instance))[:9000] == bytes(4096) + b"\7" * 4096 + bytes(808)
    assert ends.source.list_instances() == []
    assert ends.platform.volumes() == set()


def key_of(instance: Instance) -> VolumeKey:
    """The volume of its only disk."""
    [disk] = instance.disks or []
    return VolumeKey(disk.pool or "", disk.volume or "")
