# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a domain's record that says how its traffic is filtered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import Instance
from ...model.secgroup import NO_FIREWALL

FILTER_OPTIONS = ("firewall", "security_groups", "project", "allow_project_net_traffic")
"""Fields of Instance that the record keeps."""


@dataclass
class FilterRecord:
    """How an instance's traffic is filtered.

    Attributes:
        firewall, security_groups, project, allow_project_net_traffic: As ``Instance`` has them.
        addresses: Those that are declared, by the MAC address of the NIC.
        carried: Those that a guest has brought along from another host, whose DHCP server leased them to it; until it
            starts again. None but that host knows of them.
    """

    firewall: str | None = None
    security_groups: list[str] | None = None
    project: str | None = None
    allow_project_net_traffic: bool | None = None
    addresses: dict[str, list[str]] = field(default_factory=dict)
    carried: dict[str, list[str]] = field(default_factory=dict)

    @property
    def engine(self) -> str | None:
        """The engine that looks after the instance; None where none does."""
        if self.security_groups is None or self.firewall == NO_FIREWALL:
            return None
        return self.firewall

    @property
    def is_known_to_groups(self) -> bool:
        """Whether groups have the instance as a member, or a firewall looks after it."""
        return self.security_groups is not None or self.project is not None

    def change(self, desired: Instance, options: Collection[str]) -> None:
        """Give ``options`` (fields of Instance) their desired values."""
        if "firewall" in options:
            self.firewall = desired.firewall
        if "security_groups" in options:
            self.security_groups = None if desired.security_groups is None else sorted(desired.security_groups)
        if "project" in options:
            self.project = desired.project or None
        if "allow_project_net_traffic" in options:
            self.allow_project_net_traffic = desired.allow_project_net_traffic
        if "nics" in options:
            had, self.addresses = self.addresses, {}
            for nic in desired.nics or []:
                mac = (nic.mac or "").lower()
                declared = had.get(mac) if nic.addresses is None else nic.addresses
                if declared:
                    self.addresses[mac] = sorted(declared)
            macs = {(nic.mac or "").lower() for nic in desired.nics or []}
            self.carried = {mac: carried for mac, carried in self.carried.items() if mac in macs}


def read_filter_record(root: Element, namespace: str) -> FilterRecord:
    """What the collection's element of a domain's metadata says; an empty record where it says nothing."""
    element = root.find(f"{{{namespace}}}filtering")
    if element is None:
        return FilterRecord()
    allowed = element.get("allow_project")
    groups = [group.text or "" for group in element.findall(f"{{{namespace}}}group")]

    def by_nic(name: str) -> dict[str, list[str]]:
        nics = element.findall(f"{{{namespace}}}{name}")
        return {nic.get("mac", ""): [address.text or "" for address in nic] for nic in nics}

    return FilterRecord(
        firewall=element.get("firewall"),
        security_groups=groups if element.get("in_groups") == "yes" else None,
        project=element.get("project"),
        allow_project_net_traffic=None if allowed is None else allowed == "yes",
        addresses=by_nic("nic"),
        carried=by_nic("carried"),
    )


def filter_element(record: FilterRecord, namespace: str) -> Element:
    """The element that ``read_filter_record`` reads."""
    element = Element(f"{{{namespace}}}filtering")
    allowed = record.allow_project_net_traffic
    values = {
        "firewall": record.firewall,
        "in_groups": None if record.security_groups is None else "yes",
        "project": record.project,
        "allow_project": None if allowed is None else "yes" if allowed else "no",
    }
    for name, value in values.items():
        if value is not None:
            element.set(name, value)
    for group in record.security_groups or ():
        SubElement(element, f"{{{namespace}}}group").text = group
    for name, nics in (("nic", record.addresses), ("carried", record.carried)):
        for mac, addresses in sorted(nics.items()):
            nic = SubElement(element, f"{{{namespace}}}{name}", {"mac": mac})
            for address in addresses:
                SubElement(nic, f"{{{namespace}}}address").text = address
    return element
