# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that can take VMs at one end of a migration."""

from __future__ import annotations

from ...model import power_state
from ...model.instance import Instance
from ...model.units import MIB
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object, Objects


class Receivers:
    """They, with the memory that they have left.

    Attributes:
        problems: Why none of them takes any.
    """

    def __init__(self, destination: MigrationScopeMixin) -> None:
        own = destination.own_host()
        with destination.guard("read the hosts"):
            hosts = destination.fetch("host")
            metrics = destination.fetch("host_metrics")
            self._pifs = destination.fetch("PIF")
        mine: Objects = {ref: host for ref, host in hosts.items() if own in (None, ref)}
        ready = {ref: host for ref, host in mine.items() if _is_ready(host, metrics)}
        self._free = {ref: int(metrics[host["metrics"]]["memory_free"]) for ref, host in ready.items()}
        self._first = next(iter(mine))
        names = ", ".join(sorted(host["name_label"] for host in mine.values()))
        self.problems = (
            [] if ready else [f"no host of the destination takes instances ({names}: disabled or not there)"]
        )

    def take(self, instance: Instance) -> str:
        """The host for one more: that with most memory left."""
        if not self._free:
            return self._first
        host = max(self._free, key=lambda ref: (self._free[ref], ref))
        if instance.power_state in power_state.ACTIVE:
            self._free[host] -= (instance.memory_mb or 0) * MIB
        return host

    def network(self, host: str) -> str:
        """The network on which a host receives VMs: that of its management interface."""
        for pif in self._pifs.values():
            if pif["host"] == host and pif["management"]:
                return str(pif["network"])
        return NULL


def _is_ready(host: Object, metrics: Objects) -> bool:
    return bool(host["enabled"]) and host["metrics"] in metrics and bool(metrics[host["metrics"]]["live"])
