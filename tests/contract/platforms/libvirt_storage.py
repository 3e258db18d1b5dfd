# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage of hosts under libvirt, through libvirt itself and QEMU's tools."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any, NamedTuple

import libvirt

from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Pool, VolumeKey
from contract.platforms.storage_side import StorageSide
from contract.platforms.xmltext import canonical

if TYPE_CHECKING:
    from contract.platforms.libvirt_base import LibvirtPlatform

POOLS_FOLDER = "/var/lib/libvirt/contract-pools"
"""Where the tests have their pools, beside the one that is always there."""
SMALL_FOLDER = "/var/lib/libvirt/contract-small"
_SMALL_POOL = "small"
_POOL_XML = "<pool type='dir'><name>{name}</name><target><path>{path}</path></target></pool>"
_CHANGING = ("capacity", "allocation", "available", "target/permissions")
"""What libvirt finds out while a pool is active, and keeps in mind."""


class _File(NamedTuple):
    path: str
    format: str


class LibvirtStorage(StorageSide):
    """Pools that are folders of the host."""

    def __init__(self, platform: LibvirtPlatform) -> None:
        self._platform = platform
        self.has_folders = False

    def new_pool(self, name: str) -> Pool:
        self.has_folders = True
        return Pool(name, kind=DIR, path=f"{POOLS_FOLDER}/{name}")

    def make_small_pool(self) -> str:
        self.has_folders = True
        host = self._platform
        host.run_on_host("mkdir", "-p", SMALL_FOLDER)
        host.run_on_host("mount", "-t", "tmpfs", "-o", f"size={self.room_bytes}", "small", SMALL_FOLDER)
        with host.connection() as connection:
            pool = connection.storagePoolDefineXML(_POOL_XML.format(name=_SMALL_POOL, path=SMALL_FOLDER))
            pool.create()
        return _SMALL_POOL

    def fill(self, key: VolumeKey, byte: int, offset: int, length: int) -> None:
        file = self._file(key)
        write = f"write -P {byte} {offset} {length}"
        self._platform.run_on_host("qemu-io", "-f", file.format, "-c", write, file.path)

    def data(self, key: VolumeKey) -> bytes:
        file = self._file(key)
        return self._platform.read_on_host(file.path, file.format)

    def _file(self, key: VolumeKey) -> _File:
        with self._platform.connection() as connection:
            volume = connection.storagePoolLookupByName(key.pool).storageVolLookupByName(key.name)
            found = ET.fromstring(volume.XMLDesc()).find("target/format")
            return _File(volume.path(), found.get("type", "raw") if found is not None else "raw")

    def remove_folders(self) -> None:
        """What pools of tests were made of; the pools themselves are gone."""
        host = self._platform
        host.run_on_host("sh", "-c", f"! mountpoint -q {SMALL_FOLDER} || umount {SMALL_FOLDER}")
        host.run_on_host("rm", "-rf", SMALL_FOLDER, POOLS_FOLDER)
        self.has_folders = False


def pictures_of_pools(connection: Any) -> dict[str, Any]:
    """What pools are, without what changes as volumes come and go."""
    return {pool.name(): _picture(pool) for pool in connection.listAllStoragePools()}


def _picture(pool: Any) -> dict[str, Any]:
    root = ET.fromstring(pool.XMLDesc(libvirt.VIR_STORAGE_XML_INACTIVE if pool.isPersistent() else 0))
    for path in _CHANGING:
        for element in root.findall(path):
            parent = root.find(path.rpartition("/")[0] or ".")
            assert parent is not None
            parent.remove(element)
    return {
        "xml": canonical(ET.tostring(root, encoding="unicode")).splitlines(),
        "active": bool(pool.isActive()),
        "autostart": bool(pool.autostart()),
    }


def pictures_of_secrets(connection: Any) -> dict[str, list[str]]:
    """Secrets without their values."""
    return {secret.UUIDString(): canonical(secret.XMLDesc()).splitlines() for secret in connection.listAllSecrets()}


def remove_secrets(connection: Any) -> None:
    """All of them; the host has none of its own."""
    for secret in connection.listAllSecrets():
        with contextlib.suppress(libvirt.libvirtError):  # a passing one is gone with who used it
            secret.undefine()
