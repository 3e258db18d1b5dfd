# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying the disks of an instance that is off from one host to another, through us."""

from __future__ import annotations

from ...model.migration import MigrationPlan, MigrationResult
from ..oversight import Oversight
from .migrationdiskplans import MigrationDiskPlansMixin
from .migrationdisks import DiskPlan


class ColdCopyMixin(MigrationDiskPlansMixin):
    """On the source: moving what is off."""

    def copy_volumes(
        self, destination: ColdCopyMixin, plan: MigrationPlan, disks: DiskPlan, oversight: Oversight
    ) -> MigrationResult:
        """Copy what is in the volumes of ``disks.copies`` into those that ``make_arriving_volumes`` made, sparse, and
        compare what has arrived. The source's volumes are only read.

        Raises:
            MigrationAborted, TimeoutExpired: ``oversight`` said so.
            ChecksumMismatch: something else arrived than was sent.
            InsufficientCapacity: the destination's disk is full.
        """
        raise NotImplementedError
