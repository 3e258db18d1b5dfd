# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A terminal for tests: programs run in it, and what a person would see on it at any moment can be asked."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_TOKEN = re.compile(r"\x1b\[(?P<number>\d*)(?P<command>[A-Za-z])|(?P<char>.)", re.DOTALL)


class Screen:
    """What is on a terminal that was sent some text; it scrolls without end and knows the few commands that we use."""

    def __init__(self, text: str = "") -> None:
        self._rows = [""]
        self._row = self._column = 0
        self.feed(text)

    def feed(self, text: str) -> None:
        """Have more of it arrive."""
        for token in _TOKEN.finditer(text):
            if token["command"]:
                self._obey(token["command"], int(token["number"] or 0))
            else:
                self._type(token["char"])

    def lines(self) -> list[str]:
        """What a person sees, without blanks at the ends of lines and without empty lines at the bottom."""
        return "\n".join(row.rstrip() for row in self._rows).rstrip("\n").split("\n")

    def _type(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self._rows):
                self._rows.append("")
        else:
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1

    def _obey(self, command: str, number: int) -> None:
        if command == "A":
            self._row = max(0, self._row - (number or 1))
        elif command == "J" and number == 0:
            self._rows[self._row] = self._rows[self._row][: self._column]
            del self._rows[self._row + 1 :]
        elif command != "m":
            raise ValueError(f"no such command: {command}")


class Recording(NamedTuple):
    """What a program wrote, in the pieces in which it arrived."""

    code: int
    pieces: list[str]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def screens(self) -> list[list[str]]:
        """What was to be seen after each piece."""
        screen, seen = Screen(), []
        for piece in self.pieces:
            screen.feed(piece)
            seen.append(screen.lines())
        return seen


def record(
    command: Sequence[str], environment: Mapping[str, str], columns: int = 100, rows: int = 30, timeout_s: float = 60
) -> Recording:
    """Run a program in a terminal of that size until it ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        command, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    deadline = time.monotonic() + timeout_s
    pieces: list[str] = []
    rest = b""
    try:
        while time.monotonic() < deadline:
            try:
                rest += os.read(ours, 65536)
            except OSError:  # the last program in it has ended
                return Recording(process.wait(timeout_s), pieces)
            try:
                pieces.append(rest.decode())
                rest = b""
            except UnicodeDecodeError:
                continue
        raise TimeoutError("".join(pieces))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
