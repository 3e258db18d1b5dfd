# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what a guest does: writing a line on its console, getting an address. Driven by events, always finite."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from typing import Callable

from ..driver.base import ComputeDriver
from ..errors import InvalidPowerState, TimeoutExpired
from ..model import power_state
from ..model.instance import Address
from .desired import FOR_CONSOLE, Desired

_LOOK_AGAIN_S = 2.0
"""Consoles, leases and agents send no events on every hypervisor: this is how long something can go unnoticed."""

_CONSOLE_BYTES = 1024 * 1024
_RECOGNIZABLE_BYTES = 4096


class GuestWait:
    """What a task waits for when its plan is done.

    A guest that the plan reboots in place keeps the log of its console, and a guest that it starts has a lease from its
    last run: neither is what the task waits for.

    Raises:
        Unsupported: the hypervisor cannot tell it.
    """

    def __init__(
        self, driver: ComputeDriver, wanted: Desired, macs: Collection[str], started: bool, rebooted: bool
    ) -> None:
        self._for_console = wanted.wait.what == FOR_CONSOLE
        driver.require("console_output" if self._for_console else "addresses")
        self._driver = driver
        self._wanted = wanted
        self._macs = macs
        self._started = started
        self._rebooted = rebooted
        self._old_console = b""

    def prepare(self) -> None:
        """To be called before the plan is carried out."""
        if self._rebooted and self._for_console:
            self._old_console = self._driver.get_console_output(self._wanted.name, _CONSOLE_BYTES)

    def wait(self) -> list[Address] | None:
        """To be called afterwards; the addresses, when they were waited for."""
        driver, name, wait = self._driver, self._wanted.name, self._wanted.wait
        if self._for_console:
            wait_for_console(driver, name, wait.pattern or "", wait.timeout_s, self._old_console)
            return None
        return wait_for_address(driver, name, self._macs, wait.timeout_s, fresh=self._started or self._rebooted)


def wait_for_console(driver: ComputeDriver, name: str, pattern: str, timeout_s: float, old: bytes = b"") -> None:
    """Return when the guest has written what fits ``pattern`` since it was last started, or after ``old``.

    Raises:
        TimeoutExpired: it did not in time.
        InvalidPowerState: it does not run any more, so it never will.
    """
    expression = re.compile(pattern, re.MULTILINE)
    seen = "nothing on its console"

    def look() -> bool:
        nonlocal seen
        output = _after(old, driver.get_console_output(name, _CONSOLE_BYTES))
        text = output.decode("utf-8", "replace").replace("\r\n", "\n")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines:
            seen = f"{lines[-1].strip()[:200]!r} on its console"
        return expression.search(text) is not None

    _wait(driver, name, look, lambda: seen, f"instance {name!r} wrote nothing that fits {pattern!r}", timeout_s)


def _after(old: bytes, output: bytes) -> bytes:
    """What was written after ``old``."""
    if output.startswith(old):
        return output[len(old) :]
    # The log begins anew, or it is so long by now that its beginning is cut off.
    end = old[-_RECOGNIZABLE_BYTES:]
    position = output.find(end)
    return output if position < 0 else output[position + len(end) :]


def wait_for_address(
    driver: ComputeDriver, name: str, macs: Collection[str], timeout_s: float, fresh: bool = False
) -> list[Address]:
    """Wait until one of its NICs has an address with which others can reach it; all of these addresses.

    Leases are asked first, and the guest's agent where they tell nothing; an agent that is silent is nothing unusual.
    With ``fresh`` the guest has just been started, and the leases of now are those of its last run.

    Raises:
        TimeoutExpired: none had one in time.
        InvalidPowerState: it does not run any more, so it never will.
    """
    found: list[Address] = []
    seen = "no address at all"
    ours = {mac.lower() for mac in macs}
    stale = {address for address in driver.get_addresses([name]).get(name, []) if address.expires_s} if fresh else set()

    def look() -> bool:
        nonlocal found, seen
        for ask_guest in (False, True):
            known = [it for it in driver.get_addresses([name], ask_guest=ask_guest).get(name, []) if it not in stale]
            found = [address for address in known if _is_good(address) and (not ours or address.mac.lower() in ours)]
            if found:
                return True
            if known:
                seen = "only " + ", ".join(f"{address.address} on {address.mac}" for address in known)
        return False

    _wait(driver, name, look, lambda: seen, f"instance {name!r} had no address", timeout_s)
    return found


def _is_good(address: Address) -> bool:
    """Whether others can reach the guest there."""
    import ipaddress  # takes long to import, and few tasks need it

    try:
        ip = ipaddress.ip_address(address.address.partition("%")[0])
    except ValueError:
        return False
    return not (ip.is_link_local or ip.is_loopback or ip.is_unspecified or ip.is_multicast)


def _wait(
    driver: ComputeDriver,
    name: str,
    look: Callable[[], bool],
    seen: Callable[[], str],
    what: str,
    timeout_s: float,
) -> None:
    deadline = time.monotonic() + timeout_s
    with driver.watch([name]) as watch:
        while not look():
            state = driver.get_info(name).state
            if state in power_state.OFF or state == power_state.SUSPENDED:
                raise InvalidPowerState(f"{what} before it was {power_state.name(state)}; last seen: {seen()}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutExpired(f"{what} within {timeout_s:g} s", f"{seen()}, {power_state.name(state)}")
            watch.wait(min(left, _LOOK_AGAIN_S))
