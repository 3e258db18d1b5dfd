# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver with all that concerns migration."""

from __future__ import annotations

from ..migration import MigrationDriver
from .filters import FiltersMixin
from .migrationend import MigrationEndMixin
from .securitygroups import SecurityGroupsMixin


class XenApiMigrationDriver(SecurityGroupsMixin, FiltersMixin, MigrationEndMixin, MigrationDriver):
    """``xenapi:`` URIs, with migration."""
