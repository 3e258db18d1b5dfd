# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done for one volume, and how that is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import AnyvirtError
from ..model.instance import CDROM, DISK, Disk
from ..model.storage import Volume, VolumeKey
from ..model.units import format_size
from .plan import Plan, Step
from .views import plain
from .volume_desired import DesiredVolume
from .volume_world import World

_OF_DISK = ("device", "bus", "read_only", "cache", "discard", "serial", "boot_order", "shareable")


@dataclass
class PlannedVolume:
    """What is to be done for one volume, and what comes of it.

    Attributes:
        users: The instances whose disk it is, or is to be or not to be; None where the task does not ask about them.
        before, after: In the words of the module's options; None when it does not exist.
        changes: Option, value before, value after.
        touches: The volumes and instances that its plan changes.
        reads: Volumes that have to stay as they are until it is done: what others read as well does no harm.
        error: Why it cannot be done, or why it failed.
    """

    wanted: DesiredVolume
    users: list[str] | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    volume: Volume | None = None
    plan: Plan = field(default_factory=Plan)
    changes: list[tuple[str, Any, Any]] = field(default_factory=list)
    touches: set[VolumeKey | str] = field(default_factory=set)
    reads: set[VolumeKey] = field(default_factory=set)
    error: AnyvirtError | None = None

    def add(self, step: Step, option: str, old: Any, new: Any) -> None:
        """One more step, and the change that it makes."""
        self.plan.steps.append(step)
        self.changes.append((option, old, new))


def volume_as_dict(world: World, item: DesiredVolume, users: Sequence[str] | None) -> dict[str, Any] | None:
    """A volume in the words of the module's options, with the disks that it is of ``users``; None when there is nothing
    of it."""
    key = item.key
    volume = world.volumes.get(key)
    attachments = [attachment_as_dict(name, disk) for name in users or () for disk in world.disks_with(key, name)]
    if volume is None and not attachments:
        return None
    shown: dict[str, Any] = {"name": key.name, "pool": key.pool}
    if volume is not None:
        if volume.size_bytes is not None:
            shown["size"] = format_size(volume.size_bytes)
        for option in ("format", "shareable", "encrypted", "backing", "metadata"):
            value = getattr(volume, option)
            if value not in (None, False, {}):
                shown[option] = value
        if item.snapshots is not None and volume.snapshots is not None:
            shown["snapshots"] = [snapshot.name for snapshot in volume.snapshots]
        if volume.unfinished:
            shown["unfinished"] = True
    if users is not None:
        shown["attachments"] = attachments
    return shown


def attachment_as_dict(instance: str, disk: Disk) -> dict[str, Any]:
    """A disk of an instance in the words of the module's options."""
    shown: dict[str, Any] = {"instance": instance}
    for option in _OF_DISK:
        value = getattr(disk, option)
        if value not in (None, False):
            shown[option] = value
    if disk.kind != DISK:
        shown["kind"] = disk.kind
        if disk.kind == CDROM:
            shown.pop("read_only", None)
    limits = {} if disk.limits is None else {key: value for key, value in plain(disk.limits).items() if value}
    return {**shown, "limits": limits} if limits else shown
