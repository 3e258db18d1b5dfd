# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server: a pool, and a port for each of its hosts."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.xenapi import neighbours
from lab.xenapi.calls import Calls
from lab.xenapi.certificates import make_identity
from lab.xenapi.database import Database
from lab.xenapi.datamodel import model
from lab.xenapi.dispatch import Dispatcher
from lab.xenapi.faults import ConnectionDropped, Faults
from lab.xenapi.httpd import Listener
from lab.xenapi.pool import Pool
from lab.xenapi.settings import PoolSettings
from lab.xenapi.world import World

# Come and go with the clients themselves, so that two moments with the same pool may differ in them.
_PASSING_CLASSES = ("session", "task")
_PASSING_FIELDS = ("last_updated", "utilisation")


class XenApiServer:
    """A pool that answers on loopback, from ``start`` to ``stop``: threads of this process.

    Each host has a port; the first host is the pool's master, the others answer HOST_IS_SLAVE. One ``beside`` another
    counts calls together with that, and has the same faults.
    """

    def __init__(
        self,
        settings: PoolSettings | None = None,
        tls: bool = False,
        port: int = 0,
        beside: XenApiServer | None = None,
    ) -> None:
        self.settings = settings or PoolSettings()
        self.faults: Faults = beside.faults if beside else Faults()
        self.calls: Calls = beside.calls if beside else Calls()
        self._dispatcher = Dispatcher(self.faults, self.calls)
        self._tls = tls
        self._ports = [port] + [0] * (self.settings.hosts - 1)
        self._folder = tempfile.TemporaryDirectory(prefix="xenapi-") if tls else None
        self._identity = make_identity(Path(self._folder.name)) if self._folder else None
        self._listeners: list[Listener] = []
        self._thawed = threading.Event()
        self._thawed.set()
        self.pool = Pool(self.settings, self.faults)

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> XenApiServer:
        self._listen()
        return self

    def stop(self) -> None:
        self.pool.close()
        self._thawed.set()
        self.stop_listening()
        if self._folder:
            self._folder.cleanup()

    def __enter__(self) -> XenApiServer:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def reset(self) -> None:
        """Back to the fresh world, with nobody logged in and no faults, on the same ports."""
        self.faults.clear()
        self.thaw()
        self.pool.close()
        self.pool = Pool(self.settings, self.faults)
        if self._listeners:
            self._serve()
        else:
            self._listen()

    def _listen(self) -> None:
        context = self._identity.context if self._identity else None
        self._listeners = [Listener(self, port, context, number) for number, port in enumerate(self._ports)]
        self._ports = [listener.server_port for listener in self._listeners]
        for listener in self._listeners:
            listener.start()
        self._serve()

    def _serve(self) -> None:
        self.world.serve_at(self._urls())
        neighbours.announce(self._master_address, self.pool)

    def connections(self) -> int:
        """How many there are to all hosts, without those that only wait for events; one is over when its last request
        is answered."""
        return sum(listener.connections() for listener in self._listeners)

    # -- where it is ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._urls()[0]

    @property
    def uri(self) -> str:
        return self._as_uri(self.url)

    @property
    def slave_urls(self) -> list[str]:
        return self._urls()[1:]

    @property
    def slave_uris(self) -> list[str]:
        return [self._as_uri(url) for url in self.slave_urls]

    @property
    def ca_file(self) -> Path:
        """What to verify the server's certificate with; only with TLS."""
        if not self._identity:
            raise ValueError("this server speaks plain HTTP")
        return self._identity.ca_file

    @property
    def username(self) -> str:
        return self.settings.username

    @property
    def password(self) -> str:
        return self.settings.password

    @property
    def _master_address(self) -> str:
        return self.url.rpartition("/")[2]

    def _urls(self) -> list[str]:
        scheme = "https" if self._tls else "http"
        return [f"{scheme}://127.0.0.1:{listener.server_port}" for listener in self._listeners]

    @staticmethod
    def _as_uri(url: str) -> str:
        return url.replace("https://", "xenapi://").replace("http://", "xenapi+http://")

    # -- what is in it -------------------------------------------------------------------------------------------------

    @property
    def db(self) -> Database:
        return self.pool.db

    @property
    def world(self) -> World:
        return self.pool.world

    def console_text(self, vm_name: str) -> str:
        """What the guest has written to its console since it was last started."""
        return self.world.console_text(self._vm(vm_name))

    def crash(self, vm_name: str) -> None:
        """Let the guest crash."""
        self.world.crash(self._vm(vm_name))

    def expire_sessions(self) -> None:
        """Every session is at its end: the next call with it is told SESSION_INVALID."""
        with self.db.lock:
            for session in self.db.refs("session"):
                self.db.destroy("session", session)

    def snapshot(self) -> dict[str, Any]:
        """Every record by class and reference, and the contents of VDIs: two of them are equal when nothing changed.

        Sessions, tasks and times of last updates are left out; references in sets are sorted.
        """
        with self.db.lock:
            records: dict[str, Any] = {
                cls: {ref: _comparable(self.db.record(cls, ref)) for ref in self.db.refs(cls)}
                for cls in model().classes
                if cls not in _PASSING_CLASSES
            }
            return {**records, "world": self.world.snapshot()}

    def _vm(self, name: str) -> str:
        (vm,) = self.db.find("VM", name_label=name, is_a_snapshot=False)
        return vm

    # -- trouble -------------------------------------------------------------------------------------------------------

    def let_migrations_take(self, seconds: float) -> None:
        """How long memory takes to move from now on, until the pool is reset."""
        self.world.settings = replace(self.world.settings, migrate_s=seconds)

    def freeze(self) -> None:
        """Answer nothing until thawed; connections are still taken."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def stop_listening(self) -> None:
        """Be gone, as a host that lost its power: connections end, new ones are refused."""
        if self._listeners:
            neighbours.withdraw(self._master_address)
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def listen_again(self) -> None:
        """Be back at the same ports, with all that was there before."""
        self._listen()

    # -- for the connections -------------------------------------------------------------------------------------------

    def wait_until_thawed(self) -> None:
        self._thawed.wait()
        if self.pool.stopping.is_set():
            raise ConnectionDropped

    def carry_out(self, name: str, params: Sequence[Any], *, slave: bool) -> str:
        """The XML of what a call answers; raises Failure."""
        master = self._master_address if slave else None
        return self._dispatcher.dispatch(self.pool, name, params, master)


def _comparable(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(value, key=str) if isinstance(value, list) else value
        for name, value in record.items()
        if name not in _PASSING_FIELDS
    }
