# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the power state that an instance is in to the one that is wanted: which operations, in which order."""

from __future__ import annotations

from typing import Callable, NamedTuple

from ..driver.base import ACPI, FORCED, HARD, SOFT, ComputeDriver
from ..errors import InvalidPowerState, TimeoutExpired
from ..model import power_state
from ..undo import Undo
from .desired import PAUSED, REBOOTED, RUNNING, STOPPED, SUSPENDED, Shutdown
from .plan import Step

START = "start"
START_PAUSED = "start paused"
START_AGAIN = "start when it has shut down"
STOP = "stop"
PAUSE = "pause"
UNPAUSE = "unpause"
SUSPEND = "suspend"
RESUME = "resume"
REBOOT = "reboot"

_SHUTTING_DOWN = power_state.SHUTDOWN

STATE_OF = {
    RUNNING: power_state.RUNNING,
    REBOOTED: power_state.RUNNING,
    STOPPED: power_state.SHUTOFF,
    PAUSED: power_state.PAUSED,
    SUSPENDED: power_state.SUSPENDED,
}
"""The power state in which an instance is when the wanted state of a task is reached."""

_KIND_OF = {
    power_state.NOSTATE: RUNNING,
    power_state.RUNNING: RUNNING,
    power_state.BLOCKED: RUNNING,
    power_state.PAUSED: PAUSED,
    power_state.SHUTDOWN: "shutting down",
    power_state.SHUTOFF: STOPPED,
    power_state.CRASHED: STOPPED,
    power_state.SUSPENDED: SUSPENDED,
}

_WAYS: dict[tuple[str, str], tuple[str, ...]] = {
    (RUNNING, RUNNING): (),
    (RUNNING, STOPPED): (STOP,),
    (RUNNING, PAUSED): (PAUSE,),
    (RUNNING, SUSPENDED): (SUSPEND,),
    (RUNNING, REBOOTED): (REBOOT,),
    (PAUSED, RUNNING): (UNPAUSE,),
    (PAUSED, STOPPED): (UNPAUSE, STOP),
    (PAUSED, PAUSED): (),
    (PAUSED, SUSPENDED): (SUSPEND,),
    (PAUSED, REBOOTED): (UNPAUSE, REBOOT),
    ("shutting down", RUNNING): (START_AGAIN,),
    ("shutting down", STOPPED): (STOP,),
    ("shutting down", PAUSED): (START_AGAIN, PAUSE),
    ("shutting down", REBOOTED): (START_AGAIN,),
    (STOPPED, RUNNING): (START,),
    (STOPPED, STOPPED): (),
    (STOPPED, PAUSED): (START_PAUSED,),
    (STOPPED, REBOOTED): (START,),
    (SUSPENDED, RUNNING): (RESUME,),
    (SUSPENDED, STOPPED): (RESUME, STOP),
    (SUSPENDED, PAUSED): (RESUME, PAUSE),
    (SUSPENDED, SUSPENDED): (),
    (SUSPENDED, REBOOTED): (RESUME, REBOOT),
}
"""(how it is, how it is wanted) -> operations. Nothing leads to suspended from where there is no memory to save."""


def settled(state: int) -> str:
    """The wanted state of a task in which an instance of this power state stays as it is."""
    kind = _KIND_OF[state]
    return STOPPED if kind == "shutting down" else kind


def way(name: str, state: int, wanted: str, shutdown: Shutdown) -> tuple[str, ...]:
    """The operations that lead from a power state to a task's wanted state.

    Raises:
        InvalidPowerState: none do.
    """
    operations = _WAYS.get((_KIND_OF[state], wanted))
    if operations is None:
        raise InvalidPowerState(
            f"instance {name!r} is {power_state.name(state)}: there is no memory to save, so it cannot be {wanted}; "
            "start it first"
        )
    if shutdown.method == FORCED and wanted == STOPPED and operations:
        return (STOP,)  # whatever state it is in, the power can be taken away
    return operations


