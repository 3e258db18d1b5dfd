# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated guest: what runs in a VM, from its start until it halts."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass, field

READY = "ANYVIRT GUEST READY"
_LINK_LOCAL = ipaddress.ip_network("fe80::/64")


@dataclass
class Guest:
    """One boot of a guest. Rates are constant from ``started`` on: bytes a second of each device."""

    domid: int
    words: frozenset[str] = frozenset()
    boots: bool = True  # whether there is anything to boot from
    started: float = field(default_factory=time.time)
    up: bool = False
    crashed: bool = False

    cpu_share: float = 0.1  # of each of its vCPUs
    vbd_read_rate: int = 4096
    vbd_write_rate: int = 8192
    vif_rx_rate: int = 2048
    vif_tx_rate: int = 1024

    @property
    def has_tools(self) -> bool:
        return "lab.notools" not in self.words

    @property
    def is_deaf(self) -> bool:
        """Whether it never heeds a request to shut down or reboot."""
        return "lab.deaf" in self.words

    @property
    def keeps_disks(self) -> bool:
        """Whether it never lets go of a disk."""
        return "lab.keeps-disks" in self.words


def features() -> dict[str, str]:
    """What guest tools say that the guest can do."""
    names = ("balloon", "poweroff", "reboot", "shutdown", "suspend", "vcpu-hotplug", "vcpus-hotplug")
    return {**{f"feature-{name}": "1" for name in names}, "platform-feature-multiprocessor-suspend": "1"}


def link_local(mac: str) -> str:
    """The IPv6 address that an interface gives itself."""
    octets = [int(octet, 16) for octet in mac.split(":")]
    interface = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return str(_LINK_LOCAL[int.from_bytes(interface, "big")])


class AddressPool:
    """The DHCP server of a network: an address for each MAC, the same one again as long as the pool lives."""

    def __init__(self, network: str) -> None:
        self._free = iter(list(ipaddress.ip_network(network).hosts())[9:])
        self._leases: dict[str, str] = {}

    def address(self, mac: str) -> str | None:
        """The address for this MAC; None when all are taken."""
        key = mac.lower()
        if key not in self._leases:
            lease = next(self._free, None)
            if lease is None:
                return None
            self._leases[key] = str(lease)
        return self._leases[key]
