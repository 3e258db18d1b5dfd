# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: a libvirtd of our own, or the XenAPI server of the lab in a process of its own."""

from __future__ import annotations

import multiprocessing
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


class Hypervisor(ABC):
    """Where tasks are measured.

    Attributes:
        connection: The options that playbooks need.
        script: The yardstick, a module that calls the hypervisor directly, and what it needs before its action.
    """

    def __init__(self, connection: dict[str, str], script: str, *arguments: str) -> None:
        self.connection = connection
        self.script = ["-m", script, *arguments]

    @abstractmethod
    def calls(self) -> int | None:
        """How many calls it was sent so far; None where nobody counts."""


class Libvirt(Hypervisor):
    """libvirt's calls are counted by the contract suite, in the process that makes them."""

    def __init__(self, uri: str) -> None:
        super().__init__({"uri": uri}, "bench.direct_libvirt", uri)

    def calls(self) -> int | None:
        return None


class XenApi(Hypervisor):
    """A pool whose server counts."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        uri, url, user, password = pipe.recv()
        connection = {"uri": uri, "username": user, "password": password}
        super().__init__(connection, "bench.direct_xenapi", url, user, password)

    def calls(self) -> int | None:
        self._pipe.send("count")
        return int(self._pipe.recv())


@contextmanager
def libvirt(uri: str | None = None) -> Iterator[Hypervisor]:
    """A libvirtd of our own for the time being, unless one is given."""
    if uri is not None:
        yield Libvirt(uri)
        return
    from lab.hosts import LibvirtHost  # starts daemons, so only when it is wanted

    with LibvirtHost("bench", 9) as host:
        yield Libvirt(host.uri)


@contextmanager
def xenapi(machines: int = 0) -> Iterator[Hypervisor]:
    """A pool with so many machines in it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, machines), daemon=True)
    process.start()
    try:
        yield XenApi(ours)
    finally:
        ours.send("stop")
        process.join(10)


def _serve(pipe: Connection, machines: int) -> None:
    from lab.xenapi.server import XenApiServer
    from lab.xenapi.settings import PoolSettings

    with XenApiServer(PoolSettings(extra_vms=machines)) as server, server.calls.recording() as made:
        pipe.send((server.uri, server.url, server.username, server.password))
        while pipe.recv() == "count":
            pipe.send(len(made))
