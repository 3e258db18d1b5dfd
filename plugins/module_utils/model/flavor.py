# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flavors: named sizes of instances (Nova's instance types)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Flavor(NamedTuple):
    """A named size.

    Attributes:
        name: How tasks call it.
        memory_mb: Memory of the guest, in MiB.
        vcpus: Virtual processors.
        root_gb: Size of the root disk in GiB; 0 takes the image as it is.
        swap_mb: Size of an extra blank disk for swap, in MiB; 0 for none.
        rxtx: Share of the network, for accounting; recorded with the instance, not enforced.
    """

    name: str
    memory_mb: int
    vcpus: int
    root_gb: int = 0
    swap_mb: int = 0
    rxtx: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for results."""
        return self._asdict()


_CLASSIC = (
    Flavor("m1.tiny", 512, 1, 0),
    Flavor("m1.small", 2048, 1, 20),
    Flavor("m1.medium", 4096, 2, 40),
    Flavor("m1.large", 8192, 4, 80),
    Flavor("m1.xlarge", 16384, 8, 160),
)

BUILT_IN: Mapping[str, Flavor] = {
    **{flavor.name: flavor for flavor in _CLASSIC},
    **{flavor.name[3:]: flavor for flavor in _CLASSIC},
}
"""The classic set, as ``m1.small`` and as plain ``small``."""
