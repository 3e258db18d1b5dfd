# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving an instance: beginning a job, looking after it, and the moment in which the guest changes hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...errors import AnyvirtError, HypervisorError, InvalidPowerState, MigrationFailed
from ...model import power_state
from ...model.migration import (
    ABORT,
    COLD,
    MOVED,
    PAUSE,
    SOURCE,
    MigrationPlan,
    MigrationResult,
)
from ...model.units import MIB
from ..migration import MigrationDriver
from ..migrationchecks import COPIED
from ..oversight import Oversight
from . import guest as guests
from .datafiles import NewFile
from .migrationcopy import bytes_to_copy
from .migrationends import MigrationEndsMixin
from .migrationjobs import ABORTED, DEAD, Job, read_job
from .migrationparts import MigrationPartsMixin, as_fake, carried_guest
from .store import INSTANCES, JOBS, Changes, Record

_POLL_S = 0.02


class MigrationMoveMixin(MigrationEndsMixin):
    """On the source: the job."""

    def migrate_instance(
        self, destination: MigrationDriver, plan: MigrationPlan, oversight: Oversight
    ) -> MigrationResult:
        destination = as_fake(destination)
        with self._read("migration_progress", plan.name) as view:
            record, _seen = self._instance(view, plan.name)
            job = self._job_of(record)
        if record.get("migration", {}).get("id") != plan.record.id:
            raise MigrationFailed(f"the migration of {plan.name!r} that is recorded is another one by now")
        if job is not None and job.outcome in (None, MOVED):
            return self._follow(destination, plan, oversight, mine=False)
        with self._managing(plan) as making:
            if plan.mode == COLD:
                return self._copy_cold(destination, plan, oversight, making)
            with self._write("migration_start", plan.name) as changes:
                self._start_live(changes, plan, making)
            return self._follow(destination, plan, oversight, mine=True)

    @contextmanager
    def _managing(self, plan: MigrationPlan) -> Iterator[str | None]:
        """A file that is locked for as long as this process manages the job; None where the source's daemon does."""
        if plan.mode != COLD and plan.wishes.manager == SOURCE:
            yield None
            return
        file = NewFile(self.folder)
        try:
            yield file.name
        finally:
            file.discard()
            file.close()

    # -- live -------------------------------------------------------------------------------------------------------

    def _start_live(self, changes: Changes, plan: MigrationPlan, making: str | None) -> None:
        wishes = plan.wishes
        record, seen = self._instance(changes, plan.name)
        if seen.state not in power_state.ACTIVE:
            raise InvalidPowerState(f"instance {plan.name!r} is {power_state.name(seen.state)} by now")
        guest = self._faults.guest(plan.name)
        job = {
            **self._new_job(plan, making),
            "memory_bytes": record["running"]["memory_mb"] * MIB,
            "disk_bytes": sum(bytes_to_copy(changes, disk) for disk in plan.disks if disk.how in COPIED),
            "dirty_rate": guest.dirty_mib_s * MIB if seen.state in power_state.EXECUTING else 0.0,
            "max_downtime_ms": wishes.max_downtime_ms,
            "auto_converge": wishes.auto_converge,
            "compression": wishes.compression,
            "fails_at": guest.migration_fails_at,
            "guest": carried_guest(record, wishes),
        }
        changes.put(JOBS, plan.record.id, job)

    def _new_job(self, plan: MigrationPlan, making: str | None) -> Record:
        return {
            "name": plan.name,
            "mode": plan.mode,
            "began": guests.now(),
            "making": making,
            "rate": min(self._settings.migration_mib_s, plan.wishes.bandwidth_mib_s or float("inf")) * MIB,
            "paused_s": None,
            "post_copy_s": None,
            "ended": None,
            "carried": False,
            "done_bytes": 0,
        }

    def _follow(
        self, destination: MigrationPartsMixin, plan: MigrationPlan, oversight: Oversight, mine: bool
    ) -> MigrationResult:
        """Look after a job until it ends.

        Args:
            mine: It was begun here; otherwise somebody else did, and may be managing it.
        """
        try:
            job = self._ended(destination, plan, oversight, mine)
        except BaseException as error:
            goes_on = mine and plan.wishes.manager == SOURCE and not self._stopped(plan.name)
            if goes_on and isinstance(error, AnyvirtError):
                error.not_undone.append(f"end the migration of {plan.name}: the source's daemon goes on with it")
            raise
        with suppress(AnyvirtError):  # what could not be written down is derived, until finish_destination does it
            destination.settle(plan.name)
        return _result(job)

    def _ended(self, destination: MigrationPartsMixin, plan: MigrationPlan, oversight: Oversight, mine: bool) -> Job:
        name = plan.name
        while True:
            with self._read("migration_progress", name) as view:
                record, _seen = self._instance(view, name)
                job = self._job_of(record)
            if job is None:
                raise MigrationFailed(f"the migration of {name!r} was forgotten by somebody while it went on")
            if job.outcome == MOVED:
                return job
            if job.outcome == ABORTED:
                raise oversight.aborted()
            if job.outcome is not None:
                raise MigrationFailed(f"the migration of {name!r} failed: {_reason(job)}")
            if mine and job.course is not None and job.course.arrived:
                job = self._switch(destination, plan)
                if job.outcome == MOVED:
                    return job
                continue
            if job.progress is not None:
                self._obey(oversight.heed(job.progress), name, oversight)
            next_s = _POLL_S if job.course is None else min(_POLL_S, job.course.next_s)
            time.sleep(next_s)

    def _obey(self, order: str | None, name: str, oversight: Oversight) -> None:
        if order is None:
            return
        if order == ABORT:
            try:
                self.abort_migration(name)
            except HypervisorError as error:
                oversight.warnings.append(str(error))
            return
        with self._write("migration_steer", name) as changes:
            record, _seen = self._instance(changes, name)
            job = self._going_job(record)
            if job is not None and job.course is not None:
                field = "paused_s" if order == PAUSE else "post_copy_s"
                changes.put(JOBS, record["migration"]["id"], {**job.record, field: job.at_s})

    def _switch(self, destination: MigrationPartsMixin, plan: MigrationPlan) -> Job:
        """The guest runs on the destination from now on, unless the job has been ended meanwhile. Returns the job
        as it is then, even when the answer is lost."""
        destination.fill_volumes(self.folder, plan.name, [disk for disk in plan.disks if disk.how in COPIED])
        error: AnyvirtError | None = None
        try:
            with self._write("migration_switch", plan.name) as changes:
                job = self._going_job(self._instance(changes, plan.name)[0])
                if job is not None:
                    ended = {"ended": MOVED, "ended_s": job.at_s, "carried": True}
                    changes.put(JOBS, plan.record.id, {**job.record, **ended})
        except AnyvirtError as lost:
            error = lost
        job = read_job(self.folder, plan.record.id)
        if job is None or (error is not None and job.outcome != MOVED):
            raise error or MigrationFailed(f"the migration of {plan.name!r} was forgotten by somebody while it went on")
        return job

    def _stopped(self, name: str) -> bool:
        """Whether the job that the daemon manages is over, or could be ended."""
        with suppress(AnyvirtError):
            self.abort_migration(name)
            return True
        return False

    # -- cold -------------------------------------------------------------------------------------------------------

    def _copy_cold(
        self, destination: MigrationPartsMixin, plan: MigrationPlan, oversight: Oversight, making: str | None
    ) -> MigrationResult:
        disks = [disk for disk in plan.disks if disk.how in COPIED]
        with self._write("migration_start", plan.name) as changes:
            _record, seen = self._instance(changes, plan.name)
            if seen.state not in power_state.OFF:
                raise InvalidPowerState(f"instance {plan.name!r} is {power_state.name(seen.state)}; power it off first")
            total = sum(bytes_to_copy(changes, disk) for disk in disks)
            changes.put(JOBS, plan.record.id, {**self._new_job(plan, making), "disk_bytes": total})
        began = time.monotonic()
        destination.fill_volumes(self.folder, plan.name, disks, lambda length: self._sent(plan, oversight, length))
        # The source comes first: it has to know that what it has is old before the destination may be used.
        with self._write("migration_switch", plan.name) as changes:
            record, _seen = self._instance(changes, plan.name)
            job = self._job_of(record)
            if job is not None:
                changes.put(JOBS, plan.record.id, {**job.record, "ended": MOVED, "ended_s": job.at_s})
                changes.put(INSTANCES, plan.name, {**record, "migration": {**record["migration"], "phase": MOVED}})
        destination.settle_cold(plan)
        return MigrationResult(total_ms=round((time.monotonic() - began) * 1000), disk_bytes=total)

    def _sent(self, plan: MigrationPlan, oversight: Oversight, length: int) -> None:
        """A piece of a disk goes over, no faster than it may."""
        with self._write("migration_copy", plan.name) as changes:
            job = self._job_of(self._instance(changes, plan.name)[0])
            if job is None or job.outcome is not None:
                raise oversight.aborted()
            done = job.record["done_bytes"] + length
            changes.put(JOBS, plan.record.id, {**job.record, "done_bytes": done})
        progress = job.progress
        if progress is not None and oversight.heed(progress) == ABORT:
            self.abort_migration(plan.name)
            raise oversight.aborted()
        time.sleep(max(0.0, done / job.record["rate"] - job.at_s))


def _reason(job: Job) -> str:
    if job.outcome == DEAD:
        return "the process that managed it is gone"
    return "its guest has ended by itself" if job.guest_is_off() else "the connection between the hosts broke"


def _result(job: Job) -> MigrationResult:
    course = job.course
    if course is None:
        return MigrationResult(disk_bytes=job.record["disk_bytes"])
    return MigrationResult(
        total_ms=round((course.progress.elapsed_s or 0.0) * 1000),
        downtime_ms=course.downtime_ms,
        memory_bytes=course.sent_memory,
        disk_bytes=job.record["disk_bytes"],
        iterations=course.progress.iteration,
        post_copy=job.record["post_copy_s"] is not None,
    )
