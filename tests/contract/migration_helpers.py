# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that many tests of migration say, on whatever platform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migration import MigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.oversight import Oversight, Tell
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    LIVE,
    MigrationPlan,
    MigrationResult,
    MigrationWishes,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import SILENT
from contract.platforms.base import Platform, Snapshot

NAME = "mover"
DISK_BYTES = 8 * MIB


class Drivers(NamedTuple):
    """A driver for each end."""

    source: MigrationDriver
    destination: MigrationDriver


class Ends(NamedTuple):
    """Two hosts of a platform, with a driver for each."""

    platform: Platform
    source: MigrationDriver
    destination: MigrationDriver

    @property
    def partner(self) -> Platform:
        """The destination's platform."""
        return self.platform.partner()

    def pictures(self) -> tuple[Snapshot, Snapshot]:
        """Everything that is on both hosts."""
        return self.platform.snapshot(), self.partner.snapshot()

    @property
    def modes(self) -> list[str]:
        """What this platform has of live and cold."""
        return [mode for mode in (LIVE, COLD) if self.source.supports(f"migration_{mode}")]


def both_ends(platform: Platform) -> Ends:
    """The platform and its partner, facing each other."""
    ends = Ends(platform, platform.migration_driver(), platform.partner().migration_driver())
    ends.source.face(ends.destination)
    return ends


def spawned(ends: Ends, *, power_on: bool, name: str = NAME, **over: Any) -> Instance:
    """An instance on the source with one NIC and, where there are disks, one disk of its own."""
    driver = ends.source
    if "disks" not in over and driver.supports("image"):
        over["disks"] = [Disk(size_bytes=DISK_BYTES)]
    over.setdefault("nics", [ends.platform.nic()])
    driver.spawn(driver.complete(ends.platform.small(name, **over)), power_on=power_on)
    if power_on and ends.platform.name == "xen":  # whose guests help with it
        ends.platform.prepare_hotplug(driver, name)
    return driver.get_instances([name])[name]


def planned(ends: Ends, instance: Instance, probing: bool = True, **wishes: Any) -> MigrationPlan:
    """How it can be moved, which nothing keeps it from."""
    plan = plan_of(ends, instance, probing, **wishes)
    assert plan.problems == []
    return plan


def plan_of(ends: Ends, instance: Instance, probing: bool = True, **wishes: Any) -> MigrationPlan:
    """How it can be moved, if at all."""
    named = {instance.name: instance}
    return ends.source.plan_migrations(ends.destination, named, MigrationWishes(**wishes), probing)[instance.name]


def overseer(plan: MigrationPlan, is_wanted: Callable[[], bool] = lambda: True, tell: Tell | None = None) -> Oversight:
    """Whoever looks after it."""
    return Oversight(plan.name, plan.mode, plan.wishes, SILENT.measure(plan.name), is_wanted, tell)


def begun(ends: Ends, instance: Instance, **wishes: Any) -> MigrationPlan:
    """Everything up to the moving itself; what is to go cold is off after it."""
    plan = planned(ends, instance, **wishes)
    begin(ends, plan)
    return plan


def moved(ends: Ends, instance: Instance, **wishes: Any) -> MigrationResult:
    """All of a migration."""
    return carried_out(ends, planned(ends, instance, **wishes))


def begin(ends: Ends | Drivers, plan: MigrationPlan) -> None:
    """Both ends get ready, as the contract says that they do."""
    ends.source.begin_migration(plan)
    if plan.mode == COLD:
        ends.source.force_off(plan.name)
    ends.destination.accept_instance(ends.source, plan)


def carried_out(ends: Ends | Drivers, plan: MigrationPlan) -> MigrationResult:
    """All of a migration, as the contract says that it goes."""
    begin(ends, plan)
    result = ends.source.migrate_instance(ends.destination, plan, overseer(plan))
    if plan.mode == COLD and plan.record.start:
        ends.destination.power_on(plan.name)
    ends.destination.finish_destination(plan.name)
    ends.source.finish_source(plan.name, delete_volumes=plan.wishes.delete_volumes)
    return result


def as_it_is(instance: Instance) -> Instance:
    """What a migration does not change."""
    disks = [replace(disk, path=None) for disk in instance.disks or ()]
    return replace(instance, disks=disks, power_state=power_state.NOSTATE, pending={}, migration=None)
