# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles: the serial console's log, and where VNC listens."""

from __future__ import annotations

import contextlib
import os
import posixpath
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ...errors import InvalidPowerState, NotFound, Unsupported
from ...model.instance import VncConsole
from .connection import LibvirtBase
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

SYSTEM_LOG_FOLDER = "/var/log/libvirt/qemu"
_CHUNK = 65536
_ATTEMPTS = 3


class ConsoleMixin(LibvirtBase):
    """Looking at an instance's consoles."""

    def console_log_path(self, name: str) -> str | None:
        """Where the console log of a new instance is to be kept on the host; None where it cannot be."""
        if not self.supports("console_output"):
            return None
        file_name = f"{name}.anyvirt-console.log"
        if self.options.split().path != "/session":
            return posixpath.join(SYSTEM_LOG_FOLDER, file_name)
        if self.options.split().netloc:
            return None  # the home folder of another machine's user is not known here
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        return os.path.join(cache, "libvirt", "qemu", "log", file_name)

    def get_console_output(self, name: str, max_bytes: int = 65536) -> bytes:
        self.require("console_output")
        path = _log_path(self._live_xml(name))
        if path is None:
            raise Unsupported(f"the serial console of instance {name!r} is not kept in a log; set console.serial")
        if self._shares_our_files and os.access(path, os.R_OK):
            return _tail(path, max_bytes)
        return self._download_tail(path, max_bytes)

    def get_vnc_console(self, name: str) -> VncConsole:
        self.require("vnc_console")
        domain = self.lookup(name)
        with self.guard(f"read the configuration of instance {name!r}", name):
            if not domain.isActive():
                raise InvalidPowerState(f"instance {name!r} does not run, so nothing listens for VNC")
        graphics = self._live_xml(name).find("devices/graphics[@type='vnc']")
        if graphics is None or int(graphics.get("port", "-1")) < 0:
            raise NotFound(f"instance {name!r} has no VNC console")
        return VncConsole(graphics.get("listen") or "127.0.0.1", int(graphics.get("port", "-1")))

    @property
    def _shares_our_files(self) -> bool:
        """Whether the daemon runs on this machine, as far as the URI tells."""
        parts = self.options.split()
        return "+" not in parts.scheme and not parts.netloc

    def _live_xml(self, name: str) -> ElementTree.Element:
        domain = self.lookup(name)
        with self.guard(f"read the configuration of instance {name!r}", name):
            return from_libvirt(domain.XMLDesc(0))

    def _download_tail(self, path: str, max_bytes: int) -> bytes:
        """The end of a file on the daemon's host: libvirt reads files only as volumes of a pool, so one is put over its
        folder for the moment."""
        with self.guard(f"read {path} on the hypervisor's host"), self._pool_over(posixpath.dirname(path)) as pool:
            if posixpath.basename(path) not in pool.listVolumes():
                return b""
            volume = pool.storageVolLookupByName(posixpath.basename(path))
            size = volume.info()[1]
            start = max(0, size - max_bytes)
            return self._download(volume, start, size - start)

    def _download(self, volume: libvirt.virStorageVol, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        stream = self.conn.newStream(0)
        volume.download(stream, offset, length, 0)
        data = bytearray()
        while True:
            chunk = stream.recv(_CHUNK)
            if not chunk:
                break
            data += chunk
        stream.finish()
        return bytes(data)

    @contextlib.contextmanager
    def _pool_over(self, folder: str) -> Iterator[libvirt.virStoragePool]:
        """A pool over a folder: one that is there already, or else a transient one that is gone afterwards."""
        ours = None
        for attempt in range(_ATTEMPTS):
            try:
                pool = self.conn.storagePoolLookupByTargetPath(folder)
                pool.refresh(0)
                break
            except self.libvirt.libvirtError:
                pass  # there is none, or it was somebody else's for the moment and is gone
            try:
                pool = ours = self.conn.storagePoolCreateXML(_pool_document(folder), 0)
                break
            except self.libvirt.libvirtError:
                # Somebody else reads a log at this moment: libvirt allows one pool for each folder.
                if attempt == _ATTEMPTS - 1:
                    raise
        try:
            yield pool
        finally:
            if ours is not None:
                with contextlib.suppress(self.libvirt.libvirtError):
                    ours.destroy()


def _pool_document(folder: str) -> str:
    root = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(root, "name").text = f"anyvirt-{uuid.uuid4()}"
    ElementTree.SubElement(ElementTree.SubElement(root, "target"), "path").text = folder
    return ElementTree.tostring(root, encoding="unicode")


def _log_path(domain: ElementTree.Element) -> str | None:
    for device in ("serial", "console"):
        log = domain.find(f"devices/{device}/log")
        if log is not None:
            return log.get("file")
    return None


def _tail(path: str, max_bytes: int) -> bytes:
    with open(path, "rb") as log:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - max_bytes))
        return log.read(max_bytes)
