# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that many tests of the contract say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.capabilities import support
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state


@contextmanager
def where_supported(driver: ComputeDriver, *features: str) -> Iterator[None]:
    """The body works when the driver declares all ``features``; otherwise it raises Unsupported, in words of use."""
    missing = [feature for feature in features if not driver.supports(feature)]
    if not missing:
        yield
        return
    with pytest.raises(Unsupported) as caught:
        yield
    message = str(caught.value)
    notes = [support(driver.capabilities, feature).note for feature in missing]
    assert driver.name in message
    assert any(note in message for note in notes), (message, notes)


def state_of(driver: ComputeDriver, name: str) -> str:
    return power_state.name(driver.get_info(name).state)


def bring_to(driver: ComputeDriver, name: str, state: str) -> None:
    """Put an existing instance into that state, whatever its state is now."""
    if state_of(driver, name) == state:
        return
    driver.force_off(name)
    if state == "shutoff":
        return
    paused_from_start = state == "paused" and driver.supports("start_paused")
    driver.power_on(name, paused=paused_from_start)
    if state == "suspended":
        driver.suspend(name)
    if state == "paused" and not paused_from_start:
        driver.pause(name)
    assert state_of(driver, name) == state


def eventually(what: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    """Whether it becomes true in time."""
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
