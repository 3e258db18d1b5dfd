# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resizes that can be taken back. Each is one operation, so none is ever seen half done."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ...errors import InvalidInput, InvalidPowerState, Problem, ResizePending, SnapshotNotFound, VolumeInUse
from ...model import power_state
from ...model.instance import Disk, Instance
from ...model.resize import REVERTED, SIZES, WAITING, ResizeRecord, read_resize
from ...undo import Undo, UndoStack
from .datafiles import sweep
from .kept import bring_back, forget_resize, keep, kept_of
from .poolkinds import CHILD_FORMATS
from .records import option_value, volume_key
from .store import INSTANCES, VOLUMES, Changes, Record, View
from .update import UpdateMixin, check_sizes


class ResizesMixin(UpdateMixin):
    """Nova's resize, confirm and revert."""

    def require_keepable(self, name: str, devices: Collection[str]) -> None:
        self.require("resize_revertible")
        with self._read("info", name) as view:
            for disk in self._instance(view, name)[0]["config"].get("disks", []):
                if disk["device"] in devices:
                    self._require_keepable(view, name, disk)

    def resize_revertibly(
        self, current: Instance, desired: Instance, options: Collection[str], before: ResizeRecord
    ) -> Undo:
        self.require("resize_revertible")
        name, done = current.name, UndoStack()
        with self._write("resize", name) as changes:
            record = self._require_off(changes, name, "resized so that it can be taken back")
            if record.get("resize"):
                raise ResizePending(f"a resize of instance {name!r} waits already")
            values = dict(option_value(desired, option) for option in options if option != "disks")
            config = {**record["config"], **values}
            kept = {}
            if "disks" in options:
                config["disks"] = [dict(disk) for disk in config.get("disks", [])]
                for disk in _growing(config["disks"], desired.disks or []):
                    kept[str(disk.device)] = self._grow_kept(changes, name, config["disks"], disk)
            check_sizes(config)
            noted = replace(before, kept=tuple(sorted(kept.items())), phase=WAITING)
            changes.put(INSTANCES, name, {**record, "config": config, "resize": noted.as_dict()})
            done.push("take the resize back", lambda: self._take_back_resize(name))
        return lambda: done.take_back(f"the resize of {name!r}")

    def confirm_resize(self, name: str) -> None:
        self.require("resize_revertible")
        with self._read("info", name) as view:
            if not self._instance(view, name)[0].get("resize"):
                return
        with self._write("resize_confirm", name) as changes:
            record = self._instance(changes, name)[0]
            forget_resize(changes, record)
            changes.put(INSTANCES, name, {field: value for field, value in record.items() if field != "resize"})
        sweep(self._store)

    def note_runs_after_revert(self, name: str, runs: bool) -> None:
        self.require("resize_revertible")
        with self._write("resize_note", name) as changes:
            record = self._instance(changes, name)[0]
            if record.get("resize"):
                noted = replace(read_resize(record["resize"]), running=runs)
                changes.put(INSTANCES, name, {**record, "resize": noted.as_dict()})

    def revert_resize(self, name: str) -> None:
        self.require("resize_revertible")
        with self._read("info", name) as view:
            noted = self._instance(view, name)[0].get("resize")
            if not noted or read_resize(noted).is_over:
                return
        with self._write("resize_revert", name) as changes:
            record = self._require_off(changes, name, "given its old sizes back")
            before = read_resize(record["resize"])
            config = {**record["config"], **{size: getattr(before, size) for size in SIZES}}
            config.pop("flavor", None)
            if before.flavor is not None:
                config["flavor"] = before.flavor.as_dict()
            sizes = dict(before.sizes)
            config["disks"] = [
                {**disk, "size_bytes": sizes.get(disk["device"], disk["size_bytes"])}
                if disk["device"] in sizes
                else disk
                for disk in config.get("disks", [])
            ]
            found = list(kept_of(record, before))
            if len(found) < len(before.kept):
                raise SnapshotNotFound(f"a disk of instance {name!r} that was resized is detached; attach it again")
            for key, kept in found:
                self._require_alone(changes, name, key)
                bring_back(changes, key, kept)
            over = replace(before, phase=REVERTED)
            changes.put(INSTANCES, name, {**record, "config": config, "resize": over.as_dict()})
        sweep(self._store)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _require_off(self, view: View, name: str, what: str) -> Record:
        record, seen = self._instance(view, name)
        if seen.state not in power_state.OFF:
            raise InvalidPowerState(
                f"instance {name!r} is {power_state.name(seen.state)} and cannot be {what}; stop it first"
            )
        return record

    def _grow_kept(self, changes: Changes, name: str, disks: list[Record], disk: Disk) -> str:
        """Make a disk larger, and keep what it was; what that is called."""
        had = next(one for one in disks if one["device"] == disk.device)
        key, volume = self._require_keepable(changes, name, had)
        more = (disk.size_bytes or 0) - volume["size_bytes"]
        if more < 0:
            raise InvalidInput([Problem("disks", f"disk {disk.device} cannot be made smaller")])
        of_state = volume.get("allocated_bytes", 0) if volume["format"] in CHILD_FORMATS else volume["size_bytes"]
        self._require_pool_room(changes, volume["pool"], more + of_state)
        kept = keep(changes, name, key, volume)
        changes.put(VOLUMES, key, {**(changes.get(VOLUMES, key) or volume), "size_bytes": disk.size_bytes})
        had["size_bytes"] = disk.size_bytes
        return kept

    def _require_keepable(self, view: View, name: str, disk: Record) -> tuple[str, Record]:
        """The key of a disk's volume, and the volume, of which nobody but the instance needs what is in it."""
        key = volume_key(disk) if "volume" in disk else ""
        volume = view.get(VOLUMES, key) if key else None
        if volume is None:
            raise InvalidInput([Problem("disks", f"the volume of disk {disk['device']} is gone")])
        self._require_alone(view, name, key)
        return key, volume

    def _require_alone(self, view: View, name: str, key: str) -> None:
        """Raise unless nobody else needs what is in a volume now."""
        children = [child for child, other in view.all(VOLUMES).items() if other["backing"] == key]
        others = [user for user in self._users_of(view, key) if user != name] + children
        if others:
            raise VolumeInUse(
                f"the volume {key} cannot be changed so that it can be taken back: {others[0]!r} needs it"
            )

    def _take_back_resize(self, name: str) -> None:
        self.revert_resize(name)
        self.confirm_resize(name)


def _growing(disks: list[Record], wanted: list[Disk]) -> Iterator[Disk]:
    had = {disk["device"]: disk.get("size_bytes") for disk in disks}
    for disk in wanted:
        if disk.device in had and disk.size_bytes is not None and disk.size_bytes != had[disk.device]:
            yield disk
