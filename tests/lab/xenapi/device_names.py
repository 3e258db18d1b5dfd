# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Device names and numbers of a VM's disks and network interfaces."""

from __future__ import annotations

import hashlib
import re

VBD_NUMBERS = range(255)
VIF_NUMBERS = range(7)
AUTODETECT = "autodetect"

_NAMED = re.compile(r"(?:xvd|sd|hd)([a-p])\d*")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def vbd_number(userdevice: str) -> int | None:
    """The number that a userdevice stands for: 3 for "3", "xvdd" and "hdd"; None when it is none."""
    named = _NAMED.fullmatch(userdevice)
    if named:
        return ord(named[1]) - ord("a")
    return int(userdevice) if userdevice.isdecimal() and int(userdevice) in VBD_NUMBERS else None


def vbd_name(number: int) -> str:
    """What the guest calls the disk: xvda, xvdz, xvdaa."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return f"xvd{letters}"


def is_vif_device(device: str) -> bool:
    return device.isdecimal() and int(device) in VIF_NUMBERS


def is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None


def made_mac(seed: str, device: str) -> str:
    """The address that follows from a VM's `mac_seed` and the device: locally administered, no group address."""
    octets = bytearray(hashlib.sha256(f"{seed}/{device}".encode()).digest()[:6])
    octets[0] = octets[0] & 0xFC | 0x02
    return ":".join(f"{octet:02x}" for octet in octets)
