# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every power operation in every state: what comes of it, or that it is refused and nothing changes."""

from __future__ import annotations

import time

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    InvalidPowerState,
    TimeoutExpired,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state

REFUSED = None

# Columns: the state before. Rows: what is done. Cells: the state after.
STATES = ("running", "paused", "shutdown", "shutoff", "crashed", "suspended")
TABLE = {
    "power_on": ("running", "paused", REFUSED, "running", "running", "running"),
    "power_on_paused": ("running", "paused", REFUSED, "paused", "paused", "paused"),
    "request_shutdown": ("shutoff", REFUSED, "shutdown", REFUSED, REFUSED, REFUSED),
    "force_off": ("shutoff", "shutoff", "shutoff", "shutoff", "crashed", "shutoff"),
    "reboot_soft": ("running", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
    "reboot_hard": ("running", REFUSED, "running", REFUSED, REFUSED, REFUSED),
    "pause": ("paused", "paused", REFUSED, REFUSED, REFUSED, REFUSED),
    "unpause": ("running", "running", REFUSED, REFUSED, REFUSED, REFUSED),
    "suspend": ("suspended", "suspended", "suspended", REFUSED, REFUSED, "suspended"),
    "resume": ("running", REFUSED, REFUSED, REFUSED, REFUSED, "running"),
    "balloon": ("running", REFUSED, REFUSED, REFUSED, REFUSED, REFUSED),
}
OPERATIONS = {
    "power_on": lambda driver: driver.power_on("web1"),
    "power_on_paused": lambda driver: driver.power_on("web1", paused=True),
    "request_shutdown": lambda driver: driver.request_shutdown("web1", "acpi"),
    "force_off": lambda driver: driver.force_off("web1"),
    "reboot_soft": lambda driver: driver.reboot("web1"),
    "reboot_hard": lambda driver: driver.reboot("web1", "hard"),
    "pause": lambda driver: driver.pause("web1"),
    "unpause": lambda driver: driver.unpause("web1"),
    "suspend": lambda driver: driver.suspend("web1"),
    "resume": lambda driver: driver.resume("web1"),
    "balloon": lambda driver: driver.balloon_memory("web1", 128),
}
CELLS = [
    (operation, before, after) for operation, row in TABLE.items() for before, after in zip(STATES, row, strict=True)
]


def state_of(driver) -> str:
    return power_state.name(driver.get_info("web1").state)


def bring_to(driver, root: str, state: str) -> None:
    if state == "shutoff":
        driver.force_off("web1")
    elif state == "crashed":
        dial.crash_instance(root, "web1")
    elif state == "paused":
        driver.pause("web1")
    elif state == "suspended":
        driver.suspend("web1")
    elif state == "shutdown":
        dial.write_faults(root, guests={"web1": {"shutdown_s": 60}})
        driver.request_shutdown("web1", "acpi")
        dial.write_faults(root)
    assert state_of(driver) == state


@pytest.mark.parametrize(("operation", "before", "after"), CELLS)
def test_the_table(driver, root, make, files, operation, before, after):
    driver.spawn(make())
    bring_to(driver, root, before)
    unchanged = files()
    if after is REFUSED:
        with pytest.raises(InvalidPowerState, match=f"'web1' is {before}"):
            OPERATIONS[operation](driver)
        assert files() == unchanged
    else:
        OPERATIONS[operation](driver)
        assert state_of(driver) == after


@pytest.mark.parametrize("state", STATES)
def test_destroy_works_in_every_state(driver, root, make, files, state):
    driver.spawn(make())
    bring_to(driver, root, state)
    driver.destroy("web1")
    assert files() == {}


def test_a_clean_stop_takes_the_time_of_the_guest(driver, root, make):
    dial.write_faults(root, guests={"web*": {"shutdown_s": 0.3}})
    driver.spawn(make())
    begin = time.monotonic()
    driver.power_off("web1")
    assert 0.3 <= time.monotonic() - begin < 3
    assert state_of(driver) == "shutoff"
    assert b"POWERS OFF" in driver.get_console_output("web1")


def test_a_guest_that_ignores_the_power_button(driver, root, make):
    dial.write_faults(root, guests={"web1": {"ignores_acpi": True}})
    driver.spawn(make())
    with pytest.raises(TimeoutExpired, match="last seen: running"):
        driver.power_off("web1", timeout_s=0.1)
    with pytest.raises(TimeoutExpired, match="last seen: running"):
        driver.reboot("web1", timeout_s=0.1)
    driver.power_off("web1", "agent", timeout_s=5)
    assert state_of(driver) == "shutoff"


def test_a_guest_without_agent(driver, root, make):
    dial.write_faults(root, guests={"web1": {"agent": False}})
    driver.spawn(make())
    with pytest.raises(HypervisorError, match="agent of instance 'web1' is not connected"):
        driver.power_off("web1", "agent", timeout_s=5)
    [address] = driver.get_addresses(["web1"], ask_guest=True)["web1"]
    assert address.source == "lease"


def test_a_guest_that_boots_hears_nothing_yet(driver, root, make):
    dial.write_faults(root, guests={"web1": {"boot_s": 0.2}})
    driver.spawn(make())
    assert driver.get_addresses(["web1"]) == {"web1": []}
    assert b"READY" not in driver.get_console_output("web1")
    driver.power_off("web1", timeout_s=5, retry_interval_s=0.05)
    assert b"READY" in driver.get_console_output("web1")


def test_a_guest_that_crashes_by_itself(driver, root, make):
    dial.write_faults(root, guests={"web1": {"crashes_after_s": 0.1}})
    driver.spawn(make())
    assert driver.wait_for_state("web1", {power_state.CRASHED}, 5) == power_state.CRASHED
    assert driver.get_host_stats().running_instances == 0


def test_a_crash_ordered_by_file_does_not_hit_what_starts_later(driver, root, make):
    driver.spawn(make())
    dial.write_faults(root, guests={"*": {"crash": True}})
    assert state_of(driver) == "crashed"
    driver.power_on("web1")
    assert state_of(driver) == "running"


def test_guest_time_stands_still_while_paused(driver, make):
    driver.spawn(make())
    driver.pause("web1")
    before = driver.get_info("web1").cpu_time_ns
    time.sleep(0.05)
    assert driver.get_info("web1").cpu_time_ns == before
    driver.unpause("web1")
    time.sleep(0.05)
    assert driver.get_info("web1").cpu_time_ns > before


def test_what_autostarts_runs_after_the_host_was_restarted(driver, root, make):
    driver.spawn(make("web1", autostart=True))
    driver.spawn(make("web2"))
    dial.restart_host(root)
    assert [info.state for info in driver.list_instances_detail()] == [power_state.RUNNING, power_state.SHUTOFF]


def test_the_console_is_bounded(driver, root, make):
    dial.write_faults(root, guests={"web1": {"says": ["x" * 50] * 20}})
    driver.spawn(make())
    for _turn in range(60):
        driver.reboot("web1", "hard")
    written = driver.get_console_output("web1", 1 << 30)
    assert written.count(b"\n") == 500
    assert driver.get_console_output("web1", 100) == written[-100:]
    driver.force_off("web1")
    driver.power_on("web1")
    assert driver.get_console_output("web1").count(b"READY") == 1
