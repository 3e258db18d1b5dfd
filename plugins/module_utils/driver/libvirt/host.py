# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host: is it usable, what has it got, what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ...errors import IncompatibleCpu
from ...model.host import CpuInfo, HostStats, PoolStats
from ...model.units import GIB, MIB
from .errors import NO_STORAGE_POOL, code_of
from .folders import PREFIX as PASSING_POOL
from .folders import refresh_unless_busy
from .stats import StatsMixin
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_FILE_POOLS = ("dir", "fs", "netfs")
_SAME_FILE_SYSTEM = 0.01
"""Pools in folders that have the same size and differ in what is available by no more than this share of it are taken
to lie on one file system, whose room must not be counted twice."""


class HostMixin(StatsMixin):
    """Looking at the host."""

    def verify(self) -> list[str]:
        return self._problems_while_open(self._conn is not None, self._find_problems)

    def _find_problems(self) -> list[str]:
        problems = []
        capabilities = self._capabilities()
        os_types = {
            "qemu": ("hvm",),
            "lxc": ("exe",),
            "xen": ("xen", "linux", "xenpvh", "hvm"),
        }[self.kind]
        if not any(guest.findtext("os_type") in os_types for guest in capabilities.findall("guest")):
            problems.append(f"the libvirt daemon can run no {self.kind} instances: it knows of no emulator for them")
        return problems

    def host_identity(self) -> str:
        return self._capabilities().findtext("host/uuid") or self._hostname()

    def get_host_stats(self, refresh: bool = False) -> HostStats:
        with self.guard("read the host's capacity"):
            _model, memory_mb, vcpus, *_topology = self.conn.getInfo()
            version = self.conn.getVersion()
            hypervisor = self.conn.getType()
            free_mb = self._free_memory_mb()
            defined = self.conn.listAllDomains(0)
        active = self.vcpus_in_use()
        pools = self._pool_stats(refresh)
        total, used, available = _room(pools)
        hidden = sum(1 for domain in defined if self.is_host_itself(domain))
        return HostStats(
            hostname=self._hostname(),
            hypervisor_type=hypervisor,
            hypervisor_version=f"{version // 1000000}.{version // 1000 % 1000}.{version % 1000}",
            vcpus=vcpus,
            vcpus_used=sum(active.values()),
            memory_mb=memory_mb,
            memory_mb_used=memory_mb - free_mb,
            memory_mb_free=free_mb,
            local_gb=round(total / GIB, 2),
            local_gb_used=round(used / GIB, 2),
            local_gb_free=round(available / GIB, 2),
            instances=len(defined) - hidden,
            running_instances=len(active),
            cpu_info=self.get_cpu_info(),
            pools=pools,
        )

    def get_cpu_info(self) -> CpuInfo:
        cpu = self._capabilities().find("host/cpu")
        if cpu is None:
            cpu = ElementTree.Element("cpu")
        topology = cpu.find("topology")
        sockets, cores, threads = (int(topology.get(part, "1")) if topology is not None else 1 for part in _TOPOLOGY)
        return CpuInfo(
            arch=cpu.findtext("arch", ""),
            model=cpu.findtext("model", ""),
            vendor=cpu.findtext("vendor", ""),
            sockets=sockets,
            cores=cores,
            threads=threads,
            features=sorted(feature.get("name", "") for feature in cpu.findall("feature")),
        )

    def compare_cpu(self, cpu_info: CpuInfo) -> None:
        self.require("compare_cpu")
        host = self.get_cpu_info()
        if cpu_info.arch != host.arch:
            raise IncompatibleCpu(f"a guest of a {cpu_info.arch} processor cannot run on this host's {host.arch}")
        with self.guard("compare the processor with the host's"):
            verdict = self.conn.compareCPU(_cpu_document(cpu_info), 0)
        if verdict not in (self.libvirt.VIR_CPU_COMPARE_IDENTICAL, self.libvirt.VIR_CPU_COMPARE_SUPERSET):
            lacking = sorted(set(cpu_info.features) - set(host.features))
            detail = f"; of its features these are not the host's own: {', '.join(lacking)}" if lacking else ""
            raise IncompatibleCpu(
                f"a guest of a {cpu_info.model or cpu_info.arch} cannot run on this host's "
                f"{host.model or host.arch}{detail}"
            )

    def _capabilities(self) -> ElementTree.Element:
        with self.guard("read the host's capabilities"):
            return from_libvirt(self.capabilities_xml())

    def _hostname(self) -> str:
        with self.guard("read the host's name"):
            return str(self.conn.getHostname())

    def _free_memory_mb(self) -> int:
        """MiB for new instances: what is unused, and what the host's caches can give back."""
        if self.kind == "xen":  # there the host's own memory is the management domain's, not the instances'
            return int(self.conn.getFreeMemory()) // MIB
        stats = self.conn.getMemoryStats(self.libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
        return sum(int(stats.get(part, 0)) for part in ("free", "buffers", "cached")) // 1024

    def _pool_stats(self, refresh: bool) -> list[PoolStats]:
        with self.guard("read the storage pools"):
            pools = [self._one_pool(pool, refresh) for pool in self.conn.listAllStoragePools(0)]
        return sorted((pool for pool in pools if pool is not None), key=lambda pool: pool.name)

    def _one_pool(self, pool: libvirt.virStoragePool, refresh: bool) -> PoolStats | None:
        """None when it is no pool for instances, or gone."""
        if pool.name().startswith(PASSING_POOL):
            return None
        try:
            active = bool(pool.isActive())
            if refresh and active:
                refresh_unless_busy(self.libvirt, pool)
            _state, total, used, available = pool.info() if active else (0, 0, 0, 0)
            kind = from_libvirt(pool.XMLDesc(0)).get("type", "")
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_STORAGE_POOL:
                raise
            return None
        return PoolStats(pool.name(), kind, active, total, used, available)


_TOPOLOGY = ("sockets", "cores", "threads")


def _room(pools: list[PoolStats]) -> tuple[int, int, int]:
    """Total, used and available bytes of all pools, each file system counted once."""
    counted: list[PoolStats] = []
    for pool in pools:
        if pool.type in _FILE_POOLS and any(_same_file_system(pool, other) for other in counted):
            continue
        counted.append(pool)
    return (
        sum(pool.total_bytes for pool in counted),
        sum(pool.used_bytes for pool in counted),
        sum(pool.available_bytes for pool in counted),
    )


def _same_file_system(one: PoolStats, other: PoolStats) -> bool:
    return (
        other.type in _FILE_POOLS
        and one.total_bytes == other.total_bytes
        and abs(one.available_bytes - other.available_bytes) <= _SAME_FILE_SYSTEM * one.total_bytes
    )


def _cpu_document(cpu_info: CpuInfo) -> str:
    """The processor as virConnectCompareCPU wants it."""
    cpu = ElementTree.Element("cpu")
    ElementTree.SubElement(cpu, "arch").text = cpu_info.arch
    if cpu_info.model:
        ElementTree.SubElement(cpu, "model").text = cpu_info.model
    if cpu_info.vendor:
        ElementTree.SubElement(cpu, "vendor").text = cpu_info.vendor
    ElementTree.SubElement(cpu, "topology", {part: str(getattr(cpu_info, part)) for part in _TOPOLOGY})
    for feature in cpu_info.features:
        ElementTree.SubElement(cpu, "feature", name=feature)
    return ElementTree.tostring(cpu, encoding="unicode")
