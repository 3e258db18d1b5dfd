# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files on the daemon's host: their format and size, from their own headers."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple

from ...errors import HypervisorError, ImageNotFound
from .errors import NO_STORAGE_VOL, code_of
from .folders import FoldersMixin
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_QCOW2_MAGIC = b"QFI\xfb"
_QCOW2_HEADER_BYTES = 104
_QCOW2_EXTERNAL_DATA = 1 << 2
_OTHER_MAGICS = (b"KDMV", b"vhdxfile", b"conectix", b"QED\0", b"<<< ")
"""Formats whose headers are left to libvirt to read: VMDK, VHDX, VPC, QED, VDI."""


class ImageFacts(NamedTuple):
    """What an image file is.

    Attributes:
        size_bytes: Size of the disk in it.
        leans_on: Another file that its header names as a part of it; None for an image that is whole.
    """

    format: str
    size_bytes: int
    leans_on: str | None = None


class ImagesMixin(FoldersMixin):
    """Looking at image files."""

    def image_facts(self, path: str) -> ImageFacts:
        """What is in the image file at ``path`` on the daemon's host.

        Raises:
            ImageNotFound: there is no such file.
        """
        facts = read_header(path) if self.shares_our_kernel else None
        if facts is None:
            facts = self._ask_for_facts(path)
        return facts

    def usable_image(self, path: str) -> ImageFacts:
        """The same for an image that a disk is to be made from.

        Raises:
            HypervisorError: its header names another file, which guests of its author's choosing could so read.
        """
        facts = self.image_facts(path)
        if facts.leans_on is not None:
            raise HypervisorError(
                f"the image {path!r} is not whole: its header names {facts.leans_on!r} as a part of it; "
                "make a whole one with qemu-img convert"
            )
        return facts

    @property
    def shares_our_kernel(self) -> bool:
        """Whether the daemon runs on this machine, as far as the URI tells."""
        parts = self.options.split()
        return not parts.netloc and parts.scheme.partition("+")[2] in ("", "unix")

    def _ask_for_facts(self, path: str) -> ImageFacts:
        try:
            volume = self.conn.storageVolLookupByPath(path)
            return volume_facts(volume)
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_STORAGE_VOL:
                with self.guard(f"read the image {path!r}"):
                    raise
        folder, name = posixpath.split(path)
        try:
            return self.in_folder(folder, lambda pool: volume_facts(pool.storageVolLookupByName(name)))
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_STORAGE_VOL or "No such file or directory" in str(error):
                raise ImageNotFound(f"there is no image file {path!r} on the hypervisor's host") from error
            with self.guard(f"read the image {path!r}"):
                raise


def read_header(path: str) -> ImageFacts | None:
    """What the header of a file on this machine says; None when there is no such file or its format is another's."""
    try:
        with open(path, "rb") as file:
            head = file.read(_QCOW2_HEADER_BYTES)
            size_bytes = file.seek(0, os.SEEK_END)
            if head.startswith(_OTHER_MAGICS):
                return None
            if not head.startswith(_QCOW2_MAGIC) or len(head) < 32:
                return ImageFacts("raw", size_bytes)
            backing_at, backing_length = int.from_bytes(head[8:16], "big"), int.from_bytes(head[16:20], "big")
            leans_on = None
            if backing_at:
                file.seek(backing_at)
                leans_on = file.read(min(backing_length, 1023)).decode(errors="replace")
    except (OSError, ValueError):
        return None
    version = int.from_bytes(head[4:8], "big")
    if version >= 3 and int.from_bytes(head[72:80], "big") & _QCOW2_EXTERNAL_DATA:
        leans_on = leans_on or "an external data file"
    return ImageFacts("qcow2", int.from_bytes(head[24:32], "big"), leans_on)


def volume_facts(volume: libvirt.virStorageVol) -> ImageFacts:
    """What libvirt says about a volume, which it learned from the header."""
    root = from_libvirt(volume.XMLDesc(0))
    target_format = root.find("target/format")
    return ImageFacts(
        "raw" if target_format is None else target_format.get("type", "raw"),
        int(root.findtext("capacity", "0")),
        root.findtext("backingStore/path"),
    )