class Power:
    """Makes steps of power operations for one instance."""

    def __init__(self, driver: ComputeDriver, name: str, shutdown: Shutdown) -> None:
        self.driver = driver
        self.name = name
        self.shutdown = shutdown

    def steps(self, state: int, wanted: str) -> list[Step]:
        """The steps from a power state to the wanted state; empty when it is there.

        Raises:
            InvalidPowerState: no way leads there.
            Unsupported: this hypervisor cannot.
        """
        steps: list[Step] = []
        for operation in way(self.name, state, wanted, self.shutdown):
            steps.extend(self._steps_of(operation, state))
        return steps

    def stop_method(self) -> str:
        """How it is stopped: as the task says, or in the most polite way that this hypervisor knows."""
        if self.shutdown.method is not None:
            return self.shutdown.method
        return ACPI if self.driver.supports("shutdown_acpi") else FORCED

    def power_off(self, method: str) -> None:
        """Stop it, and wait until it is off."""
        self.driver.power_off(self.name, method, self.shutdown.timeout_s)

    def _steps_of(self, operation: str, state: int) -> list[Step]:
        if operation == STOP:
            return [self._stop(state)]
        if operation == REBOOT:
            return self._reboot()
        if operation == START_PAUSED and not self.driver.supports("start_paused"):
            return [*self._steps_of(START, state), *self._steps_of(PAUSE, state)]
        move = self._moves()[operation]
        if move.feature is not None:
            self.driver.require(move.feature)
        return [Step(f"{operation} {self.name}", lambda: _done(move))]

    def _moves(self) -> dict[str, _Move]:
        driver, name = self.driver, self.name
        return {
            START: _Move(lambda: driver.power_on(name), lambda: driver.force_off(name)),
            START_PAUSED: _Move(lambda: driver.power_on(name, paused=True), lambda: driver.force_off(name)),
            START_AGAIN: _Move(self._start_again, None),
            PAUSE: _Move(lambda: driver.pause(name), lambda: driver.unpause(name), "pause"),
            UNPAUSE: _Move(lambda: driver.unpause(name), lambda: driver.pause(name), "pause"),
            SUSPEND: _Move(lambda: driver.suspend(name), lambda: driver.resume(name), "suspend"),
            RESUME: _Move(lambda: driver.resume(name), lambda: driver.suspend(name), "suspend"),
        }

    def _stop(self, state: int) -> Step:
        method = self.stop_method()
        self.driver.require(f"shutdown_{method}")
        driver, name, shutdown = self.driver, self.name, self.shutdown
        paused = method == FORCED and state == power_state.PAUSED
        lost = method == FORCED and state == power_state.SUSPENDED

        def stop() -> Undo | None:
            try:
                self.power_off(method)
            except TimeoutExpired:
                if not shutdown.force_after_timeout:
                    raise
                driver.force_off(name)
            return None if lost else lambda: driver.power_on(name, paused=paused)

        how = "at once" if method == FORCED else f"by {method}, within {shutdown.timeout_s:g} s"
        if shutdown.force_after_timeout and method != FORCED:
            how += ", then at once"
        return Step(f"{STOP} {name} {how}", stop)

    def _reboot(self) -> list[Step]:
        hard = self.shutdown.method == FORCED
        method = HARD if hard else SOFT
        if not self.driver.supports(f"reboot_{method}"):
            # Off and on again comes to the same, as far as the guest can tell.
            return [*self._steps_of(STOP, power_state.RUNNING), *self._steps_of(START, power_state.SHUTOFF)]
        driver, name, shutdown = self.driver, self.name, self.shutdown

        def reboot() -> None:
            try:
                driver.reboot(name, method, shutdown.timeout_s)
            except TimeoutExpired:
                if not shutdown.force_after_timeout or hard:
                    raise
                driver.reboot(name, HARD, shutdown.timeout_s)

        how = "at once" if hard else f"within {shutdown.timeout_s:g} s"
        return [Step(f"{REBOOT} {name} {how}", reboot)]

    def _start_again(self) -> None:
        """A guest that is on its way down cannot be called back."""
        try:
            self.driver.wait_for_state(self.name, power_state.OFF, self.shutdown.timeout_s)
        except TimeoutExpired:
            if not self.shutdown.force_after_timeout:
                raise
            self.driver.force_off(self.name)
        self.driver.power_on(self.name)


class _Move(NamedTuple):
    do: Callable[[], None]
    undo: Undo | None
    feature: str | None = None


def _done(move: _Move) -> Undo | None:
    move.do()
    return move.undo
