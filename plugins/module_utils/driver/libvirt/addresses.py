# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of instances."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ...errors import HypervisorUnavailable
from ...model.instance import Address
from .domain_nics import read_nics
from .errors import NO_DOMAIN, NO_NETWORK, OPERATION_INVALID, code_of, translate
from .instances import InstancesMixin
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt


class AddressesMixin(InstancesMixin):
    """Finding addresses: in the DHCP leases of libvirt's networks, and by asking guests."""

    def get_addresses(self, names: Collection[str], ask_guest: bool = False) -> dict[str, list[Address]]:
        """As the contract says. libvirt tells MAC addresses only in the configuration: one call more for each of
        ``names`` that was not read yet.

        A lease lasts longer than a run of the instance. So those of instances that are off are not told, and right
        after a start it is the address that the guest is going to get again: ``expires_s`` tells when it has got it.
        """
        wanted = frozenset(names)
        if not wanted:
            return {}
        with self.guard("list the instances"):
            active = self.conn.listAllDomains(self.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        domains = {domain.name(): domain for domain in active if domain.name() in wanted}
        if not domains:
            return {}
        leases = self._leases()
        found: dict[str, list[Address]] = {}
        for name, domain in domains.items():
            macs = self._macs(name, domain)
            addresses = [address for mac in macs for address in leases.get(mac, ())]
            if ask_guest and self.kind == "qemu":
                known = {address.address for address in addresses}
                addresses += [
                    address
                    for address in self._told_by_guest(name, domain)
                    if address.mac in macs and address.address not in known
                ]
            found[name] = addresses
        return found

    def _leases(self) -> dict[str, list[Address]]:
        leases: dict[str, list[Address]] = {}
        with self.guard("read the networks' leases"):
            for network in self.conn.listAllNetworks(self.libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE):
                for lease in self._leases_of(network):
                    mac = (lease["mac"] or "").lower()
                    address = Address(mac, lease["ipaddr"], lease["prefix"], "lease", lease["expirytime"] or 0)
                    leases.setdefault(mac, []).append(address)
        return leases

    def _leases_of(self, network: libvirt.virNetwork) -> list[dict[str, Any]]:
        try:
            return list(network.DHCPLeases())
        except self.libvirt.libvirtError as error:
            if code_of(error) in (NO_NETWORK, OPERATION_INVALID):
                return []  # it went meanwhile
            raise

    def _macs(self, name: str, domain: libvirt.virDomain) -> list[str]:
        document = self.documents.get(name)
        if document is not None:
            return [nic.mac for nic in read_nics(document.root) if nic.mac]
        try:
            return [nic.mac for nic in read_nics(from_libvirt(domain.XMLDesc(0))) if nic.mac]
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_DOMAIN:
                return []  # it went meanwhile
            with self.guard(f"read the configuration of instance {name!r}", name):
                raise

    def _told_by_guest(self, name: str, domain: libvirt.virDomain) -> list[Address]:
        try:
            interfaces: dict[str, Any] = domain.interfaceAddresses(
                self.libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, 0
            )
        except self.libvirt.libvirtError as error:
            failure = translate(error, f"ask the guest agent of instance {name!r}", name)
            if isinstance(failure, HypervisorUnavailable):
                raise failure from error
            return []  # it went off, has no agent, or the agent does not answer yet
        return [
            Address((interface["hwaddr"] or "").lower(), address["addr"], address["prefix"], "agent")
            for interface in interfaces.values()
            for address in interface["addrs"] or ()
        ]
