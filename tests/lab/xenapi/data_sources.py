# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data sources: what is measured, as the API lists it and answers for one of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lab.xenapi.failures import Failure

_UNITS = (
    (re.compile(r"cpu|loadavg"), "(fraction)"),
    (re.compile(r"memory_(internal|total|free)"), "KiB"),
    (re.compile(r"memory"), "B"),
    (re.compile(r".*(iops|errors)"), "/s"),
    (re.compile(r""), "B/s"),
)


def as_records(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """The records of class data_source."""
    return [
        {
            "name_label": name,
            "name_description": name.replace("_", " "),
            "enabled": True,
            "standard": True,
            "units": _units(name),
            "min": 0.0,
            "max": float("inf"),
            "value": float(value),
        }
        for name, value in values.items()
    ]


def value_of(values: Mapping[str, float], name: str) -> float:
    """The value of one source; INVALID_VALUE where there is none of that name."""
    if name not in values:
        raise Failure("INVALID_VALUE", "data_source", name)
    return float(values[name])


def _units(name: str) -> str:
    return next(units for pattern, units in _UNITS if pattern.match(name))
