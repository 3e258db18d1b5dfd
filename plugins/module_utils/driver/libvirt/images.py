# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files on the daemon's host: their format and size, from their own headers."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Callable, NamedTuple, TypeVar

from ...errors import ImageNotFound, UnsafeImage
from ...transfer import headers
from .errors import NO_STORAGE_VOL, code_of
from .qcow2table import read_backing
from .streams import StreamsMixin
from .volumexml import to_libvirt_format
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_MOST_FILES = 64
_T = TypeVar("_T")


class ImageFacts(NamedTuple):
    """What an image file is.

    Attributes:
        format: As libvirt calls it.
        size_bytes: Size of the disk in it.
        encrypted: It takes a secret to read it.
    """

    format: str
    size_bytes: int
    encrypted: bool = False


class Ends(NamedTuple):
    """The parts of a file that say what it is."""

    head: bytes
    length: int
    tail: bytes


class ImagesMixin(StreamsMixin):
    """Looking at image files."""

    def image_facts(self, path: str) -> ImageFacts:
        """What is in the image file at ``path`` on the daemon's host.

        Raises:
            ImageNotFound: there is no such file.
        """
        facts = facts_here(path) if self.shares_our_kernel else None
        return facts or self._ask(path, volume_facts)

    def usable_image(self, path: str) -> ImageFacts:
        """The same for an image that a disk is to be made from.

        Raises:
            ImageNotFound: there is no such file.
            UnsafeImage: its header names another file, which guests of its author's choosing could so read, or is
                otherwise not to be trusted.
        """
        ends = read_ends(path) if self.shares_our_kernel else None
        if ends is None:
            ends = self._ask(path, self._ends_of)
        try:
            return _facts(ends)
        except UnsafeImage as error:
            raise UnsafeImage(f"the image {path!r} cannot be used: {error}") from error

    @property
    def shares_our_kernel(self) -> bool:
        """Whether the daemon runs on this machine, as far as the URI tells."""
        parts = self.options.split()
        return not parts.netloc and parts.scheme.partition("+")[2] in ("", "unix")

    def real_path(self, path: str) -> str:
        """The path without symbolic links, as far as they can be seen from here: one file can have many names."""
        return os.path.realpath(path) if self.shares_our_kernel else posixpath.normpath(path)

    def files_below(self, path: str) -> list[str]:
        """What a copy-on-write file leans on, all the way down, as far as these files can be seen from here."""
        found: list[str] = []
        while self.shares_our_kernel and len(found) < _MOST_FILES:
            base = _backing_here(found[-1] if found else path)
            if base is None or base in found:
                break
            found.append(base)
        return found

    def _ask(self, path: str, ask: Callable[[libvirt.virStorageVol], _T]) -> _T:
        """Ask for what is at a path through libvirt, which shows files as volumes only."""
        try:
            return ask(self.conn.storageVolLookupByPath(path))
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_STORAGE_VOL:
                with self.guard(f"read the image {path!r}"):
                    raise
        folder, name = posixpath.split(path)
        try:
            return self.in_folder(folder, lambda pool: ask(pool.storageVolLookupByName(name)))
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_STORAGE_VOL or "No such file or directory" in str(error):
                raise ImageNotFound(f"there is no image file {path!r} on the hypervisor's host") from error
            with self.guard(f"read the image {path!r}"):
                raise

    def _ends_of(self, volume: libvirt.virStorageVol) -> Ends:
        length = int(volume.infoFlags(self.libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])
        tail_at = max(0, length - headers.TAIL_BYTES)
        return Ends(
            self.download(volume, 0, min(length, headers.HEAD_BYTES)),
            length,
            self.download(volume, tail_at, length - tail_at),
        )


def _backing_here(path: str) -> str | None:
    """What a file of this machine leans on; None when there is no such file, or it leans on none."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            name = read_backing(lambda offset, length: os.pread(file.fileno(), length, offset))
    except OSError:
        return None
    return None if name is None else os.path.realpath(os.path.join(os.path.dirname(path), name))


def facts_here(path: str) -> ImageFacts | None:
    """What a file on this machine is; None when there is no such file, or it leans on others."""
    ends = read_ends(path)
    try:
        return None if ends is None else _facts(ends)
    except UnsafeImage:
        return None


def read_ends(path: str) -> Ends | None:
    """Head and tail of a file on this machine; None when there is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(headers.HEAD_BYTES)
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - headers.TAIL_BYTES))
            return Ends(head, length, file.read(headers.TAIL_BYTES))
    except OSError:
        return None


def volume_facts(volume: libvirt.virStorageVol) -> ImageFacts:
    """What libvirt says about a volume, which it learned from the header."""
    root = from_libvirt(volume.XMLDesc(0))
    target_format = root.find("target/format")
    return ImageFacts(
        "raw" if target_format is None else target_format.get("type", "raw"),
        int(root.findtext("capacity", "0")),
        root.find("target/encryption") is not None,
    )


def _facts(ends: Ends) -> ImageFacts:
    found = headers.inspect(*ends)
    return ImageFacts(to_libvirt_format(found.format), ends.length if found.size_bytes is None else found.size_bytes)
