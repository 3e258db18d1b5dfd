# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Post-copy migrations that broke off: what the destination has of the guest, and whether the rest can still be sent.

libvirt goes on with one (VIR_MIGRATE_POSTCOPY_RESUME) only where its daemons on both ends have noticed that it broke
off. On the destination its own call has to end for that, which asks QEMU: one of whose processors waits for a page
while it holds QEMU's lock answers nobody any more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ...errors import InstanceNotFound
from .migrationjobs import HALVED, PAUSED, MigrationJobsMixin

if TYPE_CHECKING:
    import libvirt

GONE = "gone"
READY = "ready"
UNAWARE = "unaware"
STUCK = "stuck"
WHOLE = "whole"

NOTICE_S = 20.0
"""How long the destination is given to notice it before a migration is gone on with."""
GLANCE_S = 2.0
"""How long a hypervisor may take to answer, where it is looked whether it does at all."""

_LOOK_EACH_S = 0.25
_NOT_NOTICED = ((1, 10), (PAUSED, 2))
"""States and reasons of a domain that libvirt takes for arriving."""

_ANEW = (
    "What was in its memory is lost. End the source's part (virsh destroy {name}){both}, start the instance on the "
    "destination (virsh start {name}), whose disks are those that were written to last, and run the task again: it "
    "clears the source"
)
_WHAT_NOW = {
    READY: (
        "both hosts have noticed it, and each has a part of its memory. When they reach each other again, run the task "
        "again, and it goes on; do not restart either"
    ),
    UNAWARE: (
        "each host has a part of its memory, and the destination has not noticed yet that it broke off, so that its "
        "libvirt would not go on. Run the task again when it has, which takes as long as TCP needs to give up the "
        "connection; do not restart either"
    ),
    STUCK: (
        "each host has a part of its memory, and the destination's QEMU, which waits for a page that only the source "
        "has, does not answer its libvirt any more, so that the rest cannot be sent. Run the task again to look once "
        "more. If it stays so, the guest cannot be saved. " + _ANEW
    ),
    GONE: "the destination's part has ended, so that there is nothing to go on with. " + _ANEW,
}


def half_on(destination: MigrationJobsMixin, name: str, patience_s: float) -> str:
    """What the destination has: ``ready`` to go on, ``unaware`` that it broke off, ``stuck``, ``gone``, or all of it
    (``whole``).

    Args:
        patience_s: For how long it may come to notice it.
    """
    deadline_s = time.monotonic() + patience_s
    is_stuck = True
    while True:
        try:
            handle = destination.lookup(name)
        except InstanceNotFound:
            return GONE
        with destination.guard(f"look at instance {name!r}", name):
            if not handle.isActive():
                return GONE
            found = tuple(handle.state())
            is_busy = _is_busy(destination, handle)
            if found not in _NOT_NOTICED:
                return READY if found in HALVED or destination.progress_of(handle) is not None else WHOLE
        is_stuck = is_stuck and is_busy
        if time.monotonic() >= deadline_s:
            return STUCK if is_stuck else UNAWARE
        time.sleep(_LOOK_EACH_S)


def hangs(destination: MigrationJobsMixin, name: str, patience_s: float) -> bool:
    """Whether the destination's QEMU answers nothing for so long: then what was asked of it will not be answered
    either. Otherwise it waits like the source's, for the network perhaps."""
    deadline_s = time.monotonic() + patience_s
    while True:
        with destination.guard(f"look at instance {name!r}", name):
            if not _is_busy(destination, destination.lookup(name)):
                return False
        if time.monotonic() >= deadline_s:
            return True
        time.sleep(_LOOK_EACH_S)


def _is_busy(destination: MigrationJobsMixin, handle: libvirt.virDomain) -> bool:
    return bool(handle.controlInfo(0)[0] != destination.libvirt.VIR_DOMAIN_CONTROL_OK)


def words_of(name: str, what: str, error: Any) -> str:
    """What is to be said of a guest of which the destination has ``what``.

    Args:
        error: Why libvirt's own call failed, if it did.
    """
    both = " and that of the destination" if what == STUCK else ""
    reason = "" if error is None else f" ({error})"
    return (
        f"the post-copy migration of instance {name!r} broke off, and the guest stands still: "
        f"{_WHAT_NOW[what].format(name=name, both=both)}{reason}"
    )
