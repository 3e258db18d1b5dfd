# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for disks that come and go: which steps lead from what an instance has to what a task wants it to have."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ..driver.storage import StorageDriver
from ..errors import AlreadyExists, InvalidInput, Problem, VolumeInUse, VolumeNotFound
from ..model import power_state
from ..model.instance import CDROM, SEED, Disk, Instance, IoLimits
from ..model.storage import VolumeKey, VolumeUse
from ..undo import Undo
from .plan import Step
from .volume_desired import DesiredVolume
from .volume_options import BANDWIDTHS, OPERATIONS
from .volume_planned import PlannedVolume, attachment_as_dict
from .volume_world import World, is_half_attached

_FIXED = ("kind", "device", "bus")
_CHANGEABLE = ("cache", "discard", "serial", "boot_order", "read_only", "shareable")


class Attachments:
    """Plans attaching, changing and detaching."""

    def __init__(self, driver: StorageDriver, world: World) -> None:
        self.driver = driver
        self.world = world

    # -- attaching --------------------------------------------------------------------------------------------------

    def plan_attached(self, planned: PlannedVolume) -> None:
        """The instance has the volume, in the way that is asked for."""
        item = planned.wanted
        name = item.instance or ""
        instance = self.world.instance(name)
        found = self.world.disks_with(item.key, name)
        if not found:
            self._refuse_use_elsewhere(item)
            drive = self._drive_for(item, instance) if item.is_medium else None
            if drive is not None:
                self._plan_insert(planned, instance, drive)
            else:
                self._plan_attach(planned, instance, self._completed(item, name))
            return
        current = found[0]
        whole = self._compared(item, current)
        half = is_half_attached(instance, current) or current not in (instance.disks or [])
        if half:
            self._plan_attach(planned, instance, replace(whole, passphrase=item.disk.passphrase))
        else:
            if current.read_only and not whole.read_only:
                self._refuse_use_elsewhere(item)
            self._plan_update(planned, instance, current, whole)

    def _completed(self, item: DesiredVolume, name: str) -> Disk:
        """The disk as the instance will have it."""
        self.driver.require("attach")
        wanted = replace(item.disk, volume=item.key.name, pool=item.key.pool)
        try:
            return self.driver.complete_attachment(name, wanted, sorted(self.world.coming.get(name, ())))
        except AlreadyExists as error:
            raise AlreadyExists(f"{item.where}device: {error}") from error

    def _plan_attach(self, planned: PlannedVolume, instance: Instance, disk: Disk) -> None:
        item, driver, name = planned.wanted, self.driver, instance.name
        self.world.refuse_locked(item, [name])
        self._verify_hotplug(instance, disk)

        def attach() -> Any:
            return driver.attach_volume(name, disk)

        step = Step(f"attach {item.key} to {name} as {disk.device}", attach)
        planned.add(step, "attachments", None, attachment_as_dict(name, disk))
        self.world.attached(name, item.key, disk)

    def _refuse_use_elsewhere(self, item: DesiredVolume) -> None:
        """Two guests that write to one disk without knowing of each other destroy what is on it."""
        key = item.key
        volume = self.world.volume(key)
        if volume is None and key not in self.world.to_come:
            raise VolumeNotFound(f"there is no volume {key}")
        reads = item.is_medium or bool(item.disk.read_only)
        children = self.world.uses[key].children if key in self.world.uses else []
        if not reads and (children or (volume is not None and volume.is_image)):
            why = (
                f"volumes lean on it: {', '.join(sorted(children))}"
                if children
                else "it is an image of the image cache"
            )
            raise VolumeInUse(
                f"volume {key} cannot be attached for writing, since {why}; attach it with read_only: true, or make a "
                "copy with source.volume"
            )
        shared = bool(item.volume.shareable) or (volume is not None and bool(volume.shareable))
        others = [use for use in self.world.users(key) if use.instance != item.instance]
        if others and not shared and not (reads and all(use.read_only for use in others)):
            raise VolumeInUse(
                f"volume {key} is in use by {say_users(others)}; detach it there first, or have it shareable or "
                "read_only everywhere"
            )

    # -- what is attached already -----------------------------------------------------------------------------------

    def _compared(self, item: DesiredVolume, current: Disk) -> Disk:
        """The disk as it is to be.

        Raises:
            InvalidInput: what cannot be changed while it is attached differs.
        """
        problems = []
        for option in _FIXED:
            new, old = getattr(item.disk, option), getattr(current, option)
            if new is not None and old is not None and new != old:
                problems.append(
                    Problem(
                        f"{item.where}{option}",
                        f"is {old} where volume {item.key} is attached to {item.instance!r}, and cannot be changed to "
                        f"{new}; detach it first",
                    )
                )
        if problems:
            raise InvalidInput(problems)
        wanted = {option: getattr(item.disk, option) for option in _CHANGEABLE}
        mentioned = {option: value for option, value in wanted.items() if value is not None}
        return replace(current, **mentioned, limits=merged_limits(current.limits, item.disk.limits))

    def _plan_update(self, planned: PlannedVolume, instance: Instance, current: Disk, whole: Disk) -> None:
        item, driver, name = planned.wanted, self.driver, instance.name
        differing = [
            option for option in _CHANGEABLE if (getattr(whole, option) or None) != (getattr(current, option) or None)
        ]
        if _limits(whole) != _limits(current):
            differing.append("limits")
        if not differing:
            return
        self.world.refuse_locked(item, [name])

        def update() -> Any:
            return driver.update_attachment(name, whole, differing)

        device = current.device
        planned.plan.steps.append(Step(f"change {', '.join(differing)} of {item.key}, {device} of {name}", update))
        for option in differing:
            old, new = (_limits(disk) if option == "limits" else getattr(disk, option) for disk in (current, whole))
            planned.changes.append((option, old, new))
        self.world.detached(name, item.key, device)
        self.world.attached(name, item.key, whole)

    # -- CD-ROMs ----------------------------------------------------------------------------------------------------

    def _drive_for(self, item: DesiredVolume, instance: Instance) -> Disk | None:
        """The drive that the medium goes into: the one that is named, or else the first empty one; None when there is
        none, so that a new one is needed."""
        drives = [disk for disk in instance.disks or [] if disk.kind == CDROM]
        if item.disk.device is None:
            empty = [disk for disk in drives if disk.role != SEED and not (disk.volume or disk.path or disk.image)]
            fitting = [disk for disk in empty if item.disk.bus in (None, disk.bus)]
            return fitting[0] if fitting else None
        for drive in drives:
            if drive.device == item.disk.device:
                if drive.role == SEED:
                    raise AlreadyExists(
                        f"{item.where}device: {drive.device} of {instance.name!r} has the data for cloud-init in it"
                    )
                self._compared(item, drive)
                return drive
        return None

    def _plan_insert(self, planned: PlannedVolume, instance: Instance, drive: Disk) -> None:
        item, driver, name = planned.wanted, self.driver, instance.name
        driver.require("cdrom_media")
        self.world.refuse_locked(item, [name])
        device = drive.device or ""

        def insert() -> Any:
            return driver.change_media(name, device, item.key)

        disk = replace(_emptied(drive), volume=item.key.name, pool=item.key.pool)
        instead = ""
        if drive.volume is not None:
            ejected = VolumeKey(drive.pool or "", drive.volume)
            instead = f", in place of {ejected}"
            self.world.detached(name, ejected, device, _emptied(drive))
        step = Step(f"insert {item.key} into {device} of {name}{instead}", insert)
        planned.add(step, "attachments", None, attachment_as_dict(name, disk))
        self.world.attached(name, item.key, disk)

    # -- detaching --------------------------------------------------------------------------------------------------

    def plan_detached(self, planned: PlannedVolume) -> None:
        """The instance, or every instance where none is named, does not have the volume."""
        item = planned.wanted
        for name in planned.users or ():
            if name in self.world.failed:
                raise self.world.failed[name]
            for disk in self.world.disks_with(item.key, name):
                if item.disk.device in (None, disk.device):
                    self.plan_detach(planned, item.key, self.world.instance(name), disk)

    def plan_detach(self, planned: PlannedVolume, key: VolumeKey, instance: Instance, disk: Disk) -> None:
        """The instance does not have this disk."""
        item, driver, name = planned.wanted, self.driver, instance.name
        self.world.refuse_locked(item, [name])
        self.world.refuse_kept(name, disk.device)
        device = disk.device or ""
        if item.eject:
            if disk.kind != CDROM:
                raise InvalidInput(
                    [Problem(f"{item.where}eject", f"volume {key} is a disk of {name!r}, not in a CD drive")]
                )
            driver.require("cdrom_media")
            step = Step(f"eject {key} from {device} of {name}", lambda: driver.change_media(name, device, None))
        else:
            driver.require("attach")
            self._verify_hotplug(instance, disk)

            def detach() -> Undo:
                take_back = driver.detach_volume(name, device, item.detach_timeout_s)
                return partial(_unless_gone, driver, key, take_back)

            step = Step(f"detach {key} from {name}, where it is {device}", detach)
        planned.add(step, "attachments", attachment_as_dict(name, disk), None)
        planned.touches.add(name)
        self.world.detached(name, key, device, _emptied(disk) if item.eject else None)

    def _verify_hotplug(self, instance: Instance, disk: Disk) -> None:
        if instance.power_state not in power_state.OFF:
            self.driver.require("attach_live")
            self.driver.verify_hotplug(instance.name, disk)


