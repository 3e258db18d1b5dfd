# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ties a domain's network interfaces to their filters.

With nwfilter each interface refers to a filter of its own, which libvirt puts in place before the guest starts. The
other engines know an interface by the host's name for it, which therefore has to be the same at each start.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from xml.etree.ElementTree import Element, tostring

from .domain_nics import nic_elements
from .element import attribute_of, find_or_make, make
from .filterrecord import FilterRecord

NWFILTER = "nwfilter"
PACKET_ENGINES = ("nftables", "iptables")
"""Those that work on the host itself, with its own tools."""
ENGINES = (NWFILTER, *PACKET_ENGINES)

_PREFIX = "anyvirt-nic-"
_OUR_DEVICE = re.compile(r"av[0-9a-f]{12}$")
_FILTERABLE = ("network", "bridge")


def filter_name(mac: str) -> str:
    """The nwfilter of a network interface."""
    return _PREFIX + mac.lower().replace(":", "")


def filter_reference(mac: str) -> Element:
    """What an interface refers to its filter with. Where the guest's address is not declared, libvirt is to believe the
    answers of DHCP servers only."""
    reference = make("filterref", {"filter": filter_name(mac)})
    reference.append(make("parameter", {"name": "CTRL_IP_LEARNING", "value": "dhcp"}))
    return reference


def filter_binding(instance: str, uuid: str, mac: str, device: str) -> str:
    """The document with which libvirt is told to put an interface's filter in place, although no guest asks for it."""
    root, owner = make("filterbinding"), make("owner")
    owner.extend([make("name", text=instance), make("uuid", text=uuid)])
    root.extend([owner, make("portdev", {"name": device}), make("mac", {"address": mac}), filter_reference(mac)])
    return tostring(root, encoding="unicode")


def device_name(mac: str) -> str:
    """The host's name for a network interface that has to have the same one at each start."""
    return "av" + mac.lower().replace(":", "")


def mac_of(interface: Element) -> str | None:
    """Its MAC address, in lower case."""
    mac = attribute_of(interface, "mac", "address")
    return None if mac is None else mac.lower()


def devices_of(domain: Element) -> dict[str, str]:
    """The host's names for a domain's interfaces, by their MAC addresses, as far as the domain tells."""
    found = {}
    for interface in nic_elements(domain):
        mac, device = mac_of(interface), attribute_of(interface, "target", "dev")
        if mac is not None and device is not None:
            found[mac] = device
    return found


def filters_of(domain: Element) -> dict[str, str]:
    """The nwfilters that a domain's interfaces refer to, by their MAC addresses."""
    found = {}
    for interface in nic_elements(domain):
        mac, name = mac_of(interface), attribute_of(interface, "filterref", "filter")
        if mac is not None and name is not None:
            found[mac] = name
    return found


def wire(domain: Element, record: FilterRecord, kind: str) -> None:
    """Tie a domain's interfaces to the filters that its record asks for, and untie them from others of ours.

    Args:
        kind: libvirt's driver; that of containers does not name interfaces before it asks for their filters.
    """
    engine = record.engine
    needs_name = engine in PACKET_ENGINES or (engine == NWFILTER and kind == "lxc")
    for interface in nic_elements(domain):
        wire_interface(interface, engine == NWFILTER)
        mac = mac_of(interface)
        if mac is not None:
            _name_device(interface, device_name(mac), needs_name)


def wire_interface(interface: Element, filtered: bool) -> None:
    """Let it refer to the nwfilter that is its own, or to none of ours."""
    mac = mac_of(interface)
    present = interface.find("filterref")
    is_ours = present is not None and present.get("filter", "").startswith(_PREFIX)
    if present is not None and is_ours and not (filtered and mac and present.get("filter") == filter_name(mac)):
        interface.remove(present)
        present = None
    if filtered and mac is not None and present is None:
        interface.append(filter_reference(mac))


def _name_device(interface: Element, device: str, wanted: bool) -> None:
    """Give it the name, unless somebody has given it one; or take the name away."""
    target = interface.find("target")
    if wanted:
        target = find_or_make(interface, "target")
        if not _is_given(target.get("dev")):
            target.set("dev", device)
    elif target is not None and target.get("dev") == device:
        del target.attrib["dev"]
        if not target.attrib and len(target) == 0:
            interface.remove(target)


def _is_given(device: str | None) -> bool:
    """Whether somebody has chosen a name for good: neither a pattern, of which each start makes another name, nor ours
    of another interface, as clones have it."""
    return device is not None and "%" not in device and _OUR_DEVICE.match(device) is None


def network_of(interface: Element) -> str | None:
    """The libvirt network that it is on."""
    return attribute_of(interface, "source", "network") if interface.get("type") == "network" else None


def has_linux_bridge(network: Element) -> bool:
    """Whether a network's guests are on a bridge of the kernel: others give them a device of the host, or a switch that
    knows no filters."""
    return network.find("bridge") is not None and network.find(".//virtualport") is None


def filtering_problems(domain: Element, engine: str, unbridged: Collection[str] = ()) -> list[tuple[int, str]]:
    """Why a domain's interfaces cannot be filtered: the number of each such one, and what is wrong with it.

    Args:
        unbridged: Networks that are not of the kernel's bridges.
    """
    found = [
        (number, _filtering_problem(interface, engine, unbridged))
        for number, interface in enumerate(nic_elements(domain))
    ]
    return [(number, problem) for number, problem in found if problem is not None]


def _filtering_problem(interface: Element, engine: str, unbridged: Collection[str]) -> str | None:
    kind, foreign = interface.get("type", ""), attribute_of(interface, "filterref", "filter")
    name = network_of(interface)
    if kind not in _FILTERABLE or name in unbridged or interface.find("virtualport") is not None:
        what = f"on the network {name}" if name in unbridged else f"of type {kind}"
        if interface.find("virtualport") is not None:
            what = "with a <virtualport>"
        return (
            f"a network interface {what} passes the host's bridges by, so nothing can filter it; put it on a network "
            "with a bridge of the kernel, or on such a bridge, or say firewall: none"
        )
    if mac_of(interface) is None:
        return "a network interface that is filtered needs a MAC address: give it a <mac>"
    if engine == NWFILTER and foreign is not None and not foreign.startswith(_PREFIX):
        return (
            f"somebody else has given it the nwfilter {foreign!r}, and it can have one only; take its <filterref> "
            "away, or choose another firewall"
        )
    return None
