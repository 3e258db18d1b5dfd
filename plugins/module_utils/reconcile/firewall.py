# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tasks about security groups reach the hypervisor."""

from __future__ import annotations

from ..driver.firewall import FirewallDriver
from ..driver.firewalluri import get_firewall_driver
from .task import Task

__all__ = ["firewall_driver", "get_firewall_driver"]


def firewall_driver(task: Task) -> FirewallDriver:
    """The driver of a task whose module runs with ``get_firewall_driver``, not yet opened."""
    driver = task.connect()
    if not isinstance(driver, FirewallDriver):
        raise TypeError(f"the {driver.name} driver of this task knows no security groups")
    return driver
