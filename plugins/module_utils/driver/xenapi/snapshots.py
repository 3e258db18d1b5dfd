# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of volumes, and going back to them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ...errors import AlreadyExists, HypervisorError, SnapshotNotFound, Unsupported
from ...model.storage import VolumeKey
from ...undo import Undo, UndoStack
from .metadata import (
    CLONE_TAG,
    FINISHED,
    STATE,
    VolumeRecord,
    foreign_keys,
    new_id,
    place_id,
    read_volume_record,
    with_record,
)
from .places import Found
from .shelves import adopted
from .storage import Made
from .vmfields import MOVED
from .volumemaking import VolumeMakingMixin
from .volumes import Place


class SnapshotsMixin(VolumeMakingMixin):
    """Snapshots. A copy that the server makes has all that its source has, so the source is marked meanwhile: one that
    bears the mark and has no record of its own yet is what a killed run has left."""

    def create_volume_snapshot(self, key: VolumeKey, snapshot: str) -> Undo:
        place = self.look_to_change(key)
        one = place.volume
        if self._find_snapshot(place, one, snapshot) is not None:
            raise AlreadyExists(f"the volume {key} has a snapshot {snapshot!r} already")
        if one.record["sharable"]:
            raise Unsupported(f"the volume {key} is shareable, and XenServer takes no snapshots of such volumes")
        kept = adopted(one, place.repository.record, new_id())
        numbers = [read_volume_record(each.record) for each in place.contents.snapshots_of(one.record)]
        record = VolumeRecord(
            kept.owner,
            size_bytes=kept.size_bytes,
            snapshot=snapshot,
            snapshot_of=kept.making,
            number=1 + max((each.number for each in numbers if each is not None), default=0),
        )
        mark = self._snapshot_mark(place, snapshot)
        self._clear_unclaimed(place, mark)
        made = Made()
        with UndoStack() as done:
            if kept != read_volume_record(one.record):
                done.push(f"take the record off the volume {key}", partial(self._put_back_record, key, one))
                with self.guard(f"write the record of the volume {key}"):
                    self.write_record(one.ref, kept)
            done.push(f"delete the snapshot {snapshot} of {key}", partial(self._remove_copy, place, mark, made))
            with self.guard(f"take a snapshot of the volume {key}"), self.noticing(made):
                self._copy_under_mark(one, "VDI.snapshot", mark, snapshot, record, made)
        return partial(done.take_back, f"the snapshot {snapshot!r} of the volume {key}")

    def delete_volume_snapshot(self, key: VolumeKey, snapshot: str) -> None:
        place = self.look_at(key)
        if not place.shelf.volumes:
            return
        found = self._find_snapshot(place, place.volume, snapshot)
        if found is not None:
            self.delete_vdi(found.ref, f"{key} (its snapshot {snapshot})")

    def revert_volume(self, key: VolumeKey, snapshot: str) -> None:
        place = self.look_to_change(key)
        one = place.volume
        found = self._find_snapshot(place, one, snapshot)
        if found is None:
            raise SnapshotNotFound(f"the volume {key} has no snapshot {snapshot!r}")
        self.require_inactive(key, one, "be reverted")
        self._clear_unclaimed(place, place.mark)
        kept = adopted(one, place.repository.record, new_id())
        with self.guard(f"see who uses the volume {key}"):
            moves = self._places_of(one)
        record = replace(kept, replaces=one.record["uuid"], moves=moves)
        made = Made()
        with UndoStack() as done:
            done.push(f"remove what was to replace {key}", partial(self._remove_copy, place, place.mark, made))
            with self.guard(f"revert the volume {key}"), self.noticing(made):
                self._copy_under_mark(found, "VDI.clone", place.mark, key.name, record, made)
                ref = str(made.ref)
                self.call("VDI.set_sharable", ref, one.record["sharable"])
                if int(one.record["virtual_size"]) > int(found.record["virtual_size"]):
                    self.run_task("VDI.resize", ref, one.record["virtual_size"])
                record.vdi = self.call("VDI.get_uuid", ref)
            done.push(f"give {key} back to its machines", partial(self.seat, moves, one.ref, ref))
            self.seat(moves, ref, one.ref)
            done.push(f"say no more that {key} is reverted", partial(self._take_word_back, ref))
            if not self.decide(ref, FINISHED):
                raise HypervisorError(f"cannot revert the volume {key}: somebody else has changed it meanwhile")
            self.delete_replaced(key, one.ref)
        self.end_waiting(key, ref, record)
        self.places().forget_vdis()

    # -- parts ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _find_snapshot(place: Place, volume: Found, snapshot: str) -> Found | None:
        for one in place.contents.snapshots_of(volume.record):
            kept = read_volume_record(one.record)
            if kept is not None and kept.snapshot == snapshot:
                return one
        return None

    @staticmethod
    def _snapshot_mark(place: Place, snapshot: str) -> str:
        return place_id(place.repository.record["uuid"], f"{place.key.name}@{snapshot}")

    def _copy_under_mark(
        self, source: Found, method: str, mark: str, name: str, record: VolumeRecord, made: Made
    ) -> None:
        """Let the server copy a virtual disk, and write the copy's record; to be used within ``guard``."""
        with self.alone_with(source.ref):
            self.call("VDI.add_to_other_config", source.ref, CLONE_TAG + mark, source.record["uuid"])
            made.ref = self.run_task(method, source.ref, {})
            self.call("VDI.set_name_label", made.ref, name)
            uuid = self.call("VDI.get_uuid", made.ref)
            kept = foreign_keys(source.record["other_config"])
            self.call("VDI.set_other_config", made.ref, with_record(kept, replace(record, vdi=uuid)))
            self.call("VDI.remove_from_other_config", source.ref, CLONE_TAG + mark)

    def _clear_unclaimed(self, place: Place, mark: str) -> None:
        """Remove what a killed run has left of making a copy under this mark."""
        if place.contents.unclaimed(mark) or place.contents.marked_sources(mark):
            self._remove_copy(place, mark, Made(is_lost=True))

    def _remove_copy(self, place: Place, mark: str, made: Made) -> None:
        """Delete a copy of which perhaps nobody has told us that it was made."""
        if made.ref is None and made.is_lost:
            self.settle("VDI.snapshot", "VDI.clone")
        now = self.look_again(place)
        refs = [one.ref for one in now.contents.unclaimed(mark)]
        for ref in {*refs, *([made.ref] if made.ref is not None else [])}:
            self.when_free(partial(self.delete_vdi, ref, f"{place.key} (a copy)"))
        self.clear_marks(now, mark)

    def _put_back_record(self, key: VolumeKey, one: Found) -> None:
        with self.guard(f"put back what is recorded with the volume {key}"):
            self.call("VDI.set_other_config", one.ref, one.record["other_config"])

    def _places_of(self, one: Found) -> list[dict[str, Any]]:
        """The VBDs of a volume, as what they are made from; to be used within ``guard``."""
        vbds = self.fetch_refs("VBD", one.record["VBDs"])
        vms = self.fetch_refs("VM", {vbd["VM"] for vbd in vbds.values()})
        return [
            {"vm": vms[vbd["VM"]]["uuid"], **{field: vbd[field] for field in MOVED}}
            for vbd in vbds.values()
            if vbd["VM"] in vms and not vms[vbd["VM"]]["is_control_domain"]
        ]

    def _take_word_back(self, ref: str) -> None:
        with self.guard("take back what was said of a virtual disk"):
            self.call("VDI.remove_from_other_config", ref, STATE)
