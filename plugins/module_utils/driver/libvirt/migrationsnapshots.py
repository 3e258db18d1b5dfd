# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's descriptions of snapshots, with the domain's definition of then in each, on their way to another host."""

from __future__ import annotations

from typing import Callable
from xml.etree.ElementTree import Element

from .domain import Domain

_DEFINITIONS = ("domain", "inactiveDomain")
_PASSWORD = ("passwd", "passwdValidTo", "connected")


def redirected_snapshot(text: str, redirect: Callable[[Domain], None]) -> str:
    """The same snapshot of a domain that has its disks and networks elsewhere."""
    document = Domain.parse(text)
    for definition in _definitions(document.root):
        domain = Domain(definition)
        redirect(domain)
        domain.text()  # which writes our record back
    return document.text()


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
