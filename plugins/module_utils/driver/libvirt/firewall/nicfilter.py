# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of one network interface: it names all that filters it."""

from __future__ import annotations

import ipaddress
from xml.etree.ElementTree import Element

from ....model.secgroup import Port, project_group
from ..domain_filters import filter_name
from .basefilters import ADDRESS, BASE, EVERYTHING_OUT, NETWORK, NETWORK_V6
from .filterxml import add_reference, new_filter
from .notes import first, pack, read_notes, write_notes
from .store import PROVIDER, group_filter_name, project_filter_name

_NIC = filter_name("")


def is_nic_filter(name: str) -> bool:
    """Whether a definition is one of an interface."""
    return name.startswith(_NIC)


def mac_of(name: str) -> str:
    """The interface's address, of the name of its definition."""
    digits = name[len(_NIC) :]
    return ":".join(digits[start : start + 2] for start in range(0, len(digits), 2))


def nic_filter(port: Port, before: Element | None = None, is_bound: bool = False) -> Element:
    """A port's definition.

    A port that learns goes on learning. One that is new starts with the address that it is known to have, since libvirt
    would let nothing through until it sees it leased again. One that libvirt filters already (``is_bound``) by
    declared addresses begins to learn at its next start: libvirt would take its filters away and give it none.

    Args:
        before: The definition that it has.
    """
    root = new_filter(filter_name(port.mac))
    add_reference(root, BASE)
    if before is None or not learns_addresses(before):
        learns = port.learns and not is_bound and not any("." in address for address in port.addresses)
    else:
        learns = port.learns
    _add_addresses(root, port, learns)
    add_reference(root, PROVIDER)
    if port.allow_project and port.project is not None:
        add_reference(root, project_filter_name(project_group(port.project)))
    for group in port.groups:
        add_reference(root, group_filter_name(group))
    if not port.groups:
        add_reference(root, EVERYTHING_OUT)
    write_notes(root, {"INSTANCE": [pack(port.instance)]})
    return root


def learns_addresses(root: Element) -> bool:
    """Whether a definition leaves it to libvirt to find out the address."""
    return root.find(f"filterref[@filter='{ADDRESS}']") is not None


def instance_of(root: Element) -> str | None:
    """Whose definition it is."""
    return first(read_notes(root), "INSTANCE") or None


def _add_addresses(root: Element, port: Port, learns: bool) -> None:
    networks = [ipaddress.ip_network(address, strict=False) for address in port.addresses]
    if learns:
        add_reference(root, ADDRESS)
        networks = [network for network in networks if network.version == 6]
    for name, version, suffix in ((NETWORK, 4, ""), (NETWORK_V6, 6, "6")):
        found = [network for network in networks if network.version == version]
        if found:
            values = {
                f"NETWORK{suffix}": [str(network.network_address) for network in found],
                f"PREFIX{suffix}": [str(network.prefixlen) for network in found],
            }
            add_reference(root, name, values)
