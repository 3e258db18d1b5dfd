# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's descriptions of snapshots, with the domain's definition of then in each, on their way to another host."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Callable
from xml.etree.ElementTree import Element

from .domain import Domain
from .domain_disks import disk_elements, source_of
from .element import attribute_of

_DEFINITIONS = ("domain", "inactiveDomain")
_PASSWORD = ("passwd", "passwdValidTo", "connected")


def redirected_snapshot(text: str, redirect: Callable[[Domain], None], config: Domain) -> str:
    """The same snapshot of a domain that has its disks and networks elsewhere. A disk that was on something else than
    in the domain's configuration of now is not: it would seem to have been on what another one is on there."""
    document, now = Domain.parse(text), _sources(config.root)
    for definition in _definitions(document.root):
        others = [device for device, source in _sources(definition).items() if now.get(device) != source]
        with _without_disks(definition, others):
            domain = Domain(definition)
            redirect(domain)
            domain.text()  # which writes our record back
    return document.text()


def _sources(definition: Element) -> dict[str, str | None]:
    return {attribute_of(disk, "target", "dev") or "": source_of(disk) for disk in disk_elements(definition)}


@contextmanager
def _without_disks(definition: Element, names: Collection[str]) -> Iterator[None]:
    """A definition that has not got these disks while the block runs."""
    devices = definition.find("devices")
    children = [] if devices is None else list(devices)
    absent = [
        (place, child)
        for place, child in enumerate(children)
        if child.tag == "disk" and attribute_of(child, "target", "dev") in names
    ]
    for _place, child in absent:
        if devices is not None:
            devices.remove(child)
    try:
        yield
    finally:
        for place, child in absent:
            if devices is not None:
                devices.insert(place, child)


def with_passwords(text: str, config: Domain) -> str:
    """The same snapshot, with the passwords that the domain's displays have now: those of then are not kept, since who
    may read a record may not read passwords, and without any, going back to it would open the display to everybody."""
    document = Domain.parse(text)
    now = {display.get("type"): display for display in config.root.iterfind("devices/graphics")}
    for definition in _definitions(document.root):
        for display in definition.iterfind("devices/graphics"):
            current = now.get(display.get("type"))
            if current is not None:
                display.attrib.update({name: current.attrib[name] for name in _PASSWORD if name in current.attrib})
    return document.text()


def _definitions(root: Element) -> list[Element]:
    return [definition for name in _DEFINITIONS if (definition := root.find(name)) is not None]
