# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storage that several hosts see: the volumes of pools that are ``shared`` lie in a store that all hosts below a root
have in common, and a pool of that name is the same on each of them.

Who made a volume, and removes it with the instance that it was made for, is one host's affair: on the others it has no
owner. Where an operation changes records of both stores, these are changed one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .hostfile import HOST_FILE, parse_host
from .poolrecords import pools_of
from .settings import BadSettings, SettingsFile
from .store import SHARED, VOLUMES, Changes, Record, Store, View

_OWNER_HOST = "owner_host"


class HostStore(Store):
    """The records of one host, and of the volumes that it shares with others."""

    def __init__(self, folder: str, patience_s: float = 60.0) -> None:
        super().__init__(folder, patience_s)
        self._host = os.path.basename(folder)
        self._shared = Store(os.path.join(os.path.dirname(os.path.dirname(folder)), SHARED), patience_s)
        self._settings = SettingsFile(os.path.join(folder, HOST_FILE), parse_host)

    @contextmanager
    def reading(self) -> Iterator[View]:
        with super().reading() as own:
            pools = self.shared_pools(own)
            if not pools:
                yield own
                return
            with self._shared.reading() as shared:
                yield _SharingView(own, shared, pools, self._host)

    @contextmanager
    def writing(self) -> Iterator[Changes]:
        with super().writing() as own:  # pylint: disable=contextmanager-generator-missing-cleanup
            pools = self.shared_pools(own)
            if not pools:
                yield own
                return
            with self._shared.writing() as shared:  # pylint: disable=contextmanager-generator-missing-cleanup
                yield _SharingChanges(own, shared, pools, self._host)

    def stamp(self) -> int:
        return super().stamp() + self._shared.stamp()

    def shared_pools(self, view: View) -> frozenset[str]:
        """The names of this host's pools that are shared."""
        try:
            pools = pools_of(view, self._settings.read())
        except BadSettings:  # which those say who need them
            return frozenset()
        return frozenset(name for name, pool in pools.items() if pool.shared)


class _SharingView(View):
    """Both stores as one."""

    def __init__(self, own: View, shared: View, pools: frozenset[str], host: str) -> None:
        self._own = own
        self._common = shared
        self._pools = pools
        self._host = host

    def get(self, kind: str, key: str) -> Record | None:
        if not self._is_common(kind, key):
            return self._own.get(kind, key)
        record = self._common.get(kind, key)
        return None if record is None else self._as_seen(record)

    def all(self, kind: str) -> dict[str, Record]:
        records = self._own.all(kind)
        if kind != VOLUMES:
            return records
        own = {key: record for key, record in records.items() if not self._is_common(kind, key)}
        common = {key: record for key, record in self._common.all(kind).items() if self._is_common(kind, key)}
        return dict(sorted({**own, **{key: self._as_seen(record) for key, record in common.items()}}.items()))

    def _is_common(self, kind: str, key: str) -> bool:
        return kind == VOLUMES and key.partition("/")[0] in self._pools

    def _as_seen(self, record: Record) -> Record:
        seen = {field: value for field, value in record.items() if field != _OWNER_HOST}
        return seen if record.get(_OWNER_HOST) == self._host else {**seen, "owner": None}


class _SharingChanges(_SharingView, Changes):
    """The same, to be changed."""

    def __init__(self, own: Changes, shared: Changes, pools: frozenset[str], host: str) -> None:
        super().__init__(own, shared, pools, host)
        self._own_changes = own
        self._common_changes = shared
        self.made = own.made

    def before(self, kind: str, key: str) -> Record | None:
        return self._own_changes.before(kind, key)

    def put(self, kind: str, key: str, record: Record) -> None:
        if not self._is_common(kind, key):
            self._own_changes.put(kind, key, record)
            return
        known = self._common.get(kind, key) or {}
        if record["owner"] is not None:
            record = {**record, _OWNER_HOST: self._host}
        elif known.get(_OWNER_HOST) not in (None, self._host):
            record = {**record, "owner": known["owner"], _OWNER_HOST: known[_OWNER_HOST]}
        self._common_changes.put(kind, key, record)

    def delete(self, kind: str, key: str) -> None:
        (self._common_changes if self._is_common(kind, key) else self._own_changes).delete(kind, key)
