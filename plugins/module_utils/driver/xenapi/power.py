# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power: on, off, reboot, pause, suspend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from ...errors import AnyvirtError, InvalidPowerState, TimeoutExpired
from ...model import power_state
from ...undo import UndoStack
from ..base import ACPI, FORCED, HARD, SOFT
from ..uri import ConnectionOptions
from .apply import ApplyMixin
from .errors import code_of, details_of
from .guests import NOT_YET
from .records import Object, state_of
from .remains import WRONG_STATE
from .tasks import Task

_NO_TOOLS = frozenset({"VM_LACKS_FEATURE", "VM_MISSING_PV_DRIVERS"})
_UNHEARD = frozenset({"VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", "VM_SHUTDOWN_TIMEOUT"})
"""The guest has not heeded a request for as long as the server waits for that."""
_ASK_AGAIN_S = 2.0
"""How often a guest whose tools may be starting is asked to reboot or to be saved."""
_TOOLS_START_S = 30.0
"""How long a guest that runs may take until its tools let it be saved."""


class PowerMixin(ApplyMixin):
    """What changes an instance's power state.

    Others may change it at the same time: an operation that comes too late and finds what it wanted is content.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._requests: dict[str, Task] = {}
        """Shutdowns that guests were asked for without waiting, by the instance's name."""

    def power_on(self, name: str, paused: bool = False) -> None:
        ref, vm = self.lookup(name)
        state = state_of(vm)
        if state in power_state.ACTIVE:
            return
        with self._content_with("running", "paused"):
            if state == power_state.SUSPENDED:
                self.resume_vm(ref, name, paused)
                return
            with UndoStack() as done:
                swapped = self.apply_waiting(ref, vm, done)
                self.start_vm(ref, name, paused)
            if swapped:
                self.drop_old_seeds(vm)

    def power_off(
        self, name: str, method: str = ACPI, timeout_s: float = 120.0, retry_interval_s: float = 10.0
    ) -> None:
        """As the contract says. The server itself waits for the guest, in a task that ends when the guest has; a guest
        without tools it refuses to ask, and that may just be booting."""
        self.require(f"shutdown_{method}")
        if method == FORCED:
            self.force_off(name)
            return
        ref, vm = self.lookup(name)
        if not self._has_guest_to_stop(name, state_of(vm)):
            return
        self._end_request(name)
        try:
            with self.guard(f"shut down instance {name!r}", name):
                self._ask_tools("VM.clean_shutdown", ref, name, timeout_s, retry_interval_s)
        except AnyvirtError as error:
            seen = self.get_info(name).state
            if seen not in power_state.OFF:
                _raise_told(error, f"instance {name!r} did not stop within {timeout_s:g} s", seen)

    def request_shutdown(self, name: str, method: str) -> None:
        """As the contract says. As long as the server waits for the guest, asking again changes nothing."""
        self.require(f"shutdown_{method}")
        ref, vm = self.lookup(name)
        if state_of(vm) in power_state.OFF or self._is_asked(name):
            return
        with self.guard(f"shut down instance {name!r}", name):
            self._requests[name] = self.start_task("VM.clean_shutdown", ref)

    def force_off(self, name: str) -> None:
        ref, vm = self.lookup(name)
        self._end_request(name)
        if state_of(vm) not in power_state.OFF:
            self.cut_off(ref, name)

    def reboot(self, name: str, method: str = SOFT, timeout_s: float = 120.0) -> None:
        self.require(f"reboot_{method}")
        ref, vm = self.lookup(name)
        _require_state(name, vm, power_state.EXECUTING, "reboot")
        if self.get_instances([name])[name].pending:
            self._restart(name, method, timeout_s)
        elif method == HARD:
            with self.guard(f"reset instance {name!r}", name):
                self.run_task("VM.hard_reboot", ref)
        else:
            self._reboot_softly(ref, name, timeout_s)

    def pause(self, name: str) -> None:
        ref, vm = self.lookup(name)
        state = _require_state(name, vm, power_state.EXECUTING | {power_state.PAUSED}, "pause")
        if state != power_state.PAUSED:
            with self._content_with("paused"), self.guard(f"pause instance {name!r}", name):
                self.run_task("VM.pause", ref)

    def unpause(self, name: str) -> None:
        ref, vm = self.lookup(name)
        state = _require_state(name, vm, power_state.EXECUTING | {power_state.PAUSED}, "unpause")
        if state == power_state.PAUSED:
            with self._content_with("running"), self.guard(f"unpause instance {name!r}", name):
                self.run_task("VM.unpause", ref)

    def suspend(self, name: str) -> None:
        """As the contract says. The server suspends only what runs, with the help of the guest's tools: one that is
        paused is unpaused for it, and one that still boots gets some time."""
        ref, vm = self.lookup(name)
        state = _require_state(name, vm, power_state.ACTIVE | {power_state.SUSPENDED}, "suspend")
        if state == power_state.SUSPENDED:
            return
        with UndoStack() as done:
            if state == power_state.PAUSED:
                self.unpause(name)
                done.push(f"pause {name} again", lambda: self.pause(name))
            with self._content_with("suspended"), self.guard(f"suspend instance {name!r}", name):
                self._ask_tools("VM.suspend", ref, name, _TOOLS_START_S, _ASK_AGAIN_S)

    def resume(self, name: str) -> None:
        ref, vm = self.lookup(name)
        state = _require_state(name, vm, power_state.EXECUTING | {power_state.SUSPENDED}, "resume")
        if state == power_state.SUSPENDED:
            with self._content_with("running"):
                self.resume_vm(ref, name, paused=False)

    # -- parts of it ------------------------------------------------------------------------------------------------

    def _restart(self, name: str, method: str, timeout_s: float) -> None:
        """Off and on again, which puts into force what waits for it."""
        if method == HARD:
            self.force_off(name)
        else:
            self.power_off(name, ACPI, timeout_s)
        try:
            self.power_on(name)
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"instance {name!r} was stopped to be rebooted and is off now")
            raise

    def _reboot_softly(self, ref: str, name: str, timeout_s: float) -> None:
        try:
            with self.guard(f"reboot instance {name!r}", name):
                self._ask_tools("VM.clean_reboot", ref, name, timeout_s, _ASK_AGAIN_S)
        except AnyvirtError as error:
            seen = self.get_info(name).state
            _raise_told(error, f"instance {name!r} did not reboot within {timeout_s:g} s", seen)

    def _ask_tools(self, method: str, ref: str, name: str, timeout_s: float, retry_s: float) -> None:
        """Have the guest, or its tools, do something as soon as they can."""
        self.when_guest_can(
            name,
            timeout_s,
            retry_s,
            lambda left_s: self.run_task(method, ref, timeout_s=max(left_s, 0.0)),
            NOT_YET | _UNHEARD,
        )

    def _is_asked(self, name: str) -> bool:
        """Whether the server still waits for a guest that we have asked to shut down."""
        task = self._requests.get(name)
        if task is None:
            return False
        try:
            with self.guard(f"shut down instance {name!r}", name), self._content_with("halted"):
                self.wait_task(task, timeout_s=0.0)
        except TimeoutExpired as error:
            if not code_of(error):
                return True  # by our clock; otherwise it is the server that waited long enough
        except AnyvirtError as error:
            if code_of(error) not in NOT_YET:
                del self._requests[name]
                raise
        del self._requests[name]
        return False

    def _end_request(self, name: str) -> None:
        """The guest need not shut down any more because we have asked, and the server need not wait for it."""
        task = self._requests.pop(name, None)
        if task is not None:
            self.cancel_task(task)

    @contextmanager
    def _content_with(self, *states: str) -> Iterator[None]:
        """The server's refusal is none where it is because the VM is in one of these states already."""
        try:
            yield
        except Exception as error:
            if code_of(error) != WRONG_STATE or details_of(error)[-1].lower() not in states:
                raise


def _require_state(name: str, vm: Object, wanted: frozenset[int], verb: str) -> int:
    state = state_of(vm)
    if state not in wanted:
        raise InvalidPowerState(f"cannot {verb} instance {name!r}: it is {power_state.name(state)}")
    return state


def _raise_told(error: AnyvirtError, message: str, seen: int) -> NoReturn:
    """Raise the failure of a guest to do something in time as just that, and any other as it is."""
    if code_of(error) in _NO_TOOLS:
        why = f"{message}: no guest tools run in it that could do it"
    elif isinstance(error, TimeoutExpired):
        why = message
    else:
        raise error
    raise TimeoutExpired(why, power_state.name(seen)) from error
