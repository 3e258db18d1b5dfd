# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: virtual disks by the names of their storage repository and their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import HypervisorUnavailable, PoolNotFound, VolumeInUse, VolumeNotFound
from ...model import power_state
from ...model.storage import Volume, VolumeKey, VolumeUse, VolumeUses
from ...undo import Undo
from .devices import device_name
from .errors import code_of
from .metadata import (
    CLONE_TAG,
    DOOMED,
    FINISHED,
    STATE,
    VolumeRecord,
    has_taken_over,
    new_id,
    place_id,
    read_volume_record,
    with_record,
)
from .places import Found, is_unclaimed
from .pools import PoolsMixin, Repository, nothing, require_active
from .records import Object, Objects, device_uses, state_of
from .shelves import Contents, Shelf, adopted, to_volume, uuids_of
from .storage import GONE, MARKED_ALREADY
from .vmfields import MOVED

_MAKING = ("VDI.create", "VDI.clone", "VDI.snapshot", "VDI.copy")
_IN_USE = "VDI_IN_USE"


@dataclass
class Place:
    """A volume's name in a storage repository, with what is there."""

    key: VolumeKey
    repository: Repository
    contents: Contents

    @property
    def mark(self) -> str:
        """What clones that are to become the volume of this name are marked with."""
        return place_id(self.repository.record["uuid"], self.key.name)

    @property
    def shelf(self) -> Shelf:
        """What is there of this name."""
        return self.contents.shelf(self.repository.ref, self.key.name)

    @property
    def volume(self) -> Found:
        """The volume of this name.

        Raises:
            VolumeNotFound: there is none, or nothing tells which of several is meant.
        """
        shelf = self.shelf
        if shelf.meant is not None:
            return shelf.meant
        if not shelf.volumes:
            raise VolumeNotFound(f"there is no volume {self.key.name!r} in the storage pool {self.key.pool!r}")
        raise VolumeNotFound(
            f"{len(shelf.volumes)} virtual disks in the storage pool {self.key.pool!r} are named {self.key.name!r}, "
            f"and nothing tells which is meant; rename all but one (their UUIDs: {uuids_of(shelf.volumes)})"
        )


def _add_moves(uses: list[VolumeUse], waiting: Found, vms: Objects) -> None:
    """Add the machines that a revert which was cut short has left without their disk."""
    kept = read_volume_record(waiting.record)
    for move in kept.moves if kept is not None else []:
        device = device_name(move["userdevice"])
        for vm in vms.values():
            if vm["uuid"] == move["vm"] and (vm["name_label"], device) not in [use[:2] for use in uses]:
                active = state_of(vm) not in power_state.OFF
                uses.append(VolumeUse(vm["name_label"], device, active, move["mode"] == "RO"))


