# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The old states of disks, kept so that a resize can be taken back.

It is a snapshot inside of the disk's file where that can be deleted again while the guest runs, and otherwise a whole
copy beside it. QEMU deletes a snapshot only where all disks that a guest writes to could have it.
"""

from __future__ import annotations

import contextlib
import posixpath
from typing import TYPE_CHECKING, Callable, TypeVar

from ...errors import HypervisorError, SnapshotNotFound, Unsupported, VolumeInUse
from ...model.instance import DISK, Disk
from .domain import Domain
from .domain_disks import disk_elements
from .errors import NO_STORAGE_POOL, NO_STORAGE_VOL, code_of
from .images import volume_facts
from .qcow2table import read_snapshots
from .scratchdomains import InternalSnapshots, ScratchDomainsMixin
from .storage import FOLDER_POOLS
from .uses import UsesMixin
from .volumerecord import KEPT_SUFFIX
from .volumexml import volume_document
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

SNAPSHOT = "anyvirt-resize"
"""The name of such a snapshot."""

_QCOW2 = "qcow2"
_GONE = (NO_STORAGE_POOL, NO_STORAGE_VOL)
_T = TypeVar("_T")


class KeepingMixin(UsesMixin, ScratchDomainsMixin):
    """Keeping, bringing back and deleting what was kept."""

    def kept_name(self, domain: Domain, disk: Disk) -> str:
        """What the old state of a disk is going to be called.

        Raises:
            Unsupported: it cannot be kept.
        """
        what = f"cannot keep what is on disk {disk.device} of instance {domain.name!r}"
        if disk.path is None or disk.path.startswith("/dev/"):
            raise Unsupported(f"{what}, which is no file; resize it without revertible")
        if disk.encrypted:
            raise Unsupported(f"{what}, which is encrypted; resize it without revertible")
        if self.kind == "qemu" and _takes_snapshots(domain):
            return SNAPSHOT
        names = self._snapshots_of(disk) if disk.format == _QCOW2 else []
        if names:
            raise Unsupported(
                f"{what}: its snapshots ({', '.join(names)}) would not be in a copy of it; delete them, or resize it "
                "without revertible"
            )
        return _copy_name(disk)

    def require_alone(self, name: str, disk: Disk) -> None:
        """Raise VolumeInUse where others need what is on a disk now."""
        volume = self.at_path(disk.path or "")
        if volume is not None and not self.unneeded([volume], but=name):
            raise VolumeInUse(
                f"disk {disk.device} of instance {name!r} cannot be resized so that it can be taken back: another "
                f"instance has {volume.path!r}, or another volume leans on it"
            )

    def keep_disk(self, disk: Disk, kept: str) -> None:
        """Keep what is on a disk of an instance that is off; what an earlier run left under the name gives way."""
        self._delete_kept_off(disk, kept)
        what = f"keep what is on disk {disk.device}"
        if kept == SNAPSHOT:
            with self.scratch_domain(disk.path or "", what) as scratch:
                scratch.create(SNAPSHOT)
        else:
            self._copy(disk, posixpath.basename(disk.path or ""), kept, what)

    def require_kept(self, disk: Disk, kept: str) -> None:
        """Raise SnapshotNotFound when what was kept of a disk is gone, or is of another disk than is there now."""
        if kept not in (SNAPSHOT, _copy_name(disk)):
            raise SnapshotNotFound(
                f"cannot bring back what was on disk {disk.device}: {disk.path!r} has taken its place, and "
                f"{kept!r} was kept of another file; attach that one again"
            )
        if not self._is_kept(disk, kept):
            raise SnapshotNotFound(
                f"cannot bring back what was on disk {disk.device}: {kept!r} is gone, in which it was kept"
            )

    def bring_back_disk(self, disk: Disk, kept: str) -> None:
        """Make a disk of an instance that is off what it was."""
        what = f"bring back what was on disk {disk.device}"
        if kept == SNAPSHOT:
            with self.scratch_domain(disk.path or "", what) as scratch:
                scratch.revert(SNAPSHOT)
            return
        name = posixpath.basename(disk.path or "")
        self._delete_file(disk, name)
        self._copy(disk, kept, name, what)

    def delete_kept(self, handle: libvirt.virDomain, disk: Disk, kept: str) -> None:
        """Delete what was kept of a disk, whether the instance is off or not; fine when it is gone."""
        with self.guard("see whether an instance is active"):
            active = bool(handle.isActive())
        if not active or kept != SNAPSHOT:
            self._delete_kept_off(disk, kept)
        elif self._is_kept(disk, kept):
            with self.guard(f"delete the snapshot {kept!r} of disk {disk.device}"):
                InternalSnapshots(self.libvirt, handle, disk.device or "").delete(kept)
            if self._is_kept(disk, kept):
                raise HypervisorError(
                    f"QEMU did not delete the snapshot {kept!r} of disk {disk.device} while the guest runs; stop it, "
                    "and run the task again"
                )

    # -- parts ------------------------------------------------------------------------------------------------------

    def capacity(self, disk: Disk) -> int:
        """The size of what is in a disk's file."""
        with self.guard(f"read the size of disk {disk.device}"):
            return self._beside(disk, lambda pool: int(self._named(pool, disk).info()[1]))

    def _is_kept(self, disk: Disk, kept: str) -> bool:
        def look(pool: libvirt.virStoragePool) -> bool:
            if kept != SNAPSHOT:
                pool.storageVolLookupByName(kept)
                return True
            return kept in self._snapshots_in(pool, disk)

        try:
            return self._beside(disk, look)
        except self.libvirt.libvirtError as error:
            if code_of(error) in _GONE:
                return False
            with self.guard(f"see what is kept of disk {disk.device}"):
                raise

    def _snapshots_of(self, disk: Disk) -> list[str]:
        with self.guard(f"read the snapshots of disk {disk.device}"):
            return self._beside(disk, lambda pool: self._snapshots_in(pool, disk))

    def _snapshots_in(self, pool: libvirt.virStoragePool, disk: Disk) -> list[str]:
        volume = self._named(pool, disk)
        return [found.name for found in read_snapshots(lambda at, length: self.download(volume, at, length))]

    def _delete_kept_off(self, disk: Disk, kept: str) -> None:
        if kept != SNAPSHOT:
            self._delete_file(disk, kept)
        elif self._is_kept(disk, kept):
            what = f"delete the snapshot {kept!r} of disk {disk.device}"
            with self.scratch_domain(disk.path or "", what) as scratch:
                scratch.delete(kept)

    def _delete_file(self, disk: Disk, name: str) -> None:
        try:
            self._beside(disk, lambda pool: self.when_idle(lambda: pool.storageVolLookupByName(name).delete(0)))
        except self.libvirt.libvirtError as error:
            if code_of(error) not in _GONE:
                with self.guard(f"delete the file {name!r} beside disk {disk.device}"):
                    raise

    def _copy(self, disk: Disk, source: str, target: str, what: str) -> None:
        def copy(pool: libvirt.virStoragePool) -> None:
            found = pool.storageVolLookupByName(source)
            facts = volume_facts(found)
            if facts.format != disk.format:  # a guest can write what it likes into a raw disk, also another's header
                raise Unsupported(
                    f"cannot {what}: it is {disk.format}, and libvirt takes what is in it for {facts.format}; "
                    "resize it without revertible"
                )
            self._clone(pool, volume_document(target, facts.size_bytes, facts.format), found)

        with self.guard(what):
            self._beside(disk, copy)

    def _clone(self, pool: libvirt.virStoragePool, document: str, source: libvirt.virStorageVol) -> None:
        """As a reflink where the file system has them: at once, and sharing its blocks with the source."""
        reflink = getattr(self.libvirt, "VIR_STORAGE_VOL_CREATE_REFLINK", 0)
        if reflink:
            with contextlib.suppress(self.libvirt.libvirtError):
                pool.createXMLFrom(document, source, reflink)
                return
        pool.createXMLFrom(document, source, 0)

    def _beside(self, disk: Disk, look: Callable[[libvirt.virStoragePool], _T]) -> _T:
        """What ``look`` returns, given the pool that a disk's file is in."""
        if disk.pool is not None and disk.volume is not None:
            pool = self.conn.storagePoolLookupByName(disk.pool)
            if from_libvirt(pool.XMLDesc(0)).get("type") in FOLDER_POOLS:
                self.look_again(pool)
                return look(pool)
        return self.in_folder(posixpath.dirname(disk.path or ""), look)

    @staticmethod
    def _named(pool: libvirt.virStoragePool, disk: Disk) -> libvirt.virStorageVol:
        return pool.storageVolLookupByName(posixpath.basename(disk.path or ""))


def _copy_name(disk: Disk) -> str:
    return posixpath.basename(disk.path or "") + KEPT_SUFFIX


def _takes_snapshots(domain: Domain) -> bool:
    """Whether all that a guest writes to is of qcow2 files."""
    firmware = domain.root.find("os/nvram") is not None or domain.root.find("os[@firmware]") is not None
    written = [disk for disk in disk_elements(domain.root) if disk.find("readonly") is None]
    formats = {
        None if disk.find("driver") is None else disk.find("driver").get("type")  # type: ignore[union-attr]
        for disk in written
        if disk.get("device", DISK) == DISK
    }
    return not firmware and formats == {_QCOW2}
