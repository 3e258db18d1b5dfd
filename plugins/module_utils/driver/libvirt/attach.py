# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come: to the configuration and, while the guest runs, to the guest."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from ...errors import AlreadyExists, InvalidInput, Problem, Unsupported, VolumeInUse, VolumeNotFound
from ...model import power_state
from ...model.instance import CDROM, Disk, Instance
from ...model.storage import Volume, VolumeKey, VolumeUse
from ...undo import Undo, UndoStack
from .attachview import AttachViewMixin, View
from .attachxml import contents, set_boot_order, without_boot
from .disksyntax import attachment_problems
from .domain import Domain
from .domain_disks import build_disk, device_names, free_device, note_volume, source_of
from .element import attribute_of, find_or_make, make
from .hotplug import by_device, text_of_device
from .hotplugcheck import plug_problem
from .luks import LuksMixin
from .volumexml import to_libvirt_format

if TYPE_CHECKING:
    from .volumeuses import DiskUse

_SCSI = "controller[@type='scsi']"
_NEEDS = {"cache": "disk_tuning", "discard": "disk_tuning", "serial": "disk_tuning", "limits": "io_limits"}
"""Options that not every hypervisor has, with the feature."""


class AttachMixin(AttachViewMixin, LuksMixin):
    """Attaching."""

    if TYPE_CHECKING:  # of another part of the storage driver

        def all_disks(self) -> list[DiskUse]: ...

    def complete_attachment(self, instance: str, disk: Disk, taken: Collection[str] = ()) -> Disk:
        self.require("attach")
        view = self.view(instance)
        there = _device_of(view, disk)
        if there is not None and disk.device in (None, there):
            disk = replace(disk, device=there, bus=disk.bus or _bus_at(view, there))
        devices = view.devices() | set(taken)
        if disk.volume is not None and disk.pool is None:
            disk = replace(disk, pool=self.default_pool())
        if disk.bus is None and (disk.device or "").startswith("sd") and self.kind == "qemu":
            disk = replace(disk, bus="sata" if disk.kind == CDROM else "scsi")
        whole = view.documents[0].to_instance()
        unnamed = replace(disk, device=None if disk.device == there else disk.device)
        completed = self.complete_disks(Instance(instance), [unnamed], self.host_facts(whole), devices)[0]
        if disk.device is not None and disk.device == there:
            return replace(completed, device=there)
        if completed.device in devices:
            raise AlreadyExists(_taken_message(view, completed, devices))
        return completed

    def check_attachment(self, disk: Disk) -> list[Problem]:
        self.require("attach")
        problems = list(attachment_problems(self.kind, disk))
        for option, feature in _NEEDS.items():
            if getattr(disk, option) is not None:
                try:
                    self.require(feature)
                except Unsupported as error:
                    problems.append(Problem(option, str(error)))
        return problems

    def verify_hotplug(self, instance: str, disk: Disk) -> None:
        self.require("attach_live")
        view = self.view_to_change(instance)
        if view.running is not None:
            self._require_pluggable(view, disk)

    def _require_pluggable(self, view: View, disk: Disk) -> None:
        if view.state == power_state.SHUTDOWN:
            raise Unsupported(f"the libvirt driver: instance {view.name!r} is just going down; wait until it is off")
        reason = None if view.running is None else plug_problem(self.kind, view.running.root, disk)
        if reason is not None:
            raise Unsupported(
                f"the libvirt driver cannot plug disk {disk.device} of instance {view.name!r} while it runs: {reason}; "
                "or stop the instance first"
            )

    def attach_volume(self, instance: str, disk: Disk) -> Undo:
        self.require("attach")
        problems = self.check_attachment(disk)
        if problems:
            raise InvalidInput(problems)
        view = self.view_to_change(instance)
        volume = self._require_volume(disk)
        if volume is not None:
            data_format = to_libvirt_format(volume.format or "raw")
            disk = replace(disk, path=volume.path, format=data_format, encrypted=volume.encrypted)
            self._require_attachable(view, disk, volume)
        missing = self._where_missing(view, disk)
        done = UndoStack()
        with done:
            if missing:
                self._add(view, disk, volume, missing, done)
                if volume is not None:
                    self._require_still_ours(view, disk, volume)
        self.forget(instance)
        return self.attachment_undo(instance, f"attaching {disk.device} to {instance!r}", done)

    # -- parts of it ------------------------------------------------------------------------------------------------

    def _require_volume(self, disk: Disk) -> Volume | None:
        """The volume as it is; None for an empty drive."""
        if disk.volume is None:
            return None
        key = VolumeKey(disk.pool or self.default_pool(), disk.volume)
        volume = self.get_volumes([key]).get(key)
        if volume is None or volume.unfinished or volume.path is None:
            self.require_pool(key.pool)
            raise VolumeNotFound(f"there is no volume {key.name!r} in the storage pool {key.pool!r}")
        return volume

    def _require_attachable(self, view: View, disk: Disk, volume: Volume) -> None:
        """Raise VolumeInUse when others write to the volume or lean on it, or would see it change under them."""
        if volume.is_image and not disk.read_only:
            raise VolumeInUse(
                f"{volume.key} is an image, and stays as it is; attach a volume made from it, or read_only"
            )
        uses = self.volume_uses([volume.key])[volume.key]
        if uses.children and not disk.read_only:
            raise VolumeInUse(f"the volume {volume.key} cannot be written to: {', '.join(uses.children)} lean on it")
        self._require_no_conflict(view, disk, volume, uses.instances)

    def _require_no_conflict(self, view: View, disk: Disk, volume: Volume, uses: Iterable[VolumeUse]) -> None:
        for use in uses:
            if use.instance == view.name:
                if use.device != disk.device:
                    raise AlreadyExists(f"instance {view.name!r} has the volume {volume.key} already, as {use.device}")
            elif not (use.read_only and disk.read_only) and not (disk.shareable and self._shares(use)):
                how = "reads" if use.read_only else "writes to"
                raise VolumeInUse(
                    f"instance {use.instance!r} {how} the volume {volume.key}, as {use.device}; detach it there first, "
                    "or attach it shareable (raw volumes) or read_only to all"
                )

    def _require_still_ours(self, view: View, disk: Disk, volume: Volume) -> None:
        """Once it is attached: of two processes that attach a volume at once, none saw the other's before. At least one
        sees it now, and takes its own away again."""
        path = self.real_path(volume.path or "")
        found = [used for used in self.all_disks() if used.chain[:1] == (path,)]
        uses = [VolumeUse(used.instance, used.device, used.active, used.read_only) for used in found]
        self._require_no_conflict(view, disk, volume, uses)

    def _shares(self, use: VolumeUse) -> bool:
        elements = (by_device(use.device)(document.root) for document in self.view(use.instance).documents)
        return all(element is None or element.find("shareable") is not None for element in elements)

    def _where_missing(self, view: View, disk: Disk) -> int:
        """Flags of those, configuration and running guest, that lack the disk.

        Raises:
            AlreadyExists: another disk has its device.
        """
        lacks = []
        for document in (view.config, view.running):
            there = None if document is None else by_device(disk.device or "")(document.root)
            if there is not None and source_of(there) != disk.path:
                raise AlreadyExists(_taken_message(view, disk, view.devices()))
            lacks.append(there is None)
        return self.affected(view, *lacks)

    def _add(self, view: View, disk: Disk, volume: Volume | None, flags: int, done: UndoStack) -> None:
        live = flags & self.libvirt.VIR_DOMAIN_AFFECT_LIVE
        if live:
            self._require_pluggable(view, disk)
        if volume is not None and volume.encrypted and volume.path is not None:
            self.keep_secret(f"the volume {volume.key}", volume.path, disk.passphrase, done)
        element = build_disk(disk, view.documents[0].type)
        name, device = view.name, disk.device or ""
        with self.guard(f"attach {device} to instance {name!r}", name):
            if view.config is not None:
                done.push("put back the configuration", lambda: self._take_out(view, device))
            if volume is not None:
                self._note(view, disk, done)
            if disk.bus == "scsi" and self.kind == "qemu":
                self._add_scsi(view, flags, done)
            view.handle.attachDeviceFlags(text_of_device(without_boot(element)), flags)
            if live:
                done.push(
                    f"unplug disk {device}",
                    lambda: self.unplug(view.handle, f"disk {device}", by_device(device)),
                )
            if volume is not None and self.view(name).record.uses(device, disk.path) is None:
                self._note(view, disk, done)  # another process wrote its own disk into the record just then
            if disk.boot_order is not None and view.config is not None:
                self.write_boot_order(name, device, disk.boot_order)

    def _take_out(self, view: View, device: str) -> None:
        """Put back the configuration, but for other disks that came or went meanwhile."""
        config = Domain.parse(self._config_text(view.name, view.handle))
        before = set() if view.config is None else device_names(view.config.root)
        if {*device_names(config.root)} - {device} == {*before} - {device}:
            self._define_again(view.name, view.config_text or "")
        elif device not in before:
            element = by_device(device)(config.root)
            if element is not None:
                find_or_make(config.root, "devices").remove(element)
            config.record.drop(device)
            self.conn.defineXML(config.text())

    def _note(self, view: View, disk: Disk, done: UndoStack) -> None:
        """Before the disk is there: so there is never one of which nobody knows what volume it is."""
        with self._record_lock:
            old = self.view(view.name).record
            record = copy.deepcopy(old)
            note_volume(record, replace(disk, owned=False))
            self.write_instance_record(view, record)
        if view.config is None:
            done.push("put back the record", lambda: self.write_instance_record(view, old))

    def _add_scsi(self, view: View, flags: int, done: UndoStack) -> None:
        """libvirt would add a controller by itself: one of 1998 that the kernels of cloud images do not know."""
        lib = self.libvirt
        text = text_of_device(make("controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"}))
        for document, flag in ((view.config, lib.VIR_DOMAIN_AFFECT_CONFIG), (view.running, lib.VIR_DOMAIN_AFFECT_LIVE)):
            if (
                self.kind != "qemu"
                or document is None
                or not flags & flag
                or _scsi_controller(document.root) is not None
            ):
                continue
            view.handle.attachDeviceFlags(text, flag)
            if flag == lib.VIR_DOMAIN_AFFECT_LIVE:
                done.push(
                    "unplug the SCSI controller",
                    lambda: self.unplug(view.handle, "the SCSI controller", _scsi_controller),
                )

    def write_boot_order(self, name: str, device: str, place: int | None) -> None:
        """Give a configured disk its place among the devices that the guest boots from, as of its next start."""
        config = Domain.parse(self._config_text(name, self.lookup(name)))
        set_boot_order(config.root, device, place)
        self.conn.defineXML(config.text())


def _scsi_controller(domain: Element) -> Element | None:
    return domain.find(f"devices/{_SCSI}")


def _device_of(view: View, disk: Disk) -> str | None:
    """Where the instance, or what of it runs, has the volume already."""
    for used in view.record.used if disk.volume is not None else ():
        if (used.volume, used.pool) != (disk.volume, disk.pool or used.pool):
            continue
        elements = (view.configured(used.device), view.plugged(used.device))
        if any(element is not None and source_of(element) == used.path for element in elements):
            return used.device
    return None


def _bus_at(view: View, device: str) -> str | None:
    element = view.configured(device)
    element = view.plugged(device) if element is None else element
    return None if element is None else attribute_of(element, "target", "bus")


def _taken_message(view: View, disk: Disk, devices: Collection[str]) -> str:
    found = "another disk of this task"
    for document in view.documents:
        element = by_device(disk.device or "")(document.root)
        if element is not None:
            found = contents(document, element)
            break
    free = free_device(disk.bus or "", devices)
    return f"instance {view.name!r} has {found} as {disk.device}; the next free device is {free}"
