# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a template says of the blank disks that a VM made from it begins with."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...model.instance import Disk
from .devices import device_name

PLAN = "disks"
"""The key of other_config that says it, as XML: ``<provision><disk device="0" size="8589934592" .../></provision>``."""

_DISK = re.compile(r"<disk\b([^>]*)>")
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*["']([^"']*)["']""")


def planned_disks(other_config: Mapping[str, str]) -> list[Disk]:
    """The disks, as far as they can be understood."""
    disks = []
    for found in _DISK.finditer(other_config.get(PLAN, "")):
        values = dict(_ATTRIBUTE.findall(found[1]))
        number, size_bytes = values.get("device", ""), values.get("size", "")
        if number.isdecimal() and size_bytes.isdecimal() and int(size_bytes):
            disks.append(Disk(device=device_name(number), size_bytes=int(size_bytes)))
    return disks
