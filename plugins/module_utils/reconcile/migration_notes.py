# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a migration is, in the few words that stand beside its bytes in a line of progress."""

from __future__ import annotations

from ..model.migration import MigrationProgress
from ..model.units import MIB

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
