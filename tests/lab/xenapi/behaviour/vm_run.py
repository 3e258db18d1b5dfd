# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages that start guests and let them run on: start, pause, suspend, resume, migrate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.xenapi import domains, placement, vm_boot, vm_devices
from lab.xenapi.database import Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.guest import Guest
from lab.xenapi.operations import Operation, operation
from lab.xenapi.registry import Call, message
from lab.xenapi.suspend_images import create_suspend_image
from lab.xenapi.volumes import remove_volume


@message("VM.start")
def start(call: Call, vm: Ref, start_paused: bool, force: bool) -> None:
    with operation(call, vm, "start") as current, _room(current, NULL) as host:
        _start(current, host, start_paused)


@message("VM.start_on")
def start_on(call: Call, vm: Ref, host: Ref, start_paused: bool, force: bool) -> None:
    placement.assert_upgraded(call.db, host)
    with operation(call, vm, "start_on") as current, _room(current, host):
        _start(current, host, start_paused)


@message("VM.resume")
def resume(call: Call, vm: Ref, start_paused: bool, force: bool) -> None:
    with operation(call, vm, "resume") as current, _room(current, NULL) as host:
        _resume(current, host, start_paused)


@message("VM.resume_on")
def resume_on(call: Call, vm: Ref, host: Ref, start_paused: bool, force: bool) -> None:
    placement.assert_upgraded(call.db, host)
    with operation(call, vm, "resume_on") as current, _room(current, host):
        _resume(current, host, start_paused)


@message("VM.pause")
def pause(call: Call, vm: Ref) -> None:
    with operation(call, vm, "pause"), call.db.lock:
        domains.pause(call.world, vm)


@message("VM.unpause")
def unpause(call: Call, vm: Ref) -> None:
    with operation(call, vm, "unpause"), call.db.lock:
        domains.unpause(call.world, vm)


@message("VM.suspend")
def suspend(call: Call, vm: Ref) -> None:
    """Write the guest's memory into a VDI on the suspend SR, and free its domain."""
    db = call.db
    with operation(call, vm, "suspend") as current:
        with db.lock:
            guest = call.world.guests[vm]
            vdi = create_suspend_image(db, vm)
        try:
            current.work(call.world.settings.suspend_s)
            with db.lock:
                _check_alive(current, guest)
                domains.suspend(call.world, vm, vdi)
        except Failure:
            with db.lock:
                remove_volume(db, vdi)
            raise


def migrate(current: Operation, host: Ref) -> None:
    """Move the running VM to the host, its memory page by page. The operation has been entered."""
    call, vm = current.call, current.vm
    with _room(current, host):
        guest = call.world.guests[vm]
        call.pass_point("memory")
        current.work(call.world.settings.migrate_s)
        call.pass_point("switch")
        with call.db.lock:
            _check_alive(current, guest)
            domains.move(call.world, vm, host)


@contextmanager
def _room(current: Operation, host: Ref) -> Iterator[Ref]:
    """Find and keep room for the VM on this host, or on any when it is NULL."""
    call, vm = current.call, current.vm
    with call.db.lock:
        if current.name in ("start", "start_on"):
            vm_boot.assert_bootable(call.world, vm)
        vm_devices.check_devices(call.db, vm)
        if host == NULL:
            host = placement.choose_host(call.db, vm)
        else:
            placement.assert_can_boot(call.db, vm, host)
        placement.reserve(call.db, vm, host)
    try:
        yield host
    finally:
        placement.release(call.db, vm)


def _start(current: Operation, host: Ref, paused: bool) -> None:
    call, vm = current.call, current.vm
    current.work(call.world.settings.start_s)
    with call.db.lock:
        vm_devices.check_devices(call.db, vm, host)  # others may have taken a disk meanwhile
        domains.start(call.world, vm, host, paused)


def _resume(current: Operation, host: Ref, paused: bool) -> None:
    call, vm = current.call, current.vm
    if not call.db.exists("VDI", call.db.get("VM", vm, "suspend_VDI")):
        raise Failure("VM_HAS_NO_SUSPEND_VDI", vm)
    current.work(call.world.settings.resume_s)
    with call.db.lock:
        vm_devices.check_devices(call.db, vm, host)
        domains.resume(call.world, vm, host, paused)


def _check_alive(current: Operation, guest: Guest) -> None:
    """Raise what became of the guest while the operation took its time."""
    current.check_interrupted()
    if guest.crashed:
        raise Failure("VM_CRASHED", current.vm)
