# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning what becomes of the disks of instances that are moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple
from xml.etree.ElementTree import Element

from ...model.instance import CDROM, DISK, Instance
from ...model.migration import COPY, DEPARTED, INCOMING, LIVE, DiskMove, MigrationWishes
from ...model.storage import Image, VolumeKey
from .domain import Domain
from .domain_disks import SEED, owned_behind, source_of
from .element import attribute_of
from .migrationdisks import DiskCopy, DiskPlan, even_out, variables_path
from .migrationshared import APART, SHARED, UNCLEAR, SharedStorage, Sight
from .migrationvolumes import MigrationVolumesMixin
from .volumelist import Found, PoolView
from .volumeplans import MAKING_KINDS, QCOW2, RAW
from .volumerecord import VOLUME_SUFFIX, Payload
from .volumexml import Backing, to_libvirt_format

_FORMATS = (QCOW2, RAW)
_LUN, _NETWORK, _MOUNT = "lun", "network", "mount"
_HOSTS_OWN = ("nvme", "vhostuser", "vhostvdpa", "dir")
"""Types of disks whose data is a device or a folder of the host."""


class _Disk(NamedTuple):
    """A disk of an instance that is moved.

    Attributes:
        path: Where its data is; None where that is not on the host.
        wanted_bytes: What the guest is to see of it afterwards; None: what it sees now.
    """

    instance: str
    element: Element
    device: str
    path: str | None
    mode: str
    wanted_bytes: int | None

    @property
    def is_written(self) -> bool:
        """Whether the guest may write to it."""
        return self.element.get("device", DISK) != CDROM and self.element.find("readonly") is None

    @property
    def format(self) -> str | None:
        """As the hypervisor is told."""
        return attribute_of(self.element, "driver", "type")


class _Trip(NamedTuple):
    """What the disks of all instances that are moved together have in common."""

    destination: MigrationDiskPlansMixin
    storage: SharedStorage
    wishes: MigrationWishes
    images: dict[str, list[Image]]
    """The destination's, by their checksums."""
    views: dict[str, PoolView | None]
    """Pools of the destination."""
    planned: set[VolumeKey]


