# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resizes that can be taken back.

The VM's record says at each moment how far one has come: nothing is changed before all is kept, and nothing that is
kept is deleted before it is sure that nobody needs it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from ...errors import AnyvirtError, InvalidPowerState, ResizePending
from ...model import power_state
from ...model.instance import Instance
from ...model.resize import CHANGING, CONFIRMED, KEEPING, REVERTED, REVERTING, SIZES, WAITING, ResizeRecord
from ...undo import Undo, UndoStack
from .kept import KeptStatesMixin, Seat
from .metadata import Record, new_id, read_record, resize_of, with_record
from .records import Object, state_of
from .update import UpdateMixin

_SEATS = "seats"
"""What the record of a resize has beside what the model says: device -> what its VBD is made from."""


class RevertibleMixin(UpdateMixin, KeptStatesMixin):
    """Nova's resize, confirm and revert."""

    def require_keepable(self, name: str, devices: Collection[str]) -> None:
        self.require("resize_revertible")
        ref, _vm = self.lookup(name)
        for device in devices:
            self.disk_to_keep(ref, name, device)

    def resize_revertibly(
        self, current: Instance, desired: Instance, options: Collection[str], before: ResizeRecord
    ) -> Undo:
        self.require("resize_revertible")
        name = current.name
        ref, vm = self.lookup(name)
        waiting = resize_of(read_record(vm))
        if waiting is not None and waiting.phase != CHANGING:
            raise ResizePending(f"a resize of instance {name!r} waits already")
        if options:
            _require_off(vm, "resized so that it can be taken back")
        done = UndoStack()
        with done:
            if waiting is None:
                self._keep_all(ref, vm, before if "disks" in options else replace(before, sizes=()), done)
            # Growth cannot be taken back but by what was kept. It does that for all of it, and has to stay until then.
            done.forget()
            done.push("go back to what it was", partial(self._go_back, name))
            if options:
                self.update_instance(current, desired, options, options)
            self._set_phase(ref, WAITING)
        return lambda: done.take_back(f"the resize of {name!r}")

    def confirm_resize(self, name: str) -> None:
        self.require("resize_revertible")
        ref, vm = self.lookup(name)
        record = read_record(vm)
        resize = resize_of(record)
        if record is None or resize is None:
            return
        if resize.phase == REVERTING:
            raise ResizePending(f"a resize of instance {name!r} is being reverted; bring that to its end")
        if not resize.is_over:
            self._set_phase(ref, CONFIRMED)
        try:
            self.clear_kept(record.id)
            self._forget_resize(ref)
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"the resize of {name} is over; the next run deletes what is left of it")
            raise

    def note_runs_after_revert(self, name: str, runs: bool) -> None:
        self.require("resize_revertible")
        ref, vm = self.lookup(name)
        record = read_record(vm)
        if record is not None and record.resize:
            self._note_resize(ref, {**record.resize, "running": runs})

    def revert_resize(self, name: str) -> None:
        self.require("resize_revertible")
        ref, vm = self.lookup(name)
        record = read_record(vm)
        resize = resize_of(record)
        if record is None or resize is None or resize.is_over:
            return
        _require_off(vm, "given its old sizes back")
        if resize.kept and resize.phase != REVERTING:
            self.require_kept(ref, name, record.id, dict(resize.kept))
        self._set_phase(ref, REVERTING)
        try:
            seats: dict[str, Seat] = record.resize.get(_SEATS, {})
            for device, grown in resize.kept:
                self.bring_back_state(ref, name, device, grown, seats.get(device, {}))
            old = Instance(name, **{size: getattr(resize, size) for size in SIZES}, flavor=resize.flavor)
            changed = {*SIZES, "flavor"}
            self.update_instance(self._current(name), old, changed, changed)
            self._set_phase(ref, REVERTED)
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"the resize of {name} is half taken back: take it back again")
            raise

    # -- parts ------------------------------------------------------------------------------------------------------

    def _go_back(self, name: str) -> None:
        self.revert_resize(name)
        self.confirm_resize(name)

    def _keep_all(self, ref: str, vm: Object, before: ResizeRecord, done: UndoStack) -> None:
        """Keep what it takes to go back, and write down where it is."""
        name = vm["name_label"]
        disks = {device: self.disk_to_keep(ref, name, device) for device, _size in before.sizes}
        kept = tuple((device, str(vdi["uuid"])) for device, (vdi, _seat) in disks.items())
        seats = {device: seat for device, (_vdi, seat) in disks.items()}
        done.push("forget the resize", partial(self._forget_resize, ref))
        noted = replace(before, kept=kept, phase=KEEPING).as_dict()
        owner = self._note_resize(ref, {**noted, _SEATS: seats} if seats else noted)
        done.push("delete what was kept", partial(self.clear_kept, owner))
        for device, (vdi, _seat) in disks.items():
            self.keep_state(vdi, owner, device)
        self._set_phase(ref, CHANGING)

    def _set_phase(self, ref: str, phase: str) -> None:
        record = read_record(self._vm_record(ref)) or Record()
        self._note_resize(ref, {**record.resize, "phase": phase})

    def _forget_resize(self, ref: str) -> None:
        self._note_resize(ref, {})

    def _note_resize(self, ref: str, resize: dict[str, object]) -> str:
        """Write down how far a resize is; the id of the instance's record."""
        vm = self._vm_record(ref)
        record = replace(read_record(vm) or Record(id=new_id(), vm_uuid=vm["uuid"]), resize=resize)
        config = with_record(vm["other_config"], record)
        if config != vm["other_config"]:
            with self.guard(f"write the record of instance {vm['name_label']!r}", vm["name_label"]):
                self.call("VM.set_other_config", ref, config)
        return record.id

    def _vm_record(self, ref: str) -> Object:
        with self.guard("read an instance's record"):
            found: Object = self.call("VM.get_record", ref)
            return found


def _require_off(vm: Object, what: str) -> None:
    state = state_of(vm)
    if state not in power_state.OFF:
        raise InvalidPowerState(
            f"instance {vm['name_label']!r} is {power_state.name(state)} and cannot be {what}; stop it first"
        )
