# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who needs a volume: nothing is deleted that a domain or another volume still stands on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple
from xml.etree.ElementTree import Element

from .errors import NO_DOMAIN, NO_STORAGE_POOL, NO_STORAGE_VOL, code_of
from .scratch import is_scratch
from .storage import StorageMixin
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_VANISHED = (NO_DOMAIN, NO_STORAGE_POOL, NO_STORAGE_VOL)


class Volume(NamedTuple):
    """A volume that is there."""

    pool: str
    name: str
    path: str
    handle: libvirt.virStorageVol


class UsesMixin(StorageMixin):
    """Looking for what uses volumes."""

    def existing(self, names: Iterable[tuple[str, str]]) -> list[Volume]:
        """Those of the (pool, volume) pairs that are there; each once."""
        found: dict[str, Volume] = {}
        for pool, name in names:
            try:
                handle = self._lookup_volume(self.conn.storagePoolLookupByName(pool), name)
                path = handle.path()
            except self.libvirt.libvirtError as error:
                if code_of(error) in _VANISHED:
                    continue
                with self.guard(f"look up the volume {name!r} in the storage pool {pool!r}"):
                    raise
            found.setdefault(path, Volume(pool, name, path, handle))
        return list(found.values())

    def at_path(self, path: str) -> Volume | None:
        """The volume whose data is at a path; None when no pool has it."""
        try:
            handle = self.conn.storageVolLookupByPath(path)
            return Volume(handle.storagePoolLookupByVolume().name(), handle.name(), path, handle)
        except self.libvirt.libvirtError as error:
            if code_of(error) in _VANISHED:
                return None
            with self.guard(f"look up the volume at {path!r}"):
                raise

    def unneeded(self, volumes: list[Volume], but: str) -> list[Volume]:
        """Those of ``volumes`` that no domain but ``but`` uses, and that no volume outside of the answer leans on.

        Costs a call for each domain and each volume of the host.
        """
        if not volumes:
            return []
        with self.guard("find out who uses a volume"):
            used = self._paths_in_use(but)
            backing = self._backing_files()
        free = [volume for volume in volumes if self.real_path(volume.path) not in used]
        while True:
            gone = {self.real_path(volume.path) for volume in free}
            needed = {base for path, base in backing.items() if path not in gone}
            kept = [volume for volume in free if self.real_path(volume.path) not in needed]
            if len(kept) == len(free):
                return free
            free = kept

    def _paths_in_use(self, but: str) -> set[str]:
        inactive = self.libvirt.VIR_DOMAIN_XML_INACTIVE
        used: set[str] = set()
        for domain in self.conn.listAllDomains(0):
            if domain.name() == but or is_scratch(domain):
                continue
            try:
                views = [domain.XMLDesc(inactive)]
                if domain.isActive():
                    views.append(domain.XMLDesc(0))
            except self.libvirt.libvirtError as error:
                if code_of(error) not in _VANISHED:
                    raise
                continue
            for view in views:
                used.update(self._paths_of(from_libvirt(view)))
        return used

    def _paths_of(self, domain: Element) -> Iterator[str]:
        """Where a domain's disks are, with the files that these lean on as far as libvirt tells, or they are seen
        from here; without symbolic links."""
        for disk in domain.iterfind("devices/disk"):
            driver = disk.find("driver")
            is_raw = driver is not None and driver.get("type") == "raw"  # what looks like a header is its guest's
            for source in disk.iter("source"):
                path = source.get("file") or source.get("dev")
                if path is not None:
                    yield self.real_path(path)
                    if not is_raw:
                        yield from self.files_below(self.real_path(path))
                elif source.get("pool") and source.get("volume"):
                    for volume in self.existing([(source.get("pool", ""), source.get("volume", ""))]):
                        yield self.real_path(volume.path)

    def _backing_files(self) -> dict[str, str]:
        """What each copy-on-write volume leans on, by its own path; both without symbolic links."""
        backing: dict[str, str] = {}
        for _pool, text in self.volume_texts():
            root = from_libvirt(text)
            base = root.findtext("backingStore/path")
            if base is not None:
                backing[self.real_path(root.findtext("target/path", ""))] = self.real_path(base)
        return backing
