# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of instances that are moved: made where they go to, and left where they come from.

A volume that is made for an arriving instance has a record beside it that says until the end that it is unfinished, and
for which migration it is. So nothing but what a migration made is removed when that is given up.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...undo import UndoStack
from .domain import Domain
from .migrationdisks import DiskPlan
from .uses import Volume
from .volumes import VolumesMixin


class MigrationVolumesMixin(VolumesMixin):
    """Volumes of both ends."""

    def make_arriving_volumes(
        self, source: MigrationVolumesMixin, plan: DiskPlan, migration: str, done: UndoStack
    ) -> None:
        """On the destination: make the volumes of ``plan.copies``. What nobody writes to (seeds, CDs) is filled; the
        others are blank, as large as they have to be, and lean on what they are to lean on.

        Args:
            migration: The id in the record, which the incoming instance has already with ``made_volumes``.

        Raises:
            AlreadyExists, InsufficientCapacity: nothing is left of it.
        """
        raise NotImplementedError

    def settle_arrived_volumes(self, keys: Iterable[str], migration: str) -> None:
        """On the destination, when the instance lives there: these (``pool/name``, of the record) are ordinary volumes
        from now on. Fine when they are already."""
        raise NotImplementedError

    def discard_arriving_volumes(self, keys: Iterable[str], migration: str) -> list[str]:
        """On the destination: remove those of these volumes that this migration made and did not settle; what was
        removed, in words. Only when the definition that names them is off or gone."""
        raise NotImplementedError

    def volumes_left_behind(self, domain: Domain, keys: Iterable[str], delete_volumes: str) -> list[Volume]:
        """On the source, of an instance that lives elsewhere: those of its copied volumes (``keys`` of the outgoing
        record) that ``delete_volumes`` (``own``, ``all``, ``none``) dooms and nobody else needs: for ``note_removal``
        and ``delete_all``, as ``destroy`` does it."""
        raise NotImplementedError
