# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What volumes there are."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ...errors import PoolNotFound, VolumeNotFound
from ...model.storage import Volume, VolumeKey, VolumeSnapshot
from .errors import NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID, code_of
from .folders import refresh_unless_busy
from .qcow2table import has_data_elsewhere, read_snapshots
from .storage import FOLDER_POOLS
from .volumerecord import IMAGE_SUFFIX, VOLUME_SUFFIX, RecordsMixin, is_hidden
from .volumexml import VolumeFacts, read_volume, to_libvirt_format
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_NO_VOLUME_KINDS = ("dir", "netdir")
_SHARED_KINDS = ("netfs", "gluster", "vstorage")


class PoolView(NamedTuple):
    """An active pool with the volumes in it, those that are ours alone too."""

    name: str
    kind: str
    path: str
    handle: libvirt.virStoragePool
    volumes: dict[str, libvirt.virStorageVol]

    @property
    def has_files(self) -> bool:
        """Whether its volumes are files, which can have any format."""
        return self.kind in FOLDER_POOLS

    def path_of(self, volume: str) -> str:
        """Where the data of a volume is or will be."""
        return posixpath.join(self.path, volume)


class Found(NamedTuple):
    """A volume that is there and whole.

    Attributes:
        misread: libvirt, which looks at what is in it, takes it for another format than it has: a guest can write what
            it likes into its raw disk, also the header of a qcow2 file that names any file of the host.
    """

    view: PoolView
    handle: libvirt.virStorageVol
    facts: VolumeFacts
    misread: bool = False

    @property
    def key(self) -> VolumeKey:
        """What tells it from all others."""
        return VolumeKey(self.view.name, self.facts.name)


