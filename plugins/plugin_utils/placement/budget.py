# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much may be moved that need not be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Budget:
    """Counts instances, each once, however often the plan changes its mind about it.

    Args:
        most: How many may be moved; None: any number.
        free: Those that have to move anyway.
    """

    def __init__(self, most: int | None, free: Iterable[int]) -> None:
        self._most = most
        self._counted: set[int] = set()
        self._free = frozenset(free)

    def allows(self, members: Sequence[int]) -> bool:
        """Whether these may be moved too."""
        return self._most is None or len(self._counted) + len(self._new(members)) <= self._most

    def moved(self, members: Sequence[int]) -> None:
        self._counted.update(self._new(members))

    def _new(self, members: Sequence[int]) -> list[int]:
        return [member for member in members if member not in self._counted and member not in self._free]
