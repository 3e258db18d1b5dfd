# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains: what changes in the pool when a VM's guest starts, stops, sleeps, moves or crashes.

Nothing here checks whether it may: the messages do. Callers hold the database's lock, except those of `crash`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from lab.xenapi import guest_metrics, operations, placement, vm_boot, vm_devices, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.guest import READY, Guest
from lab.xenapi.vm_records import destroy_consoles, destroy_guest_metrics, now

if TYPE_CHECKING:
    from lab.xenapi.world import World

_RESTARTING = ("restart", "coredump_and_restart", "rename_restart")


def start(world: World, vm: Ref, host: Ref, paused: bool) -> None:
    """A new guest boots on the host."""
    vm_devices.attach_devices(world.db, vm)
    world.texts[vm] = ""
    _begin(world, vm, host, paused)
    _run_guest(world, vm, vm_boot.new_guest(world, vm))


def reboot(world: World, vm: Ref) -> None:
    """A new guest in a new domain takes the place of the old one; when it cannot boot the VM is Halted."""
    try:
        vm_boot.assert_bootable(world, vm)
    except Failure:
        halt(world, vm)
        raise
    host = world.db.get("VM", vm, "resident_on")
    destroy_guest_metrics(world.db, vm)
    destroy_consoles(world.db, vm)
    _begin(world, vm, host, paused=False)
    _run_guest(world, vm, vm_boot.new_guest(world, vm))


def halt(world: World, vm: Ref) -> None:
    """Whatever state the VM is in, it is Halted; what was kept of it while it slept goes."""
    db = world.db
    world.guests.pop(vm, None)
    world.sleeping.pop(vm, None)
    destroy_guest_metrics(db, vm)
    _remove_suspend_vdi(db, vm)
    _end(world, vm, "Halted")
    db.set(
        "VM_metrics",
        db.get("VM", vm, "metrics"),
        VCPUs_number=0,
        VCPUs_CPU={},
        VCPUs_params={},
        VCPUs_flags={},
        hvm=False,
        current_domain_type="unspecified",
    )
    vm_devices.detach_devices(db, vm)
    operations.refresh(db, vm)


def suspend(world: World, vm: Ref, vdi: Ref) -> None:
    """The guest sleeps, its memory in the VDI. Its disks stay with the VM."""
    world.sleeping[vm] = world.guests.pop(vm)
    guest_metrics.set_live(world, vm, False)
    world.db.set("VM", vm, suspend_VDI=vdi)
    _end(world, vm, "Suspended")
    vm_devices.refresh_devices(world.db, vm)
    operations.refresh(world.db, vm)


def resume(world: World, vm: Ref, host: Ref, paused: bool) -> None:
    """The guest wakes up in a new domain, without booting."""
    db = world.db
    guest = world.sleeping.pop(vm, None) or Guest(domid=-1, up=True)
    _remove_suspend_vdi(db, vm)
    vm_devices.attach_devices(db, vm)
    _begin(world, vm, host, paused)
    _run_guest(world, vm, guest)
    if guest.up and guest.has_tools:
        _tools_return(world, vm)


def move(world: World, vm: Ref, host: Ref) -> None:
    """The running guest goes on in a domain of another host."""
    source = world.db.get("VM", vm, "resident_on")
    guest = world.guests[vm]
    destroy_consoles(world.db, vm)
    _begin(world, vm, host, paused=False)
    _run_guest(world, vm, guest)
    placement.rebalance(world.db, source)


def leave(world: World, vm: Ref) -> Guest:
    """The running guest goes to another pool."""
    destroy_consoles(world.db, vm)
    return world.guests.pop(vm)


def arrive(world: World, vm: Ref, host: Ref, guest: Guest) -> None:
    """A guest that runs comes from another pool."""
    vm_devices.attach_devices(world.db, vm)
    _begin(world, vm, host, paused=False)
    _run_guest(world, vm, guest)
    guest_metrics.refresh(world, vm)


def pause(world: World, vm: Ref) -> None:
    _set_state(world, vm, "Paused")


def unpause(world: World, vm: Ref) -> None:
    _set_state(world, vm, "Running")
    guest = world.guests[vm]
    if not guest.up:
        _boot_later(world, vm, guest)


