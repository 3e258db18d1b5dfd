# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes of a task, and who uses them: as they are, and as they will be once the plans made so far are done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..driver.storage import StorageDriver
from ..errors import AnyvirtError, InstanceLocked, InstanceNotFound, PoolNotFound, ResizePending
from ..model import power_state
from ..model.instance import Disk, Instance
from ..model.storage import Pool, Volume, VolumeKey, VolumeUse, VolumeUses
from .moving import refuse_migrating
from .reading import read_instances
from .volume_desired import ABSENT, ATTACHED, DETACHED, PRESENT, DesiredVolume


@dataclass
class World:
    """What is, as far as a task needs it. Planning changes it to what will be.

    Attributes:
        volumes: Those of the task that exist, and the children that are to go with them.
        instances: Those whose disks they are or are to be.
        failed: Why some instances cannot be told.
        uses: Who needs the volumes for which that matters.
        to_come: Volumes that the task is going to make.
        coming: Instance -> the devices that it is going to get.
        left: Volumes that the task is going to remove.
        freed: Volume -> those that lean on it no more once the task has removed them.
    """

    driver: StorageDriver
    volumes: dict[VolumeKey, Volume]
    instances: dict[str, Instance] = field(default_factory=dict)
    failed: dict[str, AnyvirtError] = field(default_factory=dict)
    uses: dict[VolumeKey, VolumeUses] = field(default_factory=dict)
    to_come: set[VolumeKey] = field(default_factory=set)
    coming: dict[str, set[str]] = field(default_factory=dict)
    left: set[VolumeKey] = field(default_factory=set)
    freed: dict[VolumeKey, set[VolumeKey]] = field(default_factory=dict)
    _pools: dict[str, Pool] | None = None

    def volume(self, key: VolumeKey) -> Volume | None:
        """The volume, when it is there and whole."""
        volume = self.volumes.get(key)
        return None if volume is None or volume.unfinished else volume

    def users(self, key: VolumeKey) -> list[VolumeUse]:
        """The instances that have the volume."""
        uses = self.uses.get(key)
        return list(uses.instances) if uses is not None else []

    def instance(self, name: str) -> Instance:
        """The instance.

        Raises:
            InstanceNotFound, InstanceAmbiguous
        """
        if name in self.failed:
            raise self.failed[name]
        instance = self.instances.get(name)
        if instance is None or instance.unfinished:
            raise InstanceNotFound(name)
        return instance

    def disks_with(self, key: VolumeKey, instance: str) -> list[Disk]:
        """The instance's disks that are this volume; none of an instance that is not there. A disk of an instance that
        was made by another tool may name its data in a way that only the driver can tell."""
        found = self.instances.get(instance)
        if found is None:
            return []
        volume = self.volumes.get(key)
        path = volume.path if volume is not None else None
        devices = {use.device for use in self.users(key) if use.instance == instance}
        return [disk for disk in all_disks(found) if is_on(disk, key, path) or disk.device in devices]

    def require_pool(self, name: str) -> None:
        """Raise PoolNotFound unless volumes can be made in this pool."""
        if name not in self._all_pools():
            raise PoolNotFound(f"there is no storage pool {name!r}")
        self.require_active(name)

    def require_active(self, name: str) -> None:
        """Raise PoolNotFound for a pool that is there and not active: nobody can tell what is in it."""
        pool = self._all_pools().get(name)
        if pool is not None and not pool.active:
            raise PoolNotFound(f"the storage pool {name!r} is not active; start it with virt_pool and state: running")

    def _all_pools(self) -> dict[str, Pool]:
        if self._pools is None:
            self._pools = self.driver.get_pools()
        return self._pools

    def refuse_locked(self, item: DesiredVolume, names: Iterable[str]) -> None:
        """Raise InstanceLocked when one of these instances refuses changes, and InstanceMigrating when it is not
        this host's any more, or not yet."""
        names = list(names)
        self.refuse_moving(names)
        for name in names:
            instance = self.instances.get(name)
            if instance is not None and instance.locked and not item.override_lock:
                raise InstanceLocked(f"instance {name!r} is locked against changes; override_lock: true goes past it")

    def refuse_moving(self, names: Iterable[str]) -> None:
        """Raise InstanceMigrating when one of these instances is being moved, and its disks copied, or lives
        elsewhere."""
        for name in names:
            if name in self.instances:
                refuse_migrating(self.instances[name])

    def refuse_kept(self, name: str, device: str | None) -> None:
        """Raise ResizePending when an old state of this disk is kept: what becomes of the disk is to be decided yet."""
        instance = self.instances.get(name)
        record = None if instance is None else instance.resize
        if record is not None and device in dict(record.kept):
            raise ResizePending(
                f"disk {device} of instance {name!r} was resized so that it can be taken back, and is let alone until "
                "virt_instance confirms that with state: resize_confirmed, or takes it back with state: resize_reverted"
            )

    def copy(self) -> World:
        """As it is now; for ``become``."""
        uses = {key: VolumeUses(list(found.instances), list(found.children)) for key, found in self.uses.items()}
        return replace(
            self,
            volumes=dict(self.volumes),
            instances=dict(self.instances),
            uses=uses,
            to_come=set(self.to_come),
            coming={name: set(devices) for name, devices in self.coming.items()},
            left=set(self.left),
            freed={key: set(children) for key, children in self.freed.items()},
        )

    def become(self, earlier: World) -> None:
        """As it was when that copy was made: a plan that it has been changed for is given up."""
        self.volumes, self.instances = earlier.volumes, earlier.instances
        self.uses, self.to_come, self.coming = earlier.uses, earlier.to_come, earlier.coming
        self.left, self.freed = earlier.left, earlier.freed

    # -- what will be -----------------------------------------------------------------------------------------------

    def made(self, volume: Volume) -> None:
        """The volume will be there, new."""
        self.volumes[volume.key] = volume
        self.to_come.add(volume.key)
        self.uses[volume.key] = VolumeUses()
        for key, uses in self.uses.items():
            if str(key) == volume.backing:
                uses.children.append(str(volume.key))

    def attached(self, name: str, key: VolumeKey, disk: Disk) -> None:
        """The instance will have this disk, in place of what is at its device."""
        instance = self.instances[name]
        self.coming.setdefault(name, set()).add(disk.device or "")
        disks = [other for other in instance.disks or [] if other.device != disk.device]
        self.instances[name] = replace(instance, disks=[*disks, disk], pending=_without_disks(instance))
        uses = self.uses.setdefault(key, VolumeUses())
        active = instance.power_state not in power_state.OFF
        uses.instances.append(VolumeUse(name, disk.device or "", active, bool(disk.read_only)))

    def detached(self, name: str, key: VolumeKey, device: str | None, emptied: Disk | None = None) -> None:
        """The instance will not have this device any more, or an empty drive in its place."""
        instance = self.instances[name]
        disks = [emptied if disk.device == device else disk for disk in instance.disks or []]
        left = [disk for disk in disks if disk is not None]
        self.instances[name] = replace(instance, disks=left, pending=_without_disks(instance))
        uses = self.uses.get(key)
        if uses is not None:
            uses.instances = [use for use in uses.instances if (use.instance, use.device) != (name, device)]

    def gone(self, key: VolumeKey) -> None:
        """The volume will not be there any more."""
        self.volumes.pop(key, None)
        self.left.add(key)
        for parent, uses in self.uses.items():
            if str(key) in uses.children:
                uses.children = [child for child in uses.children if child != str(key)]
                self.freed.setdefault(parent, set()).add(key)


