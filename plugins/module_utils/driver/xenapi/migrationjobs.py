# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's own tasks that move VMs: found, followed, ended. They go on when their client is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from typing import Any, NamedTuple

from ...errors import HypervisorError, MigrationFailed
from ...model.migration import ABORT, Migration, MigrationProgress
from ..oversight import Oversight
from .errors import code_of, translate
from .instances import choose
from .migrationplan import MigrationPlanMixin
from .migrationroutes import BETWEEN, WITHIN
from .records import Object
from .storage import GONE
from .tasks import SUCCESS, Snapshot, Task

_CANCELLED = "TASK_CANCELLED"
_LOOK_S = 0.5
"""How often progress is told."""
_LAST_WORDS_S = 60.0
"""How long a task that was cancelled is waited for."""


class Job(NamedTuple):
    """What the server does with a VM: the operation, and the reference of its task."""

    operation: str
    task: str


def job_of(vm: Object) -> Job | None:
    """The job that moves a VM at the moment."""
    for task, operation in vm["current_operations"].items():
        if operation in (WITHIN, BETWEEN):
            return Job(operation, task)
    return None


def progress_of(job: Job, task: Snapshot | None, elapsed_s: float | None = None) -> MigrationProgress:
    """How far it is; XenAPI tells a share of the whole, and nothing else."""
    percent = None if task is None else round(100 * float(task["progress"]), 1)
    return MigrationProgress("memory" if job.operation == WITHIN else "disks", percent, elapsed_s=elapsed_s)


class MigrationJobsMixin(MigrationPlanMixin):
    """Looking after them."""

    def get_migrations(self, names: Collection[str] | None = None) -> dict[str, Migration]:
        """As the contract says."""
        with self.guard("read the migrations"):
            vms = choose(self.find_vms(names), strictly=False)
            jobs = {ref: job_of(vm) for ref, vm in vms.items()}
            tasks = self.fetch_refs("task", {job.task for job in jobs.values() if job is not None})
        found, records = {}, self.migrations_of(vms)
        for ref, vm in vms.items():
            record, job = records.get(ref), jobs[ref]
            progress = None if job is None else progress_of(job, tasks.get(job.task))
            if record is not None or progress is not None:
                found[vm["name_label"]] = Migration(record, progress)
        return found

    def abort_migration(self, name: str) -> bool:
        """As the contract says."""
        ref, vm = self.lookup(name)
        job = job_of(vm)
        if job is None:
            return False
        with self.guard(f"abort the migration of instance {name!r}", name):
            try:
                self.call("task.cancel", job.task)
            except self.api.library.Failure as failure:
                if code_of(failure) != GONE:
                    raise
        self._await_idle(ref, name, job)
        return True

    # -- following --------------------------------------------------------------------------------------------------

    def follow_job(self, ref: str, job: Job, oversight: Oversight) -> None:
        """See a job of another client through; raises what it failed with, as ``see_through`` does. What came of one
        whose task nobody can see has to be looked up."""
        task = self.tasks.follow(job.task, job.operation)
        try:
            self.see_through(task, job, oversight)
        except self.api.library.Failure as failure:
            if code_of(failure) != GONE:
                raise
            self._await_idle(ref, oversight.name, job, oversight)

    def see_through(self, task: Task, job: Job, oversight: Oversight) -> None:
        """Wait for a task's end, and do what ``oversight`` says meanwhile; to be used within ``guard``.

        Raises:
            MigrationAborted, TimeoutExpired: it was cancelled.
            MigrationFailed: the server gave up; its failure is the cause.
        """
        began = time.monotonic()
        while (end := self.tasks.end_of(task, _LOOK_S)) is None:
            self._heed(task, job, oversight, time.monotonic() - began)
        if end["status"] == SUCCESS:
            return
        failure = self.api.library.Failure(end["error_info"] or [_CANCELLED, task.ref])
        if code_of(failure) == _CANCELLED:
            raise oversight.aborted() from failure
        told = translate(failure, f"move instance {oversight.name!r}", oversight.name, self.labels)
        raise MigrationFailed(str(told)) from failure

    def _heed(self, task: Task, job: Job, oversight: Oversight, elapsed_s: float) -> None:
        seen = self.call("task.get_record", task.ref)
        wanted = oversight.heed(progress_of(job, seen, round(elapsed_s, 1)))
        if wanted == ABORT:
            # Too late where the server cannot take it back any more: then it comes to its end.
            with contextlib.suppress(self.api.library.Failure):
                self.call("task.cancel", task.ref)
        elif wanted is not None:
            oversight.warnings.append(f"{oversight.name}: XenServer knows no {wanted}; the migration goes on")

    def _await_idle(self, ref: str, name: str, job: Job, oversight: Oversight | None = None) -> None:
        """Wait until a job is over whose task tells nothing; for a while, unless it is looked after."""
        end = time.monotonic() + _LAST_WORDS_S
        with self.guard(f"wait for the migration of instance {name!r}", name):
            while True:
                try:
                    operations: dict[str, Any] = self.call("VM.get_current_operations", ref)
                except self.api.library.Failure as failure:
                    if code_of(failure) != GONE:
                        raise
                    return
                if job.task not in operations:
                    return
                if oversight is not None:
                    wanted = oversight.heed(progress_of(job, None))
                    if wanted is not None:
                        oversight.warnings.append(f"{name}: nobody but who began its migration can end it; it goes on")
                elif time.monotonic() > end:
                    raise HypervisorError(f"the migration of instance {name!r} does not end; look at it again later")
                time.sleep(_LOOK_S)
