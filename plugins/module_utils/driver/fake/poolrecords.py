# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of pools.

A pool that was made has a record with all that it is. One of ``host.json`` has a record only once it was changed, which
holds just that. ``gone`` in a record: there is no such pool any more, though its volumes may still be where they were.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...model.host import PoolStats
from ...model.storage import Pool
from . import hostfile
from .store import POOLS, Record, View

DEFINED = ("kind", "path", "devices", "fs_type", "server", "export", "target", "port", "volume_group", "shared")
"""Fields of a pool that say what it is, and never change."""


def pools_of(view: View, settings: hostfile.HostSettings) -> dict[str, hostfile.Pool]:
    """The pools of ``host.json`` as they were changed since, and those that were made."""
    pools = dict(settings.pools)
    for name, record in view.all(POOLS).items():
        if record.get("gone"):
            pools.pop(name, None)
        else:
            pools[name] = changed_pool(pools.get(name), record)
    return pools


def changed_pool(base: hostfile.Pool | None, record: Record) -> hostfile.Pool:
    """A pool of host.json, if it is one, with what its record says about it."""
    pool = hostfile.Pool(record["size_bytes"]) if base is None or "size_bytes" in record else base
    known: dict[str, Any] = {field: record[field] for field in hostfile.Pool._fields if field in record}
    return pool._replace(**known)


def new_pool_record(pool: Pool, size_bytes: int) -> Record:
    """The record of a pool that was just made."""
    return {**definition_of(pool), "size_bytes": size_bytes, "active": False, "autostart": bool(pool.autostart)}


def definition_of(pool: Pool) -> Record:
    """What a pool is, as plain data without what it does not have."""
    return definition_in(asdict(pool))


def definition_in(record: Record) -> Record:
    """The part of a record that says what a pool is."""
    return {field: value for field, value in record.items() if field in DEFINED and value not in (None, False)}


def to_pool(has: hostfile.Pool, record: Record | None, stats: PoolStats) -> Pool:
    """The pool that a record and its sizes tell of."""
    return Pool(
        **{"kind": has.kind, "path": has.path, "shared": has.shared, **definition_in(record or {})},
        name=stats.name,
        autostart=has.autostart,
        active=has.active,
        capacity_bytes=stats.total_bytes,
        used_bytes=stats.used_bytes,
        available_bytes=stats.available_bytes,
    )
