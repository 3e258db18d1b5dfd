# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of running instances."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar
from xml.etree import ElementTree

from ...errors import InvalidPowerState, NotFound
from ...model.instance import BlockStats, InterfaceStats
from .connection import LibvirtBase
from .errors import INTERNAL_ERROR, NO_DOMAIN, OPERATION_INVALID, code_of
from .scratch import is_scratch
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

_T = TypeVar("_T")

Record = dict[str, Any]
"""One domain's record of virConnectGetAllDomainStats, as libvirt's keys and values."""

_NAMES = {
    "cpu.time": "cpu_time_ns",
    "vcpu.current": "vcpus",
    "balloon.current": "memory_kib",
    "balloon.maximum": "memory_max_kib",
    "balloon.rss": "memory_rss_kib",
    "balloon.unused": "memory_unused_kib",
    "balloon.available": "memory_available_kib",
    "balloon.major_fault": "memory_major_fault",
    "balloon.minor_fault": "memory_minor_fault",
    "balloon.swap_in": "memory_swap_in_kib",
    "balloon.swap_out": "memory_swap_out_kib",
}
_VCPU_TIME = re.compile(r"vcpu\.(\d+)\.time")
_BLOCK = {
    "rd.reqs": "rd_req",
    "rd.bytes": "rd_bytes",
    "wr.reqs": "wr_req",
    "wr.bytes": "wr_bytes",
    "errors": "errs",
    "fl.reqs": "flush_req",
    "allocation": "allocation_bytes",
    "capacity": "capacity_bytes",
}
_NET = {
    f"{way}.{what}": f"{way}_{name}"
    for way in ("rx", "tx")
    for what, name in (("bytes", "bytes"), ("pkts", "packets"), ("errs", "errs"), ("drop", "drop"))
}

_GOING_DOWN_S = 10.0
_LOOK_AGAIN_S = 0.1


