# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks: what the driver decides about them, and whether the host has what they need."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...errors import (
    AnyvirtError,
    HypervisorError,
    ImageNotFound,
    InvalidInput,
    NetworkNotFound,
    PoolNotFound,
    Problem,
    UnsafeImage,
    VolumeInUse,
    VolumeNotFound,
)
from ...model import power_state
from ...model.instance import CDROM, Disk, Instance
from ...model.storage import DIR, VolumeUse
from ...model.units import GIB, MIB
from ..imagepath import is_path
from .hostfile import Pool
from .images import ImagesMixin, no_image
from .poolkinds import KINDS, RAW
from .records import ROOT, SEED, disks_of, volume_key, volume_keys
from .store import INSTANCES, VOLUMES, Record, View
from .volumerecords import is_complete, passphrase_problem

SEED_BYTES = MIB
PREFIXES = {"virtio": "vd", "xen": "xvd", "ide": "hd"}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class StorageMixin(ImagesMixin):
    """Disks, and the volumes and files that they are on."""

    def _complete_disks(self, instance: Instance) -> list[Disk]:
        """The disks of a new instance, its seed among them, with all names given. Those of its flavor only where its
        disks are not spelled out: who does that may have decided against them."""
        disks = list(instance.disks or [])
        flavor = instance.flavor if instance.disks is None else None
        root_bytes = flavor.root_gb * GIB if flavor and flavor.root_gb else None
        has_root = any(disk.role == ROOT or (disk.image and disk.image == instance.image) for disk in disks)
        if not has_root and (instance.image or (root_bytes and not disks)):
            disks.insert(0, Disk(role=ROOT, image=instance.image, size_bytes=root_bytes))
        if flavor and flavor.swap_mb and not any(disk.role == "swap" for disk in disks):
            disks.append(Disk(role="swap", size_bytes=flavor.swap_mb * MIB))
        if instance.cloud_init is not None and not any(disk.role == SEED for disk in disks):
            disks.append(seed_disk())
        return self._name_disks(instance.name, disks, instance.pool, ())

    def _name_disks(self, name: str, disks: Iterable[Disk], pool: str | None, taken: Collection[str]) -> list[Disk]:
        """Copies with what the driver gives: devices, buses, formats, and the volumes of those that are to be made."""
        with self._store.reading() as view:
            return [*self._named(view, name, list(disks), pool, taken)]

    def _named(
        self, view: View, name: str, disks: Sequence[Disk], pool: str | None, taken: Collection[str]
    ) -> Iterator[Disk]:
        pools, default_pool = self._pools(view), pool or self._default_pool(view)
        devices = {*taken, *(disk.device for disk in disks if disk.device)}
        for wanted in disks:
            bus = wanted.bus or default_bus(wanted)
            device = wanted.device or free_device(bus, devices)
            devices.add(device)
            disk = replace(wanted, bus=bus, device=device)
            if disk.read_only is None:
                disk.read_only = disk.kind == CDROM
            if disk.volume is not None:
                disk.pool = disk.pool or default_pool
            elif disk.role == SEED or (disk.kind != CDROM and disk.path is None):
                disk.owned = True
                disk.pool = disk.pool or default_pool
                kind = KINDS[pools[disk.pool].kind if disk.pool in pools else DIR]
                disk.format = disk.format or (RAW if disk.role == SEED else kind.formats[0])
                disk.volume = f"{name}-seed.iso" if disk.role == SEED else f"{name}-{device}.{disk.format}"
                if disk.image is not None and disk.size_bytes is None:
                    with suppress(UnsafeImage):  # which is told when the disk is checked
                        image = self._find_image(view, disk.image, disk.pool)
                        disk.size_bytes = image.size_bytes if image else None
            elif disk.path is not None or disk.image is not None:
                disk.format = disk.format or RAW
            yield disk

    # -- what the host has ------------------------------------------------------------------------------------------

    def _disk_problems(self, view: View, instance: Instance, known: Record | None) -> list[tuple[Problem, type]]:
        """What the host lacks for these disks, each with the class of error that says so."""
        found: list[tuple[Problem, type]] = []
        pools = self._pools(view)
        old = _sources(known) if known else set()
        for number, disk in enumerate(instance.disks or []):
            where = f"disks[{number}]"
            if disk.pool is not None and not self._pool_is_ready(pools, disk.pool, instance):
                found.append((Problem(f"{where}.pool", f"there is no active pool {disk.pool!r}"), PoolNotFound))
            elif disk.volume is None or disk.owned:
                found.extend(_new_volume_findings(where, disk, pools.get(disk.pool or "")))
            else:
                whole = replace(disk, pool=disk.pool or instance.pool or self._default_pool(view))
                found.extend(self._volume_findings(view, where, whole, known))
            if disk.path is not None and disk.path not in old and not self._has_file(disk.path):
                found.append((Problem(f"{where}.path", no_image(disk.path)), ImageNotFound))
            if disk.image is not None and disk.image not in old:
                pool = disk.pool or instance.pool
                found.extend(self._image_findings(view, f"{where}.image", disk.image, pool, disk.size_bytes))
        return found

    def _volume_findings(
        self, view: View, where: str, disk: Disk, known: Record | None
    ) -> Iterator[tuple[Problem, type[AnyvirtError]]]:
        """Why an instance cannot have an existing volume."""
        key = f"{disk.pool}/{disk.volume}"
        volume = view.get(VOLUMES, key)
        if volume is None or not is_complete(volume):
            lacking = f"there is no volume {disk.volume!r} in the pool {disk.pool!r}"
            yield Problem(f"{where}.volume", lacking), VolumeNotFound
        elif known is None or key not in volume_keys(known):
            if "image" in volume and disk.kind != CDROM and not disk.read_only:
                wrong = f"{key} is an image of the cache, which nobody may write to; name it as the image"
                yield Problem(f"{where}.volume", wrong), VolumeInUse
            children = [child for child, other in view.all(VOLUMES).items() if other["backing"] == key]
            if children and not disk.read_only:
                leaning = f"{key} cannot be written to, since {', '.join(children)} lean on it"
                yield Problem(f"{where}.volume", leaning), VolumeInUse
            locked = passphrase_problem(key, volume, disk.passphrase)
            if locked is not None and disk.passphrase:  # a new instance has no way to give it: the host knows it
                yield Problem(f"{where}.passphrase", locked), InvalidInput

    def _pool_is_ready(self, pools: dict[str, Any], pool: str, instance: Instance) -> bool:
        if pool in pools:
            return bool(pools[pool].active)
        return instance.pool_path is not None and pool == instance.pool

    def _users_of(self, view: View, key: str) -> list[str]:
        """The instances that use a volume."""
        return [name for name, record in view.all(INSTANCES).items() if key in volume_keys(record)]

    def _users(self, view: View, keys: Collection[str]) -> dict[str, list[VolumeUse]]:
        """Which instances use these volumes, and how; each of the keys is in the answer."""
        users: dict[str, list[VolumeUse]] = {key: [] for key in keys}
        for name, (record, seen) in self._instances(view).items():
            active = seen.state not in power_state.OFF
            found = set()
            for disk in disks_of(record):
                key = volume_key(disk) if "volume" in disk else ""
                if key in users and (key, disk["device"]) not in found:
                    found.add((key, disk["device"]))
                    users[key].append(VolumeUse(name, disk["device"], active, bool(disk.get("read_only"))))
        return users

    def _require_unused(self, view: View, name: str, disk: Record) -> None:
        """Raise unless no other active instance has the volume of a disk to be written to, or it is for several."""
        key = volume_key(disk)
        volume = view.get(VOLUMES, key)
        if volume is not None and volume.get("shareable"):
            return
        for user, (record, seen) in self._instances(view).items():
            if user == name or seen.state not in power_state.ACTIVE:
                continue
            for other in disks_of(record):
                shared = other.get("shareable") and disk.get("shareable")
                if "volume" in other and volume_key(other) == key and not shared:
                    raise HypervisorError(f"the volume {key} is in use by the active instance {user!r}")

    def _fill_from_volumes(self, view: View, disks: Iterable[Record]) -> None:
        """Write into records of disks on existing volumes what those are."""
        for disk in disks:
            volume = view.get(VOLUMES, volume_key(disk)) if "volume" in disk else None
            if volume is not None and not disk.get("owned"):
                disk.setdefault("size_bytes", volume["size_bytes"])
                disk.setdefault("format", volume["format"])
                if "lock" in volume:
                    disk["encrypted"] = True

    def _require_parts(self, view: View, record: Record) -> None:
        """Raise unless everything is there that a guest is started from."""
        config = record["config"]
        pools = self._pools(view)
        for disk in config.get("disks", []):
            if "volume" in disk:
                pool = disk["pool"]
                if pool not in pools or not pools[pool].active:
                    raise PoolNotFound(f"the pool {pool!r} with disk {disk['device']} is not active")
                self._require_whole(view, disk)
                if not disk.get("read_only"):
                    self._require_unused(view, record["name"], disk)
            path = disk.get("path")
            if path is not None and not self._has_file(path):
                raise ImageNotFound(f"the file {path!r} of disk {disk['device']} is gone")
        boot = config.get("boot", {})
        for path in (boot.get("kernel"), boot.get("initrd")):
            if path is not None and not self._has_file(path):
                raise ImageNotFound(f"there is no file {path!r} to boot from")
        for nic in config.get("nics", []):
            problem = self._network_problem(nic.get("network"), nic.get("bridge"))
            if problem is not None:
                raise NetworkNotFound(problem)

    def _require_whole(self, view: View, disk: Record) -> None:
        """Raise unless a disk's volume is there, and all that it leans on."""
        key: str | None = volume_key(disk)
        volume = view.get(VOLUMES, volume_key(disk))
        if volume is None or not is_complete(volume):
            raise VolumeNotFound(f"the volume {disk['volume']!r} of disk {disk['device']} is gone")
        while volume is not None:
            key = volume["backing"]
            if key is None:
                return
            if is_path(key):
                if not self._has_file(key):
                    raise ImageNotFound(f"the file {key!r} of disk {disk['device']} is gone")
                return
            volume = view.get(VOLUMES, key)
        raise VolumeNotFound(f"the volume {key!r}, which disk {disk['device']} leans on, is gone")

    def _network_problem(self, network: str | None, bridge: str | None) -> str | None:
        """What is wrong with a NIC's network, in words."""
        settings = self._settings
        if network is not None and not (network in settings.networks and settings.networks[network].active):
            return f"there is no active network {network!r}"
        if bridge is not None and not (bridge in settings.bridges and settings.bridges[bridge].active):
            return f"there is no bridge {bridge!r}"
        return None


