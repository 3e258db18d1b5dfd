# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration in words: the step that moves it, and how far that is, beside its bytes in a line of progress."""

from __future__ import annotations

from collections.abc import Callable

from ..driver.migrationchecks import COPIED
from ..model.migration import DiskMove, MigrationPlan, MigrationProgress
from ..model.units import MIB, format_size
from ..transfer.progress import Meter

_WORDS = {
    "setup": "preparing",
    "disks": "disks",
    "memory": "",
    "post_copy": "post-copy",
    "paused": "waits for the source",
    "finishing": "finishing",
}


def note_of(progress: MigrationProgress) -> str:
    """E.g. ``pass 3, 12 MiB/s changed, downtime 40 ms``; what the hypervisor does not tell is left out."""
    parts = [_WORDS.get(progress.phase, progress.phase)]
    if progress.iteration:
        parts.append(f"pass {progress.iteration}")
    if progress.dirty_rate:
        parts.append(f"{progress.dirty_rate / MIB:.0f} MiB/s changed")
    if progress.expected_downtime_ms is not None:
        parts.append(f"downtime {progress.expected_downtime_ms} ms")
    return ", ".join(part for part in parts if part)


def say_move(plan: MigrationPlan) -> str:
    """The step that moves an instance."""
    copied = [disk for disk in plan.disks if disk.how in COPIED]
    what = f"move {plan.name} {plan.mode}"
    if not copied:
        return what
    return f"{what}, and copy {', '.join(_say_disk(disk) for disk in copied)}"


def _say_disk(disk: DiskMove) -> str:
    size = f" ({format_size(disk.size_bytes)})" if disk.size_bytes else ""
    return f"{disk.device}{size} to {disk.destination}"


def teller(meter: Meter, total: int) -> Callable[[MigrationProgress], None]:
    """Shows people more than the bytes: how long it would stand still now, and what it waits for."""

    def tell(progress: MigrationProgress) -> None:
        meter.remark(note_of(progress))
        if progress.done_bytes is None and progress.percent is not None and total:
            meter.reach(round(progress.percent / 100 * total))

    return tell
