# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool, or with ``?host=NAME`` one host of it: is it usable, what has it got, what is left of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from ...errors import HypervisorError, IncompatibleCpu, InvalidUri
from ...model import power_state
from ...model.host import CpuInfo, HostStats, PoolStats
from ...model.units import GIB, MIB
from .instances import InstancesMixin
from .records import Object, Objects, present_vcpus, state_of

NOT_FOR_DISKS = ("iso", "udev")
"""Types of storage repositories that hold no disks of instances; also a content type."""


class HostMixin(InstancesMixin):
    """Looking at the pool and its hosts."""

    def verify(self) -> list[str]:
        return self._problems_while_open(self._api is not None, self._find_problems)

    def host_identity(self) -> str:
        if self._known_identity is None:
            self._known_identity = self._read_identity()
        return self._known_identity

    def _read_identity(self) -> str:
        """What does not change, and is asked for once."""
        chosen = self.chosen_host()
        if chosen is not None:
            return str(chosen[1]["uuid"])
        with self.guard("read the pool"):
            _ref, pool = self.pool()
        return str(pool["uuid"])

    def get_host_stats(self, refresh: bool = False) -> HostStats:
        hosts, chosen = self._scope()
        with self.guard("read the pool's capacity"):
            _ref, pool = self.pool()
            measured = self.fetch("host_metrics")
            instances = self.find_vms()
            active = {ref: vm for ref, vm in instances.items() if state_of(vm) in power_state.ACTIVE}
            vm_metrics = self.fetch_of("VM_metrics", active.values(), "metrics", whole=True) if active else {}
            pools = self._pool_stats(hosts, refresh)
        if chosen is not None:
            instances = {ref: vm for ref, vm in instances.items() if _place_of(vm) in hosts}
            active = {ref: vm for ref, vm in active.items() if ref in instances}
        shown = chosen or hosts[pool["master"]]
        there = [host for host in hosts.values() if _is_there(host, measured)]
        total = sum(int(measured[host["metrics"]]["memory_total"]) for host in there)
        open_ones = [host for host in there if host["enabled"]]
        free = sum(int(measured[host["metrics"]]["memory_free"]) for host in open_ones)
        ready = [pool for pool in pools if pool.active]
        return HostStats(
            hostname=chosen["hostname"] if chosen else pool["name_label"] or shown["hostname"],
            hypervisor_type=shown["software_version"].get("product_brand", "XenServer"),
            hypervisor_version=_version(shown),
            vcpus=sum(_processors(host) for host in there),
            vcpus_used=sum(present_vcpus(vm, vm_metrics.get(vm["metrics"])) for vm in active.values()),
            memory_mb=total // MIB,
            memory_mb_used=(total - free) // MIB,
            memory_mb_free=free // MIB,
            local_gb=_gib(sum(pool.total_bytes for pool in ready)),
            local_gb_used=_gib(sum(pool.used_bytes for pool in ready)),
            local_gb_free=_gib(sum(pool.available_bytes for pool in ready)),
            instances=len(instances),
            running_instances=len(active),
            cpu_info=cpu_of(hosts, shown),
            pools=pools,
            enabled=bool(open_ones),
        )

    def get_cpu_info(self) -> CpuInfo:
        """As the contract says. Of a pool whose hosts differ: the master's processor, with the features that all
        have."""
        hosts, chosen = self._scope()
        if chosen is None:
            with self.guard("read the pool"):
                _ref, pool = self.pool()
            chosen = hosts[pool["master"]]
        return cpu_of(hosts, chosen)

    def compare_cpu(self, cpu_info: CpuInfo) -> None:
        problem = cpu_problem(cpu_info, self.get_cpu_info(), "this pool")
        if problem is not None:
            raise IncompatibleCpu(problem)

    def chosen_host(self) -> tuple[str, Object] | None:
        """The host that the URI names, if it names one.

        Raises:
            InvalidUri: the pool has no host of that name, or several.
        """
        if not self.options.query().get("host"):
            return None
        hosts, _chosen = self._scope()
        return next(iter(hosts.items()))

    # -- parts ------------------------------------------------------------------------------------------------------

    def _find_problems(self) -> list[str]:
        hosts, _chosen = self._scope()
        with self.guard("read the pool's hosts"):
            measured = self.fetch("host_metrics")
        problems = []
        for host in hosts.values():
            if not host["enabled"]:
                problems.append(f"the host {host['name_label']} is disabled: it starts no instances")
            elif host["metrics"] in measured and not measured[host["metrics"]]["live"]:
                problems.append(f"the host {host['name_label']} is not there: the pool does not hear from it")
        return problems if len(problems) == len(hosts) else []

    def _scope(self) -> tuple[Objects, Object | None]:
        """The hosts that count, all of the pool or the one that the URI names, and that one."""
        name = self.options.query().get("host")
        with self.guard("read the pool's hosts"):
            hosts = self.fetch("host")
        if not name:
            return hosts, None
        found = {ref: host for ref, host in hosts.items() if name in (host["name_label"], host["hostname"])}
        if len(found) != 1:
            names = ", ".join(sorted(host["name_label"] for host in hosts.values()))
            raise InvalidUri(f"uri: host={name} names {len(found) or 'none'} of the pool's hosts, which are {names}")
        return found, next(iter(found.values()))

    def _pool_stats(self, hosts: Objects, refresh: bool) -> list[PoolStats]:
        repositories = {ref: sr for ref, sr in self.fetch("SR").items() if _is_for_disks(sr)}
        links = [link for link in self.fetch("PBD").values() if link["host"] in hosts and link["SR"] in repositories]
        plugged = {link["SR"] for link in links if link["currently_attached"]}
        if refresh:
            for ref in sorted(plugged):
                # One that cannot be looked through now is busy or broken: what was last known of it has to do.
                with contextlib.suppress(HypervisorError), self.guard("look through the storage repositories"):
                    self.run_task("SR.scan", ref)
            repositories = {ref: sr for ref, sr in self.fetch("SR").items() if ref in repositories}
        reachable = {link["SR"] for link in links}
        found = [_repository(sr, ref in plugged) for ref, sr in repositories.items() if ref in reachable]
        return sorted(found, key=lambda pool: pool.name)