def crash(world: World, vm: Ref) -> None:
    """The guest of a running VM crashes; ValueError where none runs."""
    db = world.db
    with db.lock:
        guest = world.guests.get(vm)
        if guest is None:
            raise ValueError(f"{db.get('VM', vm, 'name_label')} does not run")
        guest.crashed = True
        action = db.get("VM", vm, "actions_after_crash")
        if action in _RESTARTING:
            with contextlib.suppress(Failure):
                reboot(world, vm)
        elif action == "preserve":
            pause(world, vm)
        else:
            halt(world, vm)


def _begin(world: World, vm: Ref, host: Ref, paused: bool) -> None:
    """The VM has a new domain on the host."""
    db = world.db
    state = "Paused" if paused else "Running"
    db.set(
        "VM",
        vm,
        power_state=state,
        domid=world.next_domid(),
        domarch="x86_64",
        resident_on=host,
        scheduled_to_be_resident_on=NULL,
    )
    record = db.view("VM", vm)
    metrics = record["metrics"]
    number = db.get("VM_metrics", metrics, "VCPUs_number") or record["VCPUs_at_startup"]
    kind = record["domain_type"]
    db.set(
        "VM_metrics",
        metrics,
        VCPUs_number=number,
        VCPUs_CPU={vcpu: vcpu for vcpu in range(number)},
        VCPUs_params=dict(record["VCPUs_params"]),
        VCPUs_flags={vcpu: ["online"] for vcpu in range(number)},
        state=[state.lower()],
        last_updated=now(),
        hvm=kind == "hvm",
        current_domain_type=kind,
    )
    _make_consoles(world, vm, host)
    placement.rebalance(db, host)
    vm_devices.refresh_devices(db, vm)
    operations.refresh(db, vm)


def _end(world: World, vm: Ref, state: str) -> None:
    """The VM has no domain any more."""
    db = world.db
    host = db.get("VM", vm, "resident_on")
    destroy_consoles(db, vm)
    db.set("VM", vm, power_state=state, domid=-1, domarch="", resident_on=NULL, memory_target=0)
    db.set("VM_metrics", db.get("VM", vm, "metrics"), memory_actual=0, state=[], last_updated=now())
    if host != NULL:
        placement.rebalance(db, host)


def _set_state(world: World, vm: Ref, state: str) -> None:
    db = world.db
    db.set("VM", vm, power_state=state)
    db.set("VM_metrics", db.get("VM", vm, "metrics"), state=[state.lower()], last_updated=now())
    vm_devices.refresh_devices(db, vm)
    operations.refresh(db, vm)


def _run_guest(world: World, vm: Ref, guest: Guest) -> None:
    db = world.db
    guest.domid = db.get("VM", vm, "domid")
    world.guests[vm] = guest
    if not guest.up:
        db.set("VM_metrics", db.get("VM", vm, "metrics"), start_time=now())
        if db.get("VM", vm, "power_state") == "Running":
            _boot_later(world, vm, guest)


def _boot_later(world: World, vm: Ref, guest: Guest) -> None:
    def boot() -> None:
        with world.db.lock:
            runs = world.guests.get(vm) is guest and not guest.crashed
            if runs and not guest.up and world.db.get("VM", vm, "power_state") == "Running":
                _come_up(world, vm, guest)

    world.clock.after(world.settings.boot_s, boot)


def _come_up(world: World, vm: Ref, guest: Guest) -> None:
    if not guest.boots:
        world.texts[vm] += "No bootable device.\n"
        return
    guest.up = True
    world.texts[vm] += f"{READY}\n"
    if guest.has_tools:
        guest_metrics.appear(world, vm)
    world.db.changed.notify_all()


def _tools_return(world: World, vm: Ref) -> None:
    if world.db.get("VM", vm, "guest_metrics") == NULL:
        guest_metrics.appear(world, vm)
        return
    guest_metrics.set_live(world, vm, True)
    guest_metrics.refresh(world, vm)
    operations.refresh(world.db, vm)


def _make_consoles(world: World, vm: Ref, host: Ref) -> None:
    address = world.db.get("host", host, "address")
    for protocol in ("rfb", "vt100"):
        console = world.db.create("console", VM=vm, protocol=protocol)
        uuid = world.db.get("console", console, "uuid")
        world.db.set("console", console, location=f"{world.scheme}://{address}/console?uuid={uuid}")


def _remove_suspend_vdi(db: Database, vm: Ref) -> None:
    vdi = db.get("VM", vm, "suspend_VDI")
    db.set("VM", vm, suspend_VDI=NULL)
    if db.exists("VDI", vdi):
        volumes.remove_volume(db, vdi)
