# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for consoles and addresses."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidPowerState, TimeoutExpired
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Address, InstanceInfo
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.wait import wait_for_address, wait_for_console

MAC = "52:00:00:00:00:01"


class Guest:
    """As much of a driver as waiting needs: each wait of a watch is the next moment in the life of a guest."""

    def __init__(self, leases=(), agent=(), console=(), ends_at: int | None = None) -> None:
        self.leases, self.agent, self.console, self.ends_at = leases, agent, console, ends_at
        self.moment = 0

    def now(self, moments: Collection) -> Any:
        return list(moments)[min(self.moment, len(moments) - 1)] if moments else []

    @contextmanager
    def watch(self, names):
        yield self

    def wait(self, timeout_s: float) -> None:
        self.moment += 1

    def get_info(self, name: str) -> InstanceInfo:
        off = self.ends_at is not None and self.moment >= self.ends_at
        return InstanceInfo(name, power_state.SHUTOFF if off else power_state.RUNNING, 0, 0, 1, 0)

    def get_addresses(self, names, ask_guest: bool = False):
        return {"a": self.now(self.agent if ask_guest else self.leases)}

    def get_console_output(self, name: str, max_bytes: int) -> bytes:
        return bytes(self.now(self.console) or b"")


def driver(**life) -> ComputeDriver:
    return Guest(**life)  # type: ignore[return-value]


def address(text: str, mac: str = MAC, source: str = "lease") -> Address:
    return Address(mac, text, 24, source)


def test_a_lease_is_enough():
    assert wait_for_address(driver(leases=[[], [], [address("10.0.0.5")]]), "a", [MAC], 60) == [address("10.0.0.5")]


def test_the_agent_is_asked_when_no_lease_is_known():
    told = address("10.0.0.6", source="agent")
    assert wait_for_address(driver(agent=[[], [told]]), "a", [MAC], 60) == [told]


def test_link_local_addresses_and_other_nics_do_not_count():
    early = [address("fe80::1"), address("169.254.3.4"), address("127.0.0.1"), address("10.0.0.9", "52:00:00:00:00:99")]
    good = address("2001:db8::7")
    assert wait_for_address(driver(leases=[early, early, [*early, good]]), "a", [MAC], 60) == [good]


def test_waiting_ends_and_tells_what_was_seen():
    with pytest.raises(TimeoutExpired, match="only fe80::1") as caught:
        wait_for_address(driver(leases=[[address("fe80::1")]]), "a", [MAC], 0.01)
    assert "running" in caught.value.last_seen


def test_nobody_waits_for_a_guest_that_is_off():
    with pytest.raises(InvalidPowerState, match="shutoff"):
        wait_for_address(driver(ends_at=2), "a", [MAC], 600)


def test_a_console_line():
    wait_for_console(driver(console=[b"", b"booting\r\n", b"booting\r\nlogin: "]), "a", "^login:", 60)


def test_the_last_console_line_is_told():
    with pytest.raises(TimeoutExpired, match="'half way'"):
        wait_for_console(driver(console=[b"one\r\nhalf way\r\n"]), "a", "login", 0.01)


def test_what_was_written_before_a_reboot_does_not_count():
    old = b"booting\r\nlogin: "
    guest = driver(console=[old, old + b"rebooting\r\n", old + b"rebooting\r\nlogin: "])
    wait_for_console(guest, "a", "^login:", 60, old)
    assert guest.moment == 2  # type: ignore[attr-defined]


def test_a_log_that_begins_anew_counts_whole():
    wait_for_console(driver(console=[b"login: "]), "a", "^login:", 60, b"something else\r\n")


def test_the_lease_of_the_last_run_does_not_count():
    old, new = (address("10.0.0.5")._replace(expires_s=expires_s) for expires_s in (1000, 2000))
    guest = driver(leases=[[old], [old], [new]])
    assert wait_for_address(guest, "a", [MAC], 60, fresh=True) == [new]
    assert wait_for_address(driver(leases=[[old]]), "a", [MAC], 60) == [old]
