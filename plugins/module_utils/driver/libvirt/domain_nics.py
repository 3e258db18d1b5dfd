# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's network interfaces."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from ...model.instance import Nic
from .element import attribute_of, find_or_make, insert_after, make, set_attribute


def nic_elements(domain: Element) -> list[Element]:
    """The network interfaces."""
    return domain.findall("devices/interface")


def read_nics(domain: Element) -> list[Nic]:
    """The NICs, in the domain's order. One on neither a network nor a bridge has only its address and model."""
    return [read_nic(element) for element in nic_elements(domain)]


def read_nic(element: Element) -> Nic:
    """One NIC. Running Xen domains show a NIC on a network as one on its bridge, with the network's name beside it."""
    network = attribute_of(element, "source", "network")
    bridge = attribute_of(element, "source", "bridge") if network is None else None
    mac = attribute_of(element, "mac", "address")
    return Nic(network, bridge, None if mac is None else mac.lower(), attribute_of(element, "model", "type"))


def build_nic(nic: Nic) -> Element:
    """An <interface> for a complete NIC."""
    element = make("interface", {"type": "bridge" if nic.network is None else "network"})
    element.append(make("mac", {"address": nic.mac}))
    element.append(make("source", {"network": nic.network, "bridge": nic.bridge}))
    if nic.model is not None:
        element.append(make("model", {"type": nic.model}))
    return element


def change_nic(element: Element, nic: Nic) -> Element:
    """A copy of an <interface> that is on the NIC's network or bridge, with its model; the rest as it was."""
    changed = copy.deepcopy(element)
    old = read_nic(element)
    if (old.network, old.bridge) != (nic.network, nic.bridge):
        changed.set("type", "bridge" if nic.network is None else "network")
        source = find_or_make(changed, "source")
        source.attrib.clear()
        set_attribute(source, "network", nic.network)
        set_attribute(source, "bridge", nic.bridge)
    if nic.model is not None and nic.model != old.model:
        find_or_make(changed, "model").set("type", nic.model)
        for driver in changed.findall("driver"):
            changed.remove(driver)  # its settings are the old model's
    return changed


def apply_nics(domain: Element, nics: Sequence[Nic]) -> None:
    """Make the NICs these; one that is there already, known by its MAC address, keeps all else that it has."""
    devices = find_or_make(domain, "devices")
    had = {read_nic(element).mac: element for element in nic_elements(domain)}
    wanted = {nic.mac for nic in nics}
    for mac, element in had.items():
        if mac not in wanted:
            devices.remove(element)
    for nic in nics:
        old = had.get(nic.mac)
        if old is None:
            insert_after(devices, build_nic(nic), "interface")
        elif read_nic(old) != nic:
            devices[list(devices).index(old)] = change_nic(old, nic)
