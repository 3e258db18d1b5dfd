# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding out how instances can get to another host, and what keeps them from it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Callable, NamedTuple, Union

from ...model.instance import SEED, Instance
from ...model.migration import COLD, COPY, INCOMING, SHARED, DiskMove, MigrationPlan, MigrationWishes
from .. import migrationchecks as checks
from ..imagepath import is_path
from ..migration import MigrationDriver
from .hostfile import Pool
from .migrationmove import MigrationMoveMixin
from .migrationparts import mapped_backing
from .poolkinds import KINDS
from .records import disks_of, volume_key
from .store import INSTANCES, VOLUMES, Record, View
from .volumerecords import is_complete

Finding = Union[DiskMove, str]
"""What becomes of a disk, or a problem."""


class Place(NamedTuple):
    """What the destination has, of what matters to disks.

    Attributes:
        shared: Names of pools that are the same on the source.
        has_file: Whether there is such a file.
    """

    volumes: Mapping[str, Record]
    pools: Mapping[str, Pool]
    shared: frozenset[str]
    has_file: Callable[[str], bool]


class MigrationPlanMixin(MigrationMoveMixin):
    """Planning."""

    def plan_migrations(
        self,
        destination: MigrationDriver,
        instances: Mapping[str, Instance],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, MigrationPlan]:
        plans = {name: self._new_plan(destination, instance, wishes) for name, instance in instances.items()}
        for mode in sorted({plan.mode for plan in plans.values()}):
            problems = checks.host_problems(self, destination, mode)
            problems += checks.unmet_wishes(self, destination, wishes, mode)
            for plan in plans.values():
                if plan.mode == mode:
                    plan.problems += problems
        if not isinstance(destination, MigrationPlanMixin) or self.host_identity() == destination.host_identity():
            return plans
        self._plan_disks(destination, instances, plans)
        for found in (
            checks.place_problems(destination, instances, wishes),
            checks.group_problems(self, destination, instances),
            checks.room_problems(destination, instances, plans),
            destination.processor_problems(instances, plans),
        ):
            for name, problems in found.items():
                plans[name].problems += problems
        return plans

    def _new_plan(self, destination: MigrationDriver, instance: Instance, wishes: MigrationWishes) -> MigrationPlan:
        mode = checks.mode_for(self, instance, wishes)
        outgoing, _incoming = checks.records(self, destination, instance, mode)
        problems = checks.state_problems(instance, mode)
        return MigrationPlan(
            instance.name, mode, wishes, outgoing, problems=problems, private=checks.mapped(instance, wishes)
        )

    def _plan_disks(
        self, destination: MigrationPlanMixin, instances: Mapping[str, Instance], plans: Mapping[str, MigrationPlan]
    ) -> None:
        with self._read("migration_plan") as view:
            records = {name: record for name in plans if (record := view.get(INSTANCES, name)) is not None}
            volumes = view.all(VOLUMES)
            users = {name: self._other_users(view, record) for name, record in records.items()}
        place = destination.place_for(self, records)
        for name, record in records.items():
            plan = plans[name]
            sizes = {disk.device or "": disk.size_bytes or 0 for disk in instances[name].disks or ()}
            for disk in _disks(record):
                move = _disk_move(disk, volumes, users[name], place, plan.wishes)
                if isinstance(move, str):
                    plan.problems.append(f"disk {disk['device']}: {move}")
                elif move is not None:
                    grown = sizes.get(move.device, 0) if plan.mode == COLD else 0
                    plan.disks.append(move._replace(size_bytes=max(move.size_bytes, grown)))
            plan.record = replace(plan.record, volumes=checks.copied_volumes(plan.disks))

    def place_for(self, source: MigrationPlanMixin, names: Collection[str]) -> Place:
        """On the destination: what it has. What an earlier, failed try to move one of these has left does not count."""
        with self._read("migration_plan") as view:
            pools = self._pools(view)
            left: set[str] = set()
            for record, _seen in self._chosen(view, names).values():
                if record.get("migration", {}).get("direction") == INCOMING:
                    left.update(record["migration"]["volumes"])
            volumes = {key: volume for key, volume in view.all(VOLUMES).items() if key not in left}
            shared = self._store.shared_pools(view)
        if os.path.realpath(self.root) != os.path.realpath(source.root):
            shared = frozenset()
        shared = frozenset(pool for pool in shared if source.is_shared(pool))
        return Place(volumes, pools, shared, self._has_file)

    def processor_problems(
        self, instances: Mapping[str, Instance], plans: Mapping[str, MigrationPlan]
    ) -> dict[str, list[str]]:
        """On the destination: processors that it has not got for all of them together."""
        stats, settings = self.get_host_stats(), self._settings
        free = int(settings.vcpus * settings.vcpu_overcommit) - stats.vcpus_used
        found = {}
        for name, plan in sorted(plans.items()):
            needed = (instances[name].vcpus or 0) if plan.record.start else 0
            if needed > free:
                found[name] = [f"{self.host} has {max(0, free)} virtual processors left for it; it needs {needed}"]
            else:
                free -= needed
        return found

    def _other_users(self, view: View, record: Record) -> dict[str, str]:
        """Volumes of an instance that another one has as well, or that another volume leans on, and who that is."""
        found = {}
        for disk in _disks(record):
            if "volume" in disk:
                key = volume_key(disk)
                others = [f"instance {name}" for name in self._users_of(view, key) if name != record["name"]]
                others += [f"volume {child}" for child, other in view.all(VOLUMES).items() if other["backing"] == key]
                if others:
                    found[key] = others[0]
        return found