def _unless_gone(driver: StorageDriver, key: VolumeKey, take_back: Undo) -> None:
    """Undo a detachment: an instance whose disk is a volume that was deleted meanwhile could not start any more."""
    if key not in driver.get_volumes([key]):
        raise VolumeNotFound(f"volume {key} is gone")
    take_back()


def say_users(users: list[VolumeUse]) -> str:
    """Who uses a volume, in words."""
    return ", ".join(f"instance {use.instance!r} ({use.device})" for use in users)


def merged_limits(current: IoLimits | None, wanted: IoLimits | None) -> IoLimits | None:
    """The limits after those that are wanted are set; a total takes the place of its parts, and the other way round."""
    if wanted is None:
        return current
    limits = replace(current) if current is not None else IoLimits()
    for total, *parts in (BANDWIDTHS, OPERATIONS):
        if getattr(wanted, total):
            for part in parts:
                setattr(limits, part, None)
        elif any(getattr(wanted, part) for part in parts):
            setattr(limits, total, None)
        for option in (total, *parts):
            if getattr(wanted, option) is not None:
                setattr(limits, option, getattr(wanted, option) or None)
    return limits


def _limits(disk: Disk) -> dict[str, int]:
    return {option: value for option, value in vars(disk.limits or IoLimits()).items() if value}


def _emptied(drive: Disk) -> Disk:
    return replace(drive, volume=None, pool=None, path=None, image=None, size_bytes=None, format=None)
