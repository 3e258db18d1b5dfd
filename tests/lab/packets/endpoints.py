# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where frames go in and come out: taps as QEMU's guests have them, veths as containers do, and the host itself."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from lab.packets import frames
from lab.packets.network import Network

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_ALL_PROTOCOLS = 3
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_RAW_PROTOCOLS = (frames.ICMP, frames.TCP, frames.UDP)
_LARGEST = 65536


class RawPacket(NamedTuple):
    """A packet ready to be sent: frames (one, or its fragments), or what of them a host's IP is given."""

    frames: tuple[bytes, ...]
    packets: tuple[bytes, ...] = ()


class Endpoint(ABC):
    """A place on the wire.

    Attributes:
        device: The bridge's port, by the host's name for it; the host's own end is the bridge itself.
    """

    def __init__(self, device: str, mac: str) -> None:
        self.device = device
        self.mac = mac

    @property
    @abstractmethod
    def descriptors(self) -> list[int]:
        """What can be read when something has arrived."""

    @abstractmethod
    def send(self, packet: RawPacket) -> None: ...

    @abstractmethod
    def receive(self, descriptor: int) -> bytes | None:
        """One thing that arrived; None when there is nothing more."""

    @abstractmethod
    def close(self) -> None: ...


class Tap(Endpoint):
    """A tap whose other end is this process, in place of a QEMU."""

    def __init__(self, network: Network, device: str, mac: str) -> None:
        super().__init__(device, mac)
        self._file = network.inside(lambda: _open_tap(device))

    @property
    def descriptors(self) -> list[int]:
        return [self._file]

    def send(self, packet: RawPacket) -> None:
        for frame in packet.frames:
            os.write(self._file, frame)

    def receive(self, descriptor: int) -> bytes | None:
        with suppress(BlockingIOError):
            return os.read(descriptor, _LARGEST)
        return None

    def close(self) -> None:
        os.close(self._file)


class SocketEndpoint(Endpoint):
    """What sends and hears frames through one socket."""

    def __init__(self, name: str, mac: str, opened: socket.socket) -> None:
        super().__init__(name, mac)
        self._socket = opened

    @property
    def descriptors(self) -> list[int]:
        return [self._socket.fileno()]

    def send(self, packet: RawPacket) -> None:
        for frame in packet.frames:
            self._socket.send(frame)

    def receive(self, descriptor: int) -> bytes | None:
        with suppress(BlockingIOError):
            return self._socket.recv(_LARGEST)
        return None

    def close(self) -> None:
        self._socket.close()


class Datagrams(SocketEndpoint):
    """The far end of a QEMU network of the kind ``socket,udp``, where a frame is a datagram. The host has no device for
    it, and so no filter ever sees it."""

    def __init__(self, network: Network, name: str, mac: str, here: tuple[str, int], guest: tuple[str, int]) -> None:
        super().__init__(name, mac, network.inside(lambda: _datagram_socket(here)))
        self._guest = guest

    def send(self, packet: RawPacket) -> None:
        for frame in packet.frames:
            self._socket.sendto(frame, self._guest)


class Interface(SocketEndpoint):
    """A network interface in some namespace, through a packet socket: frames leave by it as its owner likes."""

    def __init__(self, network: Network, interface: str, device: str, mac: str) -> None:
        super().__init__(device, mac, network.inside(lambda: _packet_socket(interface)))


class Host(Endpoint):
    """The host's own IP: what its programs send, and what they get after all filters. Only IP; IPv6 without header."""

    def __init__(self, network: Network, bridge: str, mac: str) -> None:
        super().__init__(bridge, mac)
        families = (socket.AF_INET, socket.AF_INET6)
        self._senders = {}
        self._receivers = {}
        for family in families:
            self._senders[family] = network.inside(partial(_raw_socket, family, socket.IPPROTO_RAW))
            for protocol in (*_RAW_PROTOCOLS, frames.ICMPV6):
                receiver = network.inside(partial(_raw_socket, family, protocol))
                self._receivers[receiver.fileno()] = receiver

    @property
    def descriptors(self) -> list[int]:
        return list(self._receivers)

    def send(self, packet: RawPacket) -> None:
        for data in packet.packets:
            with suppress(PermissionError):  # dropped in an OUTPUT chain, which the kernel tells the sender
                if data[0] >> 4 == 6:
                    self._senders[socket.AF_INET6].sendto(data, (socket.inet_ntop(socket.AF_INET6, data[24:40]), 0))
                else:
                    self._senders[socket.AF_INET].sendto(data, (socket.inet_ntop(socket.AF_INET, data[16:20]), 0))

    def receive(self, descriptor: int) -> bytes | None:
        with suppress(BlockingIOError):
            return self._receivers[descriptor].recv(_LARGEST)
        return None

    def close(self) -> None:
        for one in (*self._senders.values(), *self._receivers.values()):
            one.close()


def _open_tap(device: str) -> int:
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(file, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TAP_WITHOUT_HEADER))
    except OSError:
        os.close(file)
        raise
    return file


def _packet_socket(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setblocking(False)
    opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    opened.bind((interface, _ALL_PROTOCOLS))
    return opened


def _datagram_socket(address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind(address)
    return opened


def _raw_socket(family: int, protocol: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_RAW, protocol)
    opened.setblocking(False)
    return opened
