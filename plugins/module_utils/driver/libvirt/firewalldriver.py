# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver with all that concerns security groups."""

from __future__ import annotations

from ..firewall import FirewallDriver
from .driver import LibvirtDriver
from .filterchecks import FilterChecksMixin


class LibvirtFirewallDriver(FilterChecksMixin, LibvirtDriver, FirewallDriver):
    """``qemu:``, ``lxc:`` and ``xen:`` URIs, with security groups."""
