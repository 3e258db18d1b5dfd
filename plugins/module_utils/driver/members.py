# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses guests may use, and which addresses the members of security groups have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ..model.instance import Address, Instance, Nic
from ..model.secgroup import NO_FIREWALL, Port

LEASE = "lease"
"""The only source of addresses that is trusted: the host's own DHCP server. Guests can say anything."""


def is_filtered(instance: Instance) -> bool:
    """Whether a firewall looks after the instance."""
    return instance.security_groups is not None and instance.firewall != NO_FIREWALL


def ports_of(
    instance: Instance, addresses: Iterable[Address] = (), devices: Mapping[str, str] | None = None
) -> list[Port]:
    """A port for each NIC that has a MAC address, whether filtered or not.

    Args:
        addresses: What is known of the instance's addresses, from any source.
        devices: The host's name for each NIC, by its MAC address.
    """
    known = list(addresses)
    ports = []
    for nic in instance.nics or ():
        if nic.mac is None:
            continue
        mac = nic.mac.lower()
        ports.append(
            Port(
                instance=instance.name,
                mac=mac,
                device=(devices or {}).get(mac),
                addresses=_usable(nic, mac, known),
                learns=not nic.addresses,
                groups=tuple(sorted(instance.security_groups or ())),
                project=instance.project,
                allow_project=bool(instance.allow_project_net_traffic),
            )
        )
    return ports


def members_of(ports: Iterable[Port]) -> dict[str, frozenset[str]]:
    """The addresses of each group's members, the projects' groups among them. ``ports`` are those of active instances
    that are in groups. A declared network is nobody's address: only single ones count."""
    members: dict[str, set[str]] = defaultdict(set)
    for port in ports:
        single = {address for address in port.addresses if address.endswith("/128" if ":" in address else "/32")}
        for group in port.member_of:
            members[group] |= single
    return {group: frozenset(addresses) for group, addresses in members.items()}


def _usable(nic: Nic, mac: str, known: Iterable[Address]) -> tuple[str, ...]:
    if nic.addresses:
        return tuple(sorted(_as_network(address) for address in nic.addresses))
    leased = {item.address for item in known if item.source == LEASE and item.mac.lower() == mac}
    return tuple(sorted(_as_network(address) for address in leased))


def _as_network(address: str) -> str:
    if "/" in address:
        return address
    return f"{address}/{128 if ':' in address else 32}"
