# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Building nwfilter definitions, and telling whether two of them are the same."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Union
from xml.etree.ElementTree import Element, SubElement, tostring

PREFIX = "anyvirt-"
"""How the names of all our definitions begin."""

ACCEPT = "accept"
DROP = "drop"
TO_GUEST = "in"
FROM_GUEST = "out"
BOTH_WAYS = "inout"

NO_STATE = "NONE"
"""A rule with this ``state`` stands for packets of its own direction only. Without it libvirt adds a rule for the
answers, in the other direction."""

Values = Mapping[str, Iterable[str]]
Canonical = tuple[Any, ...]

_NAMESPACE = uuid.UUID("9c2f5a0e-61f7-5b0a-9f43-0d1a3c1e7b52")


def new_filter(name: str) -> Element:
    """An empty definition. Its identity follows from its name: two processes that define it at once define the same,
    and redefining it needs no look at what is there."""
    root = Element("filter", {"name": name, "chain": "root"})
    SubElement(root, "uuid").text = str(uuid.uuid5(_NAMESPACE, name))
    return root


def add_rule(
    root: Element, action: str, direction: str, priority: int, kind: str, /, **attributes: Union[str, int, None]
) -> None:
    """A rule about a ``kind`` of packets, as nwfilter calls it; attributes that are None are left out."""
    rule = SubElement(root, "rule", {"action": action, "direction": direction, "priority": str(priority)})
    given = {name: str(value) for name, value in attributes.items() if value is not None}
    SubElement(rule, kind, given)


def add_reference(root: Element, name: str, values: Values | None = None) -> Element:
    """A reference to another filter, with parameters, each of one value or many."""
    reference = SubElement(root, "filterref", {"filter": name})
    for parameter, items in (values or {}).items():
        for value in items:
            SubElement(reference, "parameter", {"name": parameter, "value": value})
    return reference


def parameters(reference: Element) -> dict[str, list[str]]:
    """The parameters of a reference, their values in order."""
    found: dict[str, list[str]] = {}
    for parameter in reference.findall("parameter"):
        found.setdefault(parameter.get("name", ""), []).append(parameter.get("value", ""))
    return found


def to_text(root: Element) -> str:
    """The definition as libvirt reads it."""
    return tostring(root, encoding="unicode")


def canonical(root: Element) -> Canonical:
    """Something that is equal for definitions that do the same, whatever their identity."""
    return (root.get("name"), root.get("chain"), tuple(_part(child) for child in root if child.tag != "uuid"))


def _part(element: Element) -> Canonical:
    attributes = tuple(sorted((name, _value(name, value)) for name, value in element.attrib.items()))
    if element.tag == "filterref":
        # libvirt writes parameters in an order of its own.
        values = sorted(parameters(element).items())
        return (element.tag, attributes, tuple((name, tuple(items)) for name, items in values))
    return (element.tag, attributes, tuple(_part(child) for child in element))


def _value(name: str, value: str) -> str:
    if name.endswith("ipaddr"):
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:  # a variable, or foreign hands
            return value
    return value
