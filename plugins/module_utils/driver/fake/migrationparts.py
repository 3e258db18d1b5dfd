# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance that is moved is made up of, on one host and on the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple
from urllib.parse import quote

from ...errors import AnyvirtError, HypervisorUnavailable, MigrationFailed, Unsupported
from ...model.migration import COLD, DEPARTED, LIVE, MOVED, DiskMove, MigrationPlan, MigrationRecord, MigrationWishes
from ..migration import MigrationDriver
from ..migrationchecks import COPIED
from ..uri import ConnectionOptions
from . import guest as guests
from .firewall import FirewallMixin
from .guest import Look
from .migrationcopy import CopyMixin
from .migrationjobs import CARRIED, Job, read_job
from .storagedriver import FakeStorageDriver
from .store import GROUPS, INSTANCES, VOLUMES, Record
from .volumerecords import DATA


class Parts(NamedTuple):
    """Records that an instance on the source is made up of: its own, those of its volumes by their keys, and those of
    its security groups."""

    record: Record
    volumes: dict[str, Record]
    groups: dict[str, Record]


class MigrationPartsMixin(CopyMixin, FirewallMixin, FakeStorageDriver, MigrationDriver):
    """Looking at both ends."""

    def parts_to_move(self, plan: MigrationPlan) -> Parts:
        """For the destination: what there is of the instance."""
        with self._read("migration_plan", plan.name) as view:
            record, _seen = self._instance(view, plan.name)
            groups = {name: view.get(GROUPS, name) for name in record["config"].get("security_groups") or ()}
            volumes = {disk.source: view.get(VOLUMES, disk.source) for disk in plan.disks}
        return Parts(
            record,
            {key: volume for key, volume in volumes.items() if volume is not None},
            {name: group for name, group in groups.items() if group is not None},
        )

    def is_shared(self, pool: str) -> bool:
        """Whether all hosts below the root that have a pool of that name have the same."""
        with self._store.reading() as view:
            return pool in self._store.shared_pools(view)

    def _job_of(self, record: Record) -> Job | None:
        """The job that moves an instance from here."""
        return read_job(self.folder, record["migration"]["id"]) if "migration" in record else None

    def settle(self, name: str) -> None:
        """On the destination: write down that the instance has arrived, if it has; its disks are filled by then."""
        with self._read("info", name) as view:
            record = view.get(INSTANCES, name)
        if record is None or "arrival" not in record:
            return
        arrival = record["arrival"]
        job = read_job(arrival["folder"], record["migration"]["id"])
        if job is None or job.outcome != MOVED:
            return
        if not job.record["carried"]:
            self.fill_volumes(arrival["folder"], name, [DiskMove(**disk) for disk in arrival["disks"]])
        with self._write("migration_arrive", name) as changes:
            changes.put(INSTANCES, name, self._instance(changes, name)[0])

    def settle_cold(self, plan: MigrationPlan) -> None:
        """On the destination: write down that all of an instance that is off has arrived."""
        with self._write("migration_arrive", plan.name) as changes:
            record, _seen = self._instance(changes, plan.name)
            if record.get("migration", {}).get("id") != plan.record.id:
                raise MigrationFailed(f"what {self.host} had got ready for {plan.name!r} is gone")
            changes.put(INSTANCES, plan.name, {**record, "migration": {**record["migration"], "phase": MOVED}})

    def _peer_of(self, record: Record) -> MigrationPartsMixin | None:
        """The host at the other end; None when it cannot be reached."""
        root, _separator, host = record["migration"]["peer"].removeprefix("fake:").rpartition("?host=")
        peer = type(self)(ConnectionOptions(f"fake://{quote(root)}?host={quote(host)}"))
        try:
            peer.open()
        except AnyvirtError:
            return None
        return peer

    def _is_out_of_reach(self, record: Record) -> bool:
        """Whether the host at the other end cannot be asked."""
        peer = self._peer_of(record)
        if peer is not None:
            peer.close()
        return peer is None

    def _settle_there(self, record: Record) -> None:
        """Have the destination write down that the instance has arrived, before what it was made from is removed."""
        if record["migration"]["mode"] != LIVE or record["migration"]["phase"] == DEPARTED:
            return
        peer = self._peer_of(record)
        if peer is None:
            raise HypervisorUnavailable(
                f"{record['migration']['peer']}, which {record['name']!r} was moved to, is gone"
            )
        with peer:
            peer.settle(record["name"])

    def _seen_there(self, record: Record) -> tuple[Record, Look] | None:
        """What the host at the other end has of the instance, if anything."""
        peer = self._peer_of(record)
        if peer is None:
            return None
        with peer, peer._store.reading() as view:
            found = view.get(INSTANCES, record["name"])
            return peer.look_at(found) if found is not None and found["uuid"] == record["uuid"] else None