def read_world(driver: StorageDriver, wanted: Sequence[DesiredVolume]) -> World:
    """All that a task has to know, in a constant number of calls (but for children of children that are to go)."""
    keys = list(dict.fromkeys(item.key for item in wanted))
    snapshots = any(item.snapshots is not None or item.revert_to is not None for item in wanted)
    world = World(driver, driver.get_volumes(keys, snapshots))
    named = list(dict.fromkeys(item.instance for item in wanted if item.instance is not None and item.state != ABSENT))
    if named:
        world.instances, world.failed = read_instances(driver, named)
    asked = list(dict.fromkeys(item.key for item in wanted if _needs_uses(item, world)))
    if asked:
        world.uses = dict(driver.volume_uses(asked))
    _read_children(world, [item.key for item in wanted if item.delete_children])
    users = {use.instance for uses in world.uses.values() for use in uses.instances}
    unknown = sorted(users.difference(world.instances, world.failed))
    if unknown:
        more, failed = read_instances(driver, unknown)
        world.instances.update(more)
        world.failed.update(failed)
    return world


def _needs_uses(item: DesiredVolume, world: World) -> bool:
    volume = world.volumes.get(item.key)
    found = item.instance is not None and bool(world.disks_with(item.key, item.instance))
    if item.state == DETACHED:
        return not found
    if volume is None:
        return False
    if volume.unfinished:  # it may be the copy of a disk of an instance that is on its way to this host
        return True
    if item.state == ABSENT or (item.state == ATTACHED and not found):
        return True
    if item.state == ATTACHED and item.disk.read_only is False:
        return True
    other_size = item.volume.size_bytes not in (None, volume.size_bytes)
    there = {snapshot.name for snapshot in volume.snapshots or []}
    other_snapshots = any(wanted != (name in there) for name, wanted in (item.snapshots or {}).items())
    return item.state in (PRESENT, ATTACHED) and (other_size or other_snapshots or item.revert_to is not None)


def _read_children(world: World, keys: Collection[VolumeKey]) -> None:
    """The volumes that lean on these, and those that lean on them."""
    driver = world.driver
    level = [key for key in keys if key in world.uses]
    while level:
        children = [child_key(name) for key in level for name in world.uses[key].children]
        level = [key for key in dict.fromkeys(children) if key is not None and key not in world.uses]
        if level:
            world.uses.update(driver.volume_uses(level))
            world.volumes.update(driver.get_volumes(level))


def child_key(name: str) -> VolumeKey | None:
    """The key of a child named ``pool/name``; None for a path outside of all pools."""
    pool, slash, volume = name.rpartition("/")
    return VolumeKey(pool, volume) if slash and not name.startswith("/") else None


def all_disks(instance: Instance) -> list[Disk]:
    """The configured disks, and those that the running guest still has of its earlier configuration."""
    disks = list(instance.disks or [])
    running, _configured = instance.pending.get("disks", (None, None))
    devices = {disk.device for disk in disks}
    return disks + [disk for disk in running or [] if disk.device not in devices]


def is_half_attached(instance: Instance, disk: Disk) -> bool:
    """Whether the running guest does not have this disk of its configuration: attaching it was cut short."""
    running, _configured = instance.pending.get("disks", (None, None))
    return running is not None and not any(
        (other.device, other.volume, other.path) == (disk.device, disk.volume, disk.path) for other in running
    )


def is_on(disk: Disk, key: VolumeKey, path: str | None) -> bool:
    """Whether a disk's data is in this volume, whose path on the host is ``path``."""
    if disk.volume is not None:
        return (disk.pool, disk.volume) == key
    return disk.path is not None and disk.path == path


def _without_disks(instance: Instance) -> dict[str, tuple[object, object]]:
    return {option: values for option, values in instance.pending.items() if option != "disks"}
