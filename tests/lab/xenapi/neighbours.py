# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pools that can reach each other: those that this process serves, by the addresses of their masters."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab.xenapi.call import Call
from lab.xenapi.failures import Failure
from lab.xenapi.sessions import check_session

if TYPE_CHECKING:
    from lab.xenapi.database import Database, Ref
    from lab.xenapi.pool import Pool
    from lab.xenapi.world import World

_pools: dict[str, Pool] = {}
_lock = threading.Lock()


def announce(address: str, pool: Pool) -> None:
    """From now on the pool can be reached at ``HOST:PORT``, instead of one that was there."""
    with _lock:
        _pools[address] = pool


def withdraw(address: str) -> None:
    """Nobody answers there any more."""
    with _lock:
        _pools.pop(address, None)


@dataclass(frozen=True)
class Remote:
    """The host that a VM is to go to, as the map of host.migrate_receive tells it; perhaps of another pool."""

    pool: Pool
    host: Ref
    address: str

    @property
    def db(self) -> Database:
        return self.pool.db

    @property
    def world(self) -> World:
        return self.pool.world

    def is_within(self, call: Call) -> bool:
        """Whether it is in the pool that is called."""
        return self.pool is call.pool

    def check_reachable(self) -> None:
        """Raise VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED once its pool answers no more."""
        with _lock:
            if _pools.get(self.address) is not self.pool:
                raise Failure("VM_MIGRATE_CONTACT_REMOTE_SERVICE_FAILED")

    @property
    def is_reachable(self) -> bool:
        with suppress(Failure):
            self.check_reachable()
            return True
        return False


def remote_of(dest: dict[str, str]) -> Remote:
    """Who is meant by what host.migrate_receive has answered.

    Raises CANNOT_CONTACT_HOST where nobody answers, SESSION_INVALID, HANDLE_INVALID.
    """
    missing = [key for key in ("master", "session_id", "host", "SM", "xenops") if key not in dest]
    if missing:
        raise Failure("INTERNAL_ERROR", f"the destination has no {missing[0]}")
    address = urlsplit(dest["master"]).netloc
    with _lock:
        pool = _pools.get(address)
    if pool is None:
        raise Failure("CANNOT_CONTACT_HOST", address)
    check_session(pool, dest["session_id"])
    pool.db.get("host", dest["host"], "uuid")
    return Remote(pool, dest["host"], address)
