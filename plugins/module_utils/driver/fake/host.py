# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host: capacity, processor, verification."""

from __future__ import annotations

import os
from dataclasses import replace

from ...errors import AnyvirtError, IncompatibleCpu, InsufficientCapacity
from ...model import power_state
from ...model.host import CpuInfo, HostStats, PoolStats
from ...model.units import GIB, MIB
from .core import FakeCore
from .guest import Look
from .hostfile import Pool
from .poolrecords import pools_of
from .store import INSTANCES, VOLUMES, Record, View
from .volumerecords import room_of


class HostMixin(FakeCore):
    """What the host is and what it has left."""

    def init_host(self) -> list[str]:
        with self._read("list") as view:
            names = list(view.all(INSTANCES))
        if not os.path.isdir(self.folder):
            with self._write("host_init"):
                pass  # whoever writes makes the folder
        return names

    def verify(self) -> list[str]:
        problems = []
        for check in (self._settings_file.read, self._faults.check):
            try:
                check()
            except AnyvirtError as error:
                problems.append(str(error))
        nearest = self._nearest_folder()
        if not os.path.isdir(nearest):
            problems.append(f"{nearest} is not a folder")
        elif not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            problems.append(f"the folder {nearest} is not writable for this user")
        else:
            try:
                problems.extend(self._store.damaged())
            except AnyvirtError as error:
                problems.append(str(error))
        return problems

    def get_host_stats(self, refresh: bool = False) -> HostStats:
        settings = self._settings
        with self._read("host_stats") as view:
            seen = self._instances(view).values()
            pools = self._pool_stats(view)
        active = [taken for taken in (_taken(record, look) for record, look in seen) if taken is not None]
        running = sum(look.state in power_state.ACTIVE for _record, look in seen)
        used_mb = settings.reserved_memory_mb + sum(taken["memory_mb"] for taken in active)
        ready = [pool for pool in pools if pool.active]
        return HostStats(
            hostname=self.host,
            hypervisor_type=self.name,
            hypervisor_version=settings.version,
            vcpus=settings.vcpus,
            vcpus_used=sum(taken["vcpus"] for taken in active),
            memory_mb=settings.memory_mb,
            memory_mb_used=used_mb,
            memory_mb_free=max(0, settings.memory_mb - used_mb),
            local_gb=_gib(sum(pool.total_bytes for pool in ready)),
            local_gb_used=_gib(sum(pool.used_bytes for pool in ready)),
            local_gb_free=_gib(sum(pool.available_bytes for pool in ready)),
            instances=len(seen),
            running_instances=running,
            cpu_info=self.get_cpu_info(),
            pools=pools,
        )

    def get_cpu_info(self) -> CpuInfo:
        cpu = self._settings.cpu
        return replace(cpu, features=list(cpu.features))

    def compare_cpu(self, cpu_info: CpuInfo) -> None:
        own = self._settings.cpu
        if cpu_info.arch != own.arch:
            raise IncompatibleCpu(f"a guest for {cpu_info.arch} cannot run on {self.host}, which is {own.arch}")
        missing = sorted(set(cpu_info.features) - set(own.features))
        if missing:
            raise IncompatibleCpu(f"the processor of {self.host} lacks {', '.join(missing)}")

    # -- capacity ---------------------------------------------------------------------------------------------------

    def _pools(self, view: View) -> dict[str, Pool]:
        """The pools of ``host.json`` as they were changed since, and those that were made."""
        return pools_of(view, self._settings)

    def _pool_stats(self, view: View) -> list[PoolStats]:
        used: dict[str, int] = {}
        for volume in view.all(VOLUMES).values():
            used[volume["pool"]] = used.get(volume["pool"], 0) + room_of(volume)
        return [
            PoolStats(
                name=name,
                type=pool.kind,
                active=pool.active,
                total_bytes=pool.size_bytes,
                used_bytes=used.get(name, 0),
                available_bytes=max(0, pool.size_bytes - used.get(name, 0)) if pool.active else 0,
            )
            for name, pool in sorted(self._pools(view).items())
        ]

    def _pool_room(self, view: View, pool: str) -> int:
        """Bytes that the pool has left."""
        return next(stats.available_bytes for stats in self._pool_stats(view) if stats.name == pool)

    def _require_pool_room(self, view: View, pool: str, size_bytes: int) -> None:
        """Raise InsufficientCapacity unless the pool has that much room left."""
        room = self._pool_room(view, pool)
        if size_bytes > room:
            raise InsufficientCapacity(
                f"the pool {pool!r} of {self.host} has {_size(room)} left; {_size(size_bytes)} are needed"
            )

    def _require_room(self, view: View, name: str, memory_mb: int, vcpus: int) -> None:
        """Raise InsufficientCapacity unless the host can give that much to an active instance."""
        settings = self._settings
        found = (_taken(*seen) for its_name, seen in self._instances(view).items() if its_name != name)
        others = [taken for taken in found if taken is not None]
        free_mb = settings.memory_mb - settings.reserved_memory_mb - sum(other["memory_mb"] for other in others)
        if memory_mb > free_mb:
            raise InsufficientCapacity(
                f"{self.host} has {max(0, free_mb)} MiB of memory left; instance {name!r} needs {memory_mb}"
            )
        free_vcpus = int(settings.vcpus * settings.vcpu_overcommit) - sum(other["vcpus"] for other in others)
        if vcpus > free_vcpus:
            raise InsufficientCapacity(
                f"{self.host} has {max(0, free_vcpus)} virtual processors left; instance {name!r} needs {vcpus}"
            )


def _taken(record: Record, seen: Look) -> Record | None:
    """The part of a record that tells what its guest takes, or is about to when it arrives from another host."""
    taken: Record | None = record["running"] if seen.state in power_state.ACTIVE else record.get("arriving")
    return taken


def _size(size_bytes: int) -> str:
    """In words, where a hundredth of a GiB is something."""
    return f"{_gib(size_bytes)} GiB" if size_bytes >= GIB else f"{round(size_bytes / MIB, 2)} MiB"


def _gib(size_bytes: int) -> float:
    return round(size_bytes / GIB, 2)
