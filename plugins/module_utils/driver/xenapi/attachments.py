# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of instances that come and go, and the media of CD drives."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ...errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    Problem,
    TimeoutExpired,
    Unsupported,
    VolumeInUse,
)
from ...model import power_state
from ...model.instance import CDROM, DISK, Disk
from ...model.storage import VolumeKey
from ...undo import Undo, UndoStack
from .devicechanges import VBD
from .devices import device_name, device_number, free_number
from .errors import code_of
from .extras import HVM, domain_type
from .places import Found
from .records import NULL, Object, Objects, state_of
from .snapshots import SnapshotsMixin
from .syntax import BUS, disk_problems
from .vmfields import new_vbd

_KEPT = frozenset({"DEVICE_DETACH_REJECTED", "DEVICE_DETACH_TIMEOUT", "OTHER_OPERATION_IN_PROGRESS"})
"""What is said of guests that do not let go of a disk now."""
_DETACHED = frozenset({"DEVICE_ALREADY_DETACHED", "DEVICE_NOT_ATTACHED"})
_PAUSE_S = 0.5
_CHANGED_LATER = ("read_only", "boot_order")
"""What of a disk can be changed while the instance is off."""


class _Machine(NamedTuple):
    """An instance with its disks and drives."""

    ref: str
    vm: Object
    vbds: Objects

    @property
    def name(self) -> str:
        return str(self.vm["name_label"])

    @property
    def is_hvm(self) -> bool:
        return domain_type(self.vm) == HVM

    @property
    def is_off(self) -> bool:
        return state_of(self.vm) in power_state.OFF

    def numbers(self) -> dict[int, str]:
        """Numbers of devices -> the references of their VBDs."""
        found = ((device_number(device_name(vbd["userdevice"])), ref) for ref, vbd in self.vbds.items())
        return {number: ref for number, ref in found if number is not None}

    def find(self, device: str) -> tuple[str, Object]:
        """The VBD of this device.

        Raises:
            NotFound: there is none.
        """
        ref = self.numbers().get(number if (number := device_number(device)) is not None else -1)
        if ref is None:
            raise NotFound(f"instance {self.name!r} has no device {device!r}")
        return ref, self.vbds[ref]


