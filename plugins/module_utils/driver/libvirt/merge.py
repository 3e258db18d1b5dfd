# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merging a user's piece of XML into a domain.

The rule, by the piece's root tag:

* A device (``filesystem``, ``rng``, ``hostdev``, ...) goes under <devices>, everything else under <domain>. A piece
  ``<domain>`` or ``<devices>`` stands for the pieces in it.
* Of what a domain has one of (``cpu``, ``features``, ``memoryBacking``, ``watchdog``, ...), the piece's attributes and
  text are set on the one there, and its children are merged into it by the same rule: one with the same tag is merged
  into, unless it is of a kind that a domain may have several of.
* Of what it may have several of (``disk``, ``filesystem``, ``hostdev``, ``feature``, ...) the piece is added, unless
  one that has all that the piece says is there already. So merging the same piece twice does nothing the second time.
"""

from __future__ import annotations

import copy
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_SINGLE_DEVICES = frozenset(("emulator", "watchdog", "memballoon", "vsock", "tpm", "iommu", "nvram", "crypto"))
_REPEATED_DEVICES = frozenset(
    (
        "disk controller lease filesystem interface serial parallel console channel smartcard input graphics sound "
        "audio video hostdev redirdev redirfilter hub rng shmem memory panic"
    ).split()
)
_REPEATED_ELSEWHERE = frozenset(
    (
        "feature timer boot dev cell page hugepages sysinfo seclabel vcpupin iothreadpin vcpusched iothreadsched "
        "memnode iothread entry initarg initenv arg env alias option device distances sibling bandwidth"
    ).split()
)
_DEVICES = (_SINGLE_DEVICES | _REPEATED_DEVICES) - {"memory"}
"""Tags that mean a device; <memory> on its own is the domain's size."""


_OURS = ("name", "uuid", "metadata")


class SnippetError(ValueError):
    """A piece of XML that cannot be merged; its text says why."""


def parse_snippet(text: str) -> Element:
    """The root of XML that a user wrote.

    Raises:
        SnippetError: it is not XML, or has a document type: entities could read files and eat memory.
    """
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise SnippetError("must not have a document type or entities")
    try:
        return ElementTree.fromstring(text)  # noqa: S314  entities are refused above
    except ElementTree.ParseError as error:
        raise SnippetError(f"is not well-formed XML: {error}") from error


def check_snippet(text: str) -> None:
    """Raise SnippetError for a piece that cannot be merged."""
    for _path, piece in _pieces(parse_snippet(text)):
        if piece.tag in _OURS:
            raise SnippetError(f"<{piece.tag}> is what the collection knows the instance by; it cannot be set this way")


def merge_snippet(domain: Element, text: str) -> None:
    """Merge a piece into a <domain>."""
    for path, piece in _pieces(parse_snippet(text)):
        holder = domain
        if path == "devices":
            found = domain.find("devices")
            holder = ElementTree.SubElement(domain, "devices") if found is None else found
        _merge_child(holder, piece, in_devices=path == "devices")


def has_snippet(domain: Element, text: str) -> bool:
    """Whether merging the piece would change nothing."""
    merged = copy.deepcopy(domain)
    merge_snippet(merged, text)
    return _same(domain, merged)


def _pieces(piece: Element) -> list[tuple[str, Element]]:
    if piece.tag == "domain":
        return [found for child in piece for found in _pieces(child)]
    if piece.tag == "devices":
        return [("devices", child) for child in piece]
    return [("devices" if piece.tag in _DEVICES else "", piece)]


def _merge_child(holder: Element, piece: Element, in_devices: bool) -> None:
    """Merge the piece into the fitting child of ``holder``, or add it."""
    is_repeated = piece.tag in _REPEATED_DEVICES if in_devices else piece.tag in _REPEATED_ELSEWHERE
    there = holder.findall(piece.tag)
    if is_repeated or "{" in piece.tag:
        if not any(_contains(element, piece) for element in there):
            holder.append(copy.deepcopy(piece))
    elif not there:
        holder.append(copy.deepcopy(piece))
    else:
        _merge_into(there[0], piece)


def _merge_into(element: Element, piece: Element) -> None:
    element.attrib.update(piece.attrib)
    if (piece.text or "").strip():
        element.text = piece.text
    for child in piece:
        _merge_child(element, child, in_devices=False)


def _contains(element: Element, piece: Element) -> bool:
    """Whether everything that the piece says is so in the element."""
    if element.tag != piece.tag or any(element.get(key) != value for key, value in piece.attrib.items()):
        return False
    text = (piece.text or "").strip()
    if text and text != (element.text or "").strip():
        return False
    return all(any(_contains(child, wanted) for child in element) for wanted in piece)


def _same(one: Element, other: Element) -> bool:
    return ElementTree.tostring(one) == ElementTree.tostring(other)
