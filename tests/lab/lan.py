# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A network for guests that several lab hosts have in common, and somebody on it who talks to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.hosts import BRIDGE, LibvirtHost
from lab.packets.network import Network

ADDRESS = "10.88.0.1"
"""Of whoever looks at the guests."""
PREFIX = 24
SWITCH = "lan0"
_DEVICE = "lanport"


class GuestLan:
    """A switch in a network namespace of its own, with a cable to the bridge ``labbr0`` of each host. Guests on that
    bridge stay reachable at their addresses wherever they are, as on a real network.

    Attributes:
        network: Where the switch is; it has the address ``ADDRESS``.
    """

    def __init__(self, hosts: Sequence[LibvirtHost]) -> None:
        self.network = Network.new()
        self._hosts = hosts
        # No snooping of multicast: frames of guests that just moved have to pass at once.
        self.network.run("ip", "link", "add", SWITCH, "type", "bridge", "mcast_snooping", "0")
        self.network.run("ip", "address", "add", f"{ADDRESS}/{PREFIX}", "dev", SWITCH)
        self.network.run("ip", "link", "set", SWITCH, "up")
        for number, host in enumerate(hosts):
            far = str(host.machine.init_pid)
            plug = f"ip link add port{number} type veth peer name {_DEVICE} netns {far}"
            self.network.run(*plug.split())
            self.network.run("ip", "link", "set", f"port{number}", "master", SWITCH, "up")
            host.machine.run(["ip", "link", "set", _DEVICE, "master", BRIDGE, "up"])

    def close(self) -> None:
        """Pull the cables and take the switch away."""
        for number in range(len(self._hosts)):
            self.network.run("ip", "link", "delete", f"port{number}")
        self.network.run("ip", "link", "delete", SWITCH)
        self.network.close()


@contextmanager
def guest_lan(*hosts: LibvirtHost) -> Iterator[GuestLan]:
    lan = GuestLan(hosts)
    try:
        yield lan
    finally:
        lan.close()
