# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud-init's data for instances that exist."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ...errors import AnyvirtError, NotFound
from ...model.instance import DISK, SEED, Disk, Instance
from ...undo import UndoStack
from ..seed import build_seed
from .complete import seed_disk
from .deferred import WaitingSeed, waiting_seed
from .devicechanges import VBD
from .devices import device_name, device_number, free_number
from .diskchanges import DiskChangesMixin
from .extras import HVM, domain_type
from .metadata import Record, read_record, read_volume_record
from .records import Object, Survey
from .vmfields import new_vbd


class SeedsMixin(DiskChangesMixin):
    """The disk that brings cloud-init its data.

    One that a guest has open, or that is too small, cannot be written anew: a new one is made then, which takes its
    place at the next start.
    """

    def change_seed(
        self, ref: str, vm: Object, instance: Instance, record: Record, survey: Survey, done: UndoStack
    ) -> None:
        """Write new data, and note in the record which it is.

        Args:
            instance: What the VM is or becomes, with the data.
            record: The VM's, which is changed, not written.
        """
        data = instance.cloud_init
        if data is None:
            return
        waiting, own = waiting_seed(record), _own_seed(survey.vbds.get(ref, ()), survey, record)
        was, record.cloud_init_fingerprint = record.cloud_init_fingerprint, data.fingerprint()
        vdi = None if waiting is None else self._find_waiting(waiting)
        if waiting is not None and vdi is None:
            was = waiting.was
            del record.deferred["cloud_init"]
        content = build_seed(data)
        if vdi is not None:
            self._rewrite(vdi, content, done)
        elif own is not None and not own["currently_attached"] and len(content) <= _size_of(own, survey):
            self._rewrite(own["VDI"], content, done)
        else:
            self._make_seed(ref, vm, instance, own, was, record, survey, done)

    def swap_seed(self, ref: str, vm: Object, record: Record, survey: Survey, done: UndoStack) -> bool:
        """Let the seed disk that waits, if any, take the place of the one that a VM that is off has.

        Args:
            record: The VM's, which is changed, not written.

        Returns:
            Whether one is of no use any more.
        """
        waiting, name = waiting_seed(record), vm["name_label"]
        record.deferred.pop("cloud_init", None)
        if waiting is None:
            return False
        new = self._find_waiting(waiting)
        if new is None:
            record.cloud_init_fingerprint = waiting.was
            return False
        own = _own_seed(survey.vbds.get(ref, ()), survey, record)
        if own is not None and own["VDI"] == new:  # an earlier run was killed in the middle
            return True
        disk = _place_for(vm, survey.vbds.get(ref, ()), own)
        with self.guard(f"give instance {name!r} its new disk with cloud-init's data", name):
            before = self.devices_of(VBD, ref)
            done.push("put back the disk with cloud-init's data", lambda: self.restore_devices(VBD, ref, name, before))
            for one, vbd in before.items():
                if own is not None and vbd["VDI"] == own["VDI"]:
                    self.call("VBD.destroy", one)
            self.call("VBD.create", new_vbd(ref, disk, new, False))
        return own is not None

    def drop_old_seeds(self, vm: Object) -> None:
        """Delete the seed disks of an instance that it does not have any more. Where that fails they go with it."""
        record = read_record(vm)
        with suppress(AnyvirtError):
            for ref, vdi in self.find_made(record.id) if record is not None else ():
                kept = read_volume_record(vdi)
                if kept is not None and kept.role == SEED and not vdi["VBDs"]:
                    self.delete_vdi(ref, vdi["name_label"])

    def _find_waiting(self, waiting: WaitingSeed) -> str | None:
        """The VDI; None when somebody has deleted it, so that the guest keeps what it has."""
        try:
            with self.guard("find the disk with cloud-init's data"):
                return str(self.call("VDI.get_by_uuid", waiting.vdi))
        except NotFound:
            return None

    def _make_seed(
        self,
        ref: str,
        vm: Object,
        instance: Instance,
        own: Object | None,
        was: str | None,
        record: Record,
        survey: Survey,
        done: UndoStack,
    ) -> None:
        place = _place_for(vm, survey.vbds.get(ref, ()), own)
        [disk] = self.complete_disks(instance, [place], (), domain_type(vm))
        if own is None:
            self.require_new_volumes([disk], record)
        part = self.plan_volume(instance, disk, record.id, "cloud_init")
        if own is None and vm["power_state"] == "Halted":
            self.add_disks(ref, vm, [(disk, part)], False, done)
            return
        vdi = self.make_volume(part, done)
        with self.guard("look at the new disk with cloud-init's data"):
            record.deferred["cloud_init"] = {"vdi": self.call("VDI.get_uuid", vdi), "was": was}

    def _rewrite(self, vdi: str, content: bytes, done: UndoStack) -> None:
        """Write a disk anew that nobody has open. Nothing of what was in it stays: it may have been secret."""
        what = "write the disk with cloud-init's data"
        with self.guard(what):
            has = int(self.call("VDI.get_virtual_size", vdi))
            old = self.http_request("GET", "/export_raw_vdi", {"vdi": vdi, "format": "raw"})
            done.push("put back cloud-init's data", lambda: self._upload(vdi, old))
            if len(content) > has:
                self.run_task("VDI.resize", vdi, str(len(content)))
        self._upload(vdi, content.ljust(len(old), b"\0"))

    def _upload(self, vdi: str, content: bytes) -> None:
        with self.guard("write the disk with cloud-init's data"):
            self.upload(vdi, lambda: iter([content]), len(content))


def _own_seed(vbds: Sequence[Object], survey: Survey, record: Record) -> Object | None:
    """The VBD of the seed disk that was made for the instance."""
    for vbd in vbds:
        vdi = survey.vdis.get(vbd["VDI"])
        kept = None if vdi is None else read_volume_record(vdi)
        if kept is not None and kept.role == SEED and kept.owner == record.id:
            return vbd
    return None


def _size_of(vbd: Object, survey: Survey) -> int:
    return int(survey.vdis[vbd["VDI"]]["virtual_size"])


def _place_for(vm: Object, vbds: Sequence[Object], own: Object | None) -> Disk:
    """A seed disk in the place of the present one, or else in one that is free."""
    if own is not None:
        return replace(seed_disk(domain_type(vm)), device=device_name(own["userdevice"]))
    numbers = (device_number(device_name(vbd["userdevice"])) for vbd in vbds)
    taken = {number for number in numbers if number is not None}
    return replace(
        seed_disk(domain_type(vm)), device=device_name(str(free_number(DISK, domain_type(vm) == HVM, taken)))
    )
