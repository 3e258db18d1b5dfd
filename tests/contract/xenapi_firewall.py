# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of locked network interfaces on a XenServer pool have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ANYWHERE_V4,
    ANYWHERE_V6,
    EGRESS,
    INGRESS,
    TCP,
    Rule,
    SecurityGroup,
)

if TYPE_CHECKING:
    from contract.platforms.xenapi import XenApiPlatform

MAC, OTHER_MAC = "02:16:3e:00:00:01", "02:16:3e:00:00:02"
LINK_LOCAL = "fe80::16:3eff:fe00:1"
V4, V6 = "192.168.177.7", "2001:db8::7"

EVERYTHING = tuple(Rule(way, cidr=cidr) for way in (INGRESS, EGRESS) for cidr in (ANYWHERE_V4, ANYWHERE_V6))
OPEN = SecurityGroup("open", EVERYTHING)
WEB = SecurityGroup("web", (Rule(INGRESS, TCP, cidr=ANYWHERE_V4, port_min=80, port_max=80),), "web servers")

UNLOCKED = ("network_default", [], [])
LOCKED = ("locked", [V4], [V6, LINK_LOCAL])


def filtered(platform: XenApiPlatform, name: str = "one", **over: Any) -> Instance:
    """An instance in the open group with one NIC."""
    nics = [platform.nic(mac=MAC, addresses=[V4, V6])]
    return platform.small(name, **{"nics": nics, "security_groups": ["open"], **over})


def spawned(platform: XenApiPlatform, driver: ComputeDriver, power_on: bool = False, **over: Any) -> Instance:
    instance = driver.complete(filtered(platform, **over))
    driver.spawn(instance, power_on=power_on)
    return driver.get_instances([instance.name])[instance.name]


def locks(platform: XenApiPlatform, name: str = "one") -> dict[str, tuple[str, list[str], list[str]]]:
    """How the pool has the instance's network interfaces locked, by MAC address."""
    db = platform.server.db
    [vm] = db.find("VM", name_label=name)
    vifs = [db.record("VIF", vif) for vif in db.get("VM", vm, "VIFs")]
    return {vif["MAC"]: (vif["locking_mode"], vif["ipv4_allowed"], vif["ipv6_allowed"]) for vif in vifs}


def pool_keys(platform: XenApiPlatform) -> dict[str, str]:
    """What the collection keeps with the pool."""
    db = platform.server.db
    [pool] = db.refs("pool")
    return {key: text for key, text in db.get("pool", pool, "other_config").items() if key.startswith("anyvirt-")}


def with_addresses(instance: Instance, *addresses: str) -> list[Nic]:
    """The instance's NICs with other addresses."""
    return [Nic(nic.network, nic.bridge, nic.mac, nic.model, list(addresses)) for nic in instance.nics or []]
