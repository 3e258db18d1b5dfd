# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles: the serial console's log, and where VNC listens."""

from __future__ import annotations

import os
import posixpath
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Callable, NamedTuple
from xml.etree import ElementTree

from ...errors import InvalidPowerState, NotFound, Unsupported
from ...model.instance import VncConsole
from ..uri import ConnectionOptions
from .errors import NO_STORAGE_VOL, code_of
from .folders import FoldersMixin
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

SYSTEM_LOG_FOLDER = "/var/log/libvirt/qemu"
_CHUNK = 65536
_OFF = -1
"""The id of a domain that does not run."""


class _Log(NamedTuple):
    """What was seen of a console log: in which run of the instance, how long it was, whether it began anew in this run.

    virtlogd moves a log of 2 MiB out of the way, to NAME.0, and begins a new one. But NAME.0 may also be what is left
    of an earlier run: only who saw the log shrink within one run can tell.
    """

    run: int
    size: int
    rolled_over: bool


class ConsoleMixin(FoldersMixin):
    """Looking at an instance's consoles."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._logs: dict[str, _Log] = {}

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
        """As the contract says. Where the log is not a file that can be read here, libvirt is asked for it, which costs
        about ten calls."""
        self.require("console_output")
        domain = self.lookup(name)
        with self.guard(f"read the configuration of instance {name!r}", name):
            path, run = _log_path(from_libvirt(domain.XMLDesc(0))), domain.ID()
        if path is None:
            raise Unsupported(f"the serial console of instance {name!r} is not kept in a log; set console.serial")
        if self._shares_our_files:
            with suppress(OSError):
                return self._whole_tail(name, run, path, max_bytes, _tail)

        def download(pool: libvirt.virStoragePool) -> bytes:
            return self._whole_tail(name, run, posixpath.basename(path), max_bytes, partial(self._download_tail, pool))

        with self.guard(f"read {path} on the hypervisor's host"):
            return self.in_folder(posixpath.dirname(path), download)

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
        """Whether the daemon is the one of this machine, as far as the URI tells."""
        parts = self.options.split()
        return "+" not in parts.scheme and not parts.netloc and "socket" not in self.options.query()

    def _whole_tail(
        self, name: str, run: int, path: str, max_bytes: int, read: Callable[[str, int], tuple[bytes, int]]
    ) -> bytes:
        """The end of a log, with the end of the one before it where the instance wrote that too."""
        text, size = read(path, max_bytes)
        seen = self._logs.get(name)
        rolled_over = seen is not None and seen.run == run != _OFF and (seen.rolled_over or size < seen.size)
        self._logs[name] = _Log(run, size, rolled_over)
        if rolled_over and len(text) < max_bytes:
            text = read(f"{path}.0", max_bytes - len(text))[0] + text
        return text

    def _live_xml(self, name: str) -> ElementTree.Element:
        domain = self.lookup(name)
        with self.guard(f"read the configuration of instance {name!r}", name):
            return from_libvirt(domain.XMLDesc(0))

    def _download_tail(self, pool: libvirt.virStoragePool, file_name: str, max_bytes: int) -> tuple[bytes, int]:
        """The end of a file in the pool's folder, and its size."""
        try:
            volume = pool.storageVolLookupByName(file_name)
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_STORAGE_VOL:
                return b"", 0
            raise
        # Not the capacity: libvirt looks into files for the headers of images, and this one is the guest's to write.
        size = volume.infoFlags(self.libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
        start = max(0, size - max_bytes)
        return self._download(volume, start, size - start), size

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


def _log_path(domain: ElementTree.Element) -> str | None:
    for device in ("serial", "console"):
        log = domain.find(f"devices/{device}/log")
        if log is not None:
            return log.get("file")
    return None


def _tail(path: str, max_bytes: int) -> tuple[bytes, int]:
    """The end of a file, and its size."""
    with open(path, "rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - max_bytes))
        return log.read(max_bytes), size
