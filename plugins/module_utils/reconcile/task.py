# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task as the reconcilers see it: what was asked, and how to reach the hypervisor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from ..driver.base import ComputeDriver


class Task(NamedTuple):
    """What a module was asked to do.

    Attributes:
        params: The module's options.
        check_mode: Only tell what would be done.
        diff_mode: Add before and after to the result.
        connect: The driver for the task's ``uri``, not yet opened: use it as a context manager.
        warn: Tell the user something that is no failure.
    """

    params: Mapping[str, Any]
    check_mode: bool
    diff_mode: bool
    connect: Callable[[], ComputeDriver]
    warn: Callable[[str], None]
