# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on the move: stopped ones only, and only to where their folders are."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import AUTO, LIVE, MigrationWishes
from contract.driver_moves import NAME, Two, two_hosts
from contract.helpers import state_of
from contract.platforms.libvirt_lxc import LxcPlatform

pytestmark = pytest.mark.on("lxc")

INNER = "/var/lib/libvirt/of-each-host-its-own"


@pytest.fixture
def two(platform: LxcPlatform) -> Two:
    return two_hosts(platform)


def test_a_container_moves_cold_and_runs_there(two: Two):
    two.here.spawned(two.source, NAME, metadata={"who": "me"})
    plan = two.planned()
    assert plan.warnings == [], "its root folder is seen to be the same"
    two.move(plan)
    assert two.source.list_instances() == []
    two.destination.power_on(NAME)
    assert state_of(two.destination, NAME) == "running"
    assert two.destination.get_instances([NAME])[NAME].metadata == {"who": "me"}


def test_a_running_container_goes_cold_by_itself_and_not_live(two: Two):
    two.here.spawned(two.source, NAME, power_on=True)
    assert two.planned(MigrationWishes(mode=AUTO)).mode == "cold"
    before = two.pictures()
    plan = two.planned(MigrationWishes(mode=LIVE))
    assert any("move it cold" in problem for problem in plan.problems)
    assert two.pictures() == before


def test_folders_that_are_not_there_are_told(two: Two):
    folders = [f"{INNER}/a", f"{INNER}/b"]
    mounts = [
        f"<filesystem type='mount'><source dir='{folder}'/><target dir='/mnt/{number}'/></filesystem>"
        for number, folder in enumerate(folders)
    ]
    two.here.run_on_host("mkdir", "-p", *folders)
    two.there.run_on_host("mkdir", "-p", folders[1])
    usual = two.here.small(NAME)
    extra = {"xml": [*usual.hypervisor["xml"], f"<devices>{''.join(mounts)}</devices>"]}
    two.here.spawned(two.source, NAME, hypervisor=extra)
    plan = two.planned()
    (problem,) = plan.problems
    assert f"no folder '{folders[0]}' on the destination" in problem
    (warning,) = plan.warnings
    assert f"the folder '{folders[1]}' of the destination is another one" in warning
    for platform in (two.here, two.there):
        platform.run_on_host("rm", "-rf", INNER)