class StatsMixin(LibvirtBase):
    """Looking at what instances have used."""

    def list_disks(self, name: str) -> list[str]:
        return [target.get("dev", "") for target in self._configuration(name).findall("devices/disk/target")]

    def list_interfaces(self, name: str) -> list[str]:
        # libvirt takes the MAC address where it takes a device's name, and that one is known before the instance runs.
        return self._nic_ids(self._configuration(name))

    def block_stats(self, name: str, disk_id: str) -> BlockStats:
        self.require("block_stats")
        domain = self._running(name)
        if disk_id not in self.list_disks(name):
            raise NotFound(f"instance {name!r} has no disk {disk_id!r}")
        with self.guard(f"read the counters of disk {disk_id} of instance {name!r}", name):
            return BlockStats(*(max(0, value) for value in domain.blockStats(disk_id)))

    def interface_stats(self, name: str, interface_id: str) -> InterfaceStats:
        self.require("interface_stats")
        domain = self._running(name)
        if interface_id not in self.list_interfaces(name):
            raise NotFound(f"instance {name!r} has no NIC {interface_id!r}")
        with self.guard(f"read the counters of NIC {interface_id} of instance {name!r}", name):
            return InterfaceStats(*(max(0, value) for value in domain.interfaceStats(interface_id)))

    def get_diagnostics(self, name: str) -> dict[str, int]:
        self.require("diagnostics")
        domain = self._running(name)
        with self.guard(f"read the counters of instance {name!r}", name):
            if self.kind != "qemu":
                return dict(_flattened(self._record(domain)))
            found = self.conn.domainListGetStats([domain], self._groups(), 0)
            return dict(_flattened(found[0][1])) if found else {}

    def get_all_diagnostics(self, names: Collection[str] | None = None) -> Mapping[str, dict[str, int]]:
        """As the contract says, on QEMU. Xen and LXC have no bulk call: two for each instance there, and one for each
        NIC."""
        self.require("diagnostics")
        if names is not None and not names:
            return {}
        return {name: dict(_flattened(record)) for name, record in self._active_records(names)}

    def vcpus_in_use(self) -> dict[str, int]:
        """Of each active instance, the number of its virtual processors."""
        with self.guard("read the instances' processors"):
            if self.kind == "qemu":
                flags = self.libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | self._do_not_wait
                found = self.conn.getAllDomainStats(self.libvirt.VIR_DOMAIN_STATS_VCPU, flags)
                return {domain.name(): record.get("vcpu.current", 0) for domain, record in found}
            return {domain.name(): info[3] for domain, info in self._each_active(self.info_of)}

    def info_of(self, domain: libvirt.virDomain) -> list[int]:
        """virDomainGetInfo. Of a domain that is just going down libxl tells nothing, and all of it a moment later."""
        deadline = time.monotonic() + _GOING_DOWN_S
        while True:
            try:
                return list(domain.info())
            except self.libvirt.libvirtError as error:
                if self.kind != "xen" or code_of(error) != INTERNAL_ERROR or time.monotonic() >= deadline:
                    raise
                time.sleep(_LOOK_AGAIN_S)

    def is_host_itself(self, domain: libvirt.virDomain) -> bool:
        """Xen lists its management domain among the others; it is no instance, and no more are our passing domains."""
        return (self.kind == "xen" and domain.ID() == 0) or is_scratch(domain)

    @property
    def _do_not_wait(self) -> int:
        """An instance with a long job at work tells less rather than later."""
        return int(self.libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT)

    def _groups(self) -> int:
        names = ("CPU_TOTAL", "BALLOON", "VCPU", "INTERFACE", "BLOCK")
        return sum(int(getattr(self.libvirt, f"VIR_DOMAIN_STATS_{name}")) for name in names)

    def _active_records(self, names: Collection[str] | None) -> Iterator[tuple[str, Record]]:
        """The records of all active instances, or of those in ``names``."""
        with self.guard("read the instances' counters"):
            if self.kind == "qemu":
                flags = self.libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | self._do_not_wait
                found: Iterable[tuple[libvirt.virDomain, Record]] = self.conn.getAllDomainStats(self._groups(), flags)
            else:
                found = self._each_active(self._record, names)
            for domain, record in found:
                if names is None or domain.name() in names:
                    yield domain.name(), record

    def _each_active(
        self, read: Callable[[libvirt.virDomain], _T], names: Collection[str] | None = None
    ) -> Iterator[tuple[libvirt.virDomain, _T]]:
        """Each active instance with what ``read`` tells of it; one that goes off meanwhile is left out."""
        for domain in self.conn.listAllDomains(self.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            if self.is_host_itself(domain) or (names is not None and domain.name() not in names):
                continue
            try:
                found = read(domain)
            except self.libvirt.libvirtError as error:
                if code_of(error) not in (NO_DOMAIN, OPERATION_INVALID):
                    raise
                continue
            yield domain, found

    def _record(self, domain: libvirt.virDomain) -> Record:
        """What virConnectGetAllDomainStats would tell, as far as a domain alone tells it."""
        _state, maximum_kib, memory_kib, vcpus, cpu_time_ns = self.info_of(domain)
        record: Record = {
            "cpu.time": cpu_time_ns,
            "vcpu.current": vcpus,
            "balloon.maximum": maximum_kib,
            # Of a container libvirt tells how much it uses, not how much it may.
            "balloon.rss" if self.kind == "lxc" else "balloon.current": memory_kib,
        }
        macs = self._nic_ids(from_libvirt(domain.XMLDesc(0)))
        record["net.count"] = len(macs)
        for number, mac in enumerate(macs):
            for key, value in zip(_NET, domain.interfaceStats(mac)):
                record[f"net.{number}.{key}"] = max(0, value)
        return record

    def _nic_ids(self, domain: ElementTree.Element) -> list[str]:
        return [mac.get("address", "") for mac in domain.findall("devices/interface/mac")]

    def _running(self, name: str) -> libvirt.virDomain:
        domain = self.lookup(name)
        with self.guard(f"read the state of instance {name!r}", name):
            if not domain.isActive():
                raise InvalidPowerState(f"instance {name!r} does not run, so it has no counters")
        return domain

    def _configuration(self, name: str) -> ElementTree.Element:
        domain = self.lookup(name)
        with self.guard(f"read the configuration of instance {name!r}", name):
            return from_libvirt(domain.XMLDesc(0))


def _flattened(record: Record) -> Iterator[tuple[str, int]]:
    for key, value in record.items():
        if key in _NAMES:
            yield _NAMES[key], value
        elif match := _VCPU_TIME.fullmatch(key):
            yield f"cpu{match[1]}_time_ns", value
    for number in range(record.get("block.count", 0)):
        disk = record.get(f"block.{number}.name", f"disk{number}")
        yield from _group(record, f"block.{number}.", f"{disk}_", _BLOCK)
    for number in range(record.get("net.count", 0)):
        yield from _group(record, f"net.{number}.", f"nic{number}_", _NET)


def _group(record: Record, prefix: str, ours: str, names: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    for key, name in names.items():
        value = record.get(prefix + key)
        if value is not None:
            yield ours + name, value
