# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bridge with taps, veths and the host on it, and which of many packets arrive where."""

from __future__ import annotations

import re
import select
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import NamedTuple, TypeVar

from lab.errors import LabError
from lab.packets import frames
from lab.packets.endpoints import Endpoint, Host, Interface, RawPacket, Tap
from lab.packets.network import Network

AnyEndpoint = TypeVar("AnyEndpoint", bound=Endpoint)

_MARK = re.compile(rb"\xa7av(.{4})\xa7", re.DOTALL)
_START_TIMEOUT_S = 20.0
_ALIVE_TIMEOUT_S = 10.0
_SHORT_S = 1.0
_SETTLE_S = 0.03
"""How long stragglers may take after the last frame that was waited for."""

_numbers = count(1)


def new_mark() -> bytes:
    """Eight bytes that no other packet has."""
    return b"\xa7av" + struct.pack("!I", next(_numbers)) + b"\xa7"


class Sending(NamedTuple):
    """A packet on its way; ``marks`` are in it, all of which have to arrive."""

    sender: Endpoint
    receiver: Endpoint
    packet: RawPacket
    marks: frozenset[bytes]


class Wire:
    """A bridge in a network namespace, without spanning tree and without snooping of its own.

    Attributes:
        shy: Endpoints that may be kept from all ARP, so that they prove nothing.
    """

    def __init__(self, network: Network, bridge: str, mac: str, addresses: Sequence[str]) -> None:
        self.network = network
        self.bridge = bridge
        self._endpoints: list[Endpoint] = []
        self._veths: list[str] = []
        self._collected: dict[Endpoint, set[bytes]] = {}
        self.shy: set[Endpoint] = set()
        network.run("ip", "link", "add", bridge, "address", mac, "type", "bridge", "mcast_snooping", "0")
        network.set(f"ipv6/conf/{bridge}/accept_ra", "0")
        network.set(f"ipv6/conf/{bridge}/accept_dad", "0")
        for address in addresses:
            network.run("ip", "address", "add", address, "dev", bridge, *(("nodad",) if ":" in address else ()))
        network.run("ip", "link", "set", bridge, "up")
        self.host = self._keep(Host(network, bridge, mac))

    def add_tap(self, device: str, mac: str) -> Endpoint:
        """A port as a QEMU guest has it."""
        tap = self._keep(Tap(self.network, device, mac))
        self._plug(device)
        return tap

    def add_veth(self, device: str, mac: str) -> Endpoint:
        """A port as a container has it; its other end stays in the same namespace, without addresses."""
        peer = f"{device[:13]}-c"
        self.network.run("ip", "link", "add", device, "type", "veth", "peer", "name", peer, "address", mac)
        self._veths.append(device)
        self.network.set(f"ipv6/conf/{peer}/disable_ipv6", "1")
        self.network.run("ip", "link", "set", peer, "up")
        self._plug(device)
        return self._keep(Interface(self.network, peer, device, mac))

    def add(self, endpoint: AnyEndpoint) -> AnyEndpoint:
        """Somebody who is on the bridge by other means."""
        return self._keep(endpoint)

    def know(self, neighbours: Iterable[tuple[str, str]]) -> None:
        """Let the host know these addresses and their MAC addresses without asking."""
        orders = [
            f"neigh replace {address} lladdr {mac} nud permanent dev {self.bridge}" for address, mac in neighbours
        ]
        with tempfile.NamedTemporaryFile("w") as batch:
            batch.write("\n".join(orders))
            batch.flush()
            self.network.run("ip", "-batch", batch.name)

    def _plug(self, device: str) -> None:
        # The host has no business of its own on a guest's device: what it says there by itself is only noise.
        self.network.set(f"ipv6/conf/{device}/disable_ipv6", "1")
        self.network.run("ip", "link", "set", device, "master", self.bridge, "up")

    def _keep(self, endpoint: AnyEndpoint) -> AnyEndpoint:
        self._endpoints.append(endpoint)
        return endpoint

    def deliver(self, sendings: Sequence[Sending]) -> list[bool]:
        """Send them all, in this order, and tell which arrived."""
        for sending in sendings:
            sending.sender.send(sending.packet)
        return self._arrived(sendings)

    def stream(self, source: Iterator[Sending], go_on: Callable[[], bool], pause_s: float) -> list[bool]:
        """Send one after the other with a pause between for as long as it is to go on, and tell which arrived."""
        sent = []
        while go_on():
            sending = next(source)
            sending.sender.send(sending.packet)
            sent.append(sending)
            for _round in self._rounds(pause_s):
                pass
        return self._arrived(sent)

    def _arrived(self, sendings: Sequence[Sending]) -> list[bool]:
        self.prove_alive()
        seen = self._collected
        self._collected = {}
        return [sending.marks <= seen.get(sending.receiver, set()) for sending in sendings]

    def settle(self) -> None:
        """Wait until all ports are at work, which a new one is not at once, and the bridge knows who is where."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.prove_alive(_SHORT_S)
            except LabError:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def prove_alive(self, timeout_s: float = _ALIVE_TIMEOUT_S) -> None:
        """See a probe of each port arrive at all others, after all that was sent before.

        Raises:
            LabError: some port is deaf or dumb: what did not arrive there says nothing.
        """
        ports = [
            endpoint for endpoint in self._endpoints if not isinstance(endpoint, Host) and endpoint not in self.shy
        ]
        probes = {port: new_mark() for port in ports}
        for port, mark in probes.items():
            # A probe in ARP's sense, which asks whether somebody has the address: nobody's filters stop it.
            probe = frames.arp(port.mac, "0.0.0.0", "169.254.1.1", mark)
            port.send(RawPacket((frames.ethernet(port.mac, frames.BROADCAST, frames.ARP, probe),)))
        wanted = {port: {mark for sender, mark in probes.items() if sender is not port} for port in ports}
        for _round in self._rounds(timeout_s):
            if all(marks <= self._collected.get(port, set()) for port, marks in wanted.items()):
                break
        else:
            deaf = {port.device: len(marks - self._collected.get(port, set())) for port, marks in wanted.items()}
            raise LabError(f"probes that did not arrive, by port: { {k: v for k, v in deaf.items() if v} }")
        for _round in self._rounds(_SETTLE_S):
            pass

    def _rounds(self, timeout_s: float) -> Iterator[None]:
        """Take in what arrives, again and again, until the time is over."""
        owners = {descriptor: one for one in self._endpoints for descriptor in one.descriptors}
        poller = select.poll()
        for descriptor in owners:
            poller.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            for descriptor, _event in poller.poll(left * 1000):
                self._take_in(owners[descriptor], descriptor)
            yield

    def _take_in(self, endpoint: Endpoint, descriptor: int) -> None:
        marks = self._collected.setdefault(endpoint, set())
        while (data := endpoint.receive(descriptor)) is not None:
            marks.update(found.group() for found in _MARK.finditer(data))

    def close(self) -> None:
        for endpoint in self._endpoints:
            endpoint.close()
        for device in self._veths:
            self.network.run("ip", "link", "delete", device)
        self.network.run("ip", "link", "delete", self.bridge)


@contextmanager
def open_wire(network: Network, bridge: str, mac: str, addresses: Iterable[str]) -> Iterator[Wire]:
    wire = Wire(network, bridge, mac, tuple(addresses))
    try:
        yield wire
    finally:
        wire.close()
