# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances made from VM templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model.instance import Disk, Instance
from ...undo import UndoStack
from .destroy import DestroyMixin
from .devices import device_name
from .metadata import Record, VolumeRecord, foreign_keys, read_record, with_record
from .places import Template
from .provision import PLAN
from .records import Object
from .remains import CREATING, is_leftover
from .storage import Made
from .vmfields import MEMORY_LIMITS, Fields, boot_fields, map_fields, memory_fields, vcpus_fields

_OF_TEMPLATES = (PLAN, "default_template")
_MAPS = ("HVM_boot_params", "platform", "VCPUs_params", "xenstore_data")
_TEXTS = ("name_description", "PV_bootloader", "PV_kernel", "PV_ramdisk", "PV_args", "affinity")


class TemplatesMixin(DestroyMixin):
    """Clones of templates."""

    def clone_template(
        self, template: Template, instance: Instance, record: Record, affinity: str, done: UndoStack
    ) -> tuple[Made, set[str]]:
        """Clone a template, and make of the clone what is wanted. It stays a template until it is whole.

        Returns:
            The VM, and the numbers of the devices that its disks and drives have.
        """
        name, called, made = instance.name, template.record["name_label"], Made()
        done.push(f"remove the clone of the template {called}", lambda: self._unclone(name, record, made))
        with self.guard(f"clone the template {called!r}"), self.noticing(made):
            ref = made.ref = str(self.run_task("VM.clone", template.ref, name + CREATING))
            vm = self.call("VM.get_record", ref)
            vbds = self.fetch_devices("VBD", [ref])[ref]
            vdis = self.fetch_refs("VDI", (vbd["VDI"] for vbd in vbds if vbd["type"] == "Disk"))
            for vbd in vbds:
                if vbd["VDI"] in vdis:
                    self._take_disk(instance, record, vbd, vdis[vbd["VDI"]])
            # Only now: of a clone with a record, disks that are not taken were given to it, and are not to go with it.
            kept = {key: value for key, value in vm["other_config"].items() if key not in _OF_TEMPLATES}
            vm["other_config"] = with_record(kept, record)
            self.call("VM.set_other_config", ref, vm["other_config"])
            self._set_fields(ref, vm, instance, record, affinity)
            if instance.nics:
                for vif in vm["VIFs"]:
                    self.call("VIF.destroy", vif)
        return made, {vbd["userdevice"] for vbd in vbds}

    def finish_clone(self, made: Made, name: str) -> None:
        """Make an instance of a template's clone."""
        with self.guard(f"make an instance of the clone for {name!r}"), self.noticing(made):
            self.call("VM.set_name_label", made.ref, name)
            self.run_task("VM.provision", made.ref)

    def _unclone(self, name: str, record: Record, made: Made) -> None:
        """Remove the clone, of which perhaps nobody has told us that it was made."""
        if made.is_lost:
            self.settle("VM.clone", "VM.provision")
        with self.guard(f"look for the clone for {name!r}"):
            vms = self.vms_named([name])
        for ref, vm in vms.items():
            if ref == made.ref or (made.ref is None and made.is_lost and _is_lost_clone(vm, name, record)):
                self.remove_leftover(ref, vm)

    def _take_disk(self, instance: Instance, record: Record, vbd: Object, vdi: Object) -> None:
        """Make a disk that was cloned with the template the instance's own."""
        device = device_name(vbd["userdevice"])
        disk = next((one for one in instance.disks or [] if one.device == device), Disk())
        size_bytes = disk.size_bytes or int(vdi["virtual_size"])
        its_record = VolumeRecord(record.id, instance.name, disk.role, None, size_bytes)
        # The template's disk may have been the source of somebody's clone just then, and marked as such.
        self.call("VDI.set_other_config", vbd["VDI"], with_record(foreign_keys(vdi["other_config"]), its_record))
        self.call("VDI.set_name_label", vbd["VDI"], disk.volume or f"{instance.name}.{device}")
        if size_bytes > int(vdi["virtual_size"]):
            self.run_task("VDI.resize", vbd["VDI"], str(size_bytes))

    def _set_fields(self, ref: str, vm: Object, instance: Instance, record: Record, affinity: str) -> None:
        """Give the clone what is wanted of it; what is so already is left alone."""
        wanted: Fields = {
            "name_description": instance.description or vm["name_description"],
            **boot_fields(instance),
            **map_fields(instance, dict(vm), record),
        }
        wanted["HVM_boot_params"] = {**vm["HVM_boot_params"], **wanted["HVM_boot_params"]}
        if not instance.hypervisor.get("bootloader"):
            wanted["PV_bootloader"] = vm["PV_bootloader"]
        wanted["affinity"] = affinity if instance.hypervisor.get("affinity") is not None else vm["affinity"]
        memory, vcpus = memory_fields(instance), vcpus_fields(instance)
        if _differs(vm, memory):
            self.call("VM.set_memory_limits", ref, *(memory[limit] for limit in MEMORY_LIMITS))
        grows = int(vcpus["VCPUs_max"]) >= int(vm["VCPUs_at_startup"])
        for field in ("VCPUs_max", "VCPUs_at_startup") if grows else ("VCPUs_at_startup", "VCPUs_max"):
            self._set_if_other(ref, vm, field, vcpus)
        for field in ("domain_type", *_TEXTS, *_MAPS, "other_config"):
            self._set_if_other(ref, vm, field, wanted)

    def _set_if_other(self, ref: str, vm: Object, field: str, wanted: Fields) -> None:
        if vm[field] != wanted[field]:
            self.call(f"VM.set_{field}", ref, wanted[field])


def _is_lost_clone(vm: Object, name: str, record: Record) -> bool:
    """Whether a VM may be the clone of which nobody has told us."""
    its_record = read_record(vm)
    return is_leftover(vm, name) if its_record is None else its_record.id == record.id


def _differs(vm: Object, wanted: Mapping[str, Any]) -> bool:
    return any(vm[field] != value for field, value in wanted.items())
