# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver that moves instances an address stands for."""

from __future__ import annotations

from .migration import MigrationDriver
from .uri import ConnectionOptions, check_uri


def get_migration_driver(options: ConnectionOptions) -> MigrationDriver:
    """The driver for ``options.uri`` with all that concerns migration, not yet opened.

    Raises:
        InvalidUri, Unsupported: as ``get_connection``.
    """
    kind = check_uri(options)
    if kind == "fake":
        from .fake.migrationdriver import FakeMigrationDriver

        return FakeMigrationDriver(options)
    if kind == "xenapi":
        from .xenapi.migrationdriver import XenApiMigrationDriver

        return XenApiMigrationDriver(options)
    from .libvirt.migrationdriver import LibvirtMigrationDriver

    return LibvirtMigrationDriver(options)
