# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patience with guests that still boot, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.driver import XenApiDriver


class Refusal(Exception):
    """As the server's failures are."""

    def __init__(self, *details: str) -> None:
        super().__init__(*details)
        self.details = list(details)


class Waits(XenApiDriver):
    """A driver whose watches wake it up at once."""

    def __init__(self) -> None:
        super().__init__(ConnectionOptions("xenapi://pool"))
        self.waits: list[float] = []
        self.watches = 0

    def watch(self, names: Collection[str]) -> Any:
        self.watches += 1
        return nullcontext(self)

    def wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    clock = [1000.0]

    def pass_time(seconds: float) -> None:
        clock[0] += seconds

    def wait(seconds: float) -> None:
        driver.waits.append(seconds)
        pass_time(seconds)

    driver = Waits()  # pylint: disable=abstract-class-instantiated  # it gives up on so many bases
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", pass_time)
    monkeypatch.setattr(driver, "wait", wait)
    return driver


def refusing(times: int, *details: str) -> Any:
    made: list[float] = []

    def attempt(left_s: float) -> None:
        made.append(left_s)
        if len(made) <= times:
            raise Refusal(*details)

    attempt.made = made  # type: ignore[attr-defined]
    return attempt


def test_who_can_at_once_is_not_watched(waits: Waits):
    attempt = refusing(0)
    waits.when_guest_can("one", 30.0, 2.0, attempt)
    assert (attempt.made, waits.watches) == ([30.0], 0)


def test_it_is_tried_again_until_it_can(waits: Waits):
    attempt = refusing(3, "VM_LACKS_FEATURE", "ref")
    waits.when_guest_can("one", 30.0, 2.0, attempt)
    assert len(attempt.made) == 4
    assert waits.waits == [2.0, 2.0]
    assert attempt.made == sorted(attempt.made, reverse=True)


def test_any_other_failure_is_final(waits: Waits):
    attempt = refusing(9, "SR_FULL", "1", "2")
    with pytest.raises(Refusal, match="SR_FULL"):
        waits.when_guest_can("one", 30.0, 2.0, attempt)
    assert len(attempt.made) == 1


def test_when_the_time_is_up_nothing_is_begun_any_more(waits: Waits):
    attempt = refusing(99, "VM_MISSING_PV_DRIVERS", "ref")
    with pytest.raises(Refusal, match="VM_MISSING_PV_DRIVERS"):
        waits.when_guest_can("one", 5.0, 2.0, attempt)
    assert all(left_s > 0 for left_s in attempt.made)
    assert sum(waits.waits) <= 5.0
