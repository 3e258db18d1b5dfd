# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that drivers move between two libvirt hosts, without a playbook."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.oversight import Oversight
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    COLD,
    MigrationPlan,
    MigrationProgress,
    MigrationResult,
    MigrationWishes,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import SILENT
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import UndoStack
from contract.platforms.libvirt_base import LibvirtPlatform

if TYPE_CHECKING:
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdriver import (
        LibvirtMigrationDriver,
    )

NAME = "mover"
"""Of the instance that is moved."""
COPIED = MigrationWishes(mode=COLD)


class Two(NamedTuple):
    """Two hosts, and drivers for both."""

    here: LibvirtPlatform
    there: LibvirtPlatform
    source: LibvirtMigrationDriver
    destination: LibvirtMigrationDriver

    def planned(self, wishes: MigrationWishes = COPIED, probing: bool = True, **changed: object) -> MigrationPlan:
        """How the instance can be moved, with fields of it that are to change on the way."""
        found = self.source.get_instances([NAME])[NAME]
        instance = dataclasses.replace(found, **changed)
        return self.source.plan_migrations(self.destination, {NAME: instance}, wishes, probing)[NAME]

    def move(
        self,
        plan: MigrationPlan,
        heed: Callable[[MigrationProgress], bool] = lambda _: True,
        keep_definition: bool = False,
    ) -> MigrationResult:
        """Move it as whoever reconciles does."""
        assert plan.problems == []
        wanted = [True]

        def tell(progress: MigrationProgress) -> None:
            wanted[0] = wanted[0] and heed(progress)

        oversight = Oversight(NAME, plan.mode, plan.wishes, SILENT.measure(NAME), lambda: wanted[0], tell)
        with UndoStack() as done:
            done.push("begin", self.source.begin_migration(plan))
            done.push("accept", self.destination.accept_instance(self.source, plan))
            result = self.source.migrate_instance(self.destination, plan, oversight)
            done.forget()
        self.destination.finish_destination(NAME)
        self.source.finish_source(NAME, keep_definition)
        return result

    def try_to_move(
        self,
        plan: MigrationPlan,
        error: type[AnyvirtError],
        heed: Callable[[MigrationProgress], bool] = lambda _: True,
    ) -> None:
        """Find that moving it fails, and that both hosts are as they were."""
        before = self.pictures()
        with pytest.raises(error) as caught:
            self.move(plan, heed)
        assert caught.value.not_undone == []
        assert self.pictures() == before

    def pictures(self) -> list[object]:
        """All that is on both hosts."""
        for platform in (self.here, self.there):
            with platform.connection() as connection:
                for pool in connection.listAllStoragePools():
                    pool.refresh()  # the other one may have changed what is in it
        return [platform.snapshot() for platform in (self.here, self.there)]


def two_hosts(platform: LibvirtPlatform) -> Two:
    """A platform and its partner."""
    there = platform.partner()
    assert isinstance(there, LibvirtPlatform)
    return Two(platform, there, platform.migration_driver(), there.migration_driver())  # type: ignore[arg-type]
