# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a cpio archive in the "newc" format, the one that Linux unpacks as its initramfs."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Protocol

_MAGIC = "070701"
_TRAILER = "TRAILER!!!"


class Writer(Protocol):
    """What an archive is written to: a file, or a compressor in front of one."""

    def write(self, data: bytes, /) -> int: ...


def write_tree(root: Path, out: Writer) -> None:
    """Write every folder, file and symbolic link below root, owned by root and without times."""
    for inode, path in enumerate(sorted(root.rglob("*")), start=1):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            data = str(path.readlink()).encode()
        elif stat.S_ISREG(mode):
            data = path.read_bytes()
        else:
            data = b""
        _write_entry(out, str(path.relative_to(root)), mode, inode, data)
    _write_entry(out, _TRAILER, 0, 0, b"")


def _write_entry(out: Writer, name: str, mode: int, inode: int, data: bytes) -> None:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device and rdevice (major, minor each), name size, checksum
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
    out.write(_padded(header + encoded) + _padded(data))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
