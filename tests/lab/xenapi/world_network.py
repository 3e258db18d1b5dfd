# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's networks as a test finds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from lab.xenapi.database import Database, Ref

if TYPE_CHECKING:
    from lab.xenapi.settings import PoolSettings

LAB, MANAGEMENT, INTERNAL = "lab", "Pool-wide network associated with eth0", "Host internal management network"

_UNTAGGED = -1


@dataclass(frozen=True)
class Networks:
    """What was built."""

    lab: Ref
    management: Ref
    internal: Ref


def build_networks(db: Database, settings: PoolSettings, hosts: list[Ref]) -> Networks:
    """Make the networks and the hosts' interfaces; `hosts` are those of the pool, the master first."""
    lab = _make_network(db, LAB, "Guests of tests; 10.88.0.0/24 by DHCP", "xapi0")
    management = _make_network(db, MANAGEMENT, "", "xenbr0")
    internal = _make_network(
        db,
        INTERNAL,
        "Network on which guests will be assigned a private link-local IP address which can be used to talk XenAPI",
        "xenapi",
        is_guest_installer_network="true",
        is_host_internal_management_network="true",
        ip_begin="169.254.0.1",
        ip_end="169.254.255.254",
        netmask="255.255.0.0",
    )
    for number, host in enumerate(hosts, start=1):
        _make_interface(db, management, host, number)
    return Networks(lab, management, internal)


def _make_network(db: Database, label: str, description: str, bridge: str, **other_config: str) -> Ref:
    return db.create(
        "network", name_label=label, name_description=description, bridge=bridge, MTU=1500, other_config=other_config
    )


def _make_interface(db: Database, network: Ref, host: Ref, number: int) -> None:
    metrics = db.create(
        "PIF_metrics",
        carrier=True,
        vendor_id="8086",
        vendor_name="Intel Corporation",
        device_id="100e",
        device_name="82540EM Gigabit Ethernet Controller",
        speed=1000,
        duplex=True,
        pci_bus_path="0000:00:03.0",
        last_updated=datetime.now(timezone.utc),
    )
    db.create(
        "PIF",
        device="eth0",
        network=network,
        host=host,
        MAC=f"02:88:00:00:00:{number:02x}",
        MTU=1500,
        VLAN=_UNTAGGED,
        metrics=metrics,
        physical=True,
        management=True,
        ip_configuration_mode="Static",
        IP=f"10.88.1.{number}",
        netmask="255.255.255.0",
        gateway="10.88.1.254",
    )
