# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the platforms under libvirt have in common: looking and cleaning up behind the driver's back."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import libvirt

from contract.platforms.base import Platform, Snapshot
from contract.platforms.libvirt_calls import LibvirtCalls
from contract.platforms.libvirt_storage import LibvirtStorage, pictures_of_pools, pictures_of_secrets, remove_secrets
from contract.platforms.xmltext import canonical

_UNDEFINE_FLAGS = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_POOL_XML = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"


GROWING = (".log", ".qcow2")
"""What guests write grows, and a copy-on-write file never shrinks again: its disk's size is told with the pools."""


class LibvirtPlatform(Platform):
    pool_folder = "/var/lib/libvirt/images"
    undefine_flags = _UNDEFINE_FLAGS
    call_timeout_s = 30.0
    settle_s = 0.5
    new_pool_path = "/var/lib/libvirt/on-demand"
    library = "libvirt"
    package = "libvirt-python"
    storage: LibvirtStorage

    def __init__(self, calls: LibvirtCalls | None = None) -> None:
        super().__init__()
        self.calls = calls or LibvirtCalls()
        self.storage = LibvirtStorage(self)

    def define_pool(self) -> None:
        with self.connection() as connection:
            pool = connection.storagePoolDefineXML(_POOL_XML.format(name=self.pool, path=self.pool_folder))
            pool.setAutostart(True)
            pool.create()

    def run_on_host(self, *argv: str) -> None:
        """Run a program as the host's administrator."""
        raise NotImplementedError(f"nothing is run on {self.name}")

    def read_on_host(self, path: str, image_format: str) -> bytes:
        """What a guest sees of a disk."""
        raise NotImplementedError(f"nothing is read on {self.name}")

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of our own, apart from the driver's."""
        connection = libvirt.open(self.uri)
        try:
            yield connection
        finally:
            connection.close()

    def domains(self, connection: Any) -> list[Any]:
        return list(connection.listAllDomains())

    def domain_xml(
        self, name: str, flags: int = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    ) -> str:
        with self.connection() as connection:
            return str(connection.lookupByName(name).XMLDesc(flags))

    def define_xml(self, xml: str) -> None:
        with self.connection() as connection:
            connection.defineXML(xml)

    def snapshot(self) -> Snapshot:
        with self.connection() as connection:
            return {
                "domains": {domain.name(): self._picture(domain) for domain in self.domains(connection)},
                "pools": {
                    pool.name(): {volume.name(): volume.info()[:2] for volume in pool.listAllVolumes()}
                    for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
                },
                "definitions": pictures_of_pools(connection),
                "secrets": pictures_of_secrets(connection),
                "filters": {found.name(): _picture_of_filter(found) for found in our_filters(connection)},
                "files": self.files(),
            }

    def _picture(self, domain: Any) -> dict[str, Any]:
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        return {
            "xml": canonical(xml).splitlines(),
            "active": bool(domain.isActive()),
            "autostart": bool(domain.autostart()),
            "saved": bool(domain.hasManagedSaveImage()),
        }

    def files(self) -> dict[str, int]:
        """Files that instances can leave behind, with their sizes."""
        return {}

    def volumes(self) -> set[str]:
        with self.connection() as connection:
            pools = connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
            return {volume.name() for pool in pools for volume in pool.listAllVolumes()}

    def cleanup_pools(self) -> None:
        with self.connection() as connection:
            self._remove_pools(connection)

    def _remove_pools(self, connection: Any) -> None:
        for pool in connection.listAllStoragePools():
            if pool.name() == self.pool:
                pool.setAutostart(True)
                continue
            if pool.isActive():
                pool.destroy()
            with contextlib.suppress(libvirt.libvirtError):  # not empty, or never built
                pool.delete()
            pool.undefine()

    def remove_everything(self, but: set[str]) -> None:
        with self.connection() as connection:
            kept_files = set()
            for domain in self.domains(connection):
                if domain.name() in but:
                    root = ET.fromstring(domain.XMLDesc(0))
                    kept_files |= {source.get("file") for source in root.iterfind(".//source[@file]")}
                    continue
                with contextlib.suppress(libvirt.libvirtError):  # it does not run, or goes down just now
                    domain.destroy()
                with contextlib.suppress(libvirt.libvirtError):  # a transient one is gone by now
                    domain.undefineFlags(self.undefine_flags)
            for pool in connection.listAllStoragePools():
                if pool.name() in but or (not pool.isActive() and pool.name() != self.pool):
                    continue
                if not pool.isActive():
                    pool.create()
                pool.refresh()
                for volume in pool.listAllVolumes():
                    if volume.path() not in kept_files:
                        volume.delete()
            if not but:
                self._remove_pools(connection)
                remove_secrets(connection)
                _remove_filters(connection)


def our_filters(connection: Any) -> list[Any]:
    """What libvirt has of security groups, whichever engine enforces them."""
    return [found for found in connection.listAllNWFilters() if found.name().startswith("anyvirt-")]


def _picture_of_filter(found: Any) -> list[str]:
    """Its definition without what is another one each time that rules are loaded."""
    root = ET.fromstring(found.XMLDesc())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "uuid" or (child.tag == "parameter" and child.get("name") == "LOAD"):
                parent.remove(child)
    return canonical(ET.tostring(root, encoding="unicode")).splitlines()


def _remove_filters(connection: Any) -> None:
    """Those that others refer to go after these."""
    left = our_filters(connection)
    while left:
        before = len(left)
        for found in left:
            with contextlib.suppress(libvirt.libvirtError):
                found.undefine()
        left = our_filters(connection)
        assert len(left) < before, f"nobody lets go of {[found.name() for found in left]}"
