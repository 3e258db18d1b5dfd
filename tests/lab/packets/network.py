# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing things in another network namespace, from a thread that enters it and ends."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from lab.errors import LabError
from lab.proc import run

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_NETLINK_NETFILTER = 12
_CT_DELETE = 0x0102
_REQUEST_AND_ACK = 0x05

Result = TypeVar("Result")


class Network:
    """A network namespace, kept open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def of_process(cls, pid: int) -> Network:
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls) -> Network:
        """One of its own, empty but for its loopback; it ends when it is closed and nothing is left in it."""

        def leave() -> Network:
            _succeed(_LIBC.unshare(_CLONE_NEWNET), "unshare of the network namespace")
            network = cls(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            run(["ip", "link", "set", "lo", "up"])
            return network

        return _in_a_thread(leave)

    @property
    def path(self) -> str:
        """By which other programs of this user can enter it."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with that is to run in it."""
        return ("nsenter", f"--net={self.path}")

    def inside(self, work: Callable[[], Result]) -> Result:
        """Do this in it: sockets and devices that are opened there, and programs that are started, belong to it."""

        def enter() -> Result:
            _succeed(_LIBC.setns(self._descriptor, _CLONE_NEWNET), "setns to a network namespace")
            return work()

        return _in_a_thread(enter)

    def run(self, *argv: str) -> str:
        return self.inside(lambda: run(argv)).stdout

    def set(self, setting: str, value: str) -> None:
        """Write one of the kernel's settings below ``net``."""
        self.inside(lambda: Path("/proc/sys/net", setting).write_text(value))

    def forget_connections(self) -> None:
        """Make the kernel's connection tracking forget all it knows."""
        message = struct.pack("=IHHIIBBH", 20, _CT_DELETE, _REQUEST_AND_ACK, 1, 0, socket.AF_UNSPEC, 0, 0)

        def flush() -> bytes:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
                netlink.settimeout(10)
                netlink.send(message)
                return netlink.recv(4096)

        error = struct.unpack_from("=i", self.inside(flush), 16)[0]
        if error:
            raise LabError(f"connections cannot be forgotten: {os.strerror(-error)}")

    def close(self) -> None:
        os.close(self._descriptor)


def _in_a_thread(work: Callable[[], Result]) -> Result:
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work).result()


def _succeed(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise LabError(f"{what}: {os.strerror(number)}")
