# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver with all that concerns migration."""

from __future__ import annotations

from ..uri import ConnectionOptions
from .filterchecks import FilterChecksMixin
from .migrationlive import LiveMigrationMixin
from .migrationstart import MigrationStartMixin
from .storagedriver import LibvirtStorageDriver

_MOST_WORKERS = 16
"""libvirt's daemons have 20 threads for calls by default, and each migration is a call that lasts until its end."""

_MOST_BY_SSH = 10
"""Each migration opens connections of its own, and sshd refuses some of those that come at once, from the eleventh on
(MaxStartups 10:30:100)."""


class LibvirtMigrationDriver(LiveMigrationMixin, MigrationStartMixin, FilterChecksMixin, LibvirtStorageDriver):
    """``qemu:``, ``lxc:`` and ``xen:`` URIs, with migration."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.most_workers = _MOST_BY_SSH if "ssh" in options.split().scheme else _MOST_WORKERS
