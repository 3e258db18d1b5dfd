# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image files where the driver runs: what is in them, told by their content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

CHUNK_BYTES = 1 << 20

_SECTOR = 512

Signature = tuple[int, bytes, str]
"""Where something stands, what, and what that tells."""

_FORMATS: tuple[Signature, ...] = (
    (0, b"QFI\xfb", "a qcow2 image"),
    (0, b"KDMV", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK image"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (0, b"QED\0", "a QED image"),
    (64, b"\x7f\x10\xda\xbe", "a VirtualBox image"),
)
_FORMATS_BY_THEIR_END: tuple[Signature, ...] = ((0, b"conectix", "a VHD image"),)
_PACKED: tuple[Signature, ...] = (
    (0, b"\x1f\x8b", "packed with gzip"),
    (0, b"\xfd7zXZ\0", "packed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (0, b"BZh", "packed with bzip2"),
    (0, b"PK\3\4", "a ZIP archive"),
    (257, b"ustar", "a tar archive, such as an exported VM"),
)


class LocalImage(NamedTuple):
    """An image file.

    Attributes:
        file_bytes: Size of the file.
        obstacle: Why it cannot be uploaded as it is; None for a raw image.
    """

    path: str
    file_bytes: int
    obstacle: str | None

    @property
    def size_bytes(self) -> int:
        """Size of the disk in it: whole sectors."""
        return -(-self.file_bytes // _SECTOR) * _SECTOR


def is_file(image: str) -> bool:
    """Whether an image is a file where the driver runs; otherwise it is the name of a VDI."""
    return image.startswith("/")


def look_at(path: str) -> LocalImage | None:
    """What is in a file; None when there is no such file."""
    try:
        with open(path, "rb") as file:
            head = file.read(_SECTOR)
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - _SECTOR))
            tail = file.read(_SECTOR)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return LocalImage(path, 0, f"{path!r} cannot be read: {error.strerror}")
    return LocalImage(path, size_bytes, _obstacle(path, head, tail))


def chunks_of(path: str) -> Iterator[bytes]:
    """The file's content, a piece at a time."""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _obstacle(path: str, head: bytes, tail: bytes) -> str | None:
    if not head:
        return f"{path!r} is empty"
    kind = _recognized(head, _FORMATS) or _recognized(tail, _FORMATS_BY_THEIR_END)
    if kind is not None:
        return f"{path!r} is {kind}, and XenAPI takes raw ones; convert it with qemu-img convert -O raw"
    packing = _recognized(head, _PACKED)
    return None if packing is None else f"{path!r} is {packing}; XenAPI takes raw images, so unpack it first"


def _recognized(data: bytes, signatures: tuple[Signature, ...]) -> str | None:
    return next((what for offset, magic, what in signatures if data.startswith(magic, offset)), None)
