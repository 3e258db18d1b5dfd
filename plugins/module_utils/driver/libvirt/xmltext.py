# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XML that comes from libvirt."""

from __future__ import annotations

from xml.etree import ElementTree


def from_libvirt(text: str) -> ElementTree.Element:
    """The root of a document that libvirt wrote: it never has a document type, hence no entities to beware of."""
    return ElementTree.fromstring(text)  # noqa: S314
