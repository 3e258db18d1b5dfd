# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning what becomes of the disks of instances that are moved."""

from __future__ import annotations

from collections.abc import Mapping

from ...model.instance import Instance
from ...model.migration import MigrationWishes
from .domain import Domain
from .migrationdisks import DiskPlan
from .migrationvolumes import MigrationVolumesMixin


class MigrationDiskPlansMixin(MigrationVolumesMixin):
    """On the source: where disks are going to be."""

    def plan_disks(
        self,
        destination: MigrationDiskPlansMixin,
        domains: Mapping[str, Domain],
        instances: Mapping[str, Instance],
        modes: Mapping[str, str],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, DiskPlan]:
        """What becomes of the disks of these instances, and all that keeps them from being moved.

        Args:
            domains: The configuration of each (read with VIR_DOMAIN_XML_INACTIVE and VIR_DOMAIN_XML_SECURE; of a
                transient one as it runs).
            instances: The same in the sizes that they are to have.
            modes: ``live`` or ``cold`` of each.
            probing: See ``MigrationDriver.plan_migrations``.
        """
        raise NotImplementedError
