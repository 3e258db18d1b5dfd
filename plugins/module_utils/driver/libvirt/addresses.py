# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of instances."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from ...model.instance import Address
from .connection import LibvirtBase
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt


class AddressesMixin(LibvirtBase):
    """Finding addresses: in the DHCP leases of libvirt's networks, and by asking guests."""

    def get_addresses(self, names: Collection[str], ask_guest: bool = False) -> dict[str, list[Address]]:
        """As the contract says. libvirt tells MAC addresses only in the configuration: one call for each of ``names``,
        besides one for all instances and one for each network."""
        wanted = frozenset(names)
        if not wanted:
            return {}
        with self.guard("list the instances"):
            domains = {domain.name(): domain for domain in self.conn.listAllDomains(0) if domain.name() in wanted}
        leases = self._leases()
        found: dict[str, list[Address]] = {}
        for name, domain in domains.items():
            macs = self._macs(name, domain)
            addresses = [address for mac in macs for address in leases.get(mac, ())]
            if ask_guest and self.kind == "qemu":
                known = {address.address for address in addresses}
                addresses += [
                    address
                    for address in self._told_by_guest(domain)
                    if address.mac in macs and address.address not in known
                ]
            found[name] = addresses
        return found

    def _leases(self) -> dict[str, list[Address]]:
        leases: dict[str, list[Address]] = {}
        with self.guard("read the networks' leases"):
            for network in self.conn.listAllNetworks(self.libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
                for lease in network.DHCPLeases():
                    mac = lease["mac"].lower()
                    leases.setdefault(mac, []).append(Address(mac, lease["ipaddr"], lease["prefix"], "lease"))
        return leases

    def _macs(self, name: str, domain: libvirt.virDomain) -> list[str]:
        with self.guard(f"read the configuration of instance {name!r}", name):
            root = from_libvirt(domain.XMLDesc(0))
        return [mac.get("address", "").lower() for mac in root.findall("devices/interface/mac")]

    def _told_by_guest(self, domain: libvirt.virDomain) -> Iterator[Address]:
        try:
            interfaces: dict[str, Any] = domain.interfaceAddresses(
                self.libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0
            )
        except self.libvirt.libvirtError:
            return  # it is off, has no agent, or the agent does not answer yet
        for interface in interfaces.values():
            for address in interface["addrs"] or ():
                yield Address((interface["hwaddr"] or "").lower(), address["addr"], address["prefix"], "agent")
