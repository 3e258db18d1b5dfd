# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A resize that can be taken back, as Nova has it: what is remembered of it until it is confirmed or reverted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .flavor import Flavor

KEEPING = "keeping"
CHANGING = "changing"
WAITING = "waiting"
REVERTING = "reverting"
REVERTED = "reverted"
CONFIRMED = "confirmed"

OVER = frozenset({KEEPING, REVERTED, CONFIRMED})
"""Phases in which the instance is as it is to be, and what is kept of it is only to be deleted."""

SIZES = ("memory_mb", "max_memory_mb", "vcpus", "max_vcpus")


@dataclass(frozen=True)
class ResizeRecord:
    """What a resize can be taken back to.

    Attributes:
        started_s: When it was done, in seconds since 1970.
        memory_mb, max_memory_mb, vcpus, max_vcpus: As they were.
        flavor: As it was.
        sizes: Of disks that grow: device, and how many bytes it had.
        kept: Of the same disks: device, and what the driver calls the state of it that is kept.
        running: It is to run after a revert.
        confirm_window_s: How long after ``started_s`` the next run confirms it by itself; None: never.
        phase: ``keeping``: nothing is changed yet; ``changing``: everything is kept; ``waiting`` for somebody to
            confirm or revert it; ``reverting``; ``reverted``; ``confirmed``. In all but ``waiting`` it was cut short.
    """

    started_s: float
    memory_mb: int
    max_memory_mb: int
    vcpus: int
    max_vcpus: int
    flavor: Flavor | None = None
    sizes: tuple[tuple[str, int], ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    running: bool = False
    confirm_window_s: float | None = None
    phase: str = WAITING

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to decide any more, and only something to clear away."""
        return self.phase in OVER

    def is_overdue(self, now_s: float) -> bool:
        """Whether nobody has answered in time."""
        return self.confirm_window_s is not None and now_s - self.started_s > self.confirm_window_s

    def as_dict(self) -> dict[str, Any]:
        """Plain data for results and records, without what is not known."""
        values = asdict(self)
        values["flavor"] = None if self.flavor is None else self.flavor.as_dict()
        values["sizes"], values["kept"] = dict(self.sizes), dict(self.kept)
        return {name: value for name, value in values.items() if value not in (None, {})}


def read_resize(values: Mapping[str, Any]) -> ResizeRecord:
    """The record that ``as_dict`` tells of.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    flavor = values.get("flavor")
    window = values.get("confirm_window_s")
    return ResizeRecord(
        started_s=float(values["started_s"]),
        memory_mb=int(values["memory_mb"]),
        max_memory_mb=int(values["max_memory_mb"]),
        vcpus=int(values["vcpus"]),
        max_vcpus=int(values["max_vcpus"]),
        flavor=None if flavor is None else Flavor(**flavor),
        sizes=tuple(sorted((str(device), int(size)) for device, size in dict(values.get("sizes", {})).items())),
        kept=tuple(sorted((str(device), str(name)) for device, name in dict(values.get("kept", {})).items())),
        running=bool(values.get("running", False)),
        confirm_window_s=None if window is None else float(window),
        phase=str(values.get("phase", WAITING)),
    )
