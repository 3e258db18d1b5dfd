# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each end of a migration does by itself: recording it, getting ready for it, ending it, forgetting it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...errors import AlreadyExists, HypervisorError, InstanceMigrating, InvalidInput, InvalidPowerState, Problem
from ...model import power_state
from ...model.migration import DEPARTED, INCOMING, LIVE, MOVED, OUTGOING, Migration, MigrationPlan
from ...undo import Undo
from ..base import ALL, NONE, OWN
from ..migration import MigrationDriver
from ..migrationchecks import incoming_record, require_replaceable
from .checks import group_findings
from .datafiles import sweep
from .guest import Look
from .migrationjobs import Job, read_job, without
from .migrationparts import MigrationPartsMixin, arriving_record, as_fake, new_volume, to_record
from .records import migration_of, seeds_of, volume_key
from .store import GROUPS, INSTANCES, JOBS, VOLUMES, Changes, Record, View


class MigrationEndsMixin(MigrationPartsMixin):
    """Before and after the moving."""

    def get_migrations(self, names: Collection[str] | None = None) -> dict[str, Migration]:
        with self._read("migrations") as view:
            found = {}
            for name, (record, _seen) in self._chosen(view, names).items():
                migration = migration_of(record)
                if migration is not None:
                    job = self._job_of(record)
                    found[name] = Migration(migration, job.progress if job is not None else None)
            return found

    # -- before -----------------------------------------------------------------------------------------------------

    def begin_migration(self, plan: MigrationPlan, replacing: str | None = None) -> Undo:
        self.require(f"migration_{plan.mode}")
        name = plan.name
        with self._write("migration_begin", name) as changes:
            record, seen = self._instance(changes, name)
            require_replaceable(name, migration_of(record), replacing)
            if replacing is not None:
                self._require_no_job(record)
                changes.delete(JOBS, replacing)
            if plan.mode == LIVE and seen.state not in power_state.ACTIVE:
                raise InvalidPowerState(
                    f"instance {name!r} is {power_state.name(seen.state)}, and cannot be moved live"
                )
            changes.put(INSTANCES, name, {**record, "migration": to_record(plan.record)})
        return lambda: self._take_back_begin(plan)

    def _take_back_begin(self, plan: MigrationPlan) -> None:
        with self._write("migration_discard", plan.name) as changes:
            record = changes.get(INSTANCES, plan.name)
            if record is not None and record.get("migration", {}).get("id") == plan.record.id:
                self._forget_outgoing(changes, record)
        sweep(self._store)

    def accept_instance(self, source: MigrationDriver, plan: MigrationPlan) -> Undo:
        name, source = plan.name, as_fake(source)
        record, volumes, groups = source.parts_to_move(plan)
        with self._write("migration_accept", name) as changes:
            if changes.get(INSTANCES, name) is not None:
                raise AlreadyExists(f"there is an instance named {name!r} already")
            missing = {key: group for key, group in groups.items() if changes.get(GROUPS, key) is None}
            for key, group in missing.items():
                changes.put(GROUPS, key, group)
            record = arriving_record(record, plan, source.folder)
            record["migration"] = to_record(incoming_record(plan.record, source, plan.disks))
            if missing:
                record["taken_groups"] = sorted(missing)
            self._require_place(changes, record, plan)
            for disk in plan.disks:
                if disk.destination in record["migration"]["volumes"]:
                    if changes.get(VOLUMES, disk.destination) is not None:
                        raise AlreadyExists(f"there is a volume {disk.destination} already")
                    volume = new_volume(volumes[disk.source], disk, plan)
                    self._require_pool_room(changes, volume["pool"], volume["size_bytes"])
                    changes.put(VOLUMES, disk.destination, volume)
            changes.put(INSTANCES, name, record)
        return lambda: self._take_back_accept(plan)

    def _take_back_accept(self, plan: MigrationPlan) -> None:
        with self._write("migration_discard", plan.name) as changes:
            record = changes.get(INSTANCES, plan.name)
            if record is not None and record.get("migration", {}).get("id") == plan.record.id:
                self._discard_incoming(changes, *self.look_at(record))
        sweep(self._store)

    def _require_place(self, changes: Changes, record: Record, plan: MigrationPlan) -> None:
        """Raise the error of the first thing that the host lacks for an instance that is to come."""
        arriving = replace(plan.private, disks=None, image=None, security_groups=None)
        self._raise_first(self._findings(changes, arriving, None))
        self._raise_first(group_findings(changes, plan.private, None))
        if plan.record.start:
            needed = record.get("arriving") or record["config"]
            self._require_room(changes, plan.name, needed["memory_mb"], needed["vcpus"])

    # -- afterwards -------------------------------------------------------------------------------------------------

    def finish_destination(self, name: str) -> None:
        with self._read("info", name) as view:
            record, seen = self._instance(view, name)
            if "migration" not in record:
                return
        if record["migration"]["direction"] != INCOMING:
            raise HypervisorError(f"instance {name!r} has not come from anywhere: {_way(record)}")
        self.settle(name)
        with self._write("migration_finish", name) as changes:
            record, seen = self._instance(changes, name)
            if record.get("migration", {}).get("mode") == LIVE and seen.state not in power_state.ACTIVE:
                moved = record["migration"]["phase"] == MOVED
                if not moved:
                    raise HypervisorError(f"instance {name!r} has not arrived yet: {_way(record)}")
            changes.put(INSTANCES, name, without(record, "migration", "arrival", "arriving", "taken_groups"))
            for key in {volume_key(disk) for disk in record["config"]["disks"] if disk.get("owned")}:
                volume = changes.get(VOLUMES, key)
                if volume is not None and volume["owner"] is None:
                    changes.put(VOLUMES, key, {**volume, "owner": name})

    def finish_source(self, name: str, keep_definition: bool = False, delete_volumes: str = OWN) -> list[str]:
        if delete_volumes not in (OWN, ALL, NONE):
            raise InvalidInput([Problem("delete_volumes", f"{delete_volumes!r} is not one of {OWN}, {ALL}, {NONE}")])
        with self._read("info", name) as view:
            found = self._chosen(view, [name]).get(name)
        if found is None or found[0].get("migration", {}).get("direction") != OUTGOING:
            return []
        if found[0]["migration"]["phase"] != DEPARTED:
            self._require_gone(*found)
        elif keep_definition:
            return []
        self._settle_there(found[0])
        removed: list[str] = []
        with self._write("migration_leave", name) as changes:
            record = self._chosen(changes, [name]).get(name, ({}, None))[0]
            if record.get("migration", {}).get("direction") != OUTGOING:
                return []
            changes.delete(JOBS, record["migration"]["id"])
            if keep_definition:
                # Its copied volumes are nobody's from now on; only what is of no use to anybody goes with it some day.
                migration = {**record["migration"], "phase": DEPARTED, "volumes": []}
                self._leave_volumes(changes, record, NONE)
                changes.put(INSTANCES, name, {**record, "running": None, "migration": migration})
                return []
            changes.delete(INSTANCES, name)
            removed.append(f"instance {name}")
            removed += self._leave_volumes(changes, record, delete_volumes)
        sweep(self._store)
        return removed

    def _require_gone(self, record: Record, seen: Look) -> None:
        """Raise unless the destination has all of it: then nothing else may be removed."""
        job = self._job_of(record)
        moved = job is not None and job.away and job.outcome == MOVED
        if not moved and (job is None or job.outcome is not None):
            there = self._seen_there(record)
            moved = there is not None and there[0].get("migration", {}).get("phase", MOVED) == MOVED
        if not moved or seen.state not in power_state.OFF:
            raise InstanceMigrating(f"instance {record['name']!r} has not left: {_way(record)}")

    def _leave_volumes(self, changes: Changes, record: Record, delete_volumes: str) -> list[str]:
        """Of the volumes that were copied, remove those that are to go; the others belong to nobody from now on."""
        name, removed = record["name"], []
        seeds = seeds_of(record)
        shared = self._store.shared_pools(changes)
        for key in sorted({*record["migration"]["volumes"], *seeds}):
            volume = changes.get(VOLUMES, key)
            if volume is None or volume["pool"] in shared:
                continue
            doomed = key in seeds or delete_volumes == ALL or (delete_volumes == OWN and volume["owner"] == name)
            if doomed and not self._users_of(changes, key) and not _children(changes, key):
                changes.delete(VOLUMES, key)
                removed.append(f"volume {key}")
            elif volume["owner"] == name:
                changes.put(VOLUMES, key, {**volume, "owner": None})
        return removed

    # -- instead ----------------------------------------------------------------------------------------------------

    def abort_migration(self, name: str) -> bool:
        with self._read("migration_progress", name) as view:
            record, _seen = self._instance(view, name)
            if self._going_job(record) is None:
                return False
        with self._write("migration_abort", name) as changes:
            record, _seen = self._instance(changes, name)
            job = self._going_job(record)
            if job is None:
                return False
            if job.away:
                raise HypervisorError(
                    f"the migration of {name!r} cannot be aborted any more: its guest runs on the destination already"
                )
            changes.put(JOBS, record["migration"]["id"], {**job.record, "ended": "aborted", "ended_s": job.at_s})
        return True

    def discard_migration(self, name: str) -> list[str]:
        with self._read("info", name) as view:
            found = self._chosen(view, [name]).get(name)
        if found is None or "migration" not in found[0]:
            return []
        self._require_not_there(found[0])
        with self._write("migration_discard", name) as changes:
            record, seen = self._instance(changes, name)
            if "migration" not in record:
                return []
            if record["migration"]["direction"] == INCOMING:
                removed = self._discard_incoming(changes, record, seen)
            else:
                removed = self._discard_outgoing(changes, record)
        sweep(self._store)
        return removed

    def _discard_incoming(self, changes: Changes, record: Record, seen: Look) -> list[str]:
        name = record["name"]
        if seen.state not in power_state.OFF:
            raise InstanceMigrating(f"instance {name!r} runs here, and is not discarded: {_way(record)}")
        if "arrival" in record:
            job = read_job(record["arrival"]["folder"], record["migration"]["id"])
            if job is not None and job.outcome is None:
                raise InstanceMigrating(f"the job that moves {name!r} still goes on; abort it first: {_way(record)}")
        changes.delete(INSTANCES, name)
        removed = [f"instance {name}"]
        for key in record["migration"]["volumes"]:
            if changes.get(VOLUMES, key) is not None:
                changes.delete(VOLUMES, key)
                removed.append(f"volume {key}")
        for group in record.get("taken_groups", ()):
            if changes.get(GROUPS, group) is not None and not self._group_is_used(changes, group):
                changes.delete(GROUPS, group)
                removed.append(f"security group {group}")
        return removed

    def _discard_outgoing(self, changes: Changes, record: Record) -> list[str]:
        self._require_no_job(record)
        self._forget_outgoing(changes, record)
        return [f"the record of the migration of {record['name']}"]

    def _forget_outgoing(self, changes: Changes, record: Record) -> None:
        changes.delete(JOBS, record["migration"]["id"])
        changes.put(INSTANCES, record["name"], without(record, "migration"))

    # -- parts ------------------------------------------------------------------------------------------------------

    def _require_not_there(self, record: Record) -> None:
        """Raise when the instance, which is outgoing, lives on the destination already."""
        migration = record["migration"]
        if migration["direction"] != OUTGOING:
            return
        job, there = self._job_of(record), self._seen_there(record)
        moved_live = migration["mode"] == LIVE and job is not None and job.outcome == MOVED
        if moved_live and there is None:
            moved_live = self._is_out_of_reach(record)
        runs_there = there is not None and there[1].state not in power_state.OFF
        if migration["phase"] == DEPARTED or moved_live or runs_there:
            raise InstanceMigrating(f"instance {record['name']!r} lives on {migration['peer']} by now")

    def _going_job(self, record: Record) -> Job | None:
        job = self._job_of(record)
        return job if job is not None and job.outcome is None else None

    def _group_is_used(self, view: View, group: str) -> bool:
        if any(group in (record["config"].get("security_groups") or ()) for record in view.all(INSTANCES).values()):
            return True
        others = (record for key, record in view.all(GROUPS).items() if key != group)
        return any(rule.get("group") == group for record in others for rule in record["rules"])

    def _require_no_job(self, record: Record) -> None:
        if self._going_job(record) is not None:
            raise InstanceMigrating(f"the job that moves {record['name']!r} still goes on; abort it first")


def _way(record: Record) -> str:
    migration = record.get("migration", {})
    return f"{record['name']!r} is {migration.get('direction')}, its other host is {migration.get('peer')}"


def _children(view: View, key: str) -> list[str]:
    return [child for child, volume in view.all(VOLUMES).items() if volume["backing"] == key]
