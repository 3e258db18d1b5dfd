# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver with all that concerns security groups."""

from __future__ import annotations

from ..firewall import FirewallDriver
from .driver import FakeDriver
from .firewall import FirewallMixin


class FakeFirewallDriver(FirewallMixin, FakeDriver, FirewallDriver):
    """``fake:`` URIs, with security groups."""
