# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes XML documents comparable."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def canonical(xml: str) -> str:
    """The same text for documents that mean the same: an element a line, attributes in order, prefixes resolved."""
    return "\n".join(_lines(ET.fromstring(xml), ""))


def _lines(element: ET.Element, indent: str) -> list[str]:
    attributes = "".join(f' {name}="{value}"' for name, value in sorted(element.attrib.items()))
    text = (element.text or "").strip()
    start, end = f"{indent}<{element.tag}{attributes}>{text}", f"</{element.tag}>"
    if len(element) == 0:
        return [start + end]
    return [start, *(line for child in element for line in _lines(child, indent + "  ")), indent + end]
