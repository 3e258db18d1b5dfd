# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses: a lease for each NIC on a network with a subnet, the same one as long as the instance exists."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from ...errors import HypervisorError
from ...model import power_state
from ...model.instance import Address
from ..members import LEASE
from . import filters
from .core import FakeCore
from .leases import leases_of
from .store import INSTANCES, Record, View, is_file_name


class AddressesMixin(FakeCore):
    """Leases, and what guest agents tell."""

    def get_addresses(self, names: Collection[str], ask_guest: bool = False) -> dict[str, list[Address]]:
        self.require("addresses")
        found: dict[str, list[Address]] = {}
        asked: list[str] = []
        with self._read("addresses") as view:
            for name in sorted(set(names)):
                record = view.get(INSTANCES, name) if is_file_name(name) else None
                if record is None:
                    continue
                record, seen = self.look_at(record)
                found[name] = leases_of(record, seen, LEASE)
                if ask_guest and seen.state in power_state.EXECUTING:
                    asked.append(name)
        for name in asked:
            try:
                with self._read("agent_addresses", name) as view:
                    found[name] += self._told_by_agent(view, name)
            except HypervisorError:
                continue  # an agent that does not answer tells nothing
        return found

    def get_group_members(self) -> dict[str, tuple[str, ...]]:
        with self._read("addresses") as view:
            members = filters.local_members(view, self.look_at)
        return {group: tuple(sorted(addresses)) for group, addresses in sorted(members.items())}

    def _told_by_agent(self, view: View, name: str) -> list[Address]:
        record = view.get(INSTANCES, name)
        if record is None or not self._faults.guest(name).agent:
            return []
        return leases_of(*self.look_at(record), "agent")

    def _leases_for(self, view: View, record: Record) -> Record:
        """The leases of an instance's NICs: those that it has, and the first free address for each new one."""
        nics = record["config"].get("nics", [])
        missing = [nic for nic in nics if nic.get("mac") not in record["leases"]]
        leases: Record = {
            mac: lease for mac, lease in record["leases"].items() if any(nic.get("mac") == mac for nic in nics)
        }
        if not missing:
            return leases
        taken = {
            lease["address"]
            for other in view.all(INSTANCES).values()
            if other["name"] != record["name"]
            for lease in other["leases"].values()
        }
        taken.update(lease["address"] for lease in leases.values())
        for nic in missing:
            lease = self._new_lease(nic, taken)
            if lease is not None:
                leases[nic["mac"]] = lease
                taken.add(lease["address"])
        return leases

    def _new_lease(self, nic: Record, taken: Collection[str]) -> Record | None:
        settings = self._settings
        network = settings.networks.get(nic.get("network", "")) or settings.bridges.get(nic.get("bridge", ""))
        if network is None or network.subnet is None or "mac" not in nic:
            return None
        import ipaddress

        subnet = ipaddress.IPv4Network(network.subnet)
        # The network's first address is the host's own, its last one is for broadcasts.
        count = subnet.num_addresses - 3
        start = int.from_bytes(hashlib.sha256(nic["mac"].encode()).digest()[:4], "big")
        for offset in range(max(0, count)):
            address = str(subnet.network_address + 2 + (start + offset) % count)
            if address not in taken:
                return {"address": address, "prefix": subnet.prefixlen}
        return None
