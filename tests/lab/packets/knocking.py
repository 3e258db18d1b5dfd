# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams sent to a guest all the time, and which of them reach it, on whichever host it is."""

from __future__ import annotations

import re
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from lab.console import wait_until
from lab.packets.network import Network

_PAUSE_S = 0.01
_MARK = re.compile(rb"\xa7knock (\d+) (\d+)\xa7")
_ALL_PROTOCOLS = 3
_TAPS = ("vnet", "av")
"""How the names of guests' devices begin: libvirt's own, and those that packet filters know them by."""
_TO_THE_GUEST = 4
"""PACKET_OUTGOING: what a device is given to send, behind all filters. A tap's other end is the guest."""


class Knock(NamedTuple):
    """A datagram that was handed to a guest: its port, its number, on which host."""

    port: int
    number: int
    where: int


class Knocking:
    """Sends datagrams to some ports of an address, and sees them go out of the taps of some hosts.

    Attributes:
        sent: How many went to each port.
        arrived: All that a tap was given, in the order in which that was seen.
    """

    def __init__(self, sender: Network, address: str, ports: Sequence[int], hosts: Sequence[Network]) -> None:
        self.sent: Counter[int] = Counter()
        self.arrived: list[Knock] = []
        self._address = address
        self._ports = ports
        self._sockets = [host.inside(_hear_all) for host in hosts]
        self._sender = sender.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._over.wait(_PAUSE_S):
            for port in self._ports:
                self.sent[port] += 1
                self._sender.sendto(b"\xa7knock %d %d\xa7" % (port, self.sent[port]), (self._address, port))

    def _hear(self) -> None:
        places = {heard: where for where, heard in enumerate(self._sockets)}
        while not self._over.is_set():
            for heard in select.select(self._sockets, (), (), 0.1)[0]:
                data, (device, _protocol, kind, *_rest) = heard.recvfrom(2048)
                found = _MARK.search(data)
                if found and kind == _TO_THE_GUEST and device.startswith(_TAPS):
                    self.arrived.append(Knock(int(found[1]), int(found[2]), places[heard]))

    def on(self, port: int, where: int | None = None) -> list[int]:
        """The numbers of what arrived at a port (there)."""
        return [knock.number for knock in self.arrived if knock.port == port and where in (None, knock.where)]

    def goes_on(self, port: int, where: int, timeout_s: float = 20.0) -> None:
        """Wait until something that is sent from now on to that port arrives there."""
        before = self.sent[port]
        what = f"a datagram to port {port} on host {where}"
        wait_until(lambda: any(number > before for number in self.on(port, where)), what, timeout_s)

    def close(self) -> None:
        """Neither send nor hear any more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for opened in (self._sender, *self._sockets):
            opened.close()


def _hear_all() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return opened


@contextmanager
def knocking(sender: Network, address: str, ports: Sequence[int], hosts: Sequence[Network]) -> Iterator[Knocking]:
    """Knock within the block."""
    opened = Knocking(sender, address, ports, hosts)
    try:
        yield opened
    finally:
        opened.close()
