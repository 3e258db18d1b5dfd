# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old states of disks, kept as snapshots so that a resize can be taken back.

A copy that the server makes of a virtual disk has all that its source has. So the source bears a key of ours while it
is copied, and what bears it is found again by whoever comes after a killed run: snapshots, and clones of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ...errors import SnapshotNotFound, Unsupported, VolumeInUse
from .devices import device_name
from .metadata import Record, foreign_keys, read_record, read_volume_record, with_record
from .query import any_of
from .records import Object, Objects
from .storage import StorageMixin
from .vmfields import MOVED

RESIZE = "anyvirt-resize"
"""The key; its value is the id of the instance's record, and the disk's device."""

_COPYING = ("VDI.snapshot", "VDI.clone")

Seat = dict[str, Any]


class KeptStatesMixin(StorageMixin):
    """Keeping, bringing back and deleting what was kept."""

    def disk_to_keep(self, ref: str, name: str, device: str) -> tuple[Object, Seat]:
        """A disk's virtual disk, and what its VBD is made from.

        Raises:
            VolumeInUse, Unsupported: it cannot be kept.
        """
        vbd = self._vbd_of(ref, name, device)
        vdi = None if vbd is None else self._vdi(vbd["VDI"])
        if vbd is None or vdi is None:
            raise SnapshotNotFound(f"disk {device} of instance {name!r} has no virtual disk any more")
        if vdi["sharable"]:
            raise Unsupported(
                f"disk {device} of instance {name!r} is shareable, and XenServer takes no snapshots of such; resize it "
                "without revertible"
            )
        if len(vdi["VBDs"]) > 1:
            raise VolumeInUse(
                f"disk {device} of instance {name!r} cannot be resized so that it can be taken back: others have it too"
            )
        return vdi, {field: vbd[field] for field in MOVED}

    def keep_state(self, vdi: Object, owner: str, device: str) -> None:
        """Take a snapshot of the virtual disk of an instance that is off."""
        with self.guard(f"keep what is on disk {device}"):
            [ref] = self.fetch("VDI", any_of("uuid", [vdi["uuid"]]))
            self.call("VDI.add_to_other_config", ref, RESIZE, f"{owner}/{device}")
            self.run_task("VDI.snapshot", ref, {})
            self.call("VDI.remove_from_other_config", ref, RESIZE)

    def require_kept(self, ref: str, name: str, owner: str, kept: Mapping[str, str]) -> None:
        """Raise SnapshotNotFound when what was kept of a disk is gone, or is of another one than is there now.

        Args:
            kept: Device -> the uuid of the virtual disk that was resized.
        """
        bearers = self.kept_states(owner)
        marks = {vdi["other_config"][RESIZE] for vdi in bearers.values() if vdi["is_a_snapshot"]}
        for device, grown in kept.items():
            vbd = self._vbd_of(ref, name, device)
            now = None if vbd is None else self._vdi(vbd["VDI"])
            if vbd is not None and (now is None or now["uuid"] != grown) and vbd["VDI"] not in bearers:
                raise SnapshotNotFound(
                    f"cannot bring back what was on disk {device} of instance {name!r}: another virtual disk has taken "
                    f"the place of {grown}, which was resized; attach that one again"
                )
            if f"{owner}/{device}" not in marks:
                raise SnapshotNotFound(
                    f"cannot bring back what was on disk {device} of instance {name!r}: its snapshot is gone"
                )

    def bring_back_state(self, ref: str, name: str, device: str, grown: str, seat: Mapping[str, Any]) -> None:
        """Let an instance that is off have a clone of what was kept of a disk, in the place of the disk.

        Args:
            grown: The uuid of the virtual disk that was resized.
            seat: What its VBD was made from.
        """
        with self.guard(f"bring back what was on disk {device} of instance {name!r}", name):
            owner = (read_record(self.call("VM.get_record", ref)) or Record()).id
            vbd = self._vbd_of(ref, name, device)
            now = None if vbd is None else self._vdi(vbd["VDI"])
            if vbd is None or (now is not None and now["uuid"] == grown):
                self.require_kept(ref, name, owner, {device: grown})
                clone = self._clone_kept(owner, device, grown)
                if vbd is not None:
                    self.call("VBD.destroy", self._ref_of(ref, vbd))
                self.call("VBD.create", {**seat, "VM": ref, "VDI": clone})
            for old, vdi in self.fetch("VDI", any_of("uuid", [grown])).items():
                if vdi["uuid"] == grown and not vdi["VBDs"]:
                    self.delete_vdi(old, vdi["name_label"])
        self.places().forget_vdis()

    def clear_kept(self, owner: str) -> None:
        """Delete all that was kept for an instance; fine when it is gone."""
        self.settle(*_COPYING)
        for ref, vdi in self.kept_states(owner).items():
            if vdi["is_a_snapshot"] or not vdi["VBDs"]:
                self.when_free(partial(self.delete_vdi, ref, vdi["name_label"]))
            else:
                with self.guard("forget that a virtual disk was kept"):
                    self.call("VDI.remove_from_other_config", ref, RESIZE)

    def kept_states(self, owner: str) -> Objects:
        """The virtual disks that bear the key for an instance: what was kept, and what was being copied."""
        with self.guard("see what was kept of resized disks"):
            return {
                ref: vdi
                for ref, vdi in self.fetch("VDI").items()
                if owner and vdi["other_config"].get(RESIZE, "").partition("/")[0] == owner
            }

    # -- parts ------------------------------------------------------------------------------------------------------

    def _clone_kept(self, owner: str, device: str, grown: str) -> str:
        """A clone of what was kept of a disk, with the name and the record of the disk; its reference."""
        self.settle(*_COPYING)
        mine = {
            ref: vdi
            for ref, vdi in self.kept_states(owner).items()
            if vdi["other_config"][RESIZE] == f"{owner}/{device}" and vdi["uuid"] != grown
        }
        for ref, vdi in mine.items():
            if not vdi["is_a_snapshot"] and not vdi["VBDs"]:
                self.delete_vdi(ref, vdi["name_label"])
        snapshot = next(ref for ref, vdi in mine.items() if vdi["is_a_snapshot"])
        old = next((vdi for vdi in self.fetch("VDI", any_of("uuid", [grown])).values() if vdi["uuid"] == grown), None)
        clone = str(self.run_task("VDI.clone", snapshot, {}))
        if old is not None:
            kept = read_volume_record(old)
            self.call("VDI.set_name_label", clone, old["name_label"])
            uuid = self.call("VDI.get_uuid", clone)
            size_bytes = int(mine[snapshot]["virtual_size"])
            record = None if kept is None else replace(kept, vdi=uuid, size_bytes=size_bytes)
            keys = {**foreign_keys(old["other_config"]), RESIZE: f"{owner}/{device}"}
            self.call("VDI.set_other_config", clone, with_record(keys, record))
        return clone

    def _vbd_of(self, ref: str, name: str, device: str) -> Object | None:
        with self.guard(f"look at the disks of instance {name!r}", name):
            return next(
                (vbd for vbd in self.fetch_devices("VBD", [ref])[ref] if device_name(vbd["userdevice"]) == device), None
            )

    def _ref_of(self, vm: str, wanted: Object) -> str:
        found = self.fetch_refs("VBD", self.call("VM.get_VBDs", vm))
        return next(ref for ref, vbd in found.items() if vbd["uuid"] == wanted["uuid"])

    def _vdi(self, ref: str) -> Object | None:
        with self.guard("look at a virtual disk"):
            return self.fetch_refs("VDI", [ref]).get(ref)
