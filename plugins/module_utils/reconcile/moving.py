# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that are being moved to another host, or live on one by now: nobody else changes them."""

from __future__ import annotations

from ..errors import InstanceMigrating
from ..model.instance import Instance
from ..model.migration import DEPARTED, INCOMING


def refuse_migrating(instance: Instance) -> None:
    """Raise InstanceMigrating, which says what to do, unless the instance is here to stay."""
    record = instance.migration
    if record is None:
        return
    if record.phase == DEPARTED:
        raise InstanceMigrating(
            f"instance {instance.name!r} was moved to the host {record.peer}, and only its definition is left here, "
            "which must not be started; change it where it lives now. To remove what is left here, use state: absent "
            "with delete_volumes: none"
        )
    way = "from" if record.direction == INCOMING else "to"
    raise InstanceMigrating(
        f"instance {instance.name!r} is being moved {way} the host {record.peer}, or that was cut short; run "
        "virt_migrate again with the same source and destination, which brings it to its end, or with state: aborted"
    )


def has_departed(instance: Instance) -> bool:
    """Whether it lives elsewhere, and what is here is only its definition."""
    return instance.migration is not None and instance.migration.phase == DEPARTED
