# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools: made, started, stopped and forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...errors import AlreadyExists, InvalidInput, PoolNotEmpty, PoolNotFound, Problem, VolumeInUse
from ...model import power_state
from ...model.storage import Pool
from ...undo import Undo
from ..imagepath import is_path
from .datafiles import sweep
from .hostfile import Device
from .poolkinds import pool_problems
from .poolrecords import definition_in, definition_of, new_pool_record, to_pool
from .records import volume_keys
from .storage import StorageMixin
from .store import POOLS, VOLUMES, Changes, Record, View, is_file_name


class PoolsMixin(StorageMixin):
    """Pools of ``host.json``, and those that are made."""

    def default_pool(self) -> str:
        with self._read("pools") as view:
            name = self._default_pool(view)
            if name not in self._pools(view):
                raise PoolNotFound(f"there is no storage pool on {self.host}; make one with virt_pool")
        return name

    def get_pools(self) -> dict[str, Pool]:
        with self._read("pools") as view:
            pools, records = self._pools(view), view.all(POOLS)
            return {
                stats.name: to_pool(pools[stats.name], records.get(stats.name), stats)
                for stats in self._pool_stats(view)
            }

    def check_pool(self, pool: Pool) -> list[Problem]:
        problems = list(pool_problems(pool))
        if not is_file_name(pool.name):
            problems.append(Problem("name", f"{pool.name!r} cannot be a pool's name"))
        return problems

    def create_pool(self, pool: Pool, overwrite: bool = False) -> Undo:
        problems = self.check_pool(pool)
        if pool.kind is None:
            problems.append(Problem("kind", "is needed for a new pool"))
        if problems:
            raise InvalidInput(problems)
        name = pool.name
        with self._write("pool_create") as changes:
            self._require_free(changes, pool, overwrite)
            before = changes.get(POOLS, name)
            after = new_pool_record(pool, self._new_size(pool))
            if before is not None and definition_in(before) != definition_of(pool):
                self._drop_volumes(changes, name)  # what was left in the place of an older pool of the name
            changes.put(POOLS, name, after)
        sweep(self._store)
        return lambda: self._remove_made_pool(name, before)

    def start_pool(self, name: str) -> Undo:
        return self._change_pool("pool_start", name, {"active": True})

    def stop_pool(self, name: str) -> Undo:
        return self._change_pool("pool_stop", name, {"active": False})

    def set_pool_autostart(self, name: str, autostart: bool) -> Undo:
        return self._change_pool("pool_autostart", name, {"autostart": autostart})

    def refresh_pool(self, name: str) -> None:
        with self._read("pool_refresh") as view:
            self._require_active_pool(view, name)

    def delete_pool(self, name: str, delete_data: bool = False) -> None:
        with self._read("pools") as view:
            if name not in self._pools(view):
                return
        with self._write("pool_delete") as changes:
            if name not in self._pools(changes):
                return
            self._require_no_users(changes, name, "removed", power_state.valid_states())
            volumes = self._volumes_of(changes, name)
            if delete_data and volumes:
                raise PoolNotEmpty(
                    f"the pool {name!r} has volumes in it: {_some(volume['name'] for volume in volumes.values())}; "
                    "remove them first"
                )
            record = changes.get(POOLS, name)
            if name in self._settings.pools or volumes:
                changes.put(POOLS, name, {**(record or {}), "gone": True})
            else:
                changes.delete(POOLS, name)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _change_pool(self, operation: str, name: str, values: Record) -> Undo:
        with self._read("pools") as view:
            if not self._differs(view, name, values):
                return lambda: None
        with self._write(operation) as changes:
            if not self._differs(changes, name, values):
                return lambda: None
            if values.get("active") is False:
                self._require_no_users(changes, name, "stopped", set(power_state.valid_states()) - power_state.OFF)
            before = changes.get(POOLS, name)
            changes.put(POOLS, name, {**(before or {}), **values})
        return lambda: self._restore_pool(operation, name, before, tuple(values))

    def _differs(self, view: View, name: str, values: Record) -> bool:
        pool = self._pools(view).get(name)
        if pool is None:
            raise _no_pool(name)
        return any(getattr(pool, field) != value for field, value in values.items())

    def _remove_made_pool(self, name: str, before: Record | None) -> None:
        """Take back the making of a pool; ``before`` is what was left of an older one of its name."""
        with self._write("pool_delete") as changes:
            self._require_no_users(changes, name, "removed", power_state.valid_states())
            record = changes.get(POOLS, name)
            if record is None or record.get("gone"):
                return
            if before is None and self._volumes_of(changes, name):
                before = {**record, "gone": True}
            if before is None:
                changes.delete(POOLS, name)
            else:
                changes.put(POOLS, name, before)

    def _restore_pool(self, operation: str, name: str, before: Record | None, fields: tuple[str, ...]) -> None:
        """Give these fields of a pool's record back what they had."""
        with self._write(operation) as changes:
            record = changes.get(POOLS, name)
            if record is None:
                return
            kept = {field: value for field, value in record.items() if field not in fields}
            record = {**kept, **{field: before[field] for field in fields if before and field in before}}
            if record:
                changes.put(POOLS, name, record)
            else:
                changes.delete(POOLS, name)

    def _require_active_pool(self, view: View, name: str) -> Any:
        """The pool; raises PoolNotFound when there is none, or it is not active."""
        pool = self._pools(view).get(name)
        if pool is None:
            raise _no_pool(name)
        if not pool.active:
            raise PoolNotFound(f"the pool {name!r} is not active; start it with virt_pool (state: running)")
        return pool

    def _require_free(self, changes: Changes, pool: Pool, overwrite: bool) -> None:
        """Raise AlreadyExists when the name or the place is another's."""
        if pool.name in self._pools(changes):
            raise AlreadyExists(f"there is a pool named {pool.name!r} already")
        records = changes.all(POOLS)
        for name, other in self._pools(changes).items():
            record = records.get(name, {})
            if pool.path and not pool.devices and pool.path == other.path:
                raise AlreadyExists(f"the folder {pool.path} is that of the pool {name!r} already")
            for device in set(pool.devices or ()) & set(record.get("devices", ())):
                raise AlreadyExists(f"the device {device} belongs to the pool {name!r} already")
        for device in pool.devices or ():
            holds = self._settings.devices.get(device, Device(0)).holds
            if holds is not None and not overwrite and pool.fs_type not in (holds, "auto"):
                raise AlreadyExists(
                    f"the device {device} holds data already ({holds}); it is only overwritten on demand"
                )

    def _new_size(self, pool: Pool) -> int:
        devices = self._settings.devices
        sizes = [devices[device].size_bytes for device in pool.devices or () if device in devices]
        return sum(sizes) or self._settings.new_pool_size

    def _require_no_users(self, view: View, pool: str, what: str, states: Collection[int]) -> None:
        users = sorted(
            name
            for name, (record, seen) in self._instances(view).items()
            if seen.state in states and any(self._reaches(view, key, pool) for key in volume_keys(record))
        )
        if users:
            raise VolumeInUse(f"the pool {pool!r} cannot be {what}: disks of {_some(users)} are in it")

    def _reaches(self, view: View, key: str, pool: str) -> bool:
        """Whether a volume, or one that it leans on, is in the pool."""
        at: str | None = key
        while at is not None and not is_path(at):
            if at.split("/")[0] == pool:
                return True
            at = (view.get(VOLUMES, at) or {}).get("backing")
        return False

    def _volumes_of(self, view: View, pool: str) -> dict[str, Record]:
        return {key: volume for key, volume in view.all(VOLUMES).items() if volume["pool"] == pool}

    def _drop_volumes(self, changes: Changes, pool: str) -> None:
        for key in self._volumes_of(changes, pool):
            changes.delete(VOLUMES, key)


def _no_pool(name: str) -> PoolNotFound:
    return PoolNotFound(f"there is no storage pool named {name!r}")


def _some(names: Any) -> str:
    """The first few names, and how many more there are."""
    found = [repr(name) for name in names]
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(found[:5]) + more
