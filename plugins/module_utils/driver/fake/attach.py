# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come and go: in the configuration, and at once in a guest that is active."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

from ...errors import AlreadyExists, ImageNotFound, InvalidInput, NotFound, Problem, TimeoutExpired, Unsupported
from ...model import power_state
from ...model.instance import CDROM, Disk
from ...undo import Undo
from .attachchecks import attachment_problems, bus_of
from .attachrules import AttachRulesMixin, record_of_disk, require_own_place, without_zeros
from .guest import Look
from .images import no_image
from .records import disks_of, plain, volume_key
from .storage import default_bus, free_device
from .store import INSTANCES, VOLUMES, Changes, Record

_UNDO_PATIENCE_S = 10.0
_ASK_AGAIN_S = 0.05

Places = dict[str, int]
"""Where a disk is: its index among the disks of ``config`` and, if it is there, of ``running``."""


class AttachMixin(AttachRulesMixin):
    """Attaching, detaching and changing."""

    def complete_attachment(self, instance: str, disk: Disk, taken: Collection[str] = ()) -> Disk:
        with self._read("attachment", instance) as view:
            record, _seen = self._instance(view, instance)
            pool = None if disk.volume is None else disk.pool or self._default_pool(view)
        has = {item["device"]: item for item in disks_of(record)}
        bus = disk.bus or (bus_of(disk.device, disk.kind) if disk.device else default_bus(disk))
        if disk.device in has:
            raise AlreadyExists(_taken(instance, has[disk.device], free_device(bus, {*has, *taken})))
        if disk.device is not None and disk.device in taken:
            free = free_device(bus, {*has, *taken})
            raise AlreadyExists(f"another disk is about to be {disk.device} of {instance!r}; the next free is {free}")
        return replace(
            disk,
            pool=pool,
            bus=bus,
            device=disk.device or free_device(bus, {*has, *taken}),
            read_only=disk.kind == CDROM if disk.read_only is None else disk.read_only,
        )

    def check_attachment(self, disk: Disk) -> list[Problem]:
        return list(attachment_problems(disk))

    def verify_hotplug(self, instance: str, disk: Disk) -> None:
        with self._read("hotplug_verify", instance) as view:
            record, seen = self._instance(view, instance)
            if self._require_settled(record, seen):
                self._require_pluggable(instance, plain(disk))

    def attach_volume(self, instance: str, disk: Disk) -> Undo:
        problems = self.check_attachment(disk)
        if disk.device is None or disk.bus is None:
            problems.append(Problem("device", "is not known; the disk has to be completed first"))
        if problems:
            raise InvalidInput(problems)
        with self._write("attach", instance) as changes:
            record, seen = self._instance(changes, instance)
            new = record_of_disk(disk)
            has = {item["device"]: item for item in disks_of(record)}
            if disk.device in has:
                raise AlreadyExists(_taken(instance, has[disk.device], free_device(disk.bus or "", has)))
            live = self._require_settled(record, seen)
            if live:
                self._require_pluggable(instance, new)
            require_own_place(has.values(), new)
            if disk.path is not None and not self._has_file(disk.path):
                raise ImageNotFound(no_image(disk.path))
            if "volume" in new:
                self._require_attachable(changes, instance, disk)
                self._fill_from_volumes(changes, [new])
            places = {part: len(record[part].get("disks", [])) for part in _parts(live)}
            self._put_disk(changes, record, dict.fromkeys(places, new), places)

        def take_back() -> None:
            self._take(instance, new["device"], _UNDO_PATIENCE_S)

        return take_back

    def detach_volume(self, instance: str, device: str, timeout_s: float) -> Undo:
        with self._read("attachment", instance) as view:
            record, _seen = self._instance(view, instance)
            find_disk(record, device)
        return self._take(instance, device, timeout_s)

    def update_attachment(self, instance: str, disk: Disk, options: Collection[str]) -> Undo:
        fixed = set(options) - {"cache", "discard", "serial", "boot_order", "read_only", "shareable", "limits"}
        if fixed:
            raise Unsupported(f"{', '.join(sorted(fixed))} of a disk cannot be changed; detach it, and attach it anew")
        device = disk.device or ""
        with self._write("attachment_update", instance) as changes:
            record, seen = self._instance(changes, instance)
            live = self._require_settled(record, seen)
            later = sorted(set(options) - {"limits"})
            if live and later:
                raise Unsupported(
                    f"{', '.join(later)} of disk {device} cannot be changed while instance {instance!r} is "
                    f"{power_state.name(seen.state)}; stop it first"
                )
            places = find_disk(record, device)
            before = {part: record[part]["disks"][at] for part, at in places.items()}
            after = {part: _with(old, disk, options) for part, old in before.items()}
            own = [other for other in disks_of(record) if other["device"] != device]
            for changed in after.values() if "boot_order" in options else ():
                require_own_place(own, changed)
            for changed in after.values() if {"read_only", "shareable"} & set(options) else ():
                if "volume" in changed:
                    self._require_unused_elsewhere(changes, instance, changed)
            self._change_disk(changes, record, after)
        return lambda: self._change_back(instance, "attachment_update", before, options)

    # -- changes ----------------------------------------------------------------------------------------------------

    def _take(self, instance: str, device: str, timeout_s: float) -> Undo:
        """Take a disk away as soon as the guest lets go of it."""
        asked = time.monotonic()
        while True:
            with self._write("detach", instance) as changes:
                record, seen = self._instance(changes, instance)
                places = find_disk(record, device)
                disks = {part: record[part]["disks"][at] for part, at in places.items()}
                live = self._require_settled(record, seen)
                if live and "running" in disks:
                    self._require_pluggable(instance, disks["running"])
                why = self._why_held(instance, seen, time.monotonic() - asked) if "running" in disks else None
                if why is None:
                    self._remove_disk(changes, record, places)
            if why is None:
                return lambda: self._give_back(instance, disks, places)
            left_s = asked + timeout_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutExpired(
                    f"the guest of instance {instance!r} does not let go of disk {device}, which is attached as before",
                    last_seen=why,
                )
            time.sleep(min(_ASK_AGAIN_S, left_s))

    def _why_held(self, instance: str, seen: Look, waited_s: float) -> str | None:
        """Why a guest that was asked so long ago does not let go of a disk; None when it does."""
        guest = self._faults.guest(instance)
        if seen.state not in power_state.EXECUTING:
            return f"it is {power_state.name(seen.state)}"
        if not seen.ready:
            return "it is still booting"
        if guest.holds_disks or waited_s < guest.detach_s:
            return "it uses the disk"
        return None

    def _give_back(self, instance: str, disks: dict[str, Record], places: Places) -> None:
        """Undo a detachment."""
        with self._write("attach", instance) as changes:
            record, seen = self._instance(changes, instance)
            live = self._require_settled(record, seen)
            device = disks["config"]["device"] if "config" in disks else disks["running"]["device"]
            if any(other["device"] == device for other in disks_of(record)):
                raise AlreadyExists(f"{device} of instance {instance!r} is another disk by now")
            if "config" in disks and "volume" in disks["config"]:
                self._require_unused_elsewhere(changes, instance, disks["config"])
            parts = {part: disk for part, disk in disks.items() if part == "config" or live}
            for disk in parts.values():
                if disk.get("owned"):
                    self._set_owner(changes, disk, instance)
            self._put_disk(changes, record, parts, places)

    def _put_disk(self, changes: Changes, record: Record, disks: dict[str, Record], places: Places) -> None:
        record = dict(record)
        for part, disk in disks.items():
            had = list(record[part].get("disks", []))
            had.insert(places[part], disk)
            record[part] = {**record[part], "disks": had}
        changes.put(INSTANCES, record["name"], record)

    def _remove_disk(self, changes: Changes, record: Record, places: Places) -> None:
        record = dict(record)
        for part, at in places.items():
            had = record[part]["disks"]
            if had[at].get("owned"):
                self._set_owner(changes, had[at], None)
            record[part] = {**record[part], "disks": [*had[:at], *had[at + 1 :]]}
        changes.put(INSTANCES, record["name"], record)

    def _set_owner(self, changes: Changes, disk: Record, owner: str | None) -> None:
        """Whose removal is the end of a disk's volume, too."""
        volume = changes.get(VOLUMES, volume_key(disk))
        if volume is not None:
            changes.put(VOLUMES, volume_key(disk), {**volume, "owner": owner})

    def _change_disk(self, changes: Changes, record: Record, disks: dict[str, Record]) -> None:
        """Put these in the places of those with the same device."""
        record = dict(record)
        for part, disk in disks.items():
            had = record[part]["disks"]
            record[part] = {
                **record[part],
                "disks": [disk if other["device"] == disk["device"] else other for other in had],
            }
        changes.put(INSTANCES, record["name"], record)

    def _change_back(self, instance: str, operation: str, before: dict[str, Record], options: Collection[str]) -> None:
        """Give a disk back what it had for these options, wherever it is by now."""
        with self._write(operation, instance) as changes:
            record, _seen = self._instance(changes, instance)
            disks = {}
            for part, at in find_disk(record, next(iter(before.values()))["device"]).items():
                now, then = record[part]["disks"][at], before.get(part, next(iter(before.values())))
                kept = {option: value for option, value in now.items() if option not in options}
                disks[part] = {**kept, **{option: then[option] for option in options if option in then}}
            self._change_disk(changes, record, disks)


def _parts(live: bool) -> tuple[str, ...]:
    return ("config", "running") if live else ("config",)


def find_disk(record: Record, device: str) -> Places:
    """Where an instance has a device.

    Raises:
        NotFound: nowhere.
    """
    places = {
        part: at
        for part in ("config", "running")
        for at, disk in enumerate((record[part] or {}).get("disks", []))
        if disk["device"] == device
    }
    if not places:
        has = ", ".join(sorted({disk["device"] for disk in disks_of(record)})) or "none"
        raise NotFound(f"instance {record['name']!r} has no disk {device!r}; it has {has}")
    return places


def _with(old: Record, disk: Disk, options: Collection[str]) -> Record:
    """A disk's record with the values that ``disk`` has for these options."""
    new = plain(replace(disk, limits=without_zeros(disk.limits)))
    kept = {option: value for option, value in old.items() if option not in options}
    return {**kept, **{option: new[option] for option in options if option in new}}


def _taken(instance: str, other: Record, free: str) -> str:
    what = volume_key(other) if "volume" in other else other.get("path", "an empty drive")
    return f"{other['device']} of instance {instance!r} is {what}; the next free device is {free}"