class VolumeListMixin(RecordsMixin):
    """Reading volumes."""

    def get_volumes(self, keys: Collection[VolumeKey], snapshots: bool = False) -> dict[VolumeKey, Volume]:
        found = {}
        for pool in sorted({key.pool for key in keys}):
            names = sorted(key.name for key in keys if key.pool == pool and not is_hidden(key.name))
            view = self.look(pool, names)
            for name in names:
                volume = None if view is None else self.describe(view, name, snapshots)
                if volume is not None:
                    found[volume.key] = volume
        return found

    def list_volumes(self, pool: str) -> list[Volume]:
        view = self.require_pool_view(pool)
        names = sorted(name for name in view.volumes if not is_hidden(name))
        volumes = [self.describe(view, name) for name in names]
        return [volume for volume in volumes if volume is not None and not volume.unfinished]

    # -- for the other parts of the driver --------------------------------------------------------------------------

    def look(self, pool: str, names: Iterable[str] = ()) -> PoolView | None:
        """What is in a pool; None when it is not there or not active. libvirt looks at the host again when it does not
        know of all of ``names``."""
        try:
            handle = self.conn.storagePoolLookupByName(pool)
            root = from_libvirt(handle.XMLDesc(0))
            if root.get("type") in _SHARED_KINDS:  # other hosts make volumes there, too
                refresh_unless_busy(self.libvirt, handle)
            volumes = {volume.name(): volume for volume in handle.listAllVolumes(0)}
            if any(name not in volumes and name + VOLUME_SUFFIX not in volumes for name in names):
                refresh_unless_busy(self.libvirt, handle)
                volumes = {volume.name(): volume for volume in handle.listAllVolumes(0)}
        except self.libvirt.libvirtError as error:
            if code_of(error) in (NO_STORAGE_POOL, OPERATION_INVALID):
                return None
            with self.guard(f"list the volumes of the storage pool {pool!r}"):
                raise
        return PoolView(pool, root.get("type", ""), root.findtext("target/path", ""), handle, volumes)

    def require_pool_view(self, pool: str, names: Iterable[str] = ()) -> PoolView:
        """The same; PoolNotFound when there is none."""
        view = self.look(pool, names)
        if view is None:
            raise PoolNotFound(f"there is no active storage pool {pool!r} on the hypervisor's host")
        return view

    def require_whole(self, key: VolumeKey) -> Found:
        """A volume that is there and not half made.

        Raises:
            PoolNotFound, VolumeNotFound: it is not.
        """
        view = self.require_pool_view(key.pool, [key.name])
        handle, volume = view.volumes.get(key.name), None
        if handle is not None and not is_hidden(key.name):
            volume = self.describe(view, key.name)
        if handle is None or volume is None:
            raise VolumeNotFound(f"there is no volume {key.name!r} in the storage pool {key.pool!r}")
        if volume.unfinished:
            raise VolumeNotFound(
                f"the volume {key.name!r} in the storage pool {key.pool!r} is half made; make it again or remove it"
            )
        with self.guard(f"read the volume {key.name!r} in the storage pool {key.pool!r}"):
            facts = read_volume(handle.XMLDesc(0))
        misread = is_misread(volume.format, facts)
        if misread:
            facts = facts._replace(
                format=volume.format or facts.format, size_bytes=volume.size_bytes or facts.size_bytes, backing=None
            )
        return Found(view, handle, facts, misread)

    def describe(self, view: PoolView, name: str, snapshots: bool = False) -> Volume | None:
        """A volume, or what is left of one; None when there is nothing of it."""
        handle, facts = view.volumes.get(name), None
        if handle is not None:
            facts = self.facts_of(handle)
            if facts is not None and facts.kind in _NO_VOLUME_KINDS:
                return None
        record, image = view.volumes.get(name + VOLUME_SUFFIX), view.volumes.get(name + IMAGE_SUFFIX)
        if facts is None and record is None and image is None:
            return None
        remembered = {} if record is None else self.read_record(record)
        fetched = {} if image is None else self.read_record(image)
        volume = Volume(
            name,
            view.name,
            shareable=bool((remembered or {}).get("shareable")),
            metadata=dict((remembered or {}).get("metadata", {})),
            unfinished=facts is None
            or remembered is None
            or bool(remembered.get("unfinished"))
            or fetched is None
            or bool(fetched.get("claim")),
            is_image=image is not None,
        )
        if handle is not None and facts is not None:
            volume.size_bytes, volume.allocation_bytes = facts.size_bytes, facts.allocation_bytes
            known = (fetched or {}).get("format") or (remembered or {}).get("format")
            volume.format, volume.path = known or facts.format, facts.path
            volume.encrypted = facts.encrypted
            if is_misread(known, facts):
                volume.size_bytes = self.length_of(handle)
            elif facts.backing is not None:
                volume.backing = self._name_of(view, facts.backing)
            if snapshots:
                volume.snapshots = self.snapshots_in(handle, facts)
        return volume

    def snapshot_names(self, found: Found) -> list[str]:
        """The names of a volume's snapshots, oldest first."""
        return [snapshot.name for snapshot in self.snapshots_in(found.handle, found.facts)]

    def snapshots_in(self, handle: libvirt.virStorageVol, facts: VolumeFacts) -> list[VolumeSnapshot]:
        """The snapshots inside of a volume, oldest first."""
        if facts.format != "qcow2":
            return []
        return read_snapshots(lambda offset, length: self.download(handle, offset, length))

    def has_data_elsewhere(self, found: Found) -> bool:
        """Whether the data of a volume is in a file beside it, of which only QEMU knows."""
        return has_data_elsewhere(lambda offset, length: self.download(found.handle, offset, length))

    def length_of(self, handle: libvirt.virStorageVol) -> int:
        """Bytes of a volume's file or device itself."""
        with self.guard("read the length of a volume"):
            return int(handle.infoFlags(self.libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])

    def facts_of(self, handle: libvirt.virStorageVol) -> VolumeFacts | None:
        """What libvirt tells of a volume; None when it has gone meanwhile."""
        try:
            return read_volume(handle.XMLDesc(0))
        except self.libvirt.libvirtError as error:
            if code_of(error) in (NO_STORAGE_VOL, NO_STORAGE_POOL):
                return None
            with self.guard(f"read the volume {handle.name()!r}"):
                raise

    def _name_of(self, view: PoolView, path: str) -> str:
        """How a volume is called whose data is at a path: ``pool/name``, or the path when it is in no pool."""
        folder, name = posixpath.split(path)
        if folder == view.path and name in view.volumes:
            return str(VolumeKey(view.name, name))
        found = self.volume_at(path)
        return path if found is None else str(found)

    def volume_at(self, path: str) -> VolumeKey | None:
        """The volume whose data is at a path; None when no pool has it."""
        try:
            handle = self.conn.storageVolLookupByPath(path)
            return VolumeKey(handle.storagePoolLookupByVolume().name(), handle.name())
        except self.libvirt.libvirtError as error:
            if code_of(error) in (NO_STORAGE_VOL, NO_STORAGE_POOL):
                return None
            with self.guard(f"look up the volume at {path!r}"):
                raise


def is_misread(known: str | None, facts: VolumeFacts) -> bool:
    """Whether a volume has another format than libvirt takes it for."""
    return known is not None and to_libvirt_format(known) != to_libvirt_format(facts.format)
