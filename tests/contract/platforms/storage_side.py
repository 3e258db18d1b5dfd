# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A platform's storage as others than the driver see it and touch it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB


class StorageSide(ABC):
    """Behind the driver's back."""

    room_bytes: ClassVar[int] = 16 * MIB
    """About how much fits into the small pool."""
    disc_pool: ClassVar[str | None] = None
    """Where discs for CD drives have to be, when not in any pool."""
    image_format: ClassVar[str] = "qcow2"
    """The format of images that volumes can be children of."""

    @abstractmethod
    def new_pool(self, name: str) -> Pool:
        """A pool that can be made here; where it would be is not there yet."""

    @abstractmethod
    def make_small_pool(self) -> str:
        """An active pool of a size of ``room_bytes``; its name."""

    def make_discs(self) -> list[VolumeKey]:
        """Two discs in ``disc_pool``, where the driver cannot make any there."""
        raise NotImplementedError("discs are volumes as others are")

    @abstractmethod
    def fill(self, key: VolumeKey, byte: int, offset: int, length: int) -> None:
        """Write as a guest does that has the volume as its disk."""

    @abstractmethod
    def data(self, key: VolumeKey) -> bytes:
        """All that such a guest can read."""
