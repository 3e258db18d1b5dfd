# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver with all that concerns storage."""

from __future__ import annotations

from ..storage import StorageDriver
from .detach import DetachMixin
from .disklimits import DiskLimitsMixin
from .driver import LibvirtDriver
from .imagecache import ImageCacheMixin
from .media import MediaMixin
from .pools import PoolsMixin
from .volumes import VolumesMixin


class LibvirtStorageDriver(
    ImageCacheMixin,
    VolumesMixin,
    PoolsMixin,
    DetachMixin,
    DiskLimitsMixin,
    MediaMixin,
    LibvirtDriver,
    StorageDriver,
):
    """``qemu:``, ``lxc:`` and ``xen:`` URIs, with storage."""
