# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Life and death of an instance."""

from __future__ import annotations

from ...errors import AlreadyExists, AnyvirtError, ImageNotFound, InvalidInput, Problem
from ...model import power_state
from ...model.instance import CDROM, Instance
from ...undo import UndoStack
from ..base import ALL, NONE, OWN
from .checks import ChecksMixin
from .datafiles import sweep
from .images import no_image
from .kept import forget_resize
from .poolkinds import CHILD_FORMATS
from .power import PowerMixin
from .records import SEED, new_record, volume_key, volume_keys
from .store import INSTANCES, JOBS, POOLS, VOLUMES, Record, View, is_file_name
from .volumerecords import data_of


class SpawnMixin(ChecksMixin, PowerMixin):
    """Making instances and removing them."""

    def spawn(self, instance: Instance, power_on: bool = True, paused: bool = False) -> None:
        self.require("spawn")
        if paused:
            self.require("start_paused")
        name = instance.name
        instance = self.complete(instance)
        record = new_record(instance)
        with UndoStack() as done:
            self._define(instance, record, done)
            for pool in record["made_pools"]:
                self._create_pool(pool, name, instance.pool_path, done)
            for disk in record["config"]["disks"]:
                if disk.get("owned"):
                    self._create_volume(record, disk, done)
            if power_on:
                self.power_on(name, paused)
                done.push("stop the instance", lambda: self.force_off(name))
            with self._write("finish", name) as changes:
                changes.put(INSTANCES, name, {**self._instance(changes, name)[0], "unfinished": False})

    def destroy(self, name: str, delete_volumes: str = OWN) -> list[str]:
        if delete_volumes not in (OWN, ALL, NONE):
            raise InvalidInput([Problem("delete_volumes", f"{delete_volumes!r} is not one of {OWN}, {ALL}, {NONE}")])
        if not is_file_name(name):
            return []
        with self._read("info", name) as view:
            record = view.get(INSTANCES, name)
            active = record is not None and self.look_at(record)[1].state not in power_state.OFF
            doomed = _owned_by(view, name)
        removed: list[str] = []
        cut_off = False
        try:
            if active:
                self.force_off(name)
                cut_off = True
            pools: list[str] = record["made_pools"] if record is not None and record["unfinished"] else []
            if record is not None:
                doomed = self._undefine(name, delete_volumes)
                removed.append(f"instance {name}")
            for key in doomed:
                self._delete_volume(name, key)
                removed.append(f"volume {key}")
            for pool in pools:
                self._delete_pool(pool, name)
        except AnyvirtError as error:
            if cut_off:
                error.not_undone.append(f"power on {name}: a guest that was cut off cannot be given back its memory")
            error.not_undone.extend(
                f"{what}: it is removed; removing {name} again finishes the rest" for what in removed
            )
            if error.not_undone:
                error.rolled_back = False
            raise
        return removed

    # -- spawn ------------------------------------------------------------------------------------------------------

    def _define(self, instance: Instance, record: Record, done: UndoStack) -> None:
        """Record the new instance, as unfinished, with all that it is going to be made of."""
        name = instance.name
        with self._write("define", name) as changes:
            if is_file_name(name) and changes.get(INSTANCES, name) is not None:
                raise AlreadyExists(f"there is an instance named {name!r} already")
            self._require(changes, instance)
            if instance.pool is not None and instance.pool not in self._pools(changes):
                record["made_pools"] = [instance.pool]
            for disk in record["config"]["disks"]:
                key = volume_key(disk) if disk.get("owned") else None
                if key is not None and changes.get(VOLUMES, key) is not None:
                    raise AlreadyExists(f"there is a volume {disk['volume']!r} in the pool {disk['pool']!r} already")
            self._fill_from_volumes(changes, record["config"]["disks"])
            changes.put(INSTANCES, name, record)
            done.push("remove the instance's record", lambda: self._forget(record))

    def _forget(self, record: Record) -> None:
        name = record["name"]
        with self._write("undefine", name) as changes:
            found = changes.get(INSTANCES, name)
            if found is not None and found["uuid"] == record["uuid"]:
                changes.delete(INSTANCES, name)

    def _create_pool(self, pool: str, name: str, path: str | None, done: UndoStack) -> None:
        with self._write("pool_create", name) as changes:
            if pool not in self._pools(changes):
                record = {"path": path, "size_bytes": self._settings.new_pool_size, "made_for": name}
                changes.put(POOLS, pool, record)
                done.push(f"remove the pool {pool}", lambda: self._delete_pool(pool, name))

    def _delete_pool(self, pool: str, name: str) -> None:
        """Remove a pool that was made for an instance, unless others have put something into it meanwhile."""
        with self._write("pool_delete", name) as changes:
            used = any(volume["pool"] == pool for volume in changes.all(VOLUMES).values())
            record = changes.get(POOLS, pool)
            if record is not None and record["made_for"] == name and not used:
                changes.delete(POOLS, pool)

    def _create_volume(self, record: Record, disk: Record, done: UndoStack) -> None:
        name, key = record["name"], volume_key(disk)
        with self._write("volume_create", name) as changes:
            left = changes.get(VOLUMES, key)
            # What a killed change of this very instance left there, and nothing refers to, gives way.
            if left is not None and (left["owner"] != name or self._is_used(changes, name, key)):
                raise AlreadyExists(f"there is a volume {disk['volume']!r} in the pool {disk['pool']!r} already")
            changes.delete(VOLUMES, key)
            self._require_pool_room(changes, disk["pool"], disk["size_bytes"])
            changes.put(VOLUMES, key, self._new_volume(changes, record, disk))
            done.push(f"remove the volume {key}", lambda: self._delete_volume(name, key))

    def _new_volume(self, view: View, record: Record, disk: Record) -> Record:
        volume: Record = {
            "pool": disk["pool"],
            "name": disk["volume"],
            "size_bytes": disk["size_bytes"],
            "format": disk["format"],
            "owner": record["name"],
            "backing": None,
        }
        if disk["role"] == SEED:
            volume["fingerprint"] = record["config"].get("cloud_init_fingerprint")
        if "image" in disk:
            image = self._find_image(view, disk["image"], disk["pool"])
            if image is None:
                raise ImageNotFound(no_image(disk["image"]))
            if disk["format"] in CHILD_FORMATS:
                volume["backing"] = image.name
            elif image.volume is not None:
                volume.update(data_of(view, image.volume, None))
        return volume

    def _is_used(self, view: View, name: str, key: str) -> bool:
        record = view.get(INSTANCES, name)
        return record is not None and not record["unfinished"] and key in volume_keys(record)

    def _delete_volume(self, name: str, key: str) -> None:
        with self._write("volume_delete", name) as changes:
            changes.delete(VOLUMES, key)
        sweep(self._store)

    # -- destroy ----------------------------------------------------------------------------------------------------

    def _undefine(self, name: str, delete_volumes: str) -> list[str]:
        """Remove the record; what is to go after it is marked in the same moment, and returned."""
        with self._write("undefine", name) as changes:
            record = changes.get(INSTANCES, name)
            if record is None:
                return _owned_by(changes, name)
            forget_resize(changes, record)
            own = set(_owned_by(changes, name))
            free = {key for key in volume_keys(record) | own if not set(self._users_of(changes, key)) - {name}}
            free -= {volume["backing"] for volume in changes.all(VOLUMES).values()}
            free -= {key for key in free if "image" in (changes.get(VOLUMES, key) or ())}
            seeds = {
                volume_key(disk) for disk in record["config"]["disks"] if disk["role"] == SEED and "volume" in disk
            }
            doomed = own & seeds if delete_volumes == NONE and not record["unfinished"] else own
            if delete_volumes == ALL:
                doomed = doomed | _writable_volumes(record)
            doomed &= free
            for key in sorted(own | doomed):
                volume = changes.get(VOLUMES, key)
                if volume is not None:
                    changes.put(VOLUMES, key, {**volume, "owner": name if key in doomed else None})
            changes.delete(INSTANCES, name)
            changes.delete(JOBS, record.get("migration", {}).get("id", name))
            return sorted(doomed)


def _writable_volumes(record: Record) -> set[str]:
    """Volumes of an instance that are no CDs and nothing that others may share with it."""
    disks = record["config"].get("disks", [])
    return {
        volume_key(disk) for disk in disks if "volume" in disk and disk["kind"] != CDROM and not disk.get("read_only")
    }


def _owned_by(view: View, name: str) -> list[str]:
    """The volumes that were made for an instance."""
    return [key for key, volume in view.all(VOLUMES).items() if volume["owner"] == name]
