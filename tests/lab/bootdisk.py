# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small bootable disk: a FAT partition with SYSLINUX, kernel and initramfs, and an ext4 partition for data."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

from lab.proc import run

PACKAGES = ("mtools", "syslinux", "syslinux-common")
ROOT_LABEL = "anyvirt-root"

_SECTOR = 512
_MIB = 1024 * 1024
_SIZE = 64 * _MIB
_BOOT_START = 1 * _MIB
_ROOT_START = 41 * _MIB
_FAT32_LBA, _LINUX = 0x0C, 0x83
_ACTIVE = 0x80
_PARTITION_TABLE = 446


def build(target: Path, kernel: Path, initrd: Path, cmdline: str, unpacked: Path) -> None:
    """Make target, a qcow2 image; unpacked holds the files of PACKAGES."""
    with tempfile.TemporaryDirectory(prefix="anyvirt-lab-disk-") as scratch:
        disk = Path(scratch) / "disk.raw"
        with disk.open("wb") as handle:
            handle.truncate(_SIZE)
            handle.write((unpacked / "usr/lib/syslinux/mbr/mbr.bin").read_bytes())
            handle.seek(_PARTITION_TABLE)
            handle.write(_partition(_ACTIVE, _FAT32_LBA, _BOOT_START, _ROOT_START))
            handle.write(_partition(0, _LINUX, _ROOT_START, _SIZE))
            handle.seek(_SECTOR - 2)
            handle.write(b"\x55\xaa")
        _copy_into(disk, _BOOT_START, _boot_partition(Path(scratch), kernel, initrd, cmdline, unpacked))
        _copy_into(disk, _ROOT_START, _root_partition(Path(scratch)))
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, target])


def _partition(flag: int, kind: int, start: int, end: int) -> bytes:
    # Cylinder, head and sector are at their limit, which tells firmware to use the sector numbers that follow.
    limit = b"\xfe\xff\xff"
    first, count = start // _SECTOR, (end - start) // _SECTOR
    return struct.pack("<B3sB3sII", flag, limit, kind, limit, first, count)


def _boot_partition(scratch: Path, kernel: Path, initrd: Path, cmdline: str, unpacked: Path) -> Path:
    part = scratch / "boot.fat"
    with part.open("wb") as handle:
        handle.truncate(_ROOT_START - _BOOT_START)
    run(["busybox", "mkdosfs", "-n", "ANYVIRT", part])
    # SYSLINUX finds its own FAT through the "hidden sectors" field: where the partition starts on the disk.
    with part.open("r+b") as handle:
        handle.seek(28)
        handle.write(struct.pack("<I", _BOOT_START // _SECTOR))
    configuration = scratch / "syslinux.cfg"
    configuration.write_text(
        "SERIAL 0 115200\nDEFAULT guest\nPROMPT 0\nTIMEOUT 0\n"
        f"LABEL guest\n  KERNEL /vmlinuz\n  INITRD /initrd.gz\n  APPEND {cmdline}\n"
    )
    mtools = unpacked / "usr/bin"
    for source, name in ((kernel, "vmlinuz"), (initrd, "initrd.gz"), (configuration, "syslinux.cfg")):
        run([mtools / "mcopy", "-i", part, source, f"::{name}"])
    # syslinux calls mcopy and mattrib by name.
    search = f"{mtools}{os.pathsep}{os.environ['PATH']}"
    run(["env", f"PATH={search}", mtools / "syslinux", "--install", part])
    return part


def _root_partition(scratch: Path) -> Path:
    part = scratch / "root.ext4"
    with part.open("wb") as handle:
        handle.truncate(_SIZE - _ROOT_START)
    run(["mkfs.ext4", "-q", "-L", ROOT_LABEL, part])
    return part


def _copy_into(disk: Path, offset: int, part: Path) -> None:
    with disk.open("r+b") as handle:
        handle.seek(offset)
        handle.write(part.read_bytes())
