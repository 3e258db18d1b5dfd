# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host of the pool each VM belongs to.

A VM that is active is where its host is. One that is off is where it is to start: at the host of its affinity, or at
the only one that has its disks. While it moves it stays the source's until it is bound to the destination, or its disks
are there. One that can start anywhere belongs to no host.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...model import power_state
from .host import HostMixin
from .places import PlacesMixin
from .records import NULL, Objects, state_of
from .travels import read_travel


class HomesMixin(PlacesMixin, HostMixin):
    """Finding the hosts of VMs."""

    def instances_here(self) -> frozenset[str] | None:
        """As the contract says."""
        chosen = self.chosen_host()
        if chosen is None:
            return None
        with self.guard("see which instances the host has"):
            vms = self.find_vms()
        homes = self.homes(vms)
        return frozenset(vm["name_label"] for ref, vm in vms.items() if homes[ref] == chosen[0])

    def homes(self, vms: Objects) -> Mapping[str, str | None]:
        """The host of each VM; None where it belongs to none."""
        homes: dict[str, str | None] = {}
        hosts = self.places().hosts
        unsure = []
        for ref, vm in vms.items():
            is_active = state_of(vm) in power_state.ACTIVE
            travel = None if is_active else read_travel(vm)
            home = vm["resident_on"] if is_active else vm["affinity"]
            if travel is not None and travel.within and home in hosts and hosts[home]["uuid"] != travel.destination:
                home = next((one for one, host in hosts.items() if host["uuid"] == travel.source), NULL)
            homes[ref] = home if home in hosts else None
            if homes[ref] is None or travel is not None:
                unsure.append(ref)
        for ref, possible in self._hosts_with_disks(unsure).items():
            if homes[ref] not in possible:
                homes[ref] = next(iter(possible)) if len(possible) == 1 else None
        return homes

    def _hosts_with_disks(self, vms: list[str]) -> dict[str, set[str]]:
        """The hosts that have all disks of a VM at hand."""
        if not vms:
            return {}
        with self.guard("see which hosts have the instances' disks"):
            vbds = self.fetch_devices("VBD", vms)
            vdis = self.fetch_refs("VDI", {vbd["VDI"] for those in vbds.values() for vbd in those})
        places = self.places()
        found: dict[str, set[str]] = {}
        for ref, those in vbds.items():
            found[ref] = set(places.hosts)
            for vbd in those:
                if vbd["type"] == "Disk" and vbd["VDI"] in vdis:
                    found[ref] &= places.hosts_of(vdis[vbd["VDI"]]["SR"])
        return found
