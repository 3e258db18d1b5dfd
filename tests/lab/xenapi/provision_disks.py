# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks that a template describes: `<provision><disk device=... size=... sr=... bootable=... type=.../>`."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from lab.xenapi.datamodel import model
from lab.xenapi.failures import Failure


@dataclass(frozen=True)
class DescribedDisk:
    """One disk to make: `size` in bytes, `sr` by its uuid."""

    device: str
    size: int
    sr: str
    bootable: bool
    type: str


def described_disks(text: str) -> list[DescribedDisk]:
    """The disks in the text, none where it is empty; INTERNAL_ERROR for what cannot be read."""
    if not text:
        return []
    try:
        return [_described(element) for element in ElementTree.fromstring(text).findall("disk")]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise Failure("INTERNAL_ERROR", f"the template's disks cannot be read: {error}") from error


def _described(element: ElementTree.Element) -> DescribedDisk:
    values = element.attrib
    kind = values.get("type", "system")
    if kind not in model().enums["vdi_type"]:
        raise ValueError(f"there is no VDI type {kind}")
    return DescribedDisk(values["device"], int(values["size"]), values["sr"], values.get("bootable") == "true", kind)