class MigrationDiskPlansMixin(MigrationVolumesMixin):
    """On the source: where disks are going to be."""

    def plan_disks(
        self,
        destination: MigrationDiskPlansMixin,
        domains: Mapping[str, Domain],
        instances: Mapping[str, Instance],
        modes: Mapping[str, str],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, DiskPlan]:
        """What becomes of the disks of these instances, and all that keeps them from being moved.

        Args:
            domains: The configuration of each (read with VIR_DOMAIN_XML_INACTIVE and VIR_DOMAIN_XML_SECURE; of a
                transient one as it runs).
            instances: The same in the sizes that they are to have.
            modes: ``live`` or ``cold`` of each.
            probing: See ``MigrationDriver.plan_migrations``.
        """
        trip = _Trip(destination, SharedStorage(self, destination, probing), wishes, {}, {}, set())
        if any(domain.root.find("devices/disk") is not None for domain in domains.values()):
            for image in destination.get_images().values():
                if image.complete and image.checksum:
                    trip.images.setdefault(image.checksum, []).append(image)
        return {name: self._plan_instance(trip, domains[name], instances[name], modes[name]) for name in domains}

    def _plan_instance(self, trip: _Trip, domain: Domain, instance: Instance, mode: str) -> DiskPlan:
        plan = DiskPlan()
        wanted = {disk.device: disk.size_bytes for disk in instance.disks or [] if disk.owned}
        for element in domain.root.iterfind("devices/disk"):
            device = attribute_of(element, "target", "dev") or ""
            disk = _Disk(domain.name, element, device, self._data_of(element), mode, wanted.get(device))
            self._plan_disk(trip, domain, disk, plan)
            former = domain.record.owns(device)
            if former is not None and owned_behind(element, domain.record) is None:
                plan.ejected.append(VolumeKey(former.pool, former.volume))
        for folder in domain.root.iterfind("devices/filesystem"):
            if folder.get("type", _MOUNT) == _MOUNT:
                self._plan_folder(trip, attribute_of(folder, "source", "dir") or "", plan)
        variables = variables_path(domain.root)
        if variables is not None and self.sees(variables):
            plan.shares_variables = trip.storage.sight(variables).verdict != APART
            if mode != LIVE and not plan.shares_variables:
                plan.variables = variables
        if mode == LIVE:
            even_out(plan)
        return plan

    def _plan_folder(self, trip: _Trip, path: str, plan: DiskPlan) -> None:
        """A folder of the host is never copied."""
        folder = path.rstrip("/")
        if not folder:
            return
        if not trip.destination.sees(folder):
            plan.problems.append(f"there is no folder {path!r} on the destination, which it needs; copy it there first")
        elif trip.storage.looks(folder) != SHARED:
            plan.warnings.append(
                f"the folder {path!r} of the destination is another one; what the instance needs has to be in there"
            )

    def _data_of(self, element: Element) -> str | None:
        source = element.find("source")
        if element.get("type") != "volume" or source is None:
            return source_of(element)
        volumes = self.existing([(source.get("pool", ""), source.get("volume", ""))])
        return volumes[0].path if volumes else None

    def _plan_disk(self, trip: _Trip, domain: Domain, disk: _Disk, plan: DiskPlan) -> None:
        what = f"its disk {disk.device}"
        kind = disk.element.get("type", "")
        if kind in _HOSTS_OWN:
            plan.problems.append(f"{what} is a device or folder of its host ({kind}); detach it first")
        elif kind == _NETWORK:
            name = attribute_of(disk.element, "source", "name") or kind
            plan.moves.append(DiskMove(disk.device, SHARED, name, name))
            if trip.wishes.storage == COPY and disk.is_written:
                plan.problems.append(
                    f"storage: copy: {what} is {name!r} in a network, which nothing copies; with storage: auto it "
                    "stays where it is"
                )
        elif disk.path is not None:
            self._plan_data(trip, domain, disk, disk.path, plan)
        elif disk.element.find("source") is not None and disk.element.get("device") != CDROM:
            plan.problems.append(f"{what} is on what this host does not have")

    def _plan_data(self, trip: _Trip, domain: Domain, disk: _Disk, path: str, plan: DiskPlan) -> None:
        key = self.volume_in_pool(path)
        pool = None if key is None else trip.wishes.pools.get(key.pool, key.pool)
        view = None if pool is None else self._view(trip, pool)
        owned = owned_behind(disk.element, domain.record)
        is_seed = owned is not None and owned.role == SEED
        if trip.wishes.storage == COPY and disk.is_written:
            sight = Sight(APART, path)
        else:
            sight = trip.storage.sight(path, None if view is None else view.path)
        if sight.verdict == UNCLEAR:
            self._plan_unclear(trip, disk, path, plan)
        if sight.verdict != APART:
            self._keep(trip, disk, path, sight.path, key, plan, owned is not None)
        elif trip.wishes.storage == SHARED and not is_seed:
            plan.problems.append(f"storage: shared: the destination does not see {path!r} of disk {disk.device}")
        elif not disk.is_written and not is_seed:
            self._find_medium(trip, disk, path, key, plan)
        elif key is None or pool is None:
            plan.problems.append(
                f"disk {disk.device} is on {path!r}, which is in no storage pool; make one of its folder on both hosts"
            )
        elif view is None or view.kind not in MAKING_KINDS:
            plan.problems.append(f"there is no active pool {pool!r} on the destination; map it with pools or make it")
        else:
            self._plan_copy(trip, disk, key, view, plan, is_seed)

    @staticmethod
    def _plan_unclear(trip: _Trip, disk: _Disk, path: str, plan: DiskPlan) -> None:
        """The guest must not come to write to what may be another's, unless somebody knows better."""
        what = f"whether the destination sees {path!r} of disk {disk.device}"
        if disk.is_written and trip.wishes.storage != SHARED and (trip.storage.probing or path.startswith("/dev/")):
            plan.problems.append(f"{what} cannot be found out; say with storage: shared that it does")
        elif disk.is_written and trip.wishes.storage == SHARED:
            plan.warnings.append(f"{what} cannot be found out; it is taken for shared as storage says")
        else:
            plan.warnings.append(f"{what} can only be found out with a test file; it is taken for shared")

    def _view(self, trip: _Trip, pool: str) -> PoolView | None:
        """A pool of the destination, with all that is in it by now; looked through once."""
        if pool not in trip.views:
            view = trip.destination.look(pool)
            if view is not None:
                trip.destination.look_again(view.handle)
                view = trip.destination.look(pool)
            trip.views[pool] = view
        return trip.views[pool]

    # -- what stays -------------------------------------------------------------------------------------------------

    def _keep(
        self, trip: _Trip, disk: _Disk, path: str, there: str, key: VolumeKey | None, plan: DiskPlan, is_own: bool
    ) -> None:
        """The destination has it as it is, under another name perhaps."""
        place = trip.destination.place_of(there)
        if there != path or disk.element.get("type") == "volume":  # its pool's name may mean another one there
            plan.paths[disk.device] = there
        if key is not None and place != key:
            plan.places[disk.device] = place
        if key is not None and place is None and is_own:
            plan.problems.append(
                f"disk {disk.device} is its own, and {there!r} is in no active pool of the destination; make one of "
                "its folder there"
            )
        source, destination = str(key or path), str(place or there)
        plan.moves.append(DiskMove(disk.device, SHARED, source, destination))
        if disk.wanted_bytes is not None and key is not None and disk.is_written:
            found = self._found(key, disk)
            if found is not None and found.facts.size_bytes < disk.wanted_bytes:
                plan.growths[disk.device] = (path, disk.wanted_bytes)
        if disk.format != RAW:
            for base in self.chain_below(path):
                if trip.storage.sight(base).verdict == APART:
                    plan.problems.append(f"disk {disk.device} leans on {base!r}, which the destination does not see")
        if disk.element.find("source/encryption") is not None:
            self._take_secret(trip, disk.device, path, there, plan, stays=True)

    def _find_medium(self, trip: _Trip, disk: _Disk, path: str, key: VolumeKey | None, plan: DiskPlan) -> None:
        """What is only read can be any copy of it: an image of the destination's cache."""
        image = self._same_image(trip, key, None)
        if image is None or image.path is None:
            plan.problems.append(
                f"the destination does not see {path!r} in {disk.device}, and has no image with the same checksum; "
                "eject or detach it, or have it in the image cache of both (virt_image)"
            )
            return
        plan.paths[disk.device], plan.places[disk.device] = image.path, image.key
        plan.moves.append(DiskMove(disk.device, SHARED, str(key or path), str(image.key)))

    # -- what is copied ---------------------------------------------------------------------------------------------

    def _plan_copy(
        self, trip: _Trip, disk: _Disk, key: VolumeKey, view: PoolView, plan: DiskPlan, is_seed: bool
    ) -> None:
        found = self._found(key, disk)
        if found is None:
            plan.problems.append(f"the volume {str(key)!r} of disk {disk.device} is not there or half made")
            return
        facts, target = found.facts, VolumeKey(view.name, key.name)
        if disk.format is not None and to_libvirt_format(facts.format) != disk.format:
            plan.problems.append(
                f"disk {disk.device} is attached as {disk.format}, and libvirt takes its volume {str(key)!r} for "
                f"{facts.format}; what a copy of it would be is not sure"
            )
            return
        backing = None if facts.backing is None else self._backing_there(trip, facts.backing, view)
        has_format = view.has_files and (facts.format in _FORMATS or facts.encrypted)
        copy = DiskCopy(
            device=disk.device,
            source=key,
            source_path=facts.path,
            destination=target,
            path=view.path_of(key.name),
            format=facts.format if has_format else RAW,
            size_bytes=facts.size_bytes,
            source_format=facts.format,
            grow_to_bytes=disk.wanted_bytes if (disk.wanted_bytes or 0) > facts.size_bytes else None,
            backing=backing,
            is_flattened=facts.backing is not None and backing is None,
            at_once=is_seed,
            remembered={} if is_seed else self._remembered_of(found, view, facts.format if has_format else RAW),
            encrypted=facts.encrypted,
        )
        copy = replace(copy, whole_bytes=self.bytes_to_copy(found, replace(copy, is_flattened=True), view))
        plan.problems += [f"disk {disk.device}: {problem}" for problem in self._copy_problems(trip, disk, found, copy)]
        if facts.encrypted:
            self._take_secret(trip, disk.device, facts.path, copy.path, plan)
        trip.planned.add(target)
        plan.copies.append(copy)
        how = "remade" if is_seed else "incremental" if backing is not None else "copy"
        size_bytes = self.bytes_to_copy(found, copy, view)
        plan.moves.append(DiskMove(disk.device, how, str(key), str(target), size_bytes))

    def _copy_problems(self, trip: _Trip, disk: _Disk, found: Found, copy: DiskCopy) -> list[str]:
        """Why a volume cannot be copied so."""
        target, facts, problems = copy.destination, found.facts, []
        if facts.format == QCOW2 and self.has_data_elsewhere(found):
            problems.append(
                "its data is in a file beside the volume (data_file), which is not copied with it; convert it to a "
                "volume of its own first, or share its storage"
            )
        view = self._view(trip, target.pool)
        if target in trip.planned or (view is not None and self._is_taken(trip, view, target.name, disk)):
            problems.append(
                f"there is a volume {str(target)!r} on the destination already; map its pool to another one, or "
                "remove that volume if nobody needs it"
            )
        if disk.element.get("device") == _LUN:
            problems.append("it is a LUN that the guest drives itself; it can only be moved where both hosts see it")
        if disk.element.find("shareable") is not None:
            problems.append("instances that share it write to it; it can only be moved on storage that both hosts see")
        if disk.mode == LIVE and not copy.at_once:
            if self.kind != "qemu":
                problems.append("libvirt copies disks of running guests on QEMU only; move it cold, or share storage")
            if facts.encrypted:
                problems.append("it is encrypted, and cannot be copied while the guest runs; move it cold")
            elif facts.format not in _FORMATS:
                problems.append(
                    f"it is {facts.format}, and only {' and '.join(_FORMATS)} are copied live; move it cold"
                )
        if disk.mode == LIVE or copy.is_flattened or copy.format != facts.format:
            names = [] if facts.encrypted else self.snapshot_names(found)
            if names:
                advice = (
                    "move it cold" if disk.mode == LIVE else "have what it leans on in the destination's image cache"
                )
                problems.append(f"its volume's snapshots ({', '.join(names)}) would be lost; {advice}, or delete them")
        return problems

    def _is_taken(self, trip: _Trip, view: PoolView, name: str, disk: _Disk) -> bool:
        """What an earlier move of the same instance has left does not count: it is cleared away before."""
        volume = trip.destination.describe(view, name)
        if volume is None:
            return False
        there = trip.destination.get_instances([disk.instance]).get(disk.instance)
        left = None if there is None else there.migration
        if left is None or str(volume.key) not in left.volumes:
            return True
        return left.phase != DEPARTED and not (left.direction == INCOMING and volume.unfinished)

    def _found(self, key: VolumeKey, disk: _Disk) -> Found | None:
        """The volume, in the format that the hypervisor is told and not in that which its guest makes it look like."""
        view = self.look(key.pool, [key.name])
        handle = None if view is None else view.volumes.get(key.name)
        facts = None if handle is None else self.facts_of(handle)
        if view is None or handle is None or facts is None:
            return None
        if disk.format == RAW and facts.format != RAW:
            facts = facts._replace(format=RAW, size_bytes=self.length_of(handle), backing=None)
        return Found(view, handle, facts)

    def _remembered_of(self, found: Found, there: PoolView, volume_format: str) -> Payload:
        """What the record beside the new volume is to say."""
        record = found.view.volumes.get(found.facts.name + VOLUME_SUFFIX)
        payload = dict((None if record is None else self.read_record(record)) or {})
        for part in ("unfinished", "format"):
            payload.pop(part, None)
        if volume_format == RAW and there.has_files:
            payload["format"] = RAW
        return payload

    # -- what it leans on -------------------------------------------------------------------------------------------

    def _backing_there(self, trip: _Trip, path: str, view: PoolView) -> Backing | None:
        """What the same volume can lean on there: the same file, or an image of the same content."""
        base = self.volume_handle(path)
        facts = None if base is None else self.facts_of(base)
        sight = trip.storage.sight(path)
        if sight.verdict == SHARED and facts is not None and trip.storage.sees_all(self.chain_below(path)):
            return Backing(sight.path, facts.format)
        if facts is None or facts.backing is not None:
            return None
        image = self._same_image(trip, self.volume_at(path), view.name)
        return None if image is None or image.path is None else Backing(image.path, image.format or RAW)

    def _same_image(self, trip: _Trip, key: VolumeKey | None, pool: str | None) -> Image | None:
        """An image of the destination, of ``pool`` rather than another, with the content of one that is here."""
        if key is None:
            return None
        with self.guard(f"look up the storage pool {key.pool!r}"):
            image = self.image_in(self.conn.storagePoolLookupByName(key.pool), key.name)
        if image is None or not image.complete or not image.checksum:
            return None
        same = [other for other in trip.images.get(image.checksum, []) if other.format == image.format]
        return min(same, key=lambda other: (other.pool != pool, other.key), default=None)

    def _take_secret(
        self, trip: _Trip, device: str, path: str, there: str, plan: DiskPlan, stays: bool = False
    ) -> None:
        """An encrypted disk needs its passphrase on the destination, which libvirt may not tell."""
        if trip.destination.knows_passphrase(there):
            return
        if self.readable_passphrase(path) is None:
            plan.problems.append(
                f"disk {device} is encrypted, and libvirt does not tell its passphrase; make a libvirt secret of usage "
                f"volume for {there!r} on the destination first"
            )
        else:
            plan.secrets.append((path, there))
            if stays:  # that of a copy goes with it
                plan.lone_secrets.append(there)
