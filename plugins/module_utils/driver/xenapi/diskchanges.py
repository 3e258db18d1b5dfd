# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of instances that exist: new ones, and growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import AlreadyExists, HypervisorError, InvalidInput, Problem
from ...model.instance import DISK, SEED, Disk, Instance
from ...model.units import format_size
from ...undo import UndoStack
from .complete import ROOT
from .devicechanges import VBD, DeviceChangesMixin
from .devices import device_name, device_number
from .metadata import Record, VolumeRecord, read_volume_record
from .records import ROUNDED_BYTES, Object, Survey
from .storage import NewVolume
from .vmfields import new_vbd

Part = tuple[Disk, "NewVolume | str | None"]
"""A disk, with the volume to be made for it, or the one there is already."""


class DiskChangesMixin(DeviceChangesMixin):
    """Changes of disks."""

    def plan_new_disks(self, instance: Instance, wanted: Sequence[Disk], record: Record) -> list[Part]:
        """What becomes of those of the wanted disks that an instance does not have yet; makes nothing.

        Raises:
            AlreadyExists: there is a volume of the name.
        """
        had = {disk.device for disk in instance.disks or []}
        numbers = {number for number in map(device_number, had) if number is not None}
        new = [disk for disk in wanted if disk.device is None or disk.device not in had]
        kind = str(instance.hypervisor["domain_type"])
        completed = self.complete_disks(replace(instance, disks=new), new, numbers, kind)
        self.require_pool_has(Instance(instance.name, pool=instance.pool, disks=completed))
        self.require_new_volumes(completed, record)
        return [(disk, self.part_for(instance, disk, record, _number_of(disk, wanted))) for disk in completed]

    def add_disks(self, ref: str, vm: Object, parts: Sequence[Part], is_live: bool, done: UndoStack) -> None:
        """Make and attach new disks.

        Args:
            is_live: The guest runs and gets them at once; otherwise it gets them when it starts.
        """
        name = vm["name_label"]
        with self.guard(f"look at the disks of instance {name!r}", name):
            before = self.devices_of(VBD, ref)
        for disk, part in parts:
            # What a killed run leaves is known from a disk that somebody has detached by its being doomed till then.
            vdi = self.make_volume(_doomed(part), done) if isinstance(part, NewVolume) else part
            done.push(f"detach the disk {disk.device}", lambda: self.restore_devices(VBD, ref, name, before))
            with self.guard(f"attach the disk {disk.device} to instance {name!r}", name):
                bootable = disk.role == ROOT and disk.kind == DISK
                vbd = str(self.call("VBD.create", new_vbd(ref, disk, vdi, bootable)))
                if isinstance(part, NewVolume) and vdi is not None:
                    self.keep_volume(vdi, part.record)
                if is_live and disk.kind == DISK:
                    self.plug(VBD, vbd, name)

    def require_new_volumes(self, disks: Sequence[Disk], record: Record) -> None:
        """Refuse to make a volume that is there, unless an earlier run has left it before it could attach it."""
        made = {(disk.pool, disk.volume) for disk in disks if disk.owned}
        for name, found in self.places().vdis({str(volume) for _pool, volume in made}, fresh=True).items():
            for one in found:
                kept = read_volume_record(one.record)
                if (self.pool_of(one.record), name) not in made:
                    continue
                is_ours = kept is not None and kept.owner == record.id and (kept.doomed or kept.role == SEED)
                if not is_ours or one.record["VBDs"]:
                    raise AlreadyExists(f"there is a volume {name!r} in the storage pool {self.pool_of(one.record)!r}")
                self.delete_vdi(one.ref, name)

    # -- growth -----------------------------------------------------------------------------------------------------

    def require_growth(self, actual: Instance, desired: Instance, is_off: bool) -> list[Disk]:
        """The disks that are to grow, refused where they cannot.

        Raises:
            InvalidInput: one would have to shrink.
            Unsupported: one would have to grow while the guest is there.
        """
        had = {disk.device: disk for disk in actual.disks or []}
        growing = []
        for number, disk in enumerate(desired.disks or []):
            old = had.get(disk.device)
            if old is None or disk.role == SEED or disk.size_bytes is None or old.size_bytes is None:
                continue
            if disk.size_bytes < old.size_bytes:
                sizes = f"{format_size(old.size_bytes)} to {format_size(disk.size_bytes)}"
                raise InvalidInput([Problem(f"disks[{number}].size", f"cannot be made smaller, from {sizes}")])
            if disk.size_bytes > old.size_bytes:
                if not is_off:
                    self.require("root_grow_live")
                growing.append(disk)
        return growing

    def grow_disk(self, vm_ref: str, vm: Object, disk: Disk, survey: Survey, done: UndoStack) -> None:
        """Make a disk of a VM that is off larger. It is the last thing to be done: nobody can take it back."""
        name, size_bytes = vm["name_label"], disk.size_bytes or 0
        ref = next(vbd["VDI"] for vbd in survey.vbds[vm_ref] if device_name(vbd["userdevice"]) == disk.device)
        vdi = survey.vdis[ref]
        kept = read_volume_record(vdi)
        if kept is None and size_bytes % ROUNDED_BYTES:  # it is rounded up, and is not to shrink the next time
            kept = VolumeRecord(vm["uuid"], name)
        with self.guard(f"grow the disk {disk.device} of instance {name!r}", name):
            if kept is not None:
                done.push("put back the volume's record", lambda: self._put_back_volume_record(name, ref, vdi))
                self.write_volume_record(ref, vdi, replace(kept, size_bytes=size_bytes))
            self.run_task("VDI.resize", ref, str(size_bytes))
        done.push(f"shrink the disk {disk.device}", _refuse_to_shrink)

    def _put_back_volume_record(self, name: str, ref: str, vdi: Object) -> None:
        with self.guard(f"put back what is recorded with a disk of instance {name!r}", name):
            self.call("VDI.set_other_config", ref, vdi["other_config"])


def _number_of(disk: Disk, wanted: Sequence[Disk]) -> int:
    return next((index for index, one in enumerate(wanted) if one.device == disk.device), len(wanted) - 1)


def _doomed(part: NewVolume) -> NewVolume:
    return part._replace(record=replace(part.record, doomed=True))


def _refuse_to_shrink() -> None:
    raise HypervisorError("the guest may be using what it was given")
