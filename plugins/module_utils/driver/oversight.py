# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking after a migration while the hypervisor is at it: tells how far it is, decides when it takes too long."""

from __future__ import annotations

import time
from typing import Callable

from ..errors import AnyvirtError, MigrationAborted, TimeoutExpired
from ..model.migration import ABORT, CONTINUE, LIVE, MigrationProgress, MigrationWishes
from ..model.units import GIB, KIB, MIB
from ..transfer.progress import Meter

Tell = Callable[[MigrationProgress], None]


class Oversight:
    """Looks after one migration. A driver that moves an instance shows it the progress again and again, and does what
    it answers.

    Args:
        name: The instance.
        meter: Where progress is reported to.
        is_wanted: False once somebody wants it to stop, e.g. by interrupting the play.
        tell: Gets each progress as well.
    """

    def __init__(
        self,
        name: str,
        mode: str,
        wishes: MigrationWishes,
        meter: Meter,
        is_wanted: Callable[[], bool] = lambda: True,
        tell: Tell | None = None,
    ) -> None:
        self.name = name
        self.warnings: list[str] = []
        self._mode = mode
        self._wishes = wishes
        self._meter = meter
        self._is_wanted = is_wanted
        self._tell = tell
        self._began = time.monotonic()
        self._timed_out = False
        self._stopped = False
        self._last = MigrationProgress("setup")

    def heed(self, progress: MigrationProgress) -> str | None:
        """Take notice of the progress.

        Returns:
            What is to be done now: ``abort``, ``pause`` or ``post_copy``, each at most once; None: carry on.
        """
        self._last = progress
        if progress.done_bytes is not None:
            self._meter.reach(progress.done_bytes, progress.total_bytes)
        if self._tell is not None:
            self._tell(progress)
        if not self._stopped and not self._is_wanted():
            self._stopped = True
            return ABORT
        timeout_s = self._wishes.timeout_s
        if timeout_s is None or self._timed_out or time.monotonic() - self._began < timeout_s:
            return None
        self._timed_out = True
        if self._wishes.on_timeout == CONTINUE:
            self.warnings.append(f"{self.name}: the migration takes longer than {timeout_s:g} s")
            return None
        return ABORT if self._mode != LIVE else self._wishes.on_timeout

    def aborted(self) -> AnyvirtError:
        """The error of a migration that ended because it was aborted."""
        if self._timed_out and not self._stopped:
            return TimeoutExpired(
                f"the migration of {self.name!r} was not over after {self._wishes.timeout_s:g} s and was aborted",
                last_seen=words(self._last),
            )
        return MigrationAborted(f"the migration of {self.name!r} was aborted; {words(self._last)}")


def words(progress: MigrationProgress) -> str:
    """The progress in one line for a person."""
    parts = [progress.phase]
    if progress.percent is not None:
        parts.append(f"{progress.percent:.0f} %")
    if progress.left_bytes is not None:
        parts.append(f"{_about(progress.left_bytes)} left")
    if progress.rate is not None:
        parts.append(f"{_about(progress.rate)}/s")
    if progress.dirty_rate:
        parts.append(f"the guest changes {_about(progress.dirty_rate)}/s")
    if progress.expected_downtime_ms is not None:
        parts.append(f"downtime would be {progress.expected_downtime_ms} ms")
    return ", ".join(parts)


def _about(size_bytes: int) -> str:
    """A size that nobody needs to the byte."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / KIB:.1f} KiB"
