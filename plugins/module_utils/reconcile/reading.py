# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading instances, of which some may not be told apart."""

from __future__ import annotations

from collections.abc import Sequence

from ..driver.base import ComputeDriver
from ..errors import AnyvirtError, InstanceAmbiguous
from ..model.instance import Instance


def read_instances(driver: ComputeDriver, names: Sequence[str]) -> tuple[dict[str, Instance], dict[str, AnyvirtError]]:
    """The instances that exist, and why some cannot be told. One read for all, unless a name is ambiguous."""
    try:
        return driver.get_instances(names), {}
    except InstanceAmbiguous as error:
        if len(names) == 1:
            return {}, {names[0]: error}
    current: dict[str, Instance] = {}
    failed: dict[str, AnyvirtError] = {}
    for name in names:
        try:
            current.update(driver.get_instances([name]))
        except InstanceAmbiguous as error:
            failed[name] = error
    return current, failed
