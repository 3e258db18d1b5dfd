# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences that many tests of security groups say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import (
    ACCEPT,
    ANYWHERE_V4,
    ANYWHERE_V6,
    DEFAULT_EGRESS,
    DROP,
    EGRESS,
    ICMP,
    ICMPV6,
    INGRESS,
    TCP,
    UDP,
    ProviderRule,
    Rule,
    SecurityGroup,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import Undo
from contract.platforms.base import Platform
from contract.storage_helpers import fail_each_call

WHERE = ("fake", "libvirt", "lxc", "xenapi")
"""Platforms with security groups."""

OPEN = SecurityGroup(
    "open", (Rule(INGRESS, cidr=ANYWHERE_V4), Rule(INGRESS, cidr=ANYWHERE_V6), *DEFAULT_EGRESS), "lets all through"
)
"""The only kind of group that instances can be in wherever there are groups at all."""

WEB = SecurityGroup(
    "web",
    (
        Rule(INGRESS, TCP, cidr=ANYWHERE_V4, port_min=80, port_max=80, description="HTTP"),
        Rule(INGRESS, TCP, cidr="10.0.0.0/8", port_min=8000, port_max=8099),
        *DEFAULT_EGRESS,
    ),
)

RICH_NAME = "rich.group_with-63-characters-in-its-name-0123456789-abcdefghij"

RICH = SecurityGroup(
    RICH_NAME,
    (
        Rule(INGRESS, TCP, cidr=ANYWHERE_V4, description="""everything: <a href="x">it's & that</a> --> ]]> 100%"""),
        Rule(INGRESS, TCP, cidr="2001:db8::/32", port_min=1, port_max=65535),
        Rule(INGRESS, UDP, cidr="192.0.2.7/32", port_min=53, port_max=53),
        Rule(INGRESS, ICMP, cidr=ANYWHERE_V4),
        Rule(INGRESS, ICMP, cidr="10.0.0.0/8", icmp_type=8),
        Rule(INGRESS, ICMP, cidr="10.0.0.0/8", icmp_type=3, icmp_code=4),
        Rule(INGRESS, ICMPV6, cidr=ANYWHERE_V6, icmp_type=128, icmp_code=0),
        Rule(INGRESS, "47", cidr="10.0.0.0/8"),
        Rule(INGRESS, group="web"),
        Rule(INGRESS, UDP, group="nobody.defined_this-one", port_min=4789, port_max=4789),
        Rule(EGRESS, TCP, cidr="198.51.100.0/24", port_min=443, port_max=443, description="updates"),
        Rule(EGRESS, ICMPV6, group=RICH_NAME),
    ),
    "A group with something of everything",
)

PROVIDER = (
    ProviderRule(Rule(INGRESS, TCP, cidr="203.0.113.0/24", port_min=22, port_max=22), ACCEPT),
    ProviderRule(Rule(INGRESS, TCP, cidr=ANYWHERE_V4, port_min=22, port_max=22, description="no SSH"), DROP),
    ProviderRule(Rule(EGRESS, TCP, cidr=ANYWHERE_V6, port_min=25, port_max=25), DROP),
)

ELSEWHERE = {
    "host-b": {"web": ("192.0.2.10/32", "192.0.2.11/32", "2001:db8::10/128"), "open": ("192.0.2.12/32",)},
    "host-c": {"web": ("198.51.100.7/32",)},
}
"""Members on other hosts."""


def own_nic(platform: Platform, number: int, **over: Any) -> Nic:
    """A NIC with an address of its own declared."""
    return platform.nic(**{"addresses": [f"10.77.0.{number}"], **over})


def wanted(platform: Platform, name: str, number: int = 1, **over: Any) -> Instance:
    """A small instance in the open group."""
    return platform.small(name, **{"nics": [own_nic(platform, number)], "security_groups": ["open"], **over})


def filtered(
    platform: Platform, driver: FirewallDriver, name: str, number: int = 1, *, power_on: bool = False, **over: Any
) -> Instance:
    """Spawn one, and return what it reads back as. Its groups have to be there."""
    driver.spawn(driver.complete(wanted(platform, name, number, **over)), power_on=power_on)
    return driver.get_instances([name])[name]


def calls_about_filters(platform: Platform) -> str:
    """A pattern of those calls that change filters, where it takes too long to look at the others too."""
    return "NWFilter(Define|Undefine)" if platform.name in ("libvirt", "lxc") else ""


def fail_each_call_once_primed(platform: Platform, operation: Callable[[], Undo], about: str = "") -> None:
    """See ``fail_each_call``; what a host keeps for good once it has filtered anything is made before."""
    operation()()
    fail_each_call(platform, operation, about=about)
