# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: what is possible in which state, and what comes of it."""

from __future__ import annotations

import time

from ...errors import HypervisorError, InvalidPowerState, TimeoutExpired
from ...model import power_state
from ...model.power_state import PAUSED, RUNNING, SHUTDOWN, SHUTOFF, SUSPENDED
from ..base import ACPI, AGENT, HARD, SOFT
from . import guest as guests
from .addresses import AddressesMixin
from .guest import Look
from .migrationjobs import end_job
from .records import felt
from .storage import StorageMixin
from .store import INSTANCES, Changes, Record

_ASK_AGAIN_S = 0.5


class PowerMixin(StorageMixin, AddressesMixin):
    """Starting, stopping and what lies between."""

    def power_on(self, name: str, paused: bool = False) -> None:
        self.require("start_paused" if paused else "spawn")
        with self._write("start", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state == SHUTDOWN:
                raise _impossible(name, seen, "start", "it is about to be off; wait for that first")
            if seen.state in power_state.ACTIVE:
                return
            if seen.state == SUSPENDED:
                self._go_on(changes, record, seen, PAUSED if paused else RUNNING)
                return
            config = record["config"]
            self._require_room(changes, name, config["memory_mb"], config["vcpus"])
            self._require_parts(changes, record)
            record = {**record, "running": felt(config)}
            guest = self._faults.guest(name)
            record["leases"] = self._leases_for(changes, record)
            changes.put(INSTANCES, name, {**record, "power": guests.started(record, guest, paused)})

    def request_shutdown(self, name: str, method: str) -> None:
        self.require(f"shutdown_{method}")
        guest = self._faults.guest(name)
        with self._write("shutdown", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state == SHUTDOWN:
                return
            if seen.state not in power_state.EXECUTING:
                raise _impossible(name, seen, "shut down", "only a guest that runs can shut down by itself")
            if method == AGENT and not guest.agent:
                raise HypervisorError(f"the guest agent of instance {name!r} is not connected")
            if not seen.ready or (method == ACPI and guest.ignores_acpi):
                return  # nobody in there heard it
            changes.put(INSTANCES, name, {**record, "power": guests.shutting_down(record["power"], seen, guest)})

    def force_off(self, name: str) -> None:
        with self._write("force_off", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state not in power_state.OFF:
                end_job(changes, record, self.folder)
                self._set_state(changes, {**record, "running": None}, seen, SHUTOFF)

    def reboot(self, name: str, method: str = SOFT, timeout_s: float = 120.0) -> None:
        self.require(f"reboot_{method}")
        if method == HARD:
            with self._write("reset", name) as changes:
                record, seen = self._instance(changes, name)
                if seen.state not in power_state.EXECUTING | {SHUTDOWN}:
                    raise _impossible(name, seen, "be reset", "only a running instance can")
                self._reboot(changes, record, seen, 0.0)
            return
        deadline = time.monotonic() + timeout_s
        while not self._ask_to_reboot(name):
            self._sleep_until(deadline, _ASK_AGAIN_S, name)
        self._sleep_until(deadline, self._faults.guest(name).shutdown_s, name)

    def pause(self, name: str) -> None:
        with self._write("pause", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state == PAUSED:
                return
            if seen.state not in power_state.EXECUTING:
                raise _impossible(name, seen, "be paused", "only a running instance can")
            self._set_state(changes, record, seen, PAUSED)

    def unpause(self, name: str) -> None:
        with self._write("unpause", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state in power_state.EXECUTING:
                return
            if seen.state != PAUSED:
                raise _impossible(name, seen, "be unpaused", "only a paused instance can")
            self._set_state(changes, record, seen, RUNNING)

    def suspend(self, name: str) -> None:
        with self._write("suspend", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state == SUSPENDED:
                return
            if seen.state not in power_state.ACTIVE:
                raise _impossible(name, seen, "be suspended", "only an active instance has memory to save")
            self._set_state(changes, record, seen, SUSPENDED)

    def resume(self, name: str) -> None:
        with self._write("resume", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state in power_state.EXECUTING:
                return
            if seen.state != SUSPENDED:
                raise _impossible(name, seen, "be resumed", "only a suspended instance can")
            self._go_on(changes, record, seen, RUNNING)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _go_on(self, changes: Changes, record: Record, seen: Look, state: int) -> None:
        running = record["running"]
        self._require_room(changes, record["name"], running["memory_mb"], running["vcpus"])
        self._set_state(changes, record, seen, state)

    def _set_state(self, changes: Changes, record: Record, seen: Look, state: int) -> None:
        changes.put(INSTANCES, record["name"], {**record, "power": guests.settled(record["power"], seen, state)})

    def _reboot(self, changes: Changes, record: Record, seen: Look, down_s: float) -> None:
        guest = self._faults.guest(record["name"])
        changes.put(INSTANCES, record["name"], {**record, "power": guests.rebooted(record, guest, seen, down_s)})

    def _ask_to_reboot(self, name: str) -> bool:
        """Whether the guest has heard it."""
        guest = self._faults.guest(name)
        with self._write("reboot", name) as changes:
            record, seen = self._instance(changes, name)
            if seen.state not in power_state.EXECUTING:
                raise _impossible(name, seen, "reboot", "only a guest that runs can reboot by itself")
            if guest.ignores_acpi or not seen.ready:
                return False
            self._reboot(changes, record, seen, guest.shutdown_s)
            return True

    def _sleep_until(self, deadline: float, wanted_s: float, name: str) -> None:
        """Sleep, but raise TimeoutExpired when that lasts longer than the deadline allows."""
        left_s = deadline - time.monotonic()
        time.sleep(max(0.0, min(wanted_s, left_s)))
        if wanted_s > left_s:
            raise TimeoutExpired(
                f"instance {name!r} did not reboot in time",
                last_seen=power_state.name(self.get_info(name).state),
            )


def _impossible(name: str, seen: Look, what: str, hint: str) -> InvalidPowerState:
    return InvalidPowerState(f"instance {name!r} is {power_state.name(seen.state)} and cannot {what}: {hint}")
