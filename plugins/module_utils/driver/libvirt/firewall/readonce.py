# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declarations of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from .store import Declarations

if TYPE_CHECKING:
    import libvirt


class ReadOnceDeclarations(Declarations):
    """For somebody who only reads: what was read once is not read again."""

    def __init__(self, library: Any, conn: libvirt.virConnect) -> None:
        super().__init__(library, conn)
        self._names: list[str] | None = None
        self._roots: dict[str, Element | None] = {}

    def names(self) -> list[str]:
        if self._names is None:
            self._names = super().names()
        return self._names

    def read(self, name: str) -> Element | None:
        if name not in self._roots:
            self._roots[name] = super().read(name)
        return self._roots[name]