def _disks(record: Record) -> list[Record]:
    """The disks of an instance, configured and running, each once."""
    return list({disk["device"]: disk for disk in reversed(disks_of(record))}.values())[::-1]


def _disk_move(
    disk: Record, volumes: Mapping[str, Record], users: Mapping[str, str], place: Place, wishes: MigrationWishes
) -> Finding | None:
    """What becomes of a disk; None for an empty drive."""
    device = disk["device"]
    if "path" in disk:
        if place.has_file(disk["path"]):
            return DiskMove(device, SHARED, disk["path"], disk["path"])
        return f"there is no file {disk['path']!r} on the destination, and files are not copied; put it there first"
    if "volume" not in disk:
        return None
    key = volume_key(disk)
    pool = wishes.pools.get(disk["pool"], disk["pool"])
    there = f"{pool}/{disk['volume']}"
    volume = volumes.get(key)
    if volume is None:
        return f"its volume {key} is gone"
    move = DiskMove(device, COPY, key, there, volume["size_bytes"])
    if pool == disk["pool"] and pool in place.shared:
        if wishes.storage == COPY and not disk.get("read_only"):
            return (
                f"{key} is on storage that the destination sees as well, so there is nothing to copy; "
                "use storage auto, or name another pool for it with pools"
            )
        return move._replace(how=SHARED, size_bytes=0)
    if disk["role"] == SEED and there not in place.volumes:
        return move._replace(how="remade")
    if disk.get("read_only") and disk["role"] != SEED:
        if there in place.volumes:
            return move._replace(how=SHARED, size_bytes=0)
        return f"there is no volume {there} on the destination, and read-only ones are not copied; put it there first"
    if wishes.storage == SHARED:
        return f"its volume {key} is not on storage that the destination sees; use storage auto or copy"
    return _copied(move, volumes, users.get(key), place, wishes)


def _copied(
    move: DiskMove, volumes: Mapping[str, Record], user: str | None, place: Place, wishes: MigrationWishes
) -> Finding:
    """How a volume is copied."""
    volume, pool = volumes[move.source], move.destination.partition("/")[0]
    if user is not None:
        return f"its volume {move.source} is needed by {user} too, which a copy elsewhere is of no use to"
    if move.destination in place.volumes:
        return f"there is a volume {move.destination} on the destination already"
    if pool in place.pools:
        kind = KINDS[place.pools[pool].kind]
        if not kind.makes_volumes:
            return f"no volumes are made in the destination's pool {pool!r}; name another one with pools"
        if volume["format"] not in kind.formats:
            return (
                f"the destination's pool {pool!r} holds {' and '.join(kind.formats)}, not {volume['format']}; "
                "name another one with pools"
            )
    backing = mapped_backing(volume["backing"], wishes)
    if backing is None:
        return move
    same = (
        place.has_file(backing)
        if is_path(backing)
        else _is_same(volumes[volume["backing"]], place.volumes.get(backing))
    )
    return move._replace(how="incremental") if same else move


def _is_same(image: Record | None, other: Record | None) -> bool:
    """Whether two volumes are the same image of the image cache."""
    sums = [(record or {}).get("image", {}).get("checksum") for record in (image, other)]
    return sums[0] is not None and sums[0] == sums[1] and is_complete(other)
