# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that have moved are announced to the network, so that its switches learn where they are: by RARP, which guests
hardly ever send themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from lab.packets.network import Network

_RARP = 0x8035


class Announcements:
    """What was announced since listening began."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def of(self, mac: str, timeout_s: float = 10.0) -> bool:
        """Wait until it is heard of this MAC address; whether it was."""
        wanted = bytes.fromhex(mac.replace(":", ""))
        self._socket.settimeout(timeout_s)
        try:
            while self._socket.recv(2048)[6:12] != wanted:
                pass
        except TimeoutError:
            return False
        return True


@contextmanager
def announcements(network: Network) -> Iterator[Announcements]:
    """Listen within the block, in a network on which all guests are."""
    opened = network.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_RARP)))
    with opened:
        yield Announcements(opened)
