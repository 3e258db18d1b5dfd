# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and changing parts of an XML tree by their paths, with everything else left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement


def find_or_make(parent: Element, path: str) -> Element:
    """The element at ``path`` (plain tags and slashes), made with all between when it is missing."""
    element = parent
    for tag in path.split("/"):
        found = element.find(tag)
        element = SubElement(element, tag) if found is None else found
    return element


def remove_all(parent: Element, path: str) -> None:
    """Remove each element at ``path``, and an element above it that nothing is left in."""
    above, _slash, tag = path.rpartition("/")
    holder = parent.find(above) if above else parent
    if holder is None:
        return
    for element in holder.findall(tag):
        holder.remove(element)
    if above and len(holder) == 0 and not holder.attrib and not (holder.text or "").strip():
        remove_all(parent, above)


def text_of(parent: Element, path: str) -> str | None:
    """The text at ``path``; None when there is no such element or it is empty."""
    element = parent.find(path)
    text = (element.text or "").strip() if element is not None else ""
    return text or None


def set_text(parent: Element, path: str, text: str | None) -> None:
    """Put ``text`` at ``path``; None or the empty text takes the element away."""
    if text:
        find_or_make(parent, path).text = text
    else:
        remove_all(parent, path)


def attribute_of(parent: Element, path: str, name: str) -> str | None:
    """An attribute of the element at ``path``; None when one of them is missing."""
    element = parent.find(path)
    return None if element is None else element.get(name)


def set_attribute(element: Element, name: str, value: str | None) -> None:
    """Set an attribute; None takes it away."""
    if value is None:
        element.attrib.pop(name, None)
    else:
        element.set(name, value)


def make(tag: str, attributes: Mapping[str, str | None] | None = None, text: str | None = None) -> Element:
    """A new element; attributes that are None are left out."""
    element = Element(tag, {key: value for key, value in (attributes or {}).items() if value is not None})
    element.text = text
    return element


def insert_after(parent: Element, element: Element, tag: str) -> None:
    """Add ``element`` behind the last one with this tag, or at the end."""
    last = max((index for index, child in enumerate(parent) if child.tag == tag), default=len(parent) - 1)
    parent.insert(last + 1, element)
