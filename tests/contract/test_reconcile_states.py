# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option state, from each state to each: the plan is true, and a second run finds nothing to do."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract.helpers import bring_to, state_of
from contract.platforms.base import Platform
from contract.task import done, run, small

STATES = ("nothing", "shutoff", "running", "paused", "suspended")
REFUSED = "refused"
WANTED = {
    "present": {"nothing": "shutoff"},
    "running": dict.fromkeys(STATES, "running"),
    "stopped": dict.fromkeys(STATES, "shutoff"),
    "paused": dict.fromkeys(STATES, "paused"),
    "suspended": {"nothing": REFUSED, "shutoff": REFUSED, "running": "suspended", "paused": "suspended"},
    "absent": dict.fromkeys(STATES, "nothing"),
}
"""Wanted state -> what comes of each state; what is not named stays."""
FEATURE_OF = {"paused": "pause", "suspended": "suspend"}


def pairs() -> list[Any]:
    """Every state that is, with every one that is wanted."""
    found = []
    for before in STATES:
        for wanted in WANTED:
            marks = [pytest.mark.thorough] if before in FEATURE_OF or wanted == "paused" else []
            found.append(pytest.param(before, wanted, marks=marks))
    return found


@pytest.mark.parametrize(("before", "wanted"), pairs())
def test_from_each_state(driver: ComputeDriver, platform: Platform, before: str, wanted: str):
    if before in FEATURE_OF and not driver.supports(FEATURE_OF[before]):
        return
    params = small(platform, "one", state=wanted, shutdown={"method": "forced"})
    if before != "nothing":
        platform.spawned(driver, "one")
        bring_to(driver, "one", before)
    foretold = run(platform, check=True, **params)
    assert foretold.calls.lasting_writes == []
    assert _state(driver) == before, "check mode changes nothing"
    outcome = run(platform, **params)
    after = WANTED[wanted].get(before, before)
    unsupported = wanted in FEATURE_OF and not driver.supports(FEATURE_OF[wanted])
    if after == REFUSED or unsupported:
        assert foretold.kind == outcome.kind
        assert outcome.kind in ("unsupported", "invalid_power_state", "invalid_input")
        assert _state(driver) == before
        return
    assert foretold.kind is None, foretold.result
    assert outcome.kind is None, outcome.result
    assert outcome.steps == foretold.steps
    assert outcome.changed == foretold.changed == bool(outcome.steps)
    assert _state(driver) == after
    assert outcome.changed == (before != after)
    again = done(platform, **params)
    assert not again.changed
    assert again.steps == []
    assert again.calls.writes == []


def _state(driver: ComputeDriver) -> str:
    return state_of(driver, "one") if driver.list_instances() else "nothing"


@pytest.mark.parametrize("before", ["shutoff", "running"])
def test_rebooted(driver: ComputeDriver, platform: Platform, before: str):
    platform.spawned(driver, "one")
    bring_to(driver, "one", before)
    if before == "running":
        platform.wait_ready(driver, "one")
    params = small(platform, "one", state="rebooted")
    foretold = run(platform, check=True, **params)
    outcome = run(platform, **params)
    assert outcome.kind == foretold.kind
    if outcome.kind is None:
        assert outcome.steps == foretold.steps
        assert outcome.changed
        assert state_of(driver, "one") == "running"
    else:
        assert not driver.supports("reboot_soft")


def test_many_instances_are_made_and_kept_by_one_task(driver: ComputeDriver, platform: Platform):
    count = 12 if platform.starts_quickly else 4
    shared = small(platform, "x", state="present")
    del shared["name"]
    params = {**shared, "instances": [{"name": f"web{number}"} for number in range(count)]}
    first = done(platform, **params)
    assert [instance["changed"] for instance in first.result["instances"]] == [True] * count
    assert len(driver.list_instances()) == count
    again = done(platform, **params)
    assert not again.changed
    assert again.calls.writes == []
    assert again.connections == 1
    gone = done(platform, state="absent", instances=params["instances"])
    assert gone.changed
    assert driver.list_instances() == []
    assert not done(platform, state="absent", instances=params["instances"]).changed


def test_one_failure_does_not_hide_the_others(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "locked", locked=True)
    shared = {"memory_mb": 80}
    outcome = run(
        platform, **shared, instances=[small(platform, "fine", **shared), small(platform, "locked", **shared)]
    )
    assert outcome.kind == "instance_locked"
    fine, locked = outcome.result["instances"]
    assert fine["changed"]
    assert not locked["changed"]
    assert driver.get_info("fine").max_mem_kib == 80 * 1024
    assert driver.get_instances()["locked"].memory_mb == 96
