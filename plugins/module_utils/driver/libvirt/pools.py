# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools: made, started, stopped and forgotten."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import AlreadyExists, InvalidInput, PoolNotEmpty, PoolNotFound, Problem, VolumeInUse
from ...model.storage import DIR, FS, LVM, NFS, Pool
from ...undo import Undo, UndoStack
from .errors import NO_STORAGE_POOL, STORAGE_POOL_BUILT, code_of
from .folders import PREFIX as LOOK_PREFIX
from .folders import refresh_unless_busy
from .poolxml import group_of, pool_problems, pool_xml, read_pool
from .volumerecord import is_hidden
from .volumeuses import VolumeUsesMixin, some
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_BUILD_PREFIX = "anyvirt-build-"
"""How a pool is called while it is being made, so that one that was cut short is not taken for whole."""
_USUAL_POOL = "default"
_CONFLICT = "conflict with pool"
_MISMATCH = "overwrite is necessary"
_NOT_EMPTY = "Directory not empty"
_GONE = "No such file or directory"
_THEIR_LVM = "logical"
_FOLDER = 2
"""virStorageVolType: what is no volume at all, such as lost+found."""


class PoolsMixin(VolumeUsesMixin):
    """All about pools."""

    def default_pool(self) -> str:
        names = [name for name, pool in self.get_pools().items() if pool.active]
        if _USUAL_POOL in names:
            return _USUAL_POOL
        if len(names) == 1:
            return names[0]
        if not names:
            raise PoolNotFound("there is no active storage pool on the hypervisor's host; make one with virt_pool")
        raise PoolNotFound(
            f"there is no storage pool named {_USUAL_POOL!r} on the hypervisor's host; name one of {', '.join(names)}"
        )

    def get_pools(self) -> dict[str, Pool]:
        lib = self.libvirt
        found = {}
        with self.guard("list the storage pools"):
            active, autostart = (
                {pool.name() for pool in self.conn.listAllStoragePools(flag)}
                for flag in (lib.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, lib.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART)
            )
            for handle in self.conn.listAllStoragePools(0):
                name = handle.name()
                if name.startswith((_BUILD_PREFIX, LOOK_PREFIX)):
                    continue
                try:
                    found[name] = read_pool(handle.XMLDesc(0), name in active, name in autostart)
                except lib.libvirtError as error:
                    if code_of(error) != NO_STORAGE_POOL:
                        raise
        return dict(sorted(found.items()))

    def check_pool(self, pool: Pool) -> list[Problem]:
        return list(pool_problems(pool))

    def create_pool(self, pool: Pool, overwrite: bool = False) -> Undo:
        if pool.kind is None:
            raise InvalidInput([Problem("kind", "is needed for a new pool")])
        name, what = pool.name, f"make the storage pool {pool.name!r}"
        if self._pool_or_none(name) is not None:
            raise AlreadyExists(f"there is a storage pool {name!r} already")
        self._drop_passing(name)
        built = False
        with self.guard(what), UndoStack() as done:
            passing = self._define_pool(pool, _BUILD_PREFIX + name)
            done.push(f"remove the storage pool {name}", lambda: self._unmake(pool, built))
            built = self._build(pool, passing, overwrite)
            passing.undefine()
            made = self._define_pool(pool, name)
            if pool.autostart:
                made.setAutostart(1)
        return lambda: self._unmake(pool, built)

    def start_pool(self, name: str) -> Undo:
        handle = self._known_pool(name)
        with self.guard(f"start the storage pool {name!r}"):
            if handle.isActive():
                return _nothing
            handle.create(0)
        return lambda: self._stop(handle)

    def stop_pool(self, name: str) -> Undo:
        handle = self._known_pool(name)
        with self.guard(f"stop the storage pool {name!r}"):
            if not handle.isActive():
                return _nothing
            text, persistent = handle.XMLDesc(0), bool(handle.isPersistent())
            self._require_no_users(handle, "stopped", only_active=True)
            self.when_idle(handle.destroy)

        def start_again() -> None:
            with self.guard(f"start the storage pool {name!r} again"):
                if persistent:
                    handle.create(0)
                else:
                    self.conn.storagePoolCreateXML(text, 0)

        return start_again

    def delete_pool(self, name: str, delete_data: bool = False) -> None:
        self._drop_passing(name)
        handle = self._pool_or_none(name)
        if handle is None:
            return
        with self.guard(f"remove the storage pool {name!r}"), UndoStack() as done:
            persistent = bool(handle.isPersistent())
            if delete_data and not handle.isActive():
                with suppress(self.libvirt.libvirtError):  # what it is made of is gone already
                    handle.create(0)
                    done.push(f"stop the storage pool {name}", lambda: self._stop(handle))
            self._require_no_users(handle, "removed", only_active=False)
            if handle.isActive():
                if delete_data:
                    self._require_empty(handle)
                self.when_idle(handle.destroy)
                if persistent:
                    done.push(f"start the storage pool {name} again", lambda: _drop(handle.create(0)))
            if not persistent:
                return  # it was no more than active
            if delete_data:
                self._delete_data(handle)
            handle.undefine()

    def set_pool_autostart(self, name: str, autostart: bool) -> Undo:
        handle = self._known_pool(name)
        with self.guard(f"set whether the storage pool {name!r} starts with the host"):
            before = handle.autostart()
            if bool(before) == autostart:
                return _nothing
            handle.setAutostart(int(autostart))
        return lambda: _drop(handle.setAutostart(before))

    def refresh_pool(self, name: str) -> None:
        handle = self._known_pool(name)
        with self.guard(f"refresh the storage pool {name!r}"):
            refresh_unless_busy(self.libvirt, handle)

    # -- making and unmaking ----------------------------------------------------------------------------------------

    def _define_pool(self, pool: Pool, name: str) -> libvirt.virStoragePool:
        try:
            return self.conn.storagePoolDefineXML(pool_xml(pool, name), 0)
        except self.libvirt.libvirtError as error:
            if _CONFLICT in str(error):
                raise AlreadyExists(
                    f"what the storage pool {pool.name!r} is to be made of belongs to another pool: {error}"
                ) from error
            raise

    def _build(self, pool: Pool, handle: libvirt.virStoragePool, overwrite: bool) -> bool:
        """Make what the pool is made of, unless it is there; whether it was not."""
        if pool.kind == LVM:
            return self._build_group(pool, handle, overwrite)
        if pool.kind not in (DIR, FS, NFS):
            return False
        if pool.kind != NFS:
            try:
                handle.create(0)
            except self.libvirt.libvirtError:
                pass  # the folder or the file system is not there, or building it says what is wrong
            else:
                handle.destroy()
                return False
        if pool.kind == FS and pool.fs_type not in (None, "auto"):
            self._format(pool, handle, overwrite)
        else:
            handle.build(0)
        return True

    def _build_group(self, pool: Pool, handle: libvirt.virStoragePool, overwrite: bool) -> bool:
        group, groups = group_of(pool), self._volume_groups()
        if group in groups:
            others = set(pool.devices or ()) - groups[group]
            if others:
                raise AlreadyExists(
                    f"there is a volume group {group!r} already, without {', '.join(sorted(others))}; "
                    "name its own devices or none, or choose another volume_group"
                )
            return False
        if not pool.devices:
            raise InvalidInput([Problem("devices", f"is needed, since there is no volume group {group!r} yet")])
        self._format(pool, handle, overwrite)
        return True

    def _volume_groups(self) -> dict[str, set[str]]:
        """The volume groups of the host, with their devices."""
        root = from_libvirt(self.conn.findStoragePoolSources("logical", None, 0))
        return {
            source.findtext("name", ""): {device.get("path", "") for device in source.iterfind("device")}
            for source in root.iterfind("source")
        }

    def _format(self, pool: Pool, handle: libvirt.virStoragePool, overwrite: bool) -> None:
        """Make a file system or volume group, over what is on the devices only where that is allowed."""
        try:
            handle.build(self.libvirt.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)
        except self.libvirt.libvirtError as error:
            if code_of(error) != STORAGE_POOL_BUILT:
                raise
            if _MISMATCH not in str(error) and pool.kind == FS:
                handle.build(0)  # the very file system is there, and only its folder is missing
            elif overwrite:
                handle.build(self.libvirt.VIR_STORAGE_POOL_BUILD_OVERWRITE)
            else:
                raise AlreadyExists(
                    f"{', '.join(pool.devices or ())} holds other data already, which is only overwritten with "
                    f"overwrite: {error}"
                ) from error

    def _unmake(self, pool: Pool, built: bool) -> None:
        """Take away a pool that was made, and what was built for it."""
        handle = self._pool_or_none(pool.name) or self._pool_or_none(_BUILD_PREFIX + pool.name)
        with self.guard(f"remove the storage pool {pool.name!r}"):
            if handle is None:
                handle = self._define_pool(pool, _BUILD_PREFIX + pool.name)
            if handle.isActive():
                handle.destroy()
            try:
                if built:
                    with suppress(PoolNotEmpty):  # its folder was there before, with other things in it
                        self._delete_data(handle)
            finally:
                handle.undefine()

    def _drop_passing(self, name: str) -> None:
        """Forget what a making that was cut short has left under its passing name."""
        handle = self._pool_or_none(_BUILD_PREFIX + name)
        if handle is not None:
            with self.guard(f"remove what is left of the storage pool {name!r}"):
                handle.undefine()

    def _delete_data(self, handle: libvirt.virStoragePool) -> None:
        try:
            handle.delete(0)
        except self.libvirt.libvirtError as error:
            if _GONE in str(error):
                return
            if _NOT_EMPTY in str(error):
                raise PoolNotEmpty(f"there are other things in the storage pool {handle.name()!r}: {error}") from error
            raise

    def _stop(self, handle: libvirt.virStoragePool) -> None:
        with self.guard(f"stop the storage pool {handle.name()!r}"):
            self.when_idle(handle.destroy)

    # -- who is in it -----------------------------------------------------------------------------------------------

    def _require_empty(self, handle: libvirt.virStoragePool) -> None:
        """Raise PoolNotEmpty when there are volumes; records that have lost theirs are removed."""
        refresh_unless_busy(self.libvirt, handle)
        volumes = [volume for volume in handle.listAllVolumes(0) if volume.info()[0] != _FOLDER]
        found = sorted(volume.name() for volume in volumes if not is_hidden(volume.name()))
        if found:
            raise PoolNotEmpty(
                f"there are volumes in the storage pool {handle.name()!r}: {some(found)}; remove them first"
            )
        for volume in volumes:
            self.drop(volume)
        root = from_libvirt(handle.XMLDesc(0))
        if root.get("type") == _THEIR_LVM:
            refresh_unless_busy(self.libvirt, handle)
            root = from_libvirt(handle.XMLDesc(0))
            if int(root.findtext("allocation", "0")):
                raise PoolNotEmpty(
                    f"there is more in the volume group of the storage pool {handle.name()!r} than libvirt shows, such "
                    "as logical volumes that are not active; look with lvs, and remove them first"
                )

    def _require_no_users(self, handle: libvirt.virStoragePool, what: str, only_active: bool) -> None:
        name = handle.name()
        handles = handle.listAllVolumes(0) if handle.isActive() else []
        volumes = {self.real_path(volume.path()) for volume in handles}
        root = from_libvirt(handle.XMLDesc(0))
        folder = self.real_path(root.findtext("target/path", "")) if root.get("type") != "iscsi" else None
        users = {
            disk.instance
            for disk in self.all_disks()
            if (disk.active or not only_active)
            and (
                disk.pool == name
                or any(path in volumes or (folder and path.startswith(f"{folder}/")) for path in disk.chain)
            )
        }
        if users:
            raise VolumeInUse(f"the storage pool {name!r} cannot be {what}: disks of {some(sorted(users))} are in it")

    def _known_pool(self, name: str) -> libvirt.virStoragePool:
        handle = self._pool_or_none(name)
        if handle is None:
            raise PoolNotFound(f"there is no storage pool {name!r} on the hypervisor's host")
        return handle

    def _pool_or_none(self, name: str) -> libvirt.virStoragePool | None:
        try:
            return self.conn.storagePoolLookupByName(name)
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_STORAGE_POOL:
                return None
            with self.guard(f"look up the storage pool {name!r}"):
                raise


def _nothing() -> None:
    """There is nothing to take back."""


def _drop(_result: object) -> None:
    """Undo actions return nothing."""
