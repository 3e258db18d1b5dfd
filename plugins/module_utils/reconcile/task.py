# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task as the reconcilers see it: what was asked, and how to reach the hypervisor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from ..driver.base import ComputeDriver


def _no_dest() -> ComputeDriver:
    raise TypeError("this task has no destination")


def _never() -> str | None:
    return None


class Task(NamedTuple):
    """What a module was asked to do.

    Attributes:
        params: The module's options.
        check_mode: Only tell what would be done.
        diff_mode: Add before and after to the result.
        connect: The driver for the task's ``uri``, not yet opened: use it as a context manager.
        warn: Tell the user something that is no failure.
        connect_dest: The driver for the task's ``dest``, where it has one.
        interrupted: Why nobody wants the task's work any more, in words; None while it is wanted.
    """

    params: Mapping[str, Any]
    check_mode: bool
    diff_mode: bool
    connect: Callable[[], ComputeDriver]
    warn: Callable[[str], None]
    connect_dest: Callable[[], ComputeDriver] = _no_dest
    interrupted: Callable[[], str | None] = _never