def _new_volume_findings(where: str, disk: Disk, pool: Pool | None) -> Iterator[tuple[Problem, type[AnyvirtError]]]:
    """Why a disk's volume cannot be made in this pool."""
    if pool is None or disk.path is not None or disk.kind == CDROM:
        return
    kind = KINDS[pool.kind]
    if not kind.makes_volumes:
        wrong = f"{disk.pool!r} has the volumes that its server has; make them there"
        yield Problem(f"{where}.pool", wrong), InvalidInput
    elif disk.format is not None and disk.format not in kind.formats:
        wrong = f"the pool {disk.pool!r} holds {' and '.join(kind.formats)}, not {disk.format}"
        yield Problem(f"{where}.format", wrong), InvalidInput


def seed_disk() -> Disk:
    """The CD-ROM for cloud-init's data."""
    return Disk(kind=CDROM, role=SEED, size_bytes=SEED_BYTES)


def _sources(record: Record) -> set[str]:
    """Files that the instance is known to be made from; they need not be there any more."""
    disks = record["config"].get("disks", [])
    return {disk[option] for disk in disks for option in ("image", "path") if option in disk}


def default_bus(disk: Disk) -> str:
    """How a disk is connected that does not say so."""
    return "sata" if disk.kind == CDROM else "virtio"


def free_device(bus: str, taken: Collection[str]) -> str:
    """The first name on a bus that is not taken."""
    prefix = PREFIXES.get(bus, "sd")
    suffixes = itertools.chain(_LETTERS, map("".join, itertools.product(_LETTERS, repeat=2)))
    free: str = next(prefix + suffix for suffix in suffixes if prefix + suffix not in taken)
    return free
