# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a simulated migration goes, reckoned without waiting for it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.migrationcourse import Course, course

MEMORY, RATE = 1000.0, 100.0
"""So that the memory takes ten seconds."""


def at(at_s: float, **over: Any) -> Course:
    job: dict[str, Any] = {
        "memory_bytes": MEMORY,
        "disk_bytes": 0,
        "rate": RATE,
        "dirty_rate": 0.0,
        "max_downtime_ms": 100,
        "auto_converge": False,
        "compression": False,
        "paused_s": None,
        "post_copy_s": None,
        "fails_at": None,
    }
    return course({**job, **over}, at_s)


def arrival_s(**over: Any) -> float:
    """When it has arrived."""
    return next(tenth / 10 for tenth in range(5000) if at(tenth / 10, **over).arrived)


def test_an_idle_guest_is_sent_once():
    half = at(5.0)
    assert (half.progress.phase, half.progress.percent, half.progress.left_bytes) == ("memory", 50.0, 500)
    assert (half.arrived, half.away_s, half.progress.expected_downtime_ms) == (False, None, 5000)
    end = at(11.0)
    assert (end.arrived, end.downtime_ms, end.sent_memory, end.progress.iteration) == (True, 5, 1000, 1)


def test_disks_come_first():
    assert at(1.0, disk_bytes=400).progress.phase == "disks"
    assert at(1.0, disk_bytes=400).progress.left_bytes == 1300
    assert at(5.0, disk_bytes=400).progress.phase == "memory"
    assert arrival_s(disk_bytes=400) == pytest.approx(14.1)


def test_what_changes_meanwhile_is_sent_again():
    end = at(100.0, dirty_rate=50.0)
    assert end.arrived
    assert end.progress.iteration == 7
    assert 1900 < end.sent_memory <= 2000
    assert end.downtime_ms is not None
    assert end.downtime_ms <= 100


def test_passes_never_send_more_than_there_is():
    busy = at(25.0, dirty_rate=1000.0)
    assert (busy.arrived, busy.progress.iteration, busy.sent_memory) == (False, 3, 2500)


def test_without_convergence_it_never_ends():
    assert not at(5000.0, dirty_rate=RATE).arrived
    assert at(5000.0, dirty_rate=RATE).progress.iteration == 501


def test_auto_converge_slows_the_guest_down():
    before, after = at(15.0, dirty_rate=200.0, auto_converge=True), at(35.0, dirty_rate=200.0, auto_converge=True)
    assert (before.progress.dirty_rate, after.progress.dirty_rate) == (200, 112)
    assert arrival_s(dirty_rate=200.0, auto_converge=True) < 100


def test_a_longer_downtime_ends_it_sooner():
    patient = arrival_s(dirty_rate=90.0, max_downtime_ms=5000)
    assert patient < arrival_s(dirty_rate=90.0, max_downtime_ms=500)


def test_pausing_the_guest_ends_it_after_what_it_had_changed():
    paused = {"dirty_rate": 1000.0, "paused_s": 12.0}
    assert at(13.0, **paused).progress.phase == "paused"
    assert at(13.0, **paused).still_s == 12.0
    end = at(100.0, **paused)
    assert end.arrived
    assert end.downtime_ms == pytest.approx(18000, abs=10), "the rest of that pass, and what had changed in it"


def test_post_copy_runs_there_at_once_and_fetches_the_rest():
    switched = {"dirty_rate": 1000.0, "post_copy_s": 12.0}
    assert at(11.9, **switched).away_s is None
    early = at(13.0, **switched)
    assert (early.progress.phase, early.arrived, early.downtime_ms) == ("post_copy", False, 5)
    assert at(100.0, **switched).arrived


def test_post_copy_waits_for_the_disks():
    assert at(3.0, disk_bytes=400, post_copy_s=1.0).away_s is None
    assert at(5.0, disk_bytes=400, post_copy_s=1.0).away_s == pytest.approx(4.005)


def test_compression_halves_the_memory_and_not_the_disks():
    assert arrival_s(compression=True) == pytest.approx(5.1)
    assert arrival_s(compression=True, disk_bytes=400) == pytest.approx(9.1)


def test_a_broken_connection_stays_broken():
    assert not at(4.9, fails_at=50).broken
    assert at(5.0, fails_at=50).broken
    assert at(50.0, fails_at=50, dirty_rate=RATE).broken
    assert at(50.0, fails_at=50).broken, "nobody has looked before it would have been over"


def test_time_to_the_next_event_is_never_nothing():
    for tenth in range(120):
        assert at(tenth / 10).next_s > 0 or at(tenth / 10).arrived
