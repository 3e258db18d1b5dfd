# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of console logs, which libvirt itself never removes."""

from __future__ import annotations

import os
import posixpath
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from .console import ConsoleMixin
from .domain import Domain
from .errors import NO_STORAGE_VOL, NO_SUPPORT, code_of

if TYPE_CHECKING:
    import libvirt


class LogsMixin(ConsoleMixin):
    """Removing what consoles wrote."""

    def has_console_log(self, domain: Domain) -> bool:
        """Whether the domain's console is kept in the log that a spawn gave it, and not in one of somebody's own."""
        path = self.console_log_path(domain.name)
        return path is not None and any(log.get("file") == path for log in domain.root.iterfind("devices/*/log"))

    def remove_console_log(self, name: str) -> None:
        """Delete the log of an instance that is off, with what was moved out of its way."""
        path = self.console_log_path(name)
        if path is None:
            return
        folder, base = posixpath.split(path)
        ours = re.compile(re.escape(base) + r"(\.\d+)?")
        if self._shares_our_files and os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            for entry in filter(ours.fullmatch, os.listdir(folder)):
                with suppress(FileNotFoundError):
                    os.remove(os.path.join(folder, entry))
            return

        def delete(pool: libvirt.virStoragePool) -> None:
            for volume in pool.listAllVolumes(0):
                if ours.fullmatch(volume.name()):
                    try:
                        volume.delete(0)
                    except self.libvirt.libvirtError as error:
                        if code_of(error) != NO_STORAGE_VOL:
                            raise

        try:
            self.in_folder(folder, delete)
        except self.libvirt.libvirtError as error:
            # A daemon without its storage driver shows no files at all; then the log stays.
            if code_of(error) != NO_SUPPORT and "No such file or directory" not in str(error):
                with self.guard(f"remove the console log of instance {name!r}", name):
                    raise
