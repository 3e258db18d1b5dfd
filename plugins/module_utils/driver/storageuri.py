# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which storage driver an address stands for."""

from __future__ import annotations

from .storage import StorageDriver
from .uri import ConnectionOptions, check_uri


def get_storage_driver(options: ConnectionOptions) -> StorageDriver:
    """The driver for ``options.uri`` with all that concerns storage, not yet opened.

    Raises:
        InvalidUri, Unsupported: as ``get_connection``.
    """
    kind = check_uri(options)
    if kind == "fake":
        from .fake.storagedriver import FakeStorageDriver

        return FakeStorageDriver(options)
    if kind == "xenapi":
        from .xenapi.storagedriver import XenApiStorageDriver

        return XenApiStorageDriver(options)
    from .libvirt.storagedriver import LibvirtStorageDriver

    return LibvirtStorageDriver(options)
