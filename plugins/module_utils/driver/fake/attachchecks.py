# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that are to be attached: what is wrong with them by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import Problem
from ...model.instance import CDROM, Disk
from .storage import PREFIXES
from .store import is_file_name

BUSES = ("virtio", "scsi", "sata", "ide", "usb", "xen")
HOT_BUSES = ("virtio", "scsi", "usb", "xen")
"""Those on which disks come and go while a guest runs."""

_CHOICES = {
    "bus": BUSES,
    "cache": ("none", "writeback", "writethrough", "directsync", "unsafe"),
    "discard": ("unmap", "ignore"),
}
_DEVICE = re.compile(r"(vd|sd|hd|xvd)[a-z]{1,2}")
_SERIAL_LENGTH = 36
_LIMITS = (("total_bytes", "read_bytes", "write_bytes"), ("total_iops", "read_iops", "write_iops"))


def attachment_problems(disk: Disk) -> Iterator[Problem]:
    """What can never be."""
    for option, choices in _CHOICES.items():
        value = getattr(disk, option)
        if value is not None and value not in choices:
            yield Problem(option, f"{value!r} is not one of {', '.join(choices)}")
    if disk.kind != CDROM and disk.volume is None:
        yield Problem("volume", "is needed; only CD drives can be empty")
    for option in ("volume", "pool"):
        value = getattr(disk, option)
        if value is not None and not is_file_name(value):
            yield Problem(option, f"{value!r} cannot be its name")
    yield from _device_problems(disk)
    if disk.serial is not None and not _is_serial(disk.serial):
        yield Problem("serial", f"must have 1 to {_SERIAL_LENGTH} printable ASCII characters")
    if disk.boot_order is not None and disk.boot_order < 1:
        yield Problem("boot_order", "must be at least 1")
    if disk.kind == CDROM and disk.read_only is False:
        yield Problem("read_only", "CD drives cannot write")
    yield from _limit_problems(disk)


def bus_of(device: str, kind: str) -> str:
    """The bus that a device's name speaks of."""
    if device.startswith("sd"):
        return "sata" if kind == CDROM else "scsi"
    return next((bus for bus, prefix in PREFIXES.items() if device.startswith(prefix)), "virtio")


def _device_problems(disk: Disk) -> Iterator[Problem]:
    if disk.device is None:
        return
    prefix = PREFIXES.get(disk.bus or "", "sd")
    if not _DEVICE.fullmatch(disk.device):
        yield Problem("device", f"{disk.device!r} is not a name such as vda, sdb or xvdc")
    elif disk.bus is not None and not disk.device.startswith(prefix):
        yield Problem(
            "device", f"{disk.device!r} is no device of the bus {disk.bus}, whose devices are called like {prefix}a"
        )


def _is_serial(text: str) -> bool:
    return 0 < len(text) <= _SERIAL_LENGTH and text.isascii() and text.isprintable()


def _limit_problems(disk: Disk) -> Iterator[Problem]:
    for total, *parts in _LIMITS:
        values = {name: getattr(disk.limits, name, None) or 0 for name in (total, *parts)}
        for name, value in values.items():
            if value < 0:
                yield Problem(f"limits.{name}", "must not be negative")
        if values[total] and any(values[part] for part in parts):
            yield Problem(f"limits.{total}", f"already stands for both; leave out {' and '.join(parts)}")
