# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talk to the command agent in a dom0, over the Unix socket of its virtio-serial port."""

from __future__ import annotations

import base64
import binascii
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError


@dataclass(frozen=True)
class CommandResult:
    """How a command in dom0 ended; output is standard output and standard error as one."""

    exit_code: int
    output: str


class Agent:
    """One request at a time; QEMU lets further clients wait."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, command: str, timeout_s: float) -> CommandResult:
        """Run a shell command; LabError when no answer came in time."""
        token = secrets.token_hex(8)
        request = f"{token} {base64.b64encode(command.encode()).decode()}\n"
        deadline = time.monotonic() + timeout_s
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout_s)
                connection.connect(str(self._path))
                connection.sendall(request.encode())
                return _parse(_answer(connection, token, deadline), command)
        except OSError as error:
            raise LabError(f"dom0 did not answer within {timeout_s:g} s to: {command}") from error


def _answer(connection: socket.socket, token: str, deadline: float) -> bytes:
    """The line that starts with our token; answers to clients that gave up are passed over."""
    received = bytearray()
    while True:
        *lines, rest = received.split(b"\n")
        for line in lines:
            if line.startswith(token.encode()):
                return bytes(line)
        received = bytearray(rest)
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the virtual machine has ended")
        received += data


def _parse(line: bytes, command: str) -> CommandResult:
    try:
        _token, exit_code, *output = line.split()
        return CommandResult(int(exit_code), base64.b64decode(b"".join(output)).decode(errors="replace"))
    except (ValueError, binascii.Error) as error:
        raise LabError(f"dom0 answered nonsense to: {command}") from error
