# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages that end guests or start them anew: shutdown, reboot, power_state_reset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.xenapi import domains, vm_rules
from lab.xenapi.database import Ref
from lab.xenapi.failures import Failure
from lab.xenapi.guest import Guest
from lab.xenapi.operations import Operation, operation
from lab.xenapi.registry import Call, message


@message("VM.clean_shutdown")
def clean_shutdown(call: Call, vm: Ref) -> None:
    with operation(call, vm, "clean_shutdown") as current:
        _shut_down(current)


@message("VM.hard_shutdown")
def hard_shutdown(call: Call, vm: Ref) -> None:
    with operation(call, vm, "hard_shutdown"), call.db.lock:
        domains.halt(call.world, vm)


@message("VM.shutdown")
def shutdown(call: Call, vm: Ref) -> None:
    """Ask the guest, and end it when it does not heed."""
    with operation(call, vm, "shutdown") as current:
        try:
            with call.db.lock:
                refused = vm_rules.refusal(call.db, vm, "clean_shutdown", part_of=current.key)
            if refused is not None:
                raise refused
            _shut_down(current)
        except Failure as failure:
            if failure.code == "TASK_CANCELLED":
                raise
            with call.db.lock:
                domains.halt(call.world, vm)


@message("VM.clean_reboot")
def clean_reboot(call: Call, vm: Ref) -> None:
    with operation(call, vm, "clean_reboot") as current, _ended_guest(current) as ended:
        if ended:
            domains.reboot(call.world, vm)


@message("VM.hard_reboot")
def hard_reboot(call: Call, vm: Ref) -> None:
    with operation(call, vm, "hard_reboot"), call.db.lock:
        domains.reboot(call.world, vm)


@message("VM.power_state_reset")
def power_state_reset(call: Call, vm: Ref) -> None:
    """Write down that the VM is Halted, whatever its guest does."""
    if call.db.get("VM", vm, "is_control_domain"):
        raise Failure("CANNOT_RESET_CONTROL_DOMAIN", vm)
    with operation(call, vm, "power_state_reset"), call.db.lock:
        domains.halt(call.world, vm)


def _shut_down(current: Operation) -> None:
    """The guest ends itself; then a VM that is to restart does."""
    call, vm = current.call, current.vm
    with _ended_guest(current) as ended:
        if not ended:
            return
        if call.db.get("VM", vm, "actions_after_shutdown") == "restart":
            domains.reboot(call.world, vm)
        else:
            domains.halt(call.world, vm)


@contextmanager
def _ended_guest(current: Operation) -> Iterator[bool]:
    """Ask the guest to end, wait until it has, and hold the lock then; False when it crashed meanwhile."""
    call, vm = current.call, current.vm
    settings = call.world.settings
    with call.db.lock:
        guest = call.world.guests[vm]
    if not current.wait(lambda: guest.crashed or _heeds(guest), settings.shutdown_ack_timeout_s):
        raise Failure("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm)
    if not guest.crashed:
        current.work(settings.shutdown_s)
    with call.db.lock:
        current.check_interrupted()
        yield not guest.crashed


def _heeds(guest: Guest) -> bool:
    """Whether the guest is able to react: it has booted, and does not ignore what it is asked."""
    return guest.up and not guest.is_deaf
