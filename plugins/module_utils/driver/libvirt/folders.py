# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the daemon's host that are in no storage pool: libvirt shows files only as volumes of one."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Callable, TypeVar
from xml.etree import ElementTree

from ..uri import ConnectionOptions
from .connection import LibvirtBase
from .errors import NO_STORAGE_POOL, OPERATION_FAILED, OPERATION_INVALID, code_of, is_busy

if TYPE_CHECKING:
    import libvirt

PREFIX = "anyvirt-look-"
"""How the names of our passing pools begin."""

_ATTEMPTS = 8
_PAUSE_S = 0.05
_TAKEN_AWAY = frozenset({NO_STORAGE_POOL, OPERATION_FAILED, OPERATION_INVALID})
"""What libvirt says when another process has just removed, or is just making, the pool over a folder."""
_DROP_ATTEMPTS = 2
_PATIENCE_S = 10.0
_BUSY = ("asynchronous jobs running", "is still being allocated", "is still in use")
_T = TypeVar("_T")


class FoldersMixin(LibvirtBase):
    """Looking into folders."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._turn = threading.Lock()

    def in_folder(self, folder: str, look: Callable[[libvirt.virStoragePool], _T]) -> _T:
        """What ``look`` returns, given a fresh pool over a folder: one that is there already, or else a passing one.

        libvirt allows one pool for each folder, so a passing one of another process, or one that a killed process left,
        is used too and then removed; whoever used it as well tries again. Our own threads take turns.
        """
        attempt = 1
        while True:
            try:
                with self._turn:
                    return self._look_once(folder, look)
            except self.libvirt.libvirtError as error:
                if code_of(error) not in _TAKEN_AWAY or attempt == _ATTEMPTS:
                    raise
            time.sleep(random.uniform(0, _PAUSE_S * attempt))
            attempt += 1

    def when_idle(self, call: Callable[[], object]) -> None:
        """Make a call that libvirt refuses while it works in a pool: on what a client that is gone asked for, say."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                call()
                return
            except self.libvirt.libvirtError as error:
                if not any(sign in str(error) for sign in _BUSY) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _look_once(self, folder: str, look: Callable[[libvirt.virStoragePool], _T]) -> _T:
        try:
            pool = self.conn.storagePoolLookupByTargetPath(folder)
            refresh_unless_busy(self.libvirt, pool)
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_STORAGE_POOL:
                raise
            pool = self.conn.storagePoolCreateXML(pool_document(PREFIX + str(uuid.uuid4()), folder), 0)
        try:
            return look(pool)
        finally:
            if pool.name().startswith(PREFIX):
                self._drop(pool)

    def _drop(self, pool: libvirt.virStoragePool) -> None:
        """Remove a passing pool. One that will not go, say because it is being read, is the next one's who looks."""
        for _unused in range(_DROP_ATTEMPTS):
            try:
                pool.destroy()
            except self.libvirt.libvirtError as error:
                if code_of(error) == NO_STORAGE_POOL:
                    return
            else:
                return


def refresh_unless_busy(library: Any, pool: libvirt.virStoragePool) -> None:
    """Make libvirt look through the pool again; one in which somebody reads or writes is left as it was seen."""
    try:
        pool.refresh(0)
    except library.libvirtError as error:
        if not is_busy(error):
            raise


def pool_document(name: str, folder: str) -> str:
    """libvirt's description of a pool that is a folder."""
    root = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(root, "name").text = name
    ElementTree.SubElement(ElementTree.SubElement(root, "target"), "path").text = folder
    return ElementTree.tostring(root, encoding="unicode")
