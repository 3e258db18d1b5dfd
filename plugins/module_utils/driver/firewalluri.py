# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which firewall driver an address stands for."""

from __future__ import annotations

from .firewall import FirewallDriver
from .uri import ConnectionOptions, check_uri


def get_firewall_driver(options: ConnectionOptions) -> FirewallDriver:
    """The driver for ``options.uri`` with all that concerns security groups, not yet opened.

    Raises:
        InvalidUri, Unsupported: as ``get_connection``.
    """
    kind = check_uri(options)
    if kind == "fake":
        from .fake.firewalldriver import FakeFirewallDriver

        return FakeFirewallDriver(options)
    if kind == "xenapi":
        from .xenapi.firewalldriver import XenApiFirewallDriver

        return XenApiFirewallDriver(options)
    from .libvirt.firewalldriver import LibvirtFirewallDriver

    return LibvirtFirewallDriver(options)
