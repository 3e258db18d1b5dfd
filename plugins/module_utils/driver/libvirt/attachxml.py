# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that come and go, as XML and in words."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import CDROM, DISK
from .domain import Domain
from .domain_disks import source_of
from .element import attribute_of, remove_all


def contents(document: Domain, disk: Element) -> str:
    """What a disk has, for messages."""
    path, device = source_of(disk), attribute_of(disk, "target", "dev")
    known = document.record.owns(device) or document.record.uses(device, path)
    if known is not None:
        return f"the volume {known.pool}/{known.volume}"
    if disk.get("type") == "volume":
        return f"the volume {attribute_of(disk, 'source', 'pool')}/{attribute_of(disk, 'source', 'volume')}"
    if path is None:
        return "an empty drive" if disk.get("device") == CDROM else "another disk"
    return repr(path)


def plugged_again(disk: Element) -> Element:
    """The XML by which a disk that was unplugged comes back as it was, at its place."""
    fresh = copy.deepcopy(disk)
    for tag in ("alias", "backingStore", "boot"):
        for element in fresh.findall(tag):
            fresh.remove(element)
    return fresh


def without_boot(disk: Element) -> Element:
    """A disk without its place in the boot order: that is for the next start."""
    fresh = copy.deepcopy(disk)
    remove_all(fresh, "boot")
    return fresh


def set_boot_order(domain: Element, device: str, place: int | None) -> None:
    """Give a disk its place among the devices to boot from; what has that place or a later one moves behind it.

    libvirt knows either an order of kinds of devices or one of devices: the first becomes the second here."""
    devices = _bootable(domain)
    ordered = [element for _place, element in sorted(_places(domain, devices), key=lambda pair: pair[0])]
    target = next(element for element in devices if attribute_of(element, "target", "dev") == device)
    ordered = [element for element in ordered if element is not target]
    if place is not None:
        ordered.insert(min(place - 1, len(ordered)), target)
    for holder in (domain.find("os"), *devices):
        if holder is not None:
            remove_all(holder, "boot")
    for number, element in enumerate(ordered, 1):
        SubElement(element, "boot", {"order": str(max(number, place or 1) if element is target else number)})


def _bootable(domain: Element) -> list[Element]:
    found = domain.find("devices")
    return [] if found is None else [element for element in found if element.tag in ("disk", "interface", "hostdev")]


def _places(domain: Element, devices: list[Element]) -> Iterator[tuple[int, Element]]:
    kinds = [element.get("dev") for element in domain.findall("os/boot")]
    for element in devices:
        order = attribute_of(element, "boot", "order")
        kind = {"interface": "network", "disk": {"disk": "hd", "cdrom": "cdrom"}.get(element.get("device", DISK))}.get(
            element.tag
        )
        if order is not None:
            yield int(order), element
        elif kind in kinds:
            yield kinds.index(kind), element
