# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: on, off, reboot, pause, suspend."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import InvalidPowerState, TimeoutExpired, Unsupported
from ...model import power_state
from ..base import ACPI, AGENT, FORCED, HARD, SOFT
from ..uri import ConnectionOptions
from .errors import (
    AGENT_UNRESPONSIVE,
    INTERNAL_ERROR,
    NO_DOMAIN,
    OPERATION_FAILED,
    OPERATION_INVALID,
    code_of,
    translate,
)
from .filtering import FilteringMixin
from .states import PMSUSPENDED, to_power_state
from .watch import WatchMixin

if TYPE_CHECKING:
    import libvirt

ASK_AGAIN_S = 10.0
XEN_ASK_AGAIN_S = 30.0
"""How often a guest is asked to reboot. Xen keeps the request until the guest takes it, and one too many makes a guest
that is slow reboot twice."""
LXC_FREEZE_ATTEMPTS = 10
XEN_SAVE_S = 90.0
"""How long a Xen guest that cannot be saved yet is tried again: libxl waits 60 s for one that missed the request."""


class PowerMixin(FilteringMixin, WatchMixin):
    """What changes an instance's power state.

    Others may change it at the same time: an operation that comes too late and finds what it wanted is content.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._silent_agents: set[str] = set()

    def power_on(self, name: str, paused: bool = False) -> None:
        if paused:
            self.require("start_paused")
        domain = self.lookup(name)
        if self.state_of(domain) in power_state.ACTIVE:
            return
        filtered = self.filtered_document(name, domain)
        if filtered is not None:
            filtered = self.ensure_filters(domain, filtered)
        with self.guard(f"start instance {name!r}", name):
            try:
                domain.createWithFlags(self.libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
            except self.libvirt.libvirtError as error:
                if code_of(error) != OPERATION_INVALID or self.state_of(domain) not in power_state.ACTIVE:
                    raise
                return
            if not paused and self.state_of(domain) == power_state.PAUSED:
                domain.resume()  # it was paused when it was suspended
        self.refresh_members_of(filtered)

    def power_off(
        self, name: str, method: str = ACPI, timeout_s: float = 120.0, retry_interval_s: float = 10.0
    ) -> None:
        self._silent_agents.discard(name)
        # Before, since a transient one is gone when it is off; a forced stop sees to it itself.
        filtered = None if method == FORCED else self.filtered_document(name)
        try:
            super().power_off(name, method, timeout_s, retry_interval_s)
            self.refresh_members_of(filtered)
        except TimeoutExpired as error:
            if name not in self._silent_agents:
                raise
            raise TimeoutExpired(
                f"instance {name!r} did not stop within {timeout_s:g} s: its guest agent does not answer",
                last_seen=error.last_seen,
            ) from error
        finally:
            self._silent_agents.discard(name)

    def request_shutdown(self, name: str, method: str) -> None:
        """As the contract says. A guest agent that does not answer (yet) is no error here, nor a container whose first
        program libvirt has not met yet: who waits for the guest asks again, and ``power_off`` tells of an agent in the
        end."""
        self.require(f"shutdown_{method}")
        domain = self.lookup(name)
        with self.guard(f"shut down instance {name!r}", name):
            try:
                if self.kind == "xen":
                    domain.shutdown()
                else:
                    domain.shutdownFlags(self._shutdown_flag(method))
            except self.libvirt.libvirtError as error:
                if code_of(error) == AGENT_UNRESPONSIVE:
                    self._silent_agents.add(name)
                elif self.kind == "lxc" and code_of(error) == OPERATION_INVALID:
                    return
                elif code_of(error) != NO_DOMAIN and self.state_of(domain) not in power_state.OFF:
                    raise
            else:
                self._silent_agents.discard(name)

    def force_off(self, name: str) -> None:
        domain = self.lookup(name)
        state = self.state_of(domain)
        if state in power_state.OFF:
            return
        filtered = self.filtered_document(name, domain)
        with self.guard(f"power off instance {name!r}", name):
            try:
                if state == power_state.SUSPENDED:
                    domain.managedSaveRemove(0)
                else:
                    domain.destroy()
            except self.libvirt.libvirtError as error:
                # It went off by itself meanwhile, and a transient one with it.
                if code_of(error) not in (OPERATION_INVALID, NO_DOMAIN):
                    raise
        self.refresh_members_of(filtered)

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
        state = self._require_state(name, domain, power_state.EXECUTING | {power_state.PAUSED}, "pause")
        if state != power_state.PAUSED:
            with self.guard(f"pause instance {name!r}", name):
                self._freeze(domain)

    def unpause(self, name: str) -> None:
        self.require("pause")
        domain = self.lookup(name)
        state = self._require_state(name, domain, power_state.EXECUTING | {power_state.PAUSED}, "unpause")
        if state == power_state.PAUSED:
            with self.guard(f"unpause instance {name!r}", name):
                if domain.state()[0] == PMSUSPENDED:
                    domain.pMWakeup(0)
                else:
                    domain.resume()

    def suspend(self, name: str) -> None:
        self.require("suspend")
        domain = self.lookup(name)
        state = self._require_state(name, domain, power_state.ACTIVE | {power_state.SUSPENDED}, "suspend")
        if state == power_state.SUSPENDED:
            return
        if not self._is_persistent(domain):
            raise Unsupported(
                f"instance {name!r} is transient: there is no configuration to resume it with; pause it instead"
            )
        with self.guard(f"suspend instance {name!r}", name):
            if self.kind == "xen":
                self._save_xen_guest(domain, state)
            else:
                domain.managedSave(0)
        self.refresh_members_of(self.filtered_document(name, domain))

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

    def _freeze(self, domain: libvirt.virDomain) -> None:
        """Pause it. A container has one second to stand still, which is short on a busy host: it is tried again."""
        attempts = LXC_FREEZE_ATTEMPTS if self.kind == "lxc" else 1
        while True:
            attempts -= 1
            try:
                domain.suspend()
                return
            except self.libvirt.libvirtError as error:
                if not attempts or code_of(error) != OPERATION_FAILED:
                    raise

    def _is_persistent(self, domain: libvirt.virDomain) -> bool:
        with self.guard("read the state of an instance"):
            return bool(domain.isPersistent())

    def _save_xen_guest(self, domain: libvirt.virDomain, state: int) -> None:
        """libxl saves only what runs, and with the guest's help: one that still boots gets some time."""
        if state == power_state.PAUSED:
            domain.resume()
        deadline = time.monotonic() + XEN_SAVE_S
        try:
            while not self._saved(domain, time.monotonic() < deadline):
                time.sleep(1.0)
        except BaseException:
            if state == power_state.PAUSED:
                with suppress(self.libvirt.libvirtError):
                    domain.suspend()
            raise

    def _saved(self, domain: libvirt.virDomain, may_fail: bool) -> bool:
        try:
            domain.managedSave(0)
        except self.libvirt.libvirtError as error:
            # libxl leaves half an image behind, from which the next start would fail.
            with suppress(self.libvirt.libvirtError):
                domain.managedSaveRemove(0)
            if may_fail and code_of(error) == INTERNAL_ERROR and self.state_of(domain) in power_state.EXECUTING:
                return False
            raise
        return True

    def _reset(self, name: str, domain: libvirt.virDomain) -> None:
        if self.kind == "qemu":
            with self.guard(f"reset instance {name!r}", name):
                domain.reset(0)
            return
        # Neither Xen nor containers have a reset button.
        if not self._is_persistent(domain):
            raise Unsupported(f"cannot reset instance {name!r}: it is transient, so it would be gone when it stops")
        filtered = self.filtered_document(name, domain)
        self.force_off(name)
        try:
            domain.create()
        except self.libvirt.libvirtError as error:
            failure = translate(error, f"start instance {name!r} again", name)
            failure.rolled_back = False
            failure.not_undone.append(f"instance {name!r} was stopped to be reset and is off now")
            raise failure from error
        self.refresh_members_of(filtered)

    def _reboot_softly(self, name: str, timeout_s: float) -> None:
        """Ask the guest until it has rebooted; QEMU tells so by an event, on Xen the domain gets a new id.

        A guest that did not hear it in time is as it was but for one thing that libvirt cannot take back: should it
        power off by itself later on, libvirt takes that for the answer and starts it again.
        """
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
                    next_ask = now + (XEN_ASK_AGAIN_S if self.kind == "xen" else ASK_AGAIN_S)
                watch.wait(deadline - now)

    def _ask_for_reboot(self, name: str, domain: libvirt.virDomain) -> None:
        with self.guard(f"reboot instance {name!r}", name):
            domain.reboot(self.libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN if self.kind == "qemu" else 0)
