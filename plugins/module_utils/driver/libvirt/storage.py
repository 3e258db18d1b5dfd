# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage pools and volumes: found, made and deleted."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from ...errors import PoolNotFound, Unsupported
from ...undo import UndoStack
from .errors import NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID, code_of
from .folders import pool_document, refresh_unless_busy
from .images import ImageFacts, ImagesMixin, volume_facts
from .volumexml import Backing, volume_document
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

FOLDER_POOLS = ("dir", "fs", "netfs", "gluster", "vstorage")
"""Types of pools whose volumes are files, which can have any format."""


class PoolFacts(NamedTuple):
    """A storage pool; ``path`` is the folder that its volumes are in."""

    name: str
    kind: str
    path: str


class ExistingVolume(NamedTuple):
    """A volume that is there; ``path`` is that of its data on the host."""

    path: str
    facts: ImageFacts


class StorageMixin(ImagesMixin):
    """Pools and volumes."""

    def find_pool(self, name: str) -> PoolFacts | None:
        """The pool, or None when there is none.

        Raises:
            PoolNotFound: it is there and not active.
        """
        try:
            pool = self.conn.storagePoolLookupByName(name)
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_STORAGE_POOL:
                return None
            with self.guard(f"look up the storage pool {name!r}"):
                raise
        with self.guard(f"read the storage pool {name!r}"):
            if not pool.isActive():
                raise PoolNotFound(f"the storage pool {name!r} is not active")
            root = from_libvirt(pool.XMLDesc(0))
        return PoolFacts(name, root.get("type", ""), root.findtext("target/path", ""))

    def require_pool(self, name: str) -> PoolFacts:
        """The pool; PoolNotFound when there is none."""
        facts = self.find_pool(name)
        if facts is None:
            raise PoolNotFound(f"there is no storage pool {name!r} on the hypervisor's host")
        return facts

    def make_folder_pool(self, name: str, folder: str, done: UndoStack) -> None:
        """Make a pool that is a folder, start it, and let it start with the host."""
        with self.guard(f"make the storage pool {name!r}"):
            pool = self.conn.storagePoolDefineXML(pool_document(name, folder), 0)
            done.push(f"remove the storage pool {name}", pool.undefine)
            try:
                pool.create(0)
            except self.libvirt.libvirtError:  # the folder is not there
                pool.build(0)
                done.push(f"remove the folder {folder}", lambda: pool.delete(0))
                pool.create(0)
            done.push(f"stop the storage pool {name}", pool.destroy)
            pool.setAutostart(1)

    def volume_path(self, pool: PoolFacts, volume: str) -> str:
        """Where the data of a volume that is yet to be made will be.

        Raises:
            Unsupported: volumes are not made in pools of this type.
        """
        if pool.kind not in FOLDER_POOLS:
            raise Unsupported(
                f"the libvirt driver makes volumes in pools of files ({', '.join(FOLDER_POOLS)}), and {pool.name!r} is "
                f"of type {pool.kind}; make the volume there yourself and name it with volume"
            )
        return posixpath.join(pool.path, volume)

    def find_volume(self, pool: str, volume: str) -> ExistingVolume:
        """A volume that is there.

        Raises:
            PoolNotFound, VolumeNotFound: it is not.
        """
        with self.guard(f"find the volume {volume!r} in the storage pool {pool!r}"):
            found = self._lookup_volume(self.conn.storagePoolLookupByName(pool), volume)
            return ExistingVolume(found.path(), volume_facts(found))

    def make_volume(
        self,
        pool: str,
        volume: str,
        size_bytes: int,
        volume_format: str,
        done: UndoStack,
        backing: Backing | None = None,
    ) -> libvirt.virStorageVol:
        """Make a volume: blank, or as a copy-on-write child of ``backing``.

        Raises:
            AlreadyExists: there is one, or another file of this name in the pool's folder.
        """
        document = volume_document(volume, size_bytes, volume_format, backing)
        with self.guard(f"make the volume {volume!r} in the storage pool {pool!r}"):
            made = self.conn.storagePoolLookupByName(pool).createXML(document, 0)
        done.push(f"delete the volume {pool}/{volume}", lambda: self.when_idle(lambda: made.delete(0)))
        return made

    def remove_volume(self, pool: str, volume: str) -> bool:
        """Delete a volume; False when it was gone already."""
        try:
            found = self._lookup_volume(self.conn.storagePoolLookupByName(pool), volume)
            self.when_idle(lambda: found.delete(0))
        except self.libvirt.libvirtError as error:
            if code_of(error) in (NO_STORAGE_VOL, NO_STORAGE_POOL):
                return False
            with self.guard(f"delete the volume {volume!r} in the storage pool {pool!r}"):
                raise
        return True

    def _lookup_volume(self, pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol:
        """The volume; libvirt looks at the pool's folder again for one that it has not heard of."""
        try:
            return pool.storageVolLookupByName(name)
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_STORAGE_VOL:
                raise
        refresh_unless_busy(self.libvirt, pool)
        return pool.storageVolLookupByName(name)

    def look_again(self, pool: libvirt.virStoragePool) -> None:
        """Have libvirt see files that others made in a pool: snapshots of instances, say, which lean on its volumes. A
        pool that cannot be looked through is left as it was seen."""
        with suppress(self.libvirt.libvirtError):
            if from_libvirt(pool.XMLDesc(0)).get("type") in FOLDER_POOLS:
                refresh_unless_busy(self.libvirt, pool)

    def all_volumes(self, again: bool = False) -> Iterator[tuple[libvirt.virStoragePool, libvirt.virStorageVol]]:
        """The volumes of all active pools, each with its pool. One call for each pool.

        A pool that has gone or stopped since it was listed is left out: libvirt stops one whose folder is not there
        when it looks into it.

        Args:
            again: Look into the folders anew; two or three calls for each pool.

        Raises:
            libvirtError: as libvirt says it.
        """
        for pool in self.conn.listAllStoragePools(self.libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
            if again:
                self.look_again(pool)
            try:
                volumes = pool.listAllVolumes(0)
            except self.libvirt.libvirtError as error:
                if code_of(error) not in (NO_STORAGE_POOL, OPERATION_INVALID):
                    raise
                continue
            for volume in volumes:
                yield pool, volume

    def volume_texts(self) -> Iterator[tuple[libvirt.virStoragePool, str]]:
        """The document of each volume of all active pools, with its pool, after a new look into the folders; what goes
        meanwhile is left out.

        Raises:
            libvirtError: as libvirt says it.
        """
        for pool, volume in self.all_volumes(again=True):
            try:
                yield pool, volume.XMLDesc(0)
            except self.libvirt.libvirtError as error:
                if code_of(error) not in (NO_STORAGE_POOL, NO_STORAGE_VOL):
                    raise
