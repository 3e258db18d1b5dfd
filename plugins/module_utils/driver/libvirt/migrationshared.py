# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding out whether two hosts see the same data.

What a storage pool is tells it for storage in a network. For folders a short-lived file does, which the one host makes
and the other one looks for (Nova's check_shared_storage_test_file); where no file may be made, the times at which the
file was last changed do, which no copy has in common with its original to the nanosecond.
"""

from __future__ import annotations

import hashlib
import posixpath
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, NamedTuple, TypeVar
from xml.etree.ElementTree import Element

from ...errors import AlreadyExists, AnyvirtError, HypervisorUnavailable, MigrationFailed
from ...model.storage import VolumeKey
from .errors import NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID, code_of, translate
from .folders import PREFIX as PASSING_POOL
from .storagedriver import LibvirtStorageDriver
from .volumerecord import PART_SUFFIX
from .volumexml import volume_document
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

SHARED = "shared"
APART = "apart"
UNCLEAR = "unclear"

_NETWORK_KINDS = ("netfs", "gluster", "rbd", "sheepdog", "iscsi", "iscsi-direct", "vstorage")
_KEYED_KINDS = ("logical", "scsi", "iscsi", "mpath")
"""Kinds of pools that may know a volume by what is its own everywhere: LVM's identifier, or the serial number of a LUN.
The keys of others are names (``pool/volume``) or paths."""
_PLACE = ("host", "dir", "name", "device", "initiator/iqn")
"""What says where the data of such a pool is, below its <source>."""
_PROBE = "anyvirt-probe-"
_WAY_DIGITS = 12
_ATTEMPTS = 3
_OLD_PROBE_S = 600.0
"""A test file that is older was left by a process that was killed."""
_REMEMBERED_S = 120.0
"""For how long, at most, a client of network storage goes on telling what a file was like; twice what NFS does."""
_MOST_BYTES = 64 << 20
_NO_FOLDER = "No such file or directory"
_GONE = (NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID)
_T = TypeVar("_T")


class Sight(NamedTuple):
    """What the destination sees of some data of the source.

    Attributes:
        verdict: ``shared``, ``apart``, or ``unclear`` where only a test file would tell, or nothing does.
        path: Where it is on the destination.
    """

    verdict: str
    path: str


class Stamps(NamedTuple):
    """When a file was changed, to the nanosecond, and how long it is."""

    changed: str
    modified: str
    length: str


class SharedStorageMixin(LibvirtStorageDriver):
    """The answers of one host."""

    def place_of_pool(self, pool: libvirt.virStoragePool) -> tuple[str, ...] | None:
        """Where in the network the data of a pool is; None where it is the host's own."""
        root = from_libvirt(pool.XMLDesc(0))
        source = root.find("source")
        if root.get("type") not in _NETWORK_KINDS or source is None:
            return None
        return (root.get("type", ""), *(_attributes(source.find(part)) for part in _PLACE))

    def pool_at(self, place: tuple[str, ...]) -> libvirt.virStoragePool | None:
        """The active pool whose data is at that place in the network."""
        with self.guard("list the storage pools"):
            for pool in self.conn.listAllStoragePools(self.libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
                if self.place_of_pool(pool) == place:
                    return pool
        return None

    def volume_handle(self, path: str) -> libvirt.virStorageVol | None:
        """The volume whose data is at a path; None when no pool has it."""
        try:
            return self.conn.storageVolLookupByPath(path)
        except self.libvirt.libvirtError as error:
            if code_of(error) in _GONE:
                return None
            with self.guard(f"look up the volume at {path!r}"):
                raise

    def volume_in_pool(self, path: str) -> VolumeKey | None:
        """The volume whose data is at a path, also one that libvirt has not heard of yet; None when it is in no pool
        that stays."""
        key = self.volume_at(path)
        if key is None and not path.startswith("/dev/") and self.sees(path):
            key = self.volume_at(path)
        return None if key is None or key.pool.startswith(PASSING_POOL) else key

    def place_of(self, path: str) -> VolumeKey | None:
        """How this host calls the volume at a path of it, seen yet or not; None where no pool that stays has it."""
        key = self.volume_in_pool(path)
        if key is not None or path.startswith("/dev/"):
            return key
        folder, name = posixpath.split(path)
        try:
            pool = self.conn.storagePoolLookupByTargetPath(folder).name()
        except self.libvirt.libvirtError as error:
            if code_of(error) in _GONE:
                return None
            with self.guard(f"look up the storage pool of {folder!r}"):
                raise
        return None if pool.startswith(PASSING_POOL) else VolumeKey(pool, name)

    def path_by_key(self, key: str) -> str | None:
        """Where the volume is that has this key, which is its own everywhere; None when there is none."""
        found = self._path_by_key(key)
        if found is None:
            with self.guard("look through the storage pools"):
                for pool in self.conn.listAllStoragePools(self.libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
                    if kind_of(pool) in _KEYED_KINDS:
                        self.look_again(pool)  # other hosts make volumes there, too
            found = self._path_by_key(key)
        return found

    def _path_by_key(self, key: str) -> str | None:
        try:
            return str(self.conn.storageVolLookupByKey(key).path())
        except self.libvirt.libvirtError as error:
            if code_of(error) in _GONE:
                return None
            with self.guard(f"look up the volume {key!r}"):
                raise

    def chain_below(self, path: str) -> list[str]:
        """What a volume leans on, all the way down, as far as libvirt tells or it can be seen from here."""
        chain = [path]
        while chain[-1] not in chain[:-1]:
            handle = self.volume_handle(chain[-1])
            facts = None if handle is None else self.facts_of(handle)
            if facts is None or facts.backing is None:
                break
            chain.append(facts.backing)
        return list(dict.fromkeys((*chain[1:], *self.files_below(self.real_path(path)))))

    def stamps(self, path: str) -> Stamps | None:
        """Of the file at a path; None when there is none."""
        return self._in_folder_of(path, lambda pool, name: _read_stamps(pool.storageVolLookupByName(name)))

    def sees(self, path: str) -> bool:
        """Whether there is a file at the path."""
        return bool(self._in_folder_of(path, lambda pool, name: pool.storageVolLookupByName(name).name()))

    def finds(self, path: str) -> bool:
        """Whether there is a file at the path that others have just made. It tries to make it: a client of network
        storage lists a folder as it was half a minute ago, but asks for a name that is new to it."""
        try:
            return bool(self._in_folder_of(path, self._cannot_make))
        except HypervisorUnavailable:
            raise
        except AnyvirtError:  # a folder that may only be read: nothing but its list tells
            return False

    def _cannot_make(self, pool: libvirt.virStoragePool, name: str) -> bool:
        try:
            made = pool.createXML(volume_document(name, 1, "raw"), 0)
        except self.libvirt.libvirtError as error:
            if isinstance(translate(error, f"make the test file {name!r}"), AlreadyExists):
                return True
            raise
        self.drop(made)
        return False

    def read_file(self, path: str) -> bytes:
        """What is in a small file of the host."""
        found = self._in_folder_of(path, lambda pool, name: self._read_small(pool.storageVolLookupByName(name)))
        if found is None:
            raise MigrationFailed(f"there is no file {path!r} on the hypervisor's host any more")
        return found

    def write_file(self, path: str, data: bytes) -> None:
        """Make a small file on the host, or replace what is in one."""
        if self._in_folder_of(path, lambda pool, name: self._write_small(pool, name, data)) is None:
            raise MigrationFailed(f"there is no folder for the file {path!r} on the destination")

    def _read_small(self, volume: libvirt.virStorageVol) -> bytes:
        length = self.length_of(volume)
        if length > _MOST_BYTES:
            raise MigrationFailed(f"the file {volume.path()!r} is too large for what it should be")
        return self.download(volume, 0, length)

    def _write_small(self, pool: libvirt.virStoragePool, name: str, data: bytes) -> int:
        if name in pool.listVolumes():
            self.drop(pool.storageVolLookupByName(name))
        self.upload(pool.createXML(volume_document(name, len(data), "raw", allocation_bytes=len(data)), 0), data)
        return len(data)

    @contextmanager
    def test_file(self, folder: str, way: str) -> Iterator[str | None]:
        """A file that is in a folder while the block runs, and nowhere else in the world: its name; None where none can
        be made.

        Args:
            way: Who looks for it: what others have left of the same way goes with it.
        """
        path = posixpath.join(folder, f"{_PROBE}{way}-{uuid.uuid4()}{PART_SUFFIX}")
        try:
            made = self._in_folder_of(path, _make_test)
        except HypervisorUnavailable:
            raise
        except AnyvirtError:  # a folder that may only be read, say
            made = None
        try:
            yield made
        finally:
            if made:
                self._in_folder_of(path, lambda pool, _name: self._remove_tests(pool, way))

    def _remove_tests(self, pool: libvirt.virStoragePool, way: str) -> None:
        """Remove a test file, and those that were left by processes that were killed."""
        for volume in pool.listAllVolumes(0):
            name = volume.name()
            if not name.startswith(_PROBE):
                continue
            if name.startswith(f"{_PROBE}{way}-") or _age_s(_read_stamps(volume)) > _OLD_PROBE_S:
                self.drop(volume)

    def _in_folder_of(self, path: str, look: Callable[[libvirt.virStoragePool, str], _T]) -> _T | None:
        """What ``look`` finds out of a file, given a fresh pool over its folder; None when there is no such folder or
        file."""
        folder, name = posixpath.split(path)
        try:
            return self.in_folder(folder, lambda pool: look(pool, name))
        except self.libvirt.libvirtError as error:
            if code_of(error) in _GONE or _NO_FOLDER in str(error):
                return None
            with self.guard(f"look into the folder {folder!r}"):
                raise


class SharedStorage:
    """What one host sees of another's storage; each folder is looked at once.

    Args:
        probing: A test file may be made.
    """

    def __init__(self, source: SharedStorageMixin, destination: SharedStorageMixin, probing: bool) -> None:
        self._source = source
        self._destination = destination
        self.probing = probing
        ends = f"{source.host_identity()} {destination.host_identity()}"
        self._way = hashlib.sha256(ends.encode()).hexdigest()[:_WAY_DIGITS]
        self._probed: dict[tuple[str, str], str] = {}

    def sight(self, path: str, elsewhere: str | None = None) -> Sight:
        """Whether the destination sees what is at a path of the source.

        Args:
            elsewhere: Another folder of the destination in which it may be, and which is rather used.
        """
        found = self._by_pool(path)
        if found is not None:
            return found
        if path.startswith("/dev/"):
            return self._device(path)
        folder, name = posixpath.split(path)
        unclear = None
        for there in dict.fromkeys((elsewhere or folder, folder)):
            verdict = self._file(path, folder, posixpath.join(there, name))
            if verdict == SHARED:
                return Sight(SHARED, posixpath.join(there, name))
            if verdict == UNCLEAR and unclear is None:
                unclear = Sight(UNCLEAR, posixpath.join(there, name))
        return unclear or Sight(APART, path)

    def sees_all(self, paths: Iterable[str]) -> bool:
        """Whether the destination finds all of these where they are."""
        return all(self.sight(path) == Sight(SHARED, path) for path in paths)

    def looks(self, path: str) -> str:
        """The verdict about a file or folder that is only looked at."""
        return self._by_stamps(path, path)

    def _by_pool(self, path: str) -> Sight | None:
        """By the nature of the pool that it is in; None where that says nothing."""
        volume = self._source.volume_handle(path)
        if volume is None:
            return None
        with self._source.guard(f"read the storage pool of {path!r}"):
            own = volume.storagePoolLookupByVolume()
            place, is_keyed, key = self._source.place_of_pool(own), kind_of(own) in _KEYED_KINDS, volume.key()
        if is_keyed and not key.startswith("/"):
            there = self._destination.path_by_key(key)
            return Sight(APART, path) if there is None else Sight(SHARED, there)
        pool = None if place is None else self._destination.pool_at(place)
        if pool is None:
            return None
        with self._destination.guard(f"read the storage pool {pool.name()!r}"):
            folder = from_libvirt(pool.XMLDesc(0)).findtext("target/path", "")
        return Sight(SHARED, posixpath.join(folder, posixpath.basename(path)))

    def _device(self, path: str) -> Sight:
        """A block device whose pool says nothing: where the destination's pools have none there, it does not see it.
        Of one in no pool nobody can tell."""
        is_listed = self._source.volume_handle(path) is not None
        there = self._destination.volume_handle(path)
        return Sight(APART if is_listed and there is None else UNCLEAR, path)

    def _file(self, path: str, folder: str, there: str) -> str:
        if not self.probing:
            return self._by_stamps(path, there)
        pair = folder, posixpath.dirname(there)
        if pair not in self._probed:
            self._probed[pair] = self._probe(*pair)
        verdict = self._probed[pair]
        if verdict == UNCLEAR:
            return self._by_stamps(path, there)
        return APART if verdict == SHARED and self._differ(path, there) else verdict

    def _differ(self, path: str, there: str) -> bool:
        """Whether a file is another one on the destination although its folder is the same: a symbolic link, say, which
        leads out of it. What either host remembers of one in the network is never as old as that."""
        here, seen = self._source.stamps(path), self._destination.stamps(there)
        if here is None or seen is None or not here.changed or not seen.changed:
            return False
        return abs(float(here.changed) - float(seen.changed)) > _REMEMBERED_S and seen != self._source.stamps(path)

    def _probe(self, folder: str, there: str) -> str:
        verdict = UNCLEAR
        for _unused in range(_ATTEMPTS):
            with self._source.test_file(folder, self._way) as name:
                if name is None:
                    break
                seen = posixpath.join(there, name)
                if self._destination.sees(seen) or self._destination.finds(seen):
                    verdict = SHARED
                elif self._source.sees(posixpath.join(folder, name)):  # or another task of the same way has removed it
                    verdict = APART
            if verdict != UNCLEAR:
                break
        self._destination.sees(posixpath.join(there, _PROBE))  # or its libvirt would go on listing the file
        return verdict

    def _by_stamps(self, path: str, there: str) -> str:
        before = self._source.stamps(path)
        seen = self._destination.stamps(there)
        if before is None or seen is None:
            return APART
        after = self._source.stamps(path)
        if seen in (before, after):
            return SHARED
        if before != after:  # a guest that runs writes to it all the while
            return UNCLEAR
        # What the destination remembers of a file in the network may be a little old.
        is_later = float(seen.changed or 0) > float(before.changed or 0)
        return APART if is_later or _age_s(before) > _REMEMBERED_S else UNCLEAR


def kind_of(pool: libvirt.virStoragePool) -> str:
    """libvirt's type of a pool."""
    return from_libvirt(pool.XMLDesc(0)).get("type", "")


def _make_test(pool: libvirt.virStoragePool, name: str) -> str:
    return str(pool.createXML(volume_document(name, 1, "raw"), 0).name())


def _read_stamps(volume: libvirt.virStorageVol) -> Stamps:
    root = from_libvirt(volume.XMLDesc(0))
    changed, modified = (root.findtext(f"target/timestamps/{part}", "") for part in ("ctime", "mtime"))
    return Stamps(changed, modified, root.findtext("physical", ""))


def _age_s(stamps: Stamps) -> float:
    return time.time() - float(stamps.changed or time.time())


def _attributes(element: Element | None) -> str:
    """What a part of a pool's source says, as one comparable text."""
    if element is None:
        return ""
    return " ".join(
        (element.text or "", *(f"{name}={value}" for name, value in sorted(element.attrib.items())))
    ).strip()
