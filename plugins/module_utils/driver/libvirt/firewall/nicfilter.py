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
from .filterxml import add_reference, new_filter, parameters
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


def nic_filter(port: Port, before: Element | None = None) -> Element:
    """A port's definition.

    Args:
        before: The definition that it has. A port that learns goes on learning; one that is new starts with the address
            that it is known to have, since libvirt would let nothing through until it sees it leased again.
    """
    root = new_filter(filter_name(port.mac))
    add_reference(root, BASE)
    _add_addresses(root, port, goes_on=before is not None and learns_addresses(before))
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
    reference = root.find(f"filterref[@filter='{ADDRESS}']")
    return reference is not None and "IP" not in parameters(reference)


def instance_of(root: Element) -> str | None:
    """Whose definition it is."""
    return first(read_notes(root), "INSTANCE") or None


def _add_addresses(root: Element, port: Port, goes_on: bool) -> None:
    networks = [ipaddress.ip_network(address, strict=False) for address in port.addresses]
    single = [str(net.network_address) for net in networks if net.version == 4 and net.prefixlen == 32]
    wide = [net for net in networks if net.version == 4 and net.prefixlen < 32]
    v6 = [net for net in networks if net.version == 6]
    if port.learns and (goes_on or not single):
        add_reference(root, ADDRESS)
    elif single:
        add_reference(root, ADDRESS, {"IP": single})
    for name, found, suffix in ((NETWORK, wide, ""), (NETWORK_V6, v6, "6")):
        if found:
            values = {
                f"NETWORK{suffix}": [str(net.network_address) for net in found],
                f"PREFIX{suffix}": [str(net.prefixlen) for net in found],
            }
            add_reference(root, name, values)
