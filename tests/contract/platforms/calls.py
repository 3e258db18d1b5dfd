# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the hypervisor calls of an operation, and makes one of them fail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import NamedTuple


class Call(NamedTuple):
    """One call: its name in the hypervisor's own words, and whether it changes something there."""

    name: str
    writes: bool


_PASSING_POOLS = ("virStoragePoolCreateXML", "virStoragePoolRefresh", "virStoragePoolDestroy")


class Record(list[Call]):
    """The calls of an operation in their order; complete when the recording has ended."""

    @property
    def names(self) -> list[str]:
        return [call.name for call in self]

    @property
    def writes(self) -> list[str]:
        return [call.name for call in self if call.writes]

    @property
    def lasting_writes(self) -> list[str]:
        """The same without libvirt's passing pools, through which alone it shows a file that is in no pool."""
        return [name for name in self.writes if name not in _PASSING_POOLS]


class Calls(ABC):
    """Listens to what drivers ask of the hypervisor."""

    @abstractmethod
    def recording(self, fail_at: int = 0) -> AbstractContextManager[Record]:
        """The calls made in the body; the ``fail_at``-th of them (from 1) fails instead of being made, once."""