class VolumesMixin(PoolsMixin):
    """Volumes that are there."""

    def get_volumes(self, keys: Collection[VolumeKey], snapshots: bool = False) -> dict[VolumeKey, Volume]:
        if not keys:
            return {}
        with self.guard("read the volumes"):
            named = self.repositories()
            contents = self.read_contents(named)
        found = {}
        for key in keys:
            if key.pool not in named:
                continue
            place = Place(key, self._only_one(key.pool, named[key.pool]), contents)
            shelf = place.shelf
            if shelf.volumes:
                found[key] = to_volume(place.volume, key, contents, place.repository.record, snapshots)
            elif shelf.leftovers:
                found[key] = Volume(key.name, key.pool, unfinished=True)
        return found

    def list_volumes(self, pool: str) -> list[Volume]:
        place = self.look_at(VolumeKey(pool, ""))
        repository, contents = place.repository, place.contents
        listed = []
        for name in contents.names_in(repository.ref):
            key, shelf = VolumeKey(pool, name), contents.shelf(repository.ref, name)
            several = [shelf.meant] if shelf.meant is not None else shelf.volumes
            listed += [to_volume(one, key, contents, repository.record, False) for one in several]
        return listed

    def volume_uses(self, keys: Collection[VolumeKey]) -> dict[VolumeKey, VolumeUses]:
        if not keys:
            return {}
        with self.guard("see who uses the volumes"):
            named = self.repositories()
            contents = self.read_contents(named)
            vbds, vms = self.fetch("VBD"), self.fetch("VM")
        meant: dict[VolumeKey, Found] = {}
        for key in keys:
            if key.pool in named:
                place = Place(key, self._only_one(key.pool, named[key.pool]), contents)
                if place.shelf.volumes:
                    meant[key] = place.volume
        users = device_uses({one.ref: one.record for one in meant.values()}, vbds, vms)
        uses = {key: VolumeUses() for key in keys}
        for key, one in meant.items():
            uses[key] = VolumeUses(sorted(users[one.ref]), contents.children_of(one.record))
            for waiting in contents.shelf(one.record["SR"], key.name).waiting:
                _add_moves(uses[key].instances, waiting, vms)
        return uses

    def resize_volume(self, key: VolumeKey, size_bytes: int) -> Undo:
        place = self.look_to_change(key)
        one = place.volume
        kept = adopted(one, place.repository.record, new_id())
        had = to_volume(one, key, place.contents, place.repository.record, False).size_bytes or 0
        if size_bytes < had:
            self.require("volume_shrink")
        if size_bytes == had:
            return nothing
        before = one.record["other_config"]
        with self.guard(f"resize the volume {key}"):
            self.write_record(one.ref, replace(kept, size_bytes=size_bytes))
            try:
                self.run_task("VDI.resize", one.ref, str(size_bytes))
            except BaseException as error:
                if self.is_answer(error):
                    self.call("VDI.set_other_config", one.ref, before)
                if code_of(error) == _IN_USE:
                    raise self._in_use(key, one.ref, "be resized") from error
                raise
        return partial(self.require, "volume_shrink")

    def set_volume_metadata(self, key: VolumeKey, metadata: Mapping[str, str]) -> Undo:
        place = self.look_to_change(key)
        one = place.volume
        kept = adopted(one, place.repository.record, new_id())

        def put_back() -> None:
            with self.guard(f"put back the metadata of the volume {key}"):
                self.call("VDI.set_other_config", one.ref, one.record["other_config"])

        with self.guard(f"write the metadata of the volume {key}"):
            self.write_record(one.ref, replace(kept, metadata=dict(metadata)))
        return put_back

    def delete_volume(self, key: VolumeKey) -> None:
        with self.guard("look up the storage pools"):
            named = self.repositories()
            if key.pool not in named:
                return
            contents = self.read_contents(named)
        place = Place(key, require_active(self._only_one(key.pool, named[key.pool])), contents)
        shelf = place.shelf
        if shelf.leftovers or shelf.waiting:
            self.clear_leftovers(place)
            place = self.look_again(place)
            contents = place.contents
        if not place.shelf.volumes:
            return
        one = place.volume
        for snapshot in contents.snapshots_of(one.record):
            self.delete_vdi(snapshot.ref, f"{key} (a snapshot)")
        self.delete_in_use(key, one.ref, "be deleted")
        self.places().forget_vdis()

    # -- what the other parts build on ------------------------------------------------------------------------------

    def read_contents(self, named: Mapping[str, list[Repository]]) -> Contents:
        """All virtual disks, in one call; to be used within ``guard``."""
        records = {one.ref: one.record for found in named.values() for one in found}
        return Contents(self.fetch("VDI"), records)

    def look_at(self, key: VolumeKey) -> Place:
        """What there is of a volume's name.

        Raises:
            PoolNotFound: there is no such pool, or it is not active.
        """
        with self.guard(f"look up the volume {key}"):
            named = self.repositories()
            if key.pool not in named:
                raise PoolNotFound(f"there is no storage pool {key.pool!r}")
            contents = self.read_contents(named)
        return Place(key, require_active(self._only_one(key.pool, named[key.pool])), contents)

    def look_to_change(self, key: VolumeKey) -> Place:
        """The same, of a volume that is to be changed: a revert that was cut short is taken back first."""
        place = self.look_at(key)
        if place.shelf.waiting:
            self.clear_leftovers(place)
            place = self.look_again(place)
        return place

    def look_again(self, place: Place) -> Place:
        """The same as it is now."""
        return self.look_at(place.key)

    def clear_leftovers(self, place: Place) -> None:
        """Remove what killed runs have left of making a volume of this name, or of reverting it before its place was
        given over."""
        self.settle(*_MAKING)
        self.clear_marks(place)
        now = self.look_again(place)
        shelf = now.shelf
        for one in shelf.leftovers:
            self.require_idle(one.ref, str(place.key))
            # A clone of which nothing was written has what its source has, where this is said already.
            if is_unclaimed(one.record) or self.decide(one.ref, DOOMED):
                self.when_free(partial(self.delete_vdi, one.ref, str(place.key)))
        for one in shelf.waiting:
            self._end_revert(now, one)

    def _end_revert(self, place: Place, one: Found) -> None:
        """Bring a revert that was cut short to its end where its result is the volume by now, else take it back."""
        old, kept = place.contents.replaced_by(one), read_volume_record(one.record)
        if kept is None:
            return
        goes_on = has_taken_over(one.record)
        if not self.decide(one.ref, FINISHED if goes_on else DOOMED):
            if one.ref not in self.look_again(place).contents.vdis:
                return
            goes_on = not goes_on
        if goes_on:
            self.seat(kept.moves, one.ref, old)
            self.delete_replaced(place.key, old)
            self.end_waiting(place.key, one.ref, kept)
        else:
            self.seat(kept.moves, old, one.ref)
            self.when_free(partial(self.delete_vdi, one.ref, str(place.key)))

    def delete_replaced(self, key: VolumeKey, old: str) -> None:
        """Delete what another has taken the place of. Where the reply is lost, it may be gone."""
        try:
            self.delete_in_use(key, old, "be reverted")
        except HypervisorUnavailable:
            self.settle("VDI.destroy")
            if old in self.look_at(key).contents.vdis:
                raise

    def end_waiting(self, key: VolumeKey, ref: str, record: VolumeRecord) -> None:
        """Write the record of what has taken a place, as it was while it waited."""
        with self.guard(f"finish the volume {key}"):
            self.write_record(ref, replace(record, replaces=None, moves=[]))

    def decide(self, ref: str, state: str) -> bool:
        """Say that an unfinished virtual disk is ``FINISHED`` or ``DOOMED``; False when somebody has said the other
        already, or taken it away."""
        with self.guard("say what becomes of a virtual disk"):
            try:
                self.call("VDI.add_to_other_config", ref, STATE, state)
            except self.api.library.Failure as failure:
                if code_of(failure) == GONE:
                    return False
                if code_of(failure) != MARKED_ALREADY:
                    raise
                return bool(self.call("VDI.get_other_config", ref).get(STATE) == state)
        return True

    def seat(self, moves: Sequence[Mapping[str, Any]], vdi: str, instead_of: str) -> None:
        """Let machines that are off have one virtual disk in the place of another.

        Args:
            moves: Each a machine's uuid and what its VBD is made from.
        """
        for move in moves:
            with self.guard("give a machine its disk"):
                vms = {ref: vm for ref, vm in self.fetch("VM").items() if vm["uuid"] == move["vm"]}
                vbds = self.fetch_refs("VBD", [ref for vm in vms.values() for ref in vm["VBDs"]])
                there = {ref: vbd for ref, vbd in vbds.items() if vbd["userdevice"] == move["userdevice"]}
                for ref, vbd in there.items():
                    if vbd["VDI"] == instead_of:
                        self.call("VBD.destroy", ref)
                if vms and all(vbd["VDI"] == instead_of for vbd in there.values()):
                    made_from = {field: move[field] for field in MOVED}
                    self.call("VBD.create", {**made_from, "VM": next(iter(vms)), "VDI": vdi})

    def clear_marks(self, place: Place, mark: str | None = None) -> None:
        """Take a mark off whatever bears it, that of the volume's name unless another is given."""
        mark = mark or place.mark
        with self.guard("take a mark off the source of a clone"):
            for ref in place.contents.marked_sources(mark):
                self.call("VDI.remove_from_other_config", ref, CLONE_TAG + mark)

    def users_of(self, ref: str, vdi: Object) -> list[VolumeUse]:
        """Which machines have a virtual disk; to be used within ``guard``."""
        vbds = self.fetch_refs("VBD", vdi["VBDs"])
        return device_uses({ref: vdi}, vbds, self.fetch_refs("VM", {vbd["VM"] for vbd in vbds.values()}))[ref]

    def require_inactive(self, key: VolumeKey, one: Found, what: str) -> None:
        """Raises VolumeInUse where an active machine has the volume."""
        with self.guard(f"see who uses the volume {key}"):
            active = sorted({use.instance for use in self.users_of(one.ref, one.record) if use.active})
        if active:
            raise VolumeInUse(f"the volume {key} cannot {what} while {', '.join(active)} has it")

    def _active_users(self, key: VolumeKey, ref: str) -> str:
        """The names of the active machines that have a virtual disk."""
        with self.guard(f"see who uses the volume {key}"):
            users = self.users_of(ref, self.call("VDI.get_record", ref))
        return ", ".join(sorted({use.instance for use in users if use.active}))

    def _in_use(self, key: VolumeKey, ref: str, what: str) -> VolumeInUse:
        names = self._active_users(key, ref) or "a transfer"
        return VolumeInUse(f"the volume {key} cannot {what} while {names} has it")

    def write_record(self, ref: str, record: VolumeRecord) -> None:
        """Write a volume's record; what other tools keep with it stays. To be used within ``guard``."""
        now = self.call("VDI.get_other_config", ref)
        self.call("VDI.set_other_config", ref, with_record(now, record))

    def delete_in_use(self, key: VolumeKey, ref: str, what: str) -> None:
        """Delete a virtual disk; what keeps it from that is told in terms of the volume."""
        try:
            self.delete_vdi(ref, str(key))
        except VolumeInUse as error:
            if code_of(error) != _IN_USE:
                raise
            if self._active_users(key, ref):
                raise self._in_use(key, ref, what) from error
            self.when_free(partial(self.delete_vdi, ref, str(key)))  # a transfer that is about to end