def _is_for_disks(sr: Object) -> bool:
    return sr["type"] not in NOT_FOR_DISKS and sr["content_type"] not in NOT_FOR_DISKS


def _repository(sr: Object, active: bool) -> PoolStats:
    total, used = (max(0, int(sr[field])) for field in ("physical_size", "physical_utilisation"))
    if not active:
        total = used = 0
    return PoolStats(sr["name_label"], sr["type"], active, total, used, max(0, total - used))


def _place_of(vm: Object) -> Any:
    """The host that a VM is on, or is to be on."""
    return vm["resident_on"] if state_of(vm) in power_state.ACTIVE else vm["affinity"]


def _is_there(host: Object, measured: Objects) -> bool:
    """Whether the pool hears from a host; one that is not there has nothing to give."""
    metrics = measured.get(host["metrics"])
    return metrics is not None and bool(metrics["live"])


def _version(host: Object) -> str:
    known = host["software_version"]
    return known.get("product_version") or known.get("xapi") or f"{host['API_version_major']}"


def _processors(host: Object) -> int:
    counted = host["cpu_info"].get("cpu_count", "")
    return int(counted) if counted.isdecimal() else len(host["host_CPUs"])


def cpu_problem(cpu_info: CpuInfo, own: CpuInfo, whose: str) -> str | None:
    """Why a guest of a processor like ``cpu_info`` cannot run on one like ``own``, which is that of ``whose``."""
    if cpu_info.arch != own.arch:
        return f"a guest of a {cpu_info.arch} processor cannot run on the {own.arch} of {whose}"
    if cpu_info.vendor and own.vendor and cpu_info.vendor != own.vendor:
        return f"a guest of a processor made by {cpu_info.vendor} cannot run on that of {whose}, made by {own.vendor}"
    lacking = sorted(set(cpu_info.features) - set(own.features))
    return f"not all processors of {whose} have these features: {', '.join(lacking)}" if lacking else None


def cpu_of(hosts: Objects, shown: Object) -> CpuInfo:
    """The processor of one host, with the features that all of ``hosts`` have."""
    info = shown["cpu_info"]

    def number(name: str) -> int:
        text = info.get(name, "")
        return max(1, int(text)) if text.isdecimal() else 1

    sockets, threads = number("socket_count"), number("threads_per_core")
    return CpuInfo(
        arch=_arch(shown["capabilities"]),
        model=info.get("modelname", ""),
        vendor=info.get("vendor", ""),
        sockets=sockets,
        cores=max(1, _processors(shown) // (sockets * threads)),
        threads=threads,
        features=sorted(set.intersection(*(_features(host) for host in hosts.values()))),
    )


def _features(host: Object) -> set[str]:
    return set(host["cpu_info"].get("flags", "").split())


def _arch(capabilities: Iterable[str]) -> str:
    """Xen names each kind of guest that it can run like ``hvm-3.0-x86_64``."""
    found = {text.rpartition("-")[2] for text in capabilities}
    return next((arch for arch in ("x86_64", "aarch64") if arch in found), "x86_64")


def _gib(size_bytes: int) -> float:
    return round(size_bytes / GIB, 2)
