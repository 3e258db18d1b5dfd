# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job of moving an instance: who has it at each moment, and how both hosts come to say the same.

The job is a record of the source's, and the only truth: where it says that the guest has moved, it runs on the
destination and nowhere else, whatever the hosts' own records say. So it changes hosts in one moment, even where nobody
is there to write anything down: ``with_job`` tells what the source's and the destination's records amount to, and
whoever changes one of these next writes that down.

Beside what ``migrationcourse`` tells there are ``mode``, ``began`` (by the clock), ``making`` (a file that the process
which manages it has locked; None: the source's daemon manages it), ``guest`` (the part of the instance's record that
goes along), ``ended`` (``moved``, ``aborted``, ``failed``, or None) and ``done_bytes`` (of a cold one).
"""

from __future__ import annotations

import json
import os

from ...model import power_state
from ...model.migration import COLD, MOVED, OUTGOING, MigrationProgress
from . import guest as guests
from .datafiles import is_being_written
from .faults import Guest
from .guest import Look
from .migrationcourse import Course, course
from .store import JOBS, SUFFIX, Changes, Record

ABORTED = "aborted"
FAILED = "failed"
DEAD = "dead"

CARRIED = ("power", "running", "leases")
"""What of an instance's record goes along with a running guest."""


class Job:
    """A job as it is at this moment.

    Attributes:
        course: Of a live one.
        outcome: ``moved``, ``aborted``, ``failed``, ``dead`` (its manager was killed); None: it goes on.
        away: The guest runs on the destination.
    """

    def __init__(self, folder: str, record: Record) -> None:
        self.record = record
        self.at_s = max(0.0, guests.now() - record["began"])
        if record["ended"] is not None:
            self.at_s = min(self.at_s, record["ended_s"])
        self.course: Course | None = None if record["mode"] == COLD else course(record, self.at_s)
        self.outcome = self._outcome(folder)
        switched = self.course is not None and record["post_copy_s"] is not None and self.course.away_s is not None
        self.away = record["mode"] != COLD and (self.outcome == MOVED or (switched and self.outcome is None))

    def _outcome(self, folder: str) -> str | None:
        ended: str | None = self.record["ended"]
        if ended is not None:
            return ended
        if self.course is not None and (self.record["making"] is None or self.record["post_copy_s"] is not None):
            if self.course.arrived:
                return MOVED
            return FAILED if self.course.broken or self.guest_is_off() else None
        if not is_being_written(folder, self.record["making"]):
            return DEAD
        return FAILED if self.course is not None and (self.course.broken or self.guest_is_off()) else None

    def guest_is_off(self) -> bool:
        """Whether the guest has ended by itself: then there is nothing to be moved any more."""
        return guests.look(self.record["guest"]["power"], Guest()).state in power_state.OFF

    @property
    def progress(self) -> MigrationProgress | None:
        """How far it is; None when it goes on no more."""
        if self.outcome is not None:
            return None
        if self.course is not None:
            return self.course.progress
        total, done = self.record["disk_bytes"], self.record["done_bytes"]
        percent = 100.0 if not total else round(100 * done / total, 1)
        rate = round(done / self.at_s) if self.at_s else None
        return MigrationProgress("disks", percent, total, done, total - done, rate, elapsed_s=round(self.at_s, 3))


def read_job(folder: str, job_id: str) -> Job | None:
    """The job as the source's folder has it; its file is replaced whole, so this needs no lock."""
    try:
        with open(os.path.join(folder, JOBS, job_id + SUFFIX), "rb") as file:
            record: Record = json.loads(file.read())
    except FileNotFoundError:
        return None
    return Job(folder, record)


def end_job(changes: Changes, record: Record, folder: str) -> None:
    """The instance, which is on its source, has lost its power: there is nothing more to be moved."""
    if record.get("migration", {}).get("direction") == OUTGOING:
        job = read_job(folder, record["migration"]["id"])
        if job is not None and job.outcome is None:
            changes.put(JOBS, record["migration"]["id"], {**job.record, "ended": FAILED, "ended_s": job.at_s})


def with_job(record: Record, seen: Look, folder: str, guest: Guest) -> tuple[Record, Look]:
    """An instance that is being moved, and its guest, given how the job stands. ``folder`` is the host's."""
    migration = record["migration"]
    if "arrival" in record:
        return _there(record, seen, read_job(record["arrival"]["folder"], migration["id"]), guest)
    if migration["direction"] == OUTGOING:
        return _here(record, seen, read_job(folder, migration["id"]))
    return record, seen


def _here(record: Record, seen: Look, job: Job | None) -> tuple[Record, Look]:
    if job is None or job.course is None:
        return record, seen
    if job.outcome == MOVED:
        power = guests.settled(record["power"], seen, power_state.SHUTOFF)
        return {**record, "running": None, "power": power}, Look(power_state.SHUTOFF, seen.run_s, False, None)
    still_s = job.course.still_s
    if job.outcome is None and still_s is not None and seen.state in power_state.ACTIVE:
        run_s = max(record["power"]["run_s"], seen.run_s - (job.at_s - still_s))
        return record, Look(power_state.PAUSED, run_s, seen.ready, None)
    return record, seen


def _there(record: Record, seen: Look, job: Job | None, guest: Guest) -> tuple[Record, Look]:
    if job is None or not job.away or job.course is None:
        return record, seen
    carried = job.record["guest"]
    power = carried["power"]
    still_s = (job.course.downtime_ms or 0) / 1000
    power = {**power, "since": power["since"] + (still_s if power["state"] == "running" else 0.0)}
    arrived = {**record, **carried, "power": power}
    if job.outcome == MOVED:
        arrived = without(arrived, "arrival", "arriving")
        arrived["migration"] = {**record["migration"], "phase": MOVED}
    return arrived, guests.look(power, guest)


def without(record: Record, *fields: str) -> Record:
    """The record without these fields."""
    return {field: value for field, value in record.items() if field not in fields}