class AttachmentsMixin(SnapshotsMixin):
    """Attaching and detaching."""

    def check_attachment(self, disk: Disk) -> list[Problem]:
        problems = [problem._replace(option=problem.option.lstrip(".")) for problem in disk_problems("", disk)]
        for option, feature in (
            *(("cache", "disk_tuning"), ("discard", "disk_tuning"), ("serial", "disk_tuning")),
            *(("limits", "io_limits"), ("passphrase", "volume_encryption"), ("path", "existing_file")),
        ):
            if getattr(disk, option) is not None:
                problems += self.unmet(option, feature)
        if disk.boot_order not in (None, 1):
            words = "can only be 1, for the disk to boot from; the instance's boot.order says what kinds come first"
            problems.append(Problem("boot_order", words))
        return problems

    def complete_attachment(self, instance: str, disk: Disk, taken: Collection[str] = ()) -> Disk:
        machine = self._read_machine(instance)
        numbers = machine.numbers()
        others = {number for number in map(device_number, taken) if number is not None}
        free = free_number(disk.kind, machine.is_hvm, {*numbers, *others})
        number = free if disk.device is None else device_number(disk.device)
        if number is None:
            raise InvalidInput([Problem("device", f"{disk.device!r} is not a name such as xvda or xvdb")])
        completed = replace(disk, device=device_name(str(number)), bus=BUS)
        if completed.read_only is None:
            completed.read_only = disk.kind == CDROM
        if completed.volume is not None:
            completed.pool = completed.pool or self.default_pool()
        if number in others:
            raise AlreadyExists(
                f"the device {completed.device} is to be another disk's; {device_name(str(free))} is free"
            )
        if number in numbers:
            self._refuse_taken(machine, numbers[number], completed, device_name(str(free)))
        return completed

    def verify_hotplug(self, instance: str, disk: Disk) -> None:
        machine = self._read_machine(instance)
        if not machine.is_off:
            self._require_hotplug(machine, disk)

    def attach_volume(self, instance: str, disk: Disk) -> Undo:
        problems = self.check_attachment(disk)
        if problems:
            raise InvalidInput(problems)
        machine = self._read_machine(instance)
        number = device_number(disk.device)
        if number is None:
            raise InvalidInput([Problem("device", "is missing")])
        free = device_name(str(free_number(disk.kind, machine.is_hvm, machine.numbers())))
        if number in machine.numbers():
            self._refuse_taken(machine, machine.numbers()[number], disk, free)
        one = None if disk.volume is None else self._attachable(machine, disk)
        if not machine.is_off or (machine.is_hvm and disk.kind == DISK and disk.read_only):
            self._require_hotplug(machine, disk)
        with UndoStack() as done:
            done.push(
                f"detach {disk.device} from {instance}",
                partial(self._restore_one, machine, str(number), NULL if one is None else one.ref),
            )
            with self.guard(f"attach {disk.device} to instance {instance!r}", instance):
                if one is not None and disk.shareable and not one.record["sharable"]:
                    done.push("make the volume no longer shareable", partial(self._set_sharable, one.ref, False))
                    self.call("VDI.set_sharable", one.ref, True)
                fields = new_vbd(machine.ref, disk, None if one is None else one.ref, disk.boot_order == 1)
                vbd = str(self.call("VBD.create", fields))
                if not machine.is_off:
                    self.plug(VBD, vbd, instance)
        return partial(done.take_back, f"the attachment of {disk.device} to instance {instance!r}")

    def detach_volume(self, instance: str, device: str, timeout_s: float) -> Undo:
        machine = self._read_machine(instance)
        ref, vbd = machine.find(device)
        if vbd["currently_attached"] and not machine.is_off:
            self._require_hotplug(machine, Disk(device=device, kind=CDROM if vbd["type"] == "CD" else DISK), vbd)
        with UndoStack() as done:
            done.push(
                f"attach {device} to {instance} again",
                partial(self._restore_one, machine, vbd["userdevice"], vbd["VDI"]),
            )
            with self.guard(f"detach {device} from instance {instance!r}", instance):
                if vbd["currently_attached"] and not machine.is_off:
                    self._unplug(ref, instance, device, timeout_s)
                self.call("VBD.destroy", ref)
        return partial(done.take_back, f"the detachment of {device} from instance {instance!r}")

    def update_attachment(self, instance: str, disk: Disk, options: Collection[str]) -> Undo:
        machine = self._read_machine(instance)
        ref, vbd = machine.find(str(disk.device))
        if "limits" in options:
            self.require("io_limits")
        if {"cache", "discard", "serial"} & set(options):
            self.require("disk_tuning")
        lasting = sorted(set(options) - set(_CHANGED_LATER))
        if lasting:
            raise Unsupported(f"{', '.join(lasting)} of a disk that is attached cannot be changed; attach it anew")
        if not machine.is_off:
            raise Unsupported(f"{', '.join(sorted(options))} of a disk can be changed while the instance is off")
        with UndoStack() as done, self.guard(f"change {disk.device} of instance {instance!r}", instance):
            wanted = {"read_only": "RO" if disk.read_only else "RW", "boot_order": disk.boot_order == 1}
            fields = {"read_only": "mode", "boot_order": "bootable"}
            for option in sorted(options):
                field = fields[option]
                done.push(f"change {option} back", partial(self._set_vbd, ref, field, vbd[field]))
                self.call(f"VBD.set_{field}", ref, wanted[option])
        return partial(done.take_back, f"the change of {disk.device} of instance {instance!r}")

    def change_media(self, instance: str, device: str, key: VolumeKey | None) -> Undo:
        machine = self._read_machine(instance)
        ref, vbd = machine.find(device)
        if vbd["type"] != "CD":
            raise NotFound(f"the device {device!r} of instance {instance!r} is no CD drive")
        new = NULL if key is None else self.look_at(key).volume.ref
        with UndoStack() as done:
            done.push(f"put back what was in {device}", partial(self._put_media, ref, instance, vbd["VDI"]))
            self._put_media(ref, instance, new)
        return partial(done.take_back, f"the change of the medium in {device} of instance {instance!r}")

    # -- parts ------------------------------------------------------------------------------------------------------

    def _read_machine(self, instance: str) -> _Machine:
        ref, vm = self.lookup(instance)
        with self.guard(f"look at the disks of instance {instance!r}", instance):
            return _Machine(ref, vm, self.devices_of(VBD, ref))

    def _restore_one(self, machine: _Machine, userdevice: str, vdi: str) -> None:
        """Let a machine have this at that place, or not, as it was; what else it has may be another's doing."""

        def counts(vbd: Object) -> bool:
            return bool(vbd["userdevice"] == userdevice and vbd["VDI"] == vdi)

        self.restore_devices(VBD, machine.ref, machine.name, machine.vbds, counts)

    def _refuse_taken(self, machine: _Machine, ref: str, disk: Disk, free: str) -> None:
        vdi = machine.vbds[ref]["VDI"]
        with self.guard("see what the instance has"):
            names = [record["name_label"] for record in self.fetch_refs("VDI", [vdi]).values()]
        has = f"the volume {names[0]!r}" if names else "an empty drive"
        raise AlreadyExists(f"the device {disk.device} of instance {machine.name!r} is {has}; {free} is free")

    def _attachable(self, machine: _Machine, disk: Disk) -> Found:
        """The volume to be attached.

        Raises:
            VolumeInUse: another machine writes to it, or would see it change.
        """
        key = VolumeKey(str(disk.pool), str(disk.volume))
        one = self.look_to_change(key).volume
        shared = disk.shareable or one.record["sharable"]
        with self.guard(f"see who uses the volume {key}"):
            uses = self.users_of(one.ref, one.record)
        for use in uses:
            if use.instance == machine.name:
                raise AlreadyExists(f"instance {machine.name!r} has the volume {key} already, as {use.device}")
        if not shared:
            users = sorted({use.instance for use in uses if not (use.read_only and disk.read_only)})
            if users:
                raise VolumeInUse(f"the volume {key} is attached to {', '.join(users)}")
        return one

    def _require_hotplug(self, machine: _Machine, disk: Disk, vbd: Object | None = None) -> None:
        """Refuse what cannot be done while the guest runs, or with disks of guests of this kind at all."""
        name = machine.name
        if machine.is_hvm and disk.kind == DISK and disk.read_only:
            raise Unsupported(f"instance {name!r} is an HVM guest, which takes no read-only disks")
        if machine.is_off:
            return
        if machine.vm["power_state"] != "Running":
            state = power_state.name(state_of(machine.vm))
            raise Unsupported(f"instance {name!r} is {state}; disks come and go while it runs or is off")
        if machine.is_hvm and disk.kind == CDROM:
            raise Unsupported(f"the CD drives of instance {name!r} come and go while it is off; media can be changed")
        if vbd is not None and not vbd["unpluggable"]:
            raise Unsupported(
                f"the device {disk.device} of instance {name!r} is marked as not unpluggable; stop it first"
            )
        if machine.is_hvm and not self._has_drivers(machine):
            raise Unsupported(
                f"instance {name!r} has no drivers for Xen running that could do it; wait until it is up, install "
                "XenServer's tools in it, or stop it first"
            )

    def _has_drivers(self, machine: _Machine) -> bool:
        with self.guard(f"ask for the drivers of instance {machine.name!r}"):
            found = self.fetch_refs("VM_guest_metrics", [machine.vm["guest_metrics"]])
        return any(
            metrics["PV_drivers_detected"] and metrics.get("can_use_hotplug_vbd") != "no" for metrics in found.values()
        )

    def _unplug(self, ref: str, instance: str, device: str, timeout_s: float) -> None:
        """Take a disk from a running guest; to be used within ``guard``.

        Raises:
            TimeoutExpired: the guest does not let go of it in time; it has it as before.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.run_task("VBD.unplug", ref, timeout_s=max(0.1, deadline - time.monotonic()))
                return
            except TimeoutExpired:
                pass
            except self.api.library.Failure as failure:
                if code_of(failure) in _DETACHED:
                    return
                if code_of(failure) not in _KEPT:
                    raise
            if not self.call("VBD.get_currently_attached", ref):
                return
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutExpired(
                    f"instance {instance!r} did not let go of {device} within {timeout_s:g} s: something in it uses "
                    "the disk, or it does not listen",
                    last_seen=f"{device} attached",
                )
            time.sleep(min(_PAUSE_S, left_s))

    def _set_sharable(self, vdi: str, value: bool) -> None:
        with self.guard("change whether a volume is shareable"):
            self.call("VDI.set_sharable", vdi, value)

    def _set_vbd(self, vbd: str, field: str, value: object) -> None:
        with self.guard("change a disk back"):
            self.call(f"VBD.set_{field}", vbd, value)

    def _put_media(self, vbd: str, instance: str, vdi: str) -> None:
        """Let a drive have this in it, whatever is in it now."""
        with self.guard(f"change the medium of a drive of instance {instance!r}", instance):
            now = self.call("VBD.get_record", vbd)
            if now["VDI"] == vdi:
                return
            if not now["empty"]:
                self.run_task("VBD.eject", vbd)
            if vdi != NULL:
                self.run_task("VBD.insert", vbd, vdi)
