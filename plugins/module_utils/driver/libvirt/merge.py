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

from .element import find_or_make
from .units import KIB_OF

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


_OURS = {
    "name": "the instance is known by it",
    "uuid": "the instance is known by it",
    "metadata": "the collection keeps its own record there",
    "memory": "give memory_mb and max_memory_mb",
    "currentMemory": "give memory_mb",
}
"""Tags that are not for snippets, with the reason."""


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
    for path, piece in _pieces(parse_snippet(text)):
        if not path and piece.tag in _OURS:
            raise SnippetError(f"<{piece.tag}> cannot be set this way: {_OURS[piece.tag]}")


def merge_snippet(domain: Element, text: str) -> None:
    """Merge a piece into a <domain>."""
    for path, piece in _pieces(parse_snippet(text)):
        _merge_child(find_or_make(domain, path) if path else domain, piece, in_devices=bool(path))


def has_snippet(domain: Element, text: str) -> bool:
    """Whether merging the piece would change nothing."""
    for path, piece in _pieces(parse_snippet(text)):
        there = domain.findall(f"{path}/{piece.tag}" if path else piece.tag)
        if not any(_contains(element, piece) for element in (there if _is_repeated(piece, bool(path)) else there[:1])):
            return False
    return True


def _pieces(piece: Element) -> list[tuple[str, Element]]:
    if piece.tag == "domain":
        return [found for child in piece for found in _pieces(child)]
    if piece.tag == "devices":
        return [("devices", child) for child in piece]
    is_device = piece.tag in _DEVICES or (piece.tag == "memory" and "model" in piece.attrib)
    return [("devices" if is_device else "", piece)]


def _merge_child(holder: Element, piece: Element, in_devices: bool) -> None:
    """Merge the piece into the fitting child of ``holder``, or add it."""
    there = holder.findall(piece.tag)
    if _is_repeated(piece, in_devices):
        if not any(_contains(element, piece) for element in there):
            holder.append(copy.deepcopy(piece))
    elif not there:
        holder.append(copy.deepcopy(piece))
    elif not _contains(there[0], piece):
        _merge_into(there[0], piece)


def _is_repeated(piece: Element, in_devices: bool) -> bool:
    if in_devices:
        return piece.tag in _REPEATED_DEVICES
    return piece.tag in _REPEATED_ELSEWHERE or piece.tag.endswith(("}arg", "}env", "}capability", "}device"))


def _merge_into(element: Element, piece: Element) -> None:
    element.attrib.update(piece.attrib)
    if (piece.text or "").strip():
        element.text = piece.text
    for child in piece:
        _merge_child(element, child, in_devices=False)


def _contains(element: Element, piece: Element) -> bool:
    """Whether everything that the piece says is so in the element, be it in other words."""
    if element.tag != piece.tag:
        return False
    text, wanted = (element.text or "").strip(), (piece.text or "").strip()
    if "unit" in piece.attrib and wanted.isdigit() and text.isdigit():
        if _in_bytes(element, text) != _in_bytes(piece, wanted):
            return False
        attributes = {key: value for key, value in piece.attrib.items() if key != "unit"}
    else:
        if wanted and not _means_the_same(wanted, text):
            return False
        attributes = dict(piece.attrib)
    if not all(_means_the_same(value, element.get(key)) for key, value in attributes.items()):
        return False
    return all(any(_contains(child, part) for child in element) for part in piece)


def _in_bytes(element: Element, text: str) -> float:
    return int(text) * KIB_OF.get(element.get("unit", "KiB").lower(), 1)


def _means_the_same(wanted: str, text: str | None) -> bool:
    """libvirt writes numbers of addresses as hexadecimal ones, and MAC addresses in lower case."""
    if text is None or wanted == text:
        return text is not None
    try:
        return int(wanted, 0) == int(text, 0)
    except ValueError:
        return ":" in wanted and wanted.lower() == text.lower()
