# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How tasks about storage reach the hypervisor."""

from __future__ import annotations

from ..driver.storage import StorageDriver
from ..driver.storageuri import get_storage_driver
from .task import Task

__all__ = ["get_storage_driver", "storage_driver"]


def storage_driver(task: Task) -> StorageDriver:
    """The driver of a task whose module runs with ``get_storage_driver``, not yet opened."""
    driver = task.connect()
    if not isinstance(driver, StorageDriver):
        raise TypeError(f"the {driver.name} driver of this task knows no storage")
    return driver
