# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer itself, watched, and what becomes of it when it fails."""

from __future__ import annotations

import time

from ..driver.migrationchecks import COPIED
from ..driver.oversight import Oversight
from ..errors import AnyvirtError, MigrationAborted
from ..model.migration import COLD, MigrationPlan, MigrationResult
from ..model.units import MIB
from ..undo import Undo
from .migration_journey import Journey, already_undone
from .migration_notes import teller
from .migration_whereabouts import arrived_after_all, finished_by_another
from .plan import ours


def transfer(journey: Journey, plan: MigrationPlan) -> Undo:
    """Move it. Where it fails so that nobody can tell what became of it, both ends are looked at before anything is
    taken back."""
    driver, item = journey.ends.source, journey.item
    instance = item.source.instance
    total = (instance.memory_mb or 0) * MIB if instance is not None else 0
    total = total * (plan.mode != COLD) + sum(disk.size_bytes for disk in plan.disks if disk.how in COPIED)
    began_s = time.monotonic()
    with driver.progress.measure(f"migrate {journey.name}", total or None) as meter:
        oversight = Oversight(
            journey.name,
            plan.mode,
            plan.wishes,
            meter,
            is_wanted=lambda: journey.interrupted() is None,
            tell=teller(meter, total),
        )
        try:
            result = driver.migrate_instance(journey.ends.destination, plan, oversight)
        except Exception as failure:
            error = _interruption(journey, ours(failure))
            is_there = finished_by_another(journey) if plan.mode == COLD else arrived_after_all(journey, error)
            if not is_there:
                raise error from failure
            result = MigrationResult()
        finally:
            item.warnings += oversight.warnings
    took_ms = round((time.monotonic() - began_s) * 1000)
    item.result = result._replace(total_ms=took_ms) if result.total_ms is None else result
    return already_undone


def _interruption(journey: Journey, error: AnyvirtError) -> AnyvirtError:
    """Says who aborted it, where it was the play."""
    reason = journey.interrupted()
    if isinstance(error, MigrationAborted) and reason is not None:
        return MigrationAborted(f"{error} ({reason})")
    return error
