# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a domain's record that says how a resize can be taken back."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ...model.resize import ResizeRecord, read_resize

_DISKS = ("sizes", "kept")


def read_resize_record(root: Element, namespace: str) -> ResizeRecord | None:
    """What the collection's element of a domain's metadata says; None where no resize can be taken back, or what is
    there was not written by us."""
    element = root.find(f"{{{namespace}}}resize")
    if element is None:
        return None
    values: dict[str, Any] = dict(element.attrib)
    values["running"] = element.get("running") == "yes"
    disks = element.findall(f"{{{namespace}}}disk")
    for name in _DISKS:
        values[name] = {disk.get("device", ""): disk.get(name, "") for disk in disks}
    flavor = element.find(f"{{{namespace}}}flavor")
    try:
        if flavor is not None:
            whole = {name: int(flavor.get(name, "0")) for name in ("memory_mb", "vcpus", "root_gb", "swap_mb")}
            values["flavor"] = {"name": flavor.get("name", ""), **whole, "rxtx": float(flavor.get("rxtx", "1"))}
        return read_resize(values)
    except (KeyError, TypeError, ValueError):
        return None


def resize_element(record: ResizeRecord, namespace: str) -> Element:
    """The element that ``read_resize_record`` reads."""
    element = Element(f"{{{namespace}}}resize")
    values = record.as_dict()
    disks = {name: values.pop(name, {}) for name in _DISKS}
    flavor = values.pop("flavor", None)
    values["running"] = "yes" if record.running else "no"
    for name, value in values.items():
        element.set(name, str(value))
    if flavor is not None:
        SubElement(element, f"{{{namespace}}}flavor", {name: str(value) for name, value in flavor.items()})
    for device in sorted(disks["kept"]):
        known = {name: str(disks[name].get(device, 0)) for name in _DISKS}
        SubElement(element, f"{{{namespace}}}disk", {"device": device, **known})
    return element
