# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may have which disk, and when disks can come and go."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ...errors import AlreadyExists, InvalidInput, Problem, Unsupported, VolumeInUse
from ...model import power_state
from ...model.instance import CDROM, Disk, IoLimits
from ...model.storage import VolumeKey
from .attachchecks import HOT_BUSES
from .guest import Look
from .records import disks_of, plain, volume_key
from .store import VOLUMES, Record, View
from .volumerecords import passphrase_problem
from .volumes import VolumesMixin


class AttachRulesMixin(VolumesMixin):
    """Refusals."""

    def _require_settled(self, record: Record, seen: Look) -> bool:
        """Whether the instance has a guest that has to be told; raises Unsupported when just now it cannot be."""
        if seen.state in (power_state.SHUTDOWN, power_state.SUSPENDED):
            hint = "resume it" if seen.state == power_state.SUSPENDED else "wait until it is off"
            raise Unsupported(
                f"the disks of instance {record['name']!r} cannot be changed while it is "
                f"{power_state.name(seen.state)}; {hint} first"
            )
        return seen.state not in power_state.OFF

    def _require_pluggable(self, instance: str, disk: Record) -> None:
        if not self._faults.guest(instance).hotplug:
            raise Unsupported(f"instance {instance!r} has no place for disks that come while it runs; stop it first")
        if disk.get("bus") not in HOT_BUSES:
            what = "CD drives" if disk["kind"] == CDROM else "disks"
            raise Unsupported(
                f"{what} on the bus {disk.get('bus')} come and go only while instance {instance!r} is off; take one of "
                f"{', '.join(HOT_BUSES)}, or stop it first"
            )

    def _require_attachable(self, view: View, instance: str, disk: Disk) -> None:
        key = VolumeKey(disk.pool or self._default_pool(view), disk.volume or "")
        volume = self._volume(view, key)
        wrong = passphrase_problem(str(key), volume, disk.passphrase)
        if wrong is not None:
            raise InvalidInput([Problem("passphrase", wrong)])
        if disk.shareable and volume["format"] != "raw":
            raise InvalidInput([Problem("shareable", f"{key} is {volume['format']}; only raw volumes can be shared")])
        if not disk.read_only:
            if "image" in volume:
                raise VolumeInUse(
                    f"{key} is an image of the cache; attach a volume made from it, or attach it read-only"
                )
            children = [child for child, other in view.all(VOLUMES).items() if other["backing"] == str(key)]
            if children:
                raise VolumeInUse(f"the volume {key} cannot be written to, since {', '.join(children)} lean on it")
        self._require_unused_elsewhere(view, instance, record_of_disk(disk))

    def _require_unused_elsewhere(self, view: View, instance: str, disk: Record) -> None:
        """Raise unless the volume may be this instance's as well as that of those that have it."""
        key = volume_key(disk)
        shared = (view.get(VOLUMES, key) or {}).get("shareable")
        for name, (record, _seen) in self._instances(view).items():
            for other in disks_of(record):
                if "volume" not in other or volume_key(other) != key:
                    continue
                if name == instance:
                    if other["device"] != disk["device"]:
                        raise AlreadyExists(f"instance {name!r} has the volume {key} already, as {other['device']}")
                    continue
                if other.get("read_only") and disk.get("read_only"):
                    continue
                if not (shared or (other.get("shareable") and disk.get("shareable"))):
                    raise VolumeInUse(
                        f"the volume {key} is {other['device']} of instance {name!r}; detach it there first, or attach "
                        "it to all of them read-only or, when it is raw, shareable"
                    )


def record_of_disk(disk: Disk) -> Record:
    """A disk that is being attached, as a part of a record; what its volume is, is looked up."""
    record: Record = plain(replace(disk, owned=False, size_bytes=None, format=None, limits=without_zeros(disk.limits)))
    if disk.volume is None:
        record.pop("pool", None)
    return record


def without_zeros(limits: IoLimits | None) -> IoLimits | None:
    """Limits without those of zero, which are none."""
    return None if limits is None else IoLimits(**{name: value or None for name, value in vars(limits).items()})


def require_own_place(others: Collection[Record], disk: Record) -> None:
    place = disk.get("boot_order")
    for other in others:
        if place is not None and other.get("boot_order") == place:
            raise InvalidInput([Problem("boot_order", f"disk {other['device']} is in the place {place} already")])
