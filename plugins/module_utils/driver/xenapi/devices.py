# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of disks in the guest, and the numbers under which XenAPI has them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

from ...model.instance import CDROM, DISK, Disk

DVD_NUMBER = 3
"""Where firmware and guests with BIOS look for the DVD drive. A disk that takes this number keeps an HVM guest from
booting as soon as it also has a drive."""

_NAME = re.compile(r"xvd([a-z]{1,2})")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NAMES = [f"xvd{''.join(letters)}" for count in (1, 2) for letters in itertools.product(_LETTERS, repeat=count)]


def device_name(userdevice: str) -> str:
    """``xvda`` for 0, ``xvdaa`` for 26; a name stays what it is."""
    return _NAMES[int(userdevice)] if userdevice.isdecimal() and int(userdevice) < len(_NAMES) else userdevice


def device_number(name: str | None) -> int | None:
    """The reverse; None for a name that is none of these."""
    return _NAMES.index(name) if name is not None and _NAME.fullmatch(name) else None


def free_number(kind: str, is_hvm: bool, taken: Collection[int]) -> int:
    """The number for a new disk or CD-ROM: in an HVM guest the first CD-ROM drive gets the DVD's, and no disk does."""
    if is_hvm and kind == CDROM and DVD_NUMBER not in taken:
        return DVD_NUMBER
    return next(
        number
        for number in itertools.count()
        if number not in taken and not (is_hvm and kind == DISK and number == DVD_NUMBER)
    )


def numbers_of(disks: Collection[Disk]) -> set[int]:
    """The numbers that disks have already."""
    numbers = (device_number(disk.device) for disk in disks)
    return {number for number in numbers if number is not None}
