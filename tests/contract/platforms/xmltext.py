# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes XML documents comparable."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def canonical(xml: str) -> str:
    """The same text for documents that mean the same: attributes in order, one element a line, no blank text."""
    root = ET.fromstring(xml)
    for element in root.iter():
        element.text = (element.text or "").strip() or None
        element.tail = None
    ET.indent(root)
    return ET.canonicalize(ET.tostring(root, encoding="unicode"))
