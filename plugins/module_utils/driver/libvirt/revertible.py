# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resizes that can be taken back.

The domain's record says at each moment how far one has come: nothing is changed before all is kept, and nothing that is
kept is deleted before it is sure that nobody needs it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ...errors import AnyvirtError, InvalidPowerState, ResizePending, SnapshotNotFound
from ...model import power_state
from ...model.instance import Instance
from ...model.resize import CHANGING, KEEPING, REVERTED, REVERTING, SIZES, WAITING, ResizeRecord
from ...undo import Undo, UndoStack
from .domain import Domain
from .resizenotes import kept_disks
from .update import UpdateMixin

if TYPE_CHECKING:
    import libvirt


class RevertibleMixin(UpdateMixin):
    """Nova's resize, confirm and revert."""

    def require_keepable(self, name: str, devices: Collection[str]) -> None:
        self.require("resize_revertible")
        domain = self.described(name, self.lookup(name))
        for disk in domain.to_instance().disks or []:
            if disk.device in devices:
                self.require_alone(name, disk)
                self.kept_name(domain, disk)

    def resize_revertibly(
        self, current: Instance, desired: Instance, options: Collection[str], before: ResizeRecord
    ) -> Undo:
        self.require("resize_revertible")
        name = current.name
        handle = self.lookup(name)
        old_text = self._config_text(name, handle)
        old = Domain.parse(old_text)
        waiting = old.record.resize
        if waiting is not None and waiting.phase != CHANGING:
            raise ResizePending(f"a resize of instance {name!r} waits already")
        if options:
            self._require_off_for(name, "resized so that it can be taken back")
        done = UndoStack()
        with done:
            record = waiting or self._keep_all(handle, old, desired if "disks" in options else None, before, done)
            if options:
                done.push("put back what it was", self.update_instance(current, desired, options, options))
            self._grow_what_is_left(name, record, replace(current, disks=desired.disks or current.disks), done)
            self.note_resize(handle, replace(record, phase=WAITING))

        def take_back() -> None:
            # The guest may have run since, and have made its file system as large as the disk is now.
            self.revert_resize(name)
            self.confirm_resize(name)
            if waiting is None:  # word by word, since sizes alone can leave another topology
                self._define_again(name, old_text)
                self.forget(name)

        return take_back

    def confirm_resize(self, name: str) -> None:
        self.require("resize_revertible")
        handle = self.lookup(name)
        domain = self.described(name, handle)
        if domain.record.resize is not None and domain.record.resize.phase == REVERTING:
            raise ResizePending(f"a resize of instance {name!r} is being reverted; bring that to its end")
        self.clear_resize(handle, domain)

    def note_runs_after_revert(self, name: str, runs: bool) -> None:
        self.require("resize_revertible")
        handle = self.lookup(name)
        record = self.described(name, handle).record.resize
        if record is not None:
            self.note_resize(handle, replace(record, running=runs))

    def revert_resize(self, name: str) -> None:
        self.require("resize_revertible")
        handle = self.lookup(name)
        domain = self.described(name, handle)
        record = domain.record.resize
        if record is None or record.is_over:
            return
        self._require_off_for(name, "given its old sizes back")
        had = _old_state(domain, record)
        kept = list(kept_disks(domain, record))
        missing = {device for device, _state in record.kept}.difference(disk.device for disk, _state in kept)
        if missing:
            raise SnapshotNotFound(
                f"cannot bring back what was on disk {', '.join(sorted(missing))} of instance {name!r}, which is "
                "detached; attach it again"
            )
        for disk, state in kept:
            self.require_alone(name, disk)
            self.require_kept(disk, state)
        self.note_resize(handle, replace(record, phase=REVERTING))
        try:
            for disk, state in kept:
                self.bring_back_disk(disk, state)
            changed = Domain.parse(self._config_text(name, handle))
            changed.apply(had, {*SIZES, "flavor", "disks"})
            changed.record.resize = replace(record, phase=REVERTED)
            with self.guard(f"change the configuration of instance {name!r}", name):
                self.conn.defineXML(changed.text())
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"the resize of {name} is half taken back: take it back again")
            raise
        finally:
            self.forget(name)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _require_off_for(self, name: str, what: str) -> None:
        state = self.get_info(name).state
        if state not in power_state.OFF:
            raise InvalidPowerState(
                f"instance {name!r} is {power_state.name(state)} and cannot be {what}; stop it first"
            )

    def _keep_all(
        self, handle: libvirt.virDomain, old: Domain, desired: Instance | None, before: ResizeRecord, done: UndoStack
    ) -> ResizeRecord:
        """Keep what it takes to go back; the record that says so."""
        had = {disk.device: disk for disk in old.to_instance().disks or []}
        growing = [device for device, _size in before.sizes] if desired is not None else []
        disks = [had[device] for device in growing if device in had]
        for disk in disks:
            self.require_alone(old.name, disk)
        kept = tuple((disk.device or "", self.kept_name(old, disk)) for disk in disks)
        self.note_resize(handle, replace(before, kept=kept, phase=KEEPING))
        done.push("forget the resize", partial(self.note_resize, handle, None))
        for disk, (_device, state) in zip(disks, kept):
            done.push(f"delete what was kept of disk {disk.device}", partial(self.delete_kept, handle, disk, state))
            self.keep_disk(disk, state)
        record = replace(before, kept=kept, phase=CHANGING)
        self.note_resize(handle, record)
        return record

    def _grow_what_is_left(self, name: str, record: ResizeRecord, wanted: Instance, done: UndoStack) -> None:
        """Grow the disks that an update which was cut short only wrote down as grown."""
        if self.get_info(name).state not in power_state.OFF:
            return
        devices = {device for device, _size in record.sizes}
        for disk in wanted.disks or []:
            if disk.device in devices and disk.size_bytes is not None and self.capacity(disk) < disk.size_bytes:
                self._grow_volume(name, disk, done)


def _old_state(domain: Domain, record: ResizeRecord) -> Instance:
    """The sizes that the instance had."""
    sizes = dict(record.sizes)
    disks = [
        replace(disk, size_bytes=sizes.get(disk.device or "", disk.size_bytes))
        for disk in domain.to_instance().disks or []
    ]
    values = {name: getattr(record, name) for name in SIZES}
    return Instance(domain.name, **values, flavor=record.flavor, disks=disks)
