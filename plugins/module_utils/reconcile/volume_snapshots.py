# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for snapshots of volumes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..driver.storage import StorageDriver
from ..errors import SnapshotNotFound, Unsupported, VolumeInUse
from ..model.storage import Volume, VolumeKey, VolumeSnapshot
from ..transfer.headers import RAW
from .attachments import say_users
from .plan import Step
from .volume_desired import ABSENT, ATTACHED, PRESENT, DesiredVolume
from .volume_planned import PlannedVolume
from .volume_world import World


class Snapshots:
    """Plans taking, deleting and going back to snapshots."""

    def __init__(self, driver: StorageDriver, world: World) -> None:
        self.driver = driver
        self.world = world

    def plan_revert(self, planned: PlannedVolume, volume: Volume) -> None:
        """Go back to a snapshot.

        Raises:
            SnapshotNotFound; VolumeInUse: an active instance has the volume; InstanceLocked.
        """
        item, driver, name = planned.wanted, self.driver, planned.wanted.revert_to
        if name is None:
            return
        driver.require("volume_snapshots")
        known = [snapshot.name for snapshot in volume.snapshots or []]
        if name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise SnapshotNotFound(f"{item.where}revert_to: volume {item.key} has no snapshot {name!r}; {there}")
        users = self.world.users(item.key)
        active = [use for use in users if use.active]
        if active:
            raise VolumeInUse(
                f"volume {item.key} cannot be reverted while {say_users(active)} uses it; stop or detach first"
            )
        self.world.refuse_locked(item, [use.instance for use in users])
        for use in users:
            self.world.refuse_kept(use.instance, use.device)
        step = Step(f"revert {item.key} to snapshot {name}", lambda: driver.revert_volume(item.key, name))
        planned.add(step, "content", "as it was", f"as in snapshot {name}")

    def plan_new(self, planned: PlannedVolume) -> None:
        """Take those that are to be there and are not."""
        item, driver = planned.wanted, self.driver
        volume = self.world.volumes[item.key]
        known = list(volume.snapshots or [])
        for name in _to_make(item, known):
            driver.require("volume_snapshots")
            if volume.format == RAW:  # nowhere: known before it is filled with gigabytes
                raise Unsupported(
                    f"{item.where}snapshots: volume {item.key} is raw, and only volumes of other formats have "
                    "snapshots; make one with format qcow2, which can be a copy of it (source.volume)"
                )
            self.world.refuse_moving(use.instance for use in self.world.users(item.key))
            step = Step(f"take snapshot {name} of {item.key}", _taking(driver, item.key, name))
            planned.add(step, f"snapshots.{name}", ABSENT, PRESENT)
            known.append(VolumeSnapshot(name))
        if item.snapshots is not None:
            self.world.volumes[item.key] = replace(volume, snapshots=known)

    def plan_lost(self, planned: PlannedVolume) -> None:
        """Delete those that are not to be there: last of all, since there is no way back."""
        item, driver = planned.wanted, self.driver
        volume = self.world.volumes.get(item.key)
        if volume is None or item.snapshots is None or item.state not in (PRESENT, ATTACHED):
            return
        known = list(volume.snapshots or [])
        leaving = [snapshot.name for snapshot in known if item.snapshots.get(snapshot.name) is False]
        for use in self.world.users(item.key) if leaving else ():
            self.world.refuse_moving([use.instance])
            self.world.refuse_kept(use.instance, use.device)
        for name in leaving:
            step = Step(f"delete snapshot {name} of {item.key}", _deleting(driver, item.key, name))
            planned.add(step, f"snapshots.{name}", PRESENT, ABSENT)
        left = [snapshot for snapshot in known if snapshot.name not in leaving]
        self.world.volumes[item.key] = replace(volume, snapshots=left)


def _to_make(item: DesiredVolume, known: list[VolumeSnapshot]) -> list[str]:
    there = {snapshot.name for snapshot in known}
    return [name for name, wanted in (item.snapshots or {}).items() if wanted and name not in there]


def _taking(driver: StorageDriver, key: VolumeKey, name: str) -> Any:
    return lambda: driver.create_volume_snapshot(key, name)


def _deleting(driver: StorageDriver, key: VolumeKey, name: str) -> Any:
    return lambda: driver.delete_volume_snapshot(key, name)
