# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: on, off, reboot, pause, suspend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...errors import InvalidPowerState, TimeoutExpired
from ...model import power_state
from ..base import ACPI, AGENT, HARD, SOFT
from .errors import AGENT_UNRESPONSIVE, OPERATION_INVALID, code_of
from .states import to_power_state
from .watch import WatchMixin

if TYPE_CHECKING:
    import libvirt

ASK_AGAIN_S = 10.0


class PowerMixin(WatchMixin):
    """What changes an instance's power state."""

    def power_on(self, name: str, paused: bool = False) -> None:
        if paused:
            self.require("start_paused")
        domain = self.lookup(name)
        if self.state_of(domain) in power_state.ACTIVE:
            return
        with self.guard(f"start instance {name!r}", name):
            domain.createWithFlags(self.libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
            if not paused and self.state_of(domain) == power_state.PAUSED:
                domain.resume()  # it was paused when it was suspended

    def request_shutdown(self, name: str, method: str) -> None:
        self.require(f"shutdown_{method}")
        domain = self.lookup(name)
        try:
            if self.kind == "xen":
                domain.shutdown()
            else:
                domain.shutdownFlags(self._shutdown_flag(method))
        except self.libvirt.libvirtError as error:
            if code_of(error) == OPERATION_INVALID and self.state_of(domain) in power_state.OFF:
                return  # it went off by itself meanwhile
            if code_of(error) == AGENT_UNRESPONSIVE:
                return  # its guest has not booted yet; who waits for it asks again
            with self.guard(f"shut down instance {name!r}", name):
                raise

    def force_off(self, name: str) -> None:
        domain = self.lookup(name)
        state = self.state_of(domain)
        if state in power_state.OFF:
            return
        with self.guard(f"power off instance {name!r}", name):
            if state == power_state.SUSPENDED:
                domain.managedSaveRemove(0)
                return
            try:
                domain.destroy()
            except self.libvirt.libvirtError as error:
                if code_of(error) != OPERATION_INVALID:  # it went off by itself meanwhile
                    raise

    def reboot(self, name: str, method: str = SOFT, timeout_s: float = 120.0) -> None:
        self.require(f"reboot_{method}")
        domain = self.lookup(name)
        self._require_state(name, domain, power_state.EXECUTING, "reboot")
        if method == HARD:
            self._reset(name, domain)
        else:
            self._reboot_softly(name, timeout_s)

    def pause(self, name: str) -> None:
        self.require("pause")
        domain = self.lookup(name)
        if (
            self._require_state(name, domain, power_state.EXECUTING | {power_state.PAUSED}, "pause")
            != power_state.PAUSED
        ):
            with self.guard(f"pause instance {name!r}", name):
                domain.suspend()

    def unpause(self, name: str) -> None:
        self.require("pause")
        domain = self.lookup(name)
        if (
            self._require_state(name, domain, power_state.EXECUTING | {power_state.PAUSED}, "unpause")
            == power_state.PAUSED
        ):
            with self.guard(f"unpause instance {name!r}", name):
                domain.resume()

    def suspend(self, name: str) -> None:
        self.require("suspend")
        domain = self.lookup(name)
        state = self._require_state(name, domain, power_state.ACTIVE | {power_state.SUSPENDED}, "suspend")
        if state == power_state.SUSPENDED:
            return
        with self.guard(f"suspend instance {name!r}", name):
            if state == power_state.PAUSED and self.kind == "xen":
                domain.resume()  # libxl saves only what runs
            domain.managedSave(0)

    def resume(self, name: str) -> None:
        self.require("suspend")
        domain = self.lookup(name)
        if (
            self._require_state(name, domain, power_state.EXECUTING | {power_state.SUSPENDED}, "resume")
            == power_state.SUSPENDED
        ):
            self.power_on(name)

    def state_of(self, domain: libvirt.virDomain) -> int:
        """Its power state."""
        with self.guard("read the state of an instance"):
            state = to_power_state(domain.state()[0])
            if state in power_state.OFF and self.supports("suspend") and domain.hasManagedSaveImage():
                return power_state.SUSPENDED
        return state

    def _shutdown_flag(self, method: str) -> int:
        if self.kind == "lxc":
            # Of the other ways libvirt reports success and nothing happens unless the container has an initctl pipe.
            return int(self.libvirt.VIR_DOMAIN_SHUTDOWN_SIGNAL)
        flags = {
            ACPI: self.libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
            AGENT: self.libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
        }
        return int(flags[method])

    def _require_state(self, name: str, domain: libvirt.virDomain, wanted: frozenset[int], verb: str) -> int:
        state = self.state_of(domain)
        if state not in wanted:
            raise InvalidPowerState(f"cannot {verb} instance {name!r}: it is {power_state.name(state)}")
        return state

    def _reset(self, name: str, domain: libvirt.virDomain) -> None:
        with self.guard(f"reset instance {name!r}", name):
            if self.kind == "qemu":
                domain.reset(0)
            else:  # neither Xen nor containers have a reset button
                domain.destroy()
                domain.create()

    def _reboot_softly(self, name: str, timeout_s: float) -> None:
        """Ask the guest until it has rebooted; QEMU tells so by an event, on Xen the domain gets a new id."""
        deadline = time.monotonic() + timeout_s
        next_ask = 0.0
        old_id = self.lookup(name).ID()
        with self.watch([name]) as watch:
            while True:
                domain = self.lookup(name)
                rebooted = watch.has_rebooted(name) or (self.kind == "xen" and domain.ID() not in (-1, old_id))
                state = self.state_of(domain)
                if rebooted and state in power_state.EXECUTING:
                    return
                now = time.monotonic()
                if now >= deadline:
                    raise TimeoutExpired(
                        f"instance {name!r} did not reboot within {timeout_s:g} s", last_seen=power_state.name(state)
                    )
                if now >= next_ask and not rebooted and state in power_state.EXECUTING:
                    self._ask_for_reboot(name, domain)
                    next_ask = now + ASK_AGAIN_S
                watch.wait(deadline - now)

    def _ask_for_reboot(self, name: str, domain: libvirt.virDomain) -> None:
        with self.guard(f"reboot instance {name!r}", name):
            domain.reboot(self.libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN if self.kind == "qemu" else 0)
