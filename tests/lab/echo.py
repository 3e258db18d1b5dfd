# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP connection to a guest's echo service, in use all the time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab.console import wait_until
from lab.packets.network import Network

PAUSE_S = 0.05
_CONNECT_S = 2.0
_ANSWER_S = 60.0


class Talk:
    """Says a number, waits for it to come back, says the next one, over one connection.

    Attributes:
        said: How many numbers came back.
        longest_s: The longest time that one took.
        broken: Why the connection is at its end; empty while it lasts.
    """

    def __init__(self, network: Network, address: str, port: int) -> None:
        self.said = 0
        self.longest_s = 0.0
        self.broken = ""
        self._over = threading.Event()
        self._socket = network.inside(lambda: _connect(address, port))
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        try:
            while not self._over.wait(PAUSE_S):
                self._say(b"%d\n" % (self.said + 1))
        except OSError as error:
            self.broken = str(error) or repr(error)

    def _say(self, word: bytes) -> None:
        start = time.monotonic()
        self._socket.sendall(word)
        answer = b""
        while len(answer) < len(word):
            part = self._socket.recv(len(word) - len(answer))
            if not part:
                raise ConnectionError("the guest closed the connection")
            answer += part
        if answer != word:
            raise ConnectionError(f"said {word!r}, heard {answer!r}")
        self.longest_s = max(self.longest_s, time.monotonic() - start)
        self.said += 1

    def goes_on(self, timeout_s: float = 20.0) -> None:
        """Wait until something that is said from now on has come back."""
        before = self.said
        wait_until(lambda: self.broken or self.said > before + 1, "an answer of the guest's echo service", timeout_s)

    def close(self) -> None:
        """End the talk and the connection."""
        self._over.set()
        with suppress(OSError):  # broken already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


def _connect(address: str, port: int) -> socket.socket:
    def attempt() -> socket.socket | None:
        with suppress(OSError):
            return socket.create_connection((address, port), _CONNECT_S)
        return None

    found = wait_until(attempt, f"the guest's echo service at {address}:{port}", 60)
    found.settimeout(_ANSWER_S)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


@contextmanager
def talk(network: Network, address: str, port: int) -> Iterator[Talk]:
    """Talk to the guest within the block."""
    opened = Talk(network, address, port)
    try:
        yield opened
    finally:
        opened.close()
