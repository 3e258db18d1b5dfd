# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt can never do with a disk's values, told without asking it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import Problem
from ...model.instance import CDROM, Disk

BUSES = {"qemu": ("virtio", "scsi", "sata", "ide", "usb"), "xen": ("xen", "ide", "scsi"), "lxc": ()}
CACHES = ("none", "writeback", "writethrough", "directsync", "unsafe")
DISCARDS = ("unmap", "ignore")

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f/]")

_DEVICE = re.compile(r"(vd|sd|hd|xvd)[a-z]{1,3}")
_PREFIXES = {"virtio": ("vd",), "ide": ("hd",), "xen": ("xvd",), "scsi": ("sd",), "sata": ("sd",), "usb": ("sd",)}
_SERIAL_LENGTH, _SERIAL_LENGTH_SCSI = 20, 36
"""How much of it guests get to see."""
_LIMITS = (("total_bytes", "read_bytes", "write_bytes"), ("total_iops", "read_iops", "write_iops"))


def disk_problems(kind: str, disk: Disk) -> Iterator[Problem]:
    """What is wrong with a disk for a kind of hypervisor (``qemu``, ``lxc`` or ``xen``); options are its own."""
    for option, choices in (("bus", BUSES[kind]), ("cache", CACHES), ("discard", DISCARDS)):
        value = getattr(disk, option)
        if value is not None and choices and value not in choices:
            yield Problem(option, f"{value!r} is not one of {', '.join(choices)}")
    if disk.device is not None and not _DEVICE.fullmatch(disk.device):
        yield Problem("device", f"{disk.device!r} is not a name such as vda, sdb or xvdc")
    for option in ("volume", "pool"):
        value = getattr(disk, option)
        if value is not None and (not value or UNPRINTABLE.search(value)):
            yield Problem(option, f"{value!r} cannot be its name")
    if disk.serial is not None:
        most = _SERIAL_LENGTH_SCSI if disk.bus == "scsi" else _SERIAL_LENGTH
        if not 0 < len(disk.serial) <= most or not disk.serial.isascii() or not disk.serial.isprintable():
            yield Problem("serial", f"must have 1 to {most} printable ASCII characters")
    if disk.boot_order is not None and disk.boot_order < 1:
        yield Problem("boot_order", "must be at least 1")
    if disk.shareable and disk.format not in (None, "raw"):
        yield Problem("shareable", f"several instances can write to raw volumes at once, but not to {disk.format}")
    if disk.kind == CDROM and disk.read_only is False:
        yield Problem("read_only", "CD drives cannot write")
    yield from _limit_problems(disk)


def attachment_problems(kind: str, disk: Disk) -> Iterator[Problem]:
    """The same for a disk that is to be attached to an instance."""
    yield from disk_problems(kind, disk)
    if disk.kind != CDROM and disk.volume is None:
        yield Problem("volume", "is needed; only CD drives can be empty")
    if disk.device is not None and disk.bus is not None and not disk.device.startswith(_PREFIXES.get(disk.bus, ())):
        names = " or ".join(f"{prefix}a" for prefix in _PREFIXES.get(disk.bus, ()))
        yield Problem("device", f"{disk.device!r} is no device of the bus {disk.bus}, which are called like {names}")


def _limit_problems(disk: Disk) -> Iterator[Problem]:
    for total, *parts in _LIMITS:
        values = {name: getattr(disk.limits, name, None) or 0 for name in (total, *parts)}
        for name, value in values.items():
            if value < 0:
                yield Problem(f"limits.{name}", "must not be negative")
        if values[total] and any(values[part] for part in parts):
            yield Problem(
                f"limits.{total}", f"stands for reading and writing together; leave out {' and '.join(parts)}"
            )
