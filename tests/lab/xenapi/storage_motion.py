# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM.migrate_send, step by step: disks, records, memory, and the moment when the VM changes places."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from lab.xenapi import domains, migration_rules, placement, transplant, vm_devices
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.guest import Guest
from lab.xenapi.mirrors import Mirrors, remove_sources
from lab.xenapi.motion import Motion
from lab.xenapi.operations import Operation
from lab.xenapi.registry import registered
from lab.xenapi.world import World

MOST_AT_ONCE = 3
_DISKS_SHARE = 0.7
"""Of the progress, where disks are copied."""

_counts: weakref.WeakKeyDictionary[World, int] = weakref.WeakKeyDictionary()
_counts_lock = threading.Lock()


@contextmanager
def both_locked(motion: Motion) -> Iterator[None]:
    """Hold the locks of both databases, always in the same order."""
    databases: list[Database] = sorted({motion.db, motion.remote.db}, key=id)
    with ExitStack() as stack:
        for database in databases:
            stack.enter_context(database.lock)
        yield


@contextmanager
def one_of_few(world: World) -> Iterator[None]:
    """TOO_MANY_STORAGE_MIGRATES where as many are going on as a pool takes."""
    with _counts_lock:
        if _counts.get(world, 0) >= MOST_AT_ONCE:
            raise Failure("TOO_MANY_STORAGE_MIGRATES", str(MOST_AT_ONCE))
        _counts[world] = _counts.get(world, 0) + 1
    try:
        yield
    finally:
        with _counts_lock:
            _counts[world] -= 1


def carry_out(current: Operation, motion: Motion) -> Ref:
    """Move the VM; its reference where it is afterwards. Whatever fails before it has moved leaves it where it was, and
    nothing at the destination, unless that cannot be reached any more."""
    _eject_discs(motion)
    mirrors, made = Mirrors(motion), list[Ref]()
    try:
        _copy_disks(current, motion, mirrors)
        current.call.pass_point("metadata")
        motion.remote.check_reachable()
        with both_locked(motion):
            mirrors.link_snapshots()
            if motion.is_within:
                _keep_room(motion)
            else:
                migration_rules.check_motion(motion)
                transplant.send_records(motion, mirrors.made, made)
        _send_memory(current, motion)
        current.call.pass_point("switch")
        motion.remote.check_reachable()
        with both_locked(motion):
            current.check_interrupted()
            return _switch(motion, mirrors, made)
    except Failure:
        if motion.remote.is_reachable:
            mirrors.discard()
            if motion.is_within:
                placement.release(motion.db, motion.vm)
            transplant.discard_records(motion.remote.db, made)
        raise


def _eject_discs(motion: Motion) -> None:
    """What is in drives stays in its SR: the pool's own hosts see it, and xenopsd cannot exchange it on the way."""
    if motion.is_within or motion.db.get("VM", motion.vm, "power_state") == "Suspended":
        return
    for vbd in motion.discs():
        with suppress(Failure):
            registered()["VBD.eject"](motion.call, vbd)


def _copy_disks(current: Operation, motion: Motion, mirrors: Mirrors) -> None:
    by_size = sorted(motion.srs, key=lambda vdi: motion.db.get("VDI", vdi, "virtual_size"))
    for number, vdi in enumerate(by_size):
        current.span = (_DISKS_SHARE * number / len(by_size), _DISKS_SHARE * (number + 1) / len(by_size))
        current.call.pass_point("mirror")
        motion.remote.check_reachable()
        current.work(motion.call.world.settings.mirror_s)
        mirrors.make(vdi)


def _runs(motion: Motion) -> bool:
    return bool(motion.db.get("VM", motion.vm, "resident_on") != NULL)


def _keep_room(motion: Motion) -> None:
    if _runs(motion):
        migration_rules.check_motion(motion)
        placement.reserve(motion.db, motion.vm, motion.remote.host)


def _send_memory(current: Operation, motion: Motion) -> None:
    current.span = (_DISKS_SHARE if motion.srs else 0.0, 1.0)
    if not _runs(motion):
        return
    guest = motion.call.world.guests[motion.vm]
    current.call.pass_point("memory")
    current.work(motion.call.world.settings.migrate_s)
    current.check_interrupted()
    if guest.crashed or motion.call.world.guests.get(motion.vm) is not guest:
        raise Failure("VM_CRASHED", motion.vm)


def _switch(motion: Motion, mirrors: Mirrors, made: list[Ref]) -> Ref:
    mirrors.catch_up()
    sources = list(mirrors.made)
    if motion.is_within:
        _remap(motion, mirrors.made)
        if _runs(motion):
            domains.move(motion.call.world, motion.vm, motion.remote.host)
        placement.release(motion.db, motion.vm)
        remove_sources(motion.db, sources)
        return motion.vm
    new = made[0]
    guest = domains.leave(motion.call.world, motion.vm) if _runs(motion) else None
    _take_along(motion, new, guest)
    transplant.drop_source(motion)
    remove_sources(motion.db, sources)
    return new


def _remap(motion: Motion, copies: dict[Ref, Ref]) -> None:
    """Let the machines have the copies in the place of the disks."""
    db = motion.db
    for machine in motion.machines:
        for vbd in db.get("VM", machine, "VBDs"):
            target = copies.get(db.get("VBD", vbd, "VDI"))
            if target is not None:
                db.set("VBD", vbd, VDI=target)
        memory = copies.get(db.get("VM", machine, "suspend_VDI"))
        if memory is not None:
            db.set("VM", machine, suspend_VDI=memory)
        vm_devices.refresh_devices(db, machine)


def _take_along(motion: Motion, new: Ref, guest: Guest | None) -> None:
    """The guest, awake or asleep, and what it has written."""
    ours, theirs = motion.call.world, motion.remote.world
    if motion.vm in ours.texts:
        theirs.texts[new] = ours.texts[motion.vm]
    if motion.vm in ours.sleeping:
        theirs.sleeping[new] = ours.sleeping[motion.vm]
    if guest is not None:
        domains.arrive(theirs, new, motion.remote.host, guest)
