# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of a disk: libvirt's <iotune>, whose parts have the same names in its calls."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement

from ...model.instance import IoLimits

_NAMES = {
    "total_bytes": "total_bytes_sec",
    "read_bytes": "read_bytes_sec",
    "write_bytes": "write_bytes_sec",
    "total_iops": "total_iops_sec",
    "read_iops": "read_iops_sec",
    "write_iops": "write_iops_sec",
}
"""Our names -> libvirt's."""


def read_limits(disk: Element) -> IoLimits | None:
    """The limits of a <disk>; None where it has none."""
    tuning = disk.find("iotune")
    if tuning is None:
        return None
    values = {name: int(tuning.findtext(theirs) or 0) or None for name, theirs in _NAMES.items()}
    return IoLimits(**values) if any(values.values()) else None


def write_limits(disk: Element, limits: IoLimits | None) -> None:
    """Put limits into a <disk> in place of those there; bursts and other details go with these."""
    for old in disk.findall("iotune"):
        disk.remove(old)
    wanted = {theirs: getattr(limits, name) for name, theirs in _NAMES.items()} if limits is not None else {}
    if any(wanted.values()):
        tuning = SubElement(disk, "iotune")
        for theirs, value in wanted.items():
            if value:
                SubElement(tuning, theirs).text = str(value)


def tune_parameters(limits: IoLimits | None) -> dict[str, int]:
    """The limits for virDomainSetBlockIoTune: all of them, where 0 is none."""
    return {theirs: int(getattr(limits, name, None) or 0) for name, theirs in _NAMES.items()}
