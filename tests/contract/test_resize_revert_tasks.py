# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that resize so that it can be taken back, and those that confirm it or take it back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile import resizes
from contract.helpers import state_of
from contract.platforms.base import Platform
from contract.task import Outcome, done, run, small

NAME = "resized"
BY_FORCE = {"method": "forced"}


def has_disks(driver: ComputeDriver) -> bool:
    return driver.supports("image") and driver.supports("root_grow")


def made(platform: Platform, driver: ComputeDriver, state: str = "present") -> None:
    disks = {"disks": [{"size": "32M"}]} if has_disks(driver) else {}
    done(platform, **small(platform, NAME, state=state, **disks))


def larger(driver: ComputeDriver, **over: Any) -> dict[str, Any]:
    disks = {"disks": [{"size": "48M"}]} if has_disks(driver) else {}
    return {"name": NAME, "memory_mb": 128, "revertible": True, "shutdown": BY_FORCE, **disks, **over}


def sizes(driver: ComputeDriver) -> tuple[int | None, list[int | None]]:
    found = driver.get_instances([NAME])[NAME]
    return found.memory_mb, [disk.size_bytes for disk in found.disks or []]


def foretold(platform: Platform, **params: Any) -> Outcome:
    """What a task does, which check mode tells beforehand, and a second run has nothing to do."""
    told = run(platform, check=True, **params)
    assert told.calls.lasting_writes == []
    outcome = done(platform, **params)
    assert (told.steps, told.changed) == (outcome.steps, outcome.changed)
    assert [one["changes"] for one in told.objects] == [one["changes"] for one in outcome.objects]
    again = run(platform, **params)
    assert (again.changed, again.calls.lasting_writes) == (False, [])
    return outcome


def test_resized_and_confirmed(driver: ComputeDriver, platform: Platform):
    made(platform, driver)
    old = sizes(driver)
    outcome = foretold(platform, **larger(driver))
    assert len(outcome.steps) == 1
    assert "taken back" in outcome.steps[0]
    resize = outcome.result["instance"]["after"]["resize"]
    assert (resize["phase"], resize["memory_mb"]) == ("waiting", old[0])
    new = sizes(driver)
    assert new != old
    outcome = foretold(platform, name=NAME, state="resize_confirmed")
    assert outcome.steps == [f"confirm the resize of {NAME}"]
    assert "resize" not in outcome.result["instance"]["after"]
    assert sizes(driver) == new


def test_resized_and_taken_back_while_it_runs(driver: ComputeDriver, platform: Platform):
    made(platform, driver, "running")
    old = sizes(driver)
    refused = run(platform, **larger(driver))
    assert refused.kind == "invalid_power_state"
    assert "revertible" in refused.result["msg"]
    assert refused.calls.lasting_writes == []
    outcome = foretold(platform, **larger(driver, apply="restart"))
    assert outcome.result["instance"]["power_cycled"]
    assert state_of(driver, NAME) == "running"
    assert sizes(driver) != old
    outcome = foretold(platform, name=NAME, state="resize_reverted", shutdown=BY_FORCE)
    assert outcome.result["instance"]["power_cycled"]
    assert len(outcome.steps) == 4
    assert state_of(driver, NAME) == "running"
    assert sizes(driver) == old


def test_taken_back_while_it_is_off(driver: ComputeDriver, platform: Platform):
    """It is started again where it ran before the resize."""
    made(platform, driver, "running")
    old = sizes(driver)
    done(platform, **larger(driver, apply="restart"))
    driver.force_off(NAME)
    outcome = foretold(platform, name=NAME, state="resize_reverted")
    assert outcome.result["instance"]["power_state"] == state_of(driver, NAME) == "running"
    assert sizes(driver) == old
    driver.force_off(NAME)
    done(platform, **larger(driver, state="present"))
    done(platform, name=NAME, state="resize_reverted")
    assert state_of(driver, NAME) == "shutoff"
    assert sizes(driver) == old


@pytest.mark.thorough
def test_no_other_sizes_meanwhile(driver: ComputeDriver, platform: Platform):
    made(platform, driver)
    done(platform, **larger(driver))
    for over in ({"memory_mb": 160}, {"memory_mb": 64, "revertible": False}):
        refused = run(platform, **larger(driver, **over))
        assert refused.kind == "resize_pending"
        assert "resize_confirmed" in refused.result["msg"]
        assert refused.calls.lasting_writes == []
    foretold(platform, name=NAME, description="something else")


def test_other_changes_in_the_same_task_stay(driver: ComputeDriver, platform: Platform):
    made(platform, driver)
    more = {"disks": [{"size": "48M"}, {"size": "4M"}]} if has_disks(driver) else {}
    foretold(platform, **larger(driver, description="more of it", **more))
    foretold(platform, name=NAME, state="resize_reverted")
    found = driver.get_instances([NAME])[NAME]
    assert found.description == "more of it"
    assert [disk.size_bytes for disk in found.disks or []] == ([32 << 20, 4 << 20] if has_disks(driver) else [])


@pytest.mark.thorough
def test_window(driver: ComputeDriver, platform: Platform, monkeypatch: pytest.MonkeyPatch):
    """Whatever a run finds to do, a resize whose window is over is confirmed by it; a locked instance is let alone."""
    made(platform, driver)
    done(platform, **larger(driver, confirm_window=600, locked=True))
    assert not run(platform, name=NAME).changed
    monkeypatch.setattr(resizes, "now", lambda: time.time() + 601)
    assert not run(platform, name=NAME).changed
    done(platform, name=NAME, locked=False)
    foretold(platform, name=NAME)
    found = driver.get_instances([NAME])[NAME]
    assert (found.resize, found.memory_mb) == (None, 128)


@pytest.mark.thorough
def test_a_late_revert_is_a_revert(driver: ComputeDriver, platform: Platform, monkeypatch: pytest.MonkeyPatch):
    made(platform, driver)
    old = sizes(driver)
    done(platform, **larger(driver, confirm_window=600))
    monkeypatch.setattr(resizes, "now", lambda: time.time() + 601)
    foretold(platform, name=NAME, state="resize_reverted")
    assert sizes(driver) == old


@pytest.mark.thorough
@pytest.mark.parametrize("state", ["resize_confirmed", "resize_reverted"])
def test_nothing_waits(driver: ComputeDriver, platform: Platform, state: str):
    missing = run(platform, name=NAME, state=state)
    assert missing.kind == "instance_not_found"
    made(platform, driver)
    outcome = run(platform, name=NAME, state=state, memory_mb=512)
    assert (outcome.kind, outcome.changed, outcome.calls.lasting_writes) == (None, False, [])


@pytest.mark.thorough
def test_locked(driver: ComputeDriver, platform: Platform):
    made(platform, driver)
    done(platform, **larger(driver, locked=True))
    for state in ("resize_confirmed", "resize_reverted"):
        assert run(platform, name=NAME, state=state).kind == "instance_locked"
    foretold(platform, name=NAME, state="resize_reverted", override_lock=True)
