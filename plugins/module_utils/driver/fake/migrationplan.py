# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding out how instances can get to another host, and what keeps them from it."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace

from ...model.instance import Instance
from ...model.migration import COLD, MigrationPlan, MigrationWishes
from .. import migrationchecks as checks
from ..imagepath import is_path
from ..migration import MigrationDriver
from .migrationdisks import Leftovers, Place, disk_move, disks_once, leftovers_of, origin_of
from .migrationmove import MigrationMoveMixin
from .store import INSTANCES, VOLUMES


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
        left = self._plan_disks(destination, instances, plans)
        for found in (
            checks.place_problems(destination, instances, wishes),
            checks.group_problems(self, destination, instances),
            checks.room_problems(destination, instances, plans, left.memory_mb, left.room),
            destination.processor_problems(instances, plans, left),
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
    ) -> Leftovers:
        """What becomes of all their disks; and what earlier tries to move them have left on the destination."""
        with self._read("migration_plan") as view:
            records = {name: record for name in plans if (record := view.get(INSTANCES, name)) is not None}
            origin = origin_of(view)
        place = destination.place_for(self, records)
        for name, record in records.items():
            plan = plans[name]
            sizes = {disk.device: disk.size_bytes or 0 for disk in instances[name].disks or ()}
            for disk in disks_once(record):
                move = disk_move(name, disk, origin, place, plan.wishes)
                if isinstance(move, str):
                    plan.problems.append(f"disk {disk['device']}: {move}")
                elif move is not None:
                    grows = plan.mode == COLD and move.how in checks.MADE
                    size_bytes = max(move.size_bytes, sizes.get(move.device, 0) if grows else 0)
                    plan.disks.append(move._replace(size_bytes=size_bytes))
                    if is_path(move.source) and not disk.get("read_only"):
                        plan.warnings.append(
                            f"disk {move.device}: {move.source} is taken for the same file on both hosts"
                        )
            plan.record = replace(plan.record, volumes=checks.copied_volumes(plan.disks))
        return place.leftovers

    def place_for(self, source: MigrationPlanMixin, names: Collection[str]) -> Place:
        """On the destination: what it has, for instances of these names."""
        with self._read("migration_plan") as view:
            pools = self._pools(view)
            left = leftovers_of(view, [record for record, _seen in self._chosen(view, names).values()])
            volumes = {key: volume for key, volume in view.all(VOLUMES).items() if key not in left.volumes}
            shared = self._store.shared_pools(view)
        if os.path.realpath(self.root) != os.path.realpath(source.root):
            shared = frozenset()
        shared = frozenset(pool for pool in shared if source.is_shared(pool))
        return Place(volumes, pools, shared, self._has_file, left)

    def processor_problems(
        self, instances: Mapping[str, Instance], plans: Mapping[str, MigrationPlan], left: Leftovers
    ) -> dict[str, list[str]]:
        """On the destination: processors that it has not got for all of them together."""
        stats, settings = self.get_host_stats(), self._settings
        free = int(settings.vcpus * settings.vcpu_overcommit) - stats.vcpus_used + left.vcpus
        found = {}
        for name, plan in sorted(plans.items()):
            needed = (instances[name].vcpus or 0) if plan.record.start else 0
            if needed > free:
                found[name] = [f"{self.host} has {max(0, free)} virtual processors left for it; it needs {needed}"]
            else:
                free -= needed
        return found
