# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of drivers that also move instances from host to host.

It descends from Nova's live migration (pre_live_migration, live_migration, post_live_migration,
rollback_live_migration) and Ganeti's (MigrationInfo, AcceptInstance, MigrateInstance, GetMigrationStatus,
FinalizeMigrationSource and -Dst). Whoever moves an instance holds a driver for each end, both of the same kind and both
open, and goes::

    source.face(destination)
    plan = source.plan_migrations(destination, {"web1": instance}, wishes, probing=True)["web1"]
    source.begin_migration(plan)                # says on the source what is going on
    source.power_off(plan.name)                 # cold ones only, where it is active
    destination.accept_instance(source, plan)   # definition, volumes and filters are ready
    source.migrate_instance(destination, plan, oversight)
    destination.finish_destination(plan.name)   # it is an ordinary instance there
    source.finish_source(plan.name)             # and no more than what was wished for is left here

Until ``migrate_instance`` returns, everything can be taken back, and an error of it means that the source has the
instance as it was before. After it, there is only forward. Both hosts keep a ``MigrationRecord`` with the instance from
begin to finish, so that after a crash anywhere the next run sees how far it came: at each moment at most one end runs
the guest, and it is never started on one while the other may have it.

The rules of ``driver.base`` hold here too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import NamedTuple

from ..model.instance import Instance
from ..model.migration import Migration, MigrationPlan, MigrationResult, MigrationWishes
from ..undo import Undo
from .firewall import FirewallDriver
from .oversight import Oversight
from .storage import StorageDriver


class Promise(NamedTuple):
    """What a destination keeps free for an instance that is planned to go there.

    Attributes:
        memory_mb: MiB of memory.
        rooms: Bytes in its pools.
        host: Which of its hosts, where it has several.
    """

    memory_mb: int
    rooms: Mapping[str, int]
    host: str = ""


class MigrationDriver(StorageDriver, FirewallDriver):
    """A hypervisor host whose instances can be moved to another one, or that takes such."""

    @cached_property
    def promised(self) -> dict[str, Promise]:
        """By their names, what is kept free here for instances that were planned and are not here yet. Those of one
        task may be planned one after the other."""
        return {}

    # -- looking ----------------------------------------------------------------------------------------------------

    def face(self, destination: MigrationDriver) -> None:
        """Said to the source once both ends are open, before anything is read: from now on it shows what is not on
        ``destination``. For drivers of which one end can be a part of the other: a pool, and one host of it.

        Raises:
            InvalidUri: the source is the destination, or a part of it.
        """

    @abstractmethod
    def get_migrations(self, names: Collection[str] | None = None) -> dict[str, Migration]:
        """Migrations that go on, were cut short, or have left a definition here: of all instances, or of those of
        ``names`` (Ganeti's GetMigrationStatus). Costs as much as reading the instances, and one call more for each job
        that is going on."""

    # -- before -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def plan_migrations(
        self,
        destination: MigrationDriver,
        instances: Mapping[str, Instance],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, MigrationPlan]:
        """How these instances of this host can get to ``destination``, and everything that keeps them from it: the
        hypervisors' versions, the processor (``compare_cpu`` with its reason), room for their memory and disks, all
        together, networks, pools and security groups that are missing, names and MAC addresses that are taken, devices
        that cannot travel, wishes that one end cannot fulfil.

        Args:
            instances: Which ones, in the sizes that they are to have there.
            probing: Whether a short-lived test file may be made to find out whether storage is shared; without it, what
                can only be found out so is a warning.
        """

    # -- moving -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def begin_migration(self, plan: MigrationPlan, replacing: str | None = None) -> Undo:
        """On the source: record that it is being moved (``Instance.migration``); nothing else may change it now. One
        that is to be moved cold may still be active: it is powered off next, and a run that is killed meanwhile has
        left word that it is to be started again.

        Args:
            replacing: The id of the record of a migration that was cut short, has no job, and has stopped the instance.
                The new record takes its place in one step, so that at each moment one of them says that the instance
                is to be started. Where that fails, the old one stays; the undo forgets both.

        Raises:
            Unsupported: no instance moves from here in the plan's mode.
            InstanceMigrating: it is being moved already; or not any more, by what was to be replaced.
        """

    @abstractmethod
    def accept_instance(self, source: MigrationDriver, plan: MigrationPlan) -> Undo:
        """On the destination: get everything ready (Ganeti's AcceptInstance, Nova's pre_live_migration): its definition
        with the record, whatever is needed of volumes, and its filters, before the guest's first packet from here.
        Security groups that are not there are taken over from the source.

        Raises:
            AlreadyExists, InsufficientCapacity, ...: nothing of it is left.
        """

    @abstractmethod
    def migrate_instance(
        self, destination: MigrationDriver, plan: MigrationPlan, oversight: Oversight
    ) -> MigrationResult:
        """On the source: move it. Live, the guest runs on the destination when this returns, in the state that it was
        in. Cold, the instance is off, its disks are copied and compared, and the caller starts it there.

        Where a job of an earlier run is still going on, it is followed to its end instead.

        Raises:
            MigrationAborted: ``oversight`` said so, or somebody else aborted it; the guest runs on the source.
            TimeoutExpired: the same, after ``wishes.timeout_s``.
            MigrationFailed: the hypervisor gave up; the guest runs on the source, unless the error says otherwise.
        """

    @abstractmethod
    def abort_migration(self, name: str) -> bool:
        """On the source: end the job that is going on; it fails with MigrationAborted wherever it is waited for, and
        the guest runs on here. Returns whether there was one. Post-copy cannot be aborted: HypervisorError."""

    # -- afterwards -------------------------------------------------------------------------------------------------

    @abstractmethod
    def finish_destination(self, name: str) -> None:
        """On the destination: make it an ordinary instance: autostart, snapshots, groups, no record. Nothing to do when
        it is one."""

    @abstractmethod
    def finish_source(self, name: str, keep_definition: bool = False, delete_volumes: str = "own") -> list[str]:
        """On the source: remove what the instance, which lives on the destination now, has left: definition, filters,
        seed, logs, and those volumes that were copied and that ``delete_volumes`` names. Shared volumes stay. With
        ``keep_definition`` it is left as ``departed``, and its volumes too. Nothing to do when it is gone.

        Returns:
            What was removed, in words.
        """

    @abstractmethod
    def discard_migration(self, name: str) -> list[str]:
        """On either end, of a migration that was cut short and has no job: on the destination, remove all that
        ``accept_instance`` made; on the source, forget the record, and let a guest that was stopped by the migration
        itself run on. Nothing to do when there is none.

        Returns:
            What was removed, in words.
        """