def to_record(migration: MigrationRecord) -> Record:
    """What a host keeps of a migration, as plain data."""
    return {**asdict(migration), "volumes": list(migration.volumes)}


def as_fake(driver: MigrationDriver) -> MigrationPartsMixin:
    """The driver of the other end, which has to be of the same kind."""
    if not isinstance(driver, MigrationPartsMixin):
        raise Unsupported(f"nothing can be moved between the fake hypervisor and a host of the {driver.name} driver")
    return driver


def arriving_record(record: Record, plan: MigrationPlan, source_folder: str) -> Record:
    """The destination's record of an instance that is to come, but for its ``migration``."""
    config = mapped_config(record["config"], plan.wishes)
    moved_away = {nic.get("mac") for nic in config.get("nics", []) if nic not in record["config"]["nics"]}
    arriving: Record = {
        **{field: record[field] for field in ("name", "uuid", "unfinished")},
        "leases": {mac: lease for mac, lease in record["leases"].items() if mac not in moved_away},
        "made_pools": [],
        "config": config,
        "running": None,
        "power": record["power"] if plan.mode == COLD and record["running"] is None else guests.OFF,
    }
    if plan.mode == LIVE:
        arriving["arriving"] = {field: record["running"][field] for field in ("memory_mb", "vcpus")}
        disks = [disk._asdict() for disk in plan.disks if disk.how in COPIED]
        arriving["arrival"] = {"folder": source_folder, "disks": disks}
    return arriving


def mapped_config(config: Record, wishes: MigrationWishes) -> Record:
    """``config`` or ``running`` of a record with the destination's names of pools and networks."""
    mapped = dict(config)
    if "pool" in config:
        mapped["pool"] = wishes.pools.get(config["pool"], config["pool"])
    if "disks" in config:
        mapped["disks"] = [_renamed(disk, wishes.pools, "pool") for disk in config["disks"]]
    if "nics" in config:
        mapped["nics"] = [_renamed(nic, wishes.networks, "network", "bridge") for nic in config["nics"]]
    return mapped


def _renamed(record: Record, names: Mapping[str, str], *options: str) -> Record:
    return {field: names.get(value, value) if field in options else value for field, value in record.items()}


def new_volume(volume: Record, disk: DiskMove, plan: MigrationPlan) -> Record:
    """The record of the destination's volume for a disk, with nothing in it."""
    pool, _slash, name = disk.destination.partition("/")
    kept = {field: value for field, value in volume.items() if field not in (*DATA, "snapshots", "uuid")}
    return {
        **kept,
        "pool": pool,
        "name": name,
        "owner": plan.name if volume["owner"] == plan.name else None,
        "backing": mapped_backing(volume["backing"], plan.wishes) if disk.how == "incremental" else None,
    }


def mapped_backing(backing: str | None, wishes: MigrationWishes) -> str | None:
    """What a volume leans on, by the destination's name of it."""
    if backing is None or backing.startswith("/"):
        return backing
    pool, _slash, name = backing.partition("/")
    return f"{wishes.pools.get(pool, pool)}/{name}"


def carried_guest(record: Record, wishes: MigrationWishes) -> Record:
    """The part of a record that goes along with its running guest."""
    carried = {field: record[field] for field in CARRIED}
    return {**carried, "running": mapped_config(carried["running"], wishes)}
