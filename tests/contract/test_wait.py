# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting: driven by events, finite, and telling what was last seen."""

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import TimeoutExpired
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from contract.platforms.base import Platform


def test_what_is_true_already_needs_no_wait(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    started = time.monotonic()
    assert driver.wait_for_state("one", {power_state.SHUTOFF, power_state.RUNNING}, 30) == power_state.SHUTOFF
    assert time.monotonic() - started < 2


def test_a_wait_that_ends_in_vain_tells_what_was_seen(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    started = time.monotonic()
    with pytest.raises(TimeoutExpired, match="one") as caught:
        driver.wait_for_state("one", {power_state.RUNNING}, 0.7)
    assert 0.6 < time.monotonic() - started < 3
    assert caught.value.last_seen == "shutoff"
    assert "running" in str(caught.value)


def test_a_change_by_somebody_else_ends_the_wait_at_once(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    other = platform.driver()
    starter = threading.Timer(1.0, other.power_on, ["one"])
    starter.start()
    try:
        assert driver.wait_for_state("one", {power_state.RUNNING}, 60) == power_state.RUNNING
        seen = time.monotonic()
    finally:
        starter.join()
    assert seen - time.monotonic() < 1.0


def test_a_wait_looks_seldom(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    with platform.calls.recording() as calls:
        with pytest.raises(TimeoutExpired):
            driver.wait_for_state("one", {power_state.RUNNING}, 2.0)
    assert len(calls) < 40
    assert calls.writes == []


def test_a_watch_is_woken_by_a_change(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    other = platform.driver()
    with driver.watch(["one"]) as watch:
        other.power_on("one")
        started = time.monotonic()
        watch.wait(20)
        assert time.monotonic() - started < 5


def test_a_watch_misses_nothing_between_looking_and_waiting(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "one")
    other = platform.driver()
    with driver.watch(["one"]) as watch:
        state = driver.get_info("one").state
        other.power_on("one")
        time.sleep(0.5)
        started = time.monotonic()
        watch.wait(20)
        assert time.monotonic() - started < 5
        assert driver.get_info("one").state != state
