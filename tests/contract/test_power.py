# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole table of power states and operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ACPI, FORCED, HARD, SOFT, ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidPowerState
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from contract.helpers import bring_to, eventually, state_of, where_supported
from contract.platforms.base import Platform

NAME = "power"
REFUSED = "refused"


class Operation(NamedTuple):
    method: str
    arguments: dict[str, Any]
    feature: str | None


OPERATIONS = {
    "power_on": Operation("power_on", {}, None),
    "power_on paused": Operation("power_on", {"paused": True}, "start_paused"),
    "power_off acpi": Operation("power_off", {"method": ACPI, "timeout_s": 60}, "shutdown_acpi"),
    "power_off forced": Operation("power_off", {"method": FORCED}, "shutdown_forced"),
    "force_off": Operation("force_off", {}, "shutdown_forced"),
    "reboot soft": Operation("reboot", {"method": SOFT, "timeout_s": 60}, "reboot_soft"),
    "reboot hard": Operation("reboot", {"method": HARD, "timeout_s": 60}, "reboot_hard"),
    "pause": Operation("pause", {}, "pause"),
    "unpause": Operation("unpause", {}, "pause"),
    "suspend": Operation("suspend", {}, "suspend"),
    "resume": Operation("resume", {}, "suspend"),
}

TABLE = """
                  running    paused     shutoff    suspended
power_on          running    paused     running    running
power_on paused   running    paused     paused     paused
power_off acpi    -          refused    shutoff    refused
power_off forced  shutoff    shutoff    shutoff    shutoff
force_off         shutoff    shutoff    shutoff    shutoff
reboot soft       -          refused    refused    refused
reboot hard       running    refused    refused    refused
pause             paused     paused     refused    refused
unpause           running    running    refused    refused
suspend           suspended  suspended  refused    suspended
resume            running    refused    refused    running
"""
"""Operation and state -> the state afterwards. What needs a guest that has booted (-) is in test_guests.py."""


def rows() -> list[Any]:
    header, *lines = TABLE.strip("\n").splitlines()
    found: list[Any] = []
    for line in lines:
        words = line.rsplit(maxsplit=4)
        for state, after in zip(header.split(), words[1:]):
            marks = [pytest.mark.thorough] if (state, after) == ("suspended", REFUSED) else []
            if after != "-":
                found.append(pytest.param(words[0].strip(), state, after, marks=marks))
    return found


@pytest.fixture(scope="module")
def guest(host: Platform) -> Iterator[str]:
    """One instance for the whole table."""
    with host.closed_driver() as driver:
        driver.spawn(driver.complete(host.small(NAME)))
    host.kept.add(NAME)
    yield NAME
    host.kept.discard(NAME)
    host.cleanup()


@pytest.mark.parametrize(("operation", "before", "after"), rows())
def test_table(platform: Platform, guest: str, operation: str, before: str, after: str):
    driver = platform.driver()
    method, arguments, feature = OPERATIONS[operation]
    needed = [feature] if feature else []
    if before == "paused":
        needed.append("pause")
    if before == "suspended":
        needed.append("suspend")
    with where_supported(driver, *needed):
        bring_to(driver, guest, before)
        if after == REFUSED:
            with pytest.raises(InvalidPowerState) as caught:
                getattr(driver, method)(guest, **arguments)
            assert guest in str(caught.value)
            assert before in str(caught.value)
            assert state_of(driver, guest) == before
        else:
            getattr(driver, method)(guest, **arguments)
            assert state_of(driver, guest) == after


def test_every_pair_is_in_the_table():
    states = TABLE.split("\n")[1].split()
    lines = TABLE.strip("\n").splitlines()[1:]
    assert [line.rsplit(maxsplit=4)[0].strip() for line in lines] == list(OPERATIONS)
    assert {power_state.name(code) for code in power_state.valid_states()} >= set(states)


@pytest.mark.on("fake", "libvirt", "lxc", "xenapi")
def test_a_crashed_instance_is_off_and_starts_again(driver: ComputeDriver, platform: Platform):
    platform.spawned(driver, "crasher", power_on=True)
    platform.crash("crasher")
    assert eventually(lambda: driver.get_info("crasher").state in power_state.OFF)
    driver.power_off("crasher")
    driver.force_off("crasher")
    assert driver.get_info("crasher").state in power_state.OFF
    driver.power_on("crasher")
    assert state_of(driver, "crasher") == "running"
