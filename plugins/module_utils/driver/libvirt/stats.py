# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of running instances."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from ...errors import InvalidPowerState, NotFound
from ...model.instance import BlockStats, InterfaceStats
from .connection import LibvirtBase
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt

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


class StatsMixin(LibvirtBase):
    """Looking at what instances have used."""

    def list_disks(self, name: str) -> list[str]:
        return [target.get("dev", "") for target in self._configuration(name).findall("devices/disk/target")]

    def list_interfaces(self, name: str) -> list[str]:
        # libvirt takes the MAC address where it takes a device's name, and that one is known before the instance runs.
        return [mac.get("address", "") for mac in self._configuration(name).findall("devices/interface/mac")]

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
        self._running(name)
        return self.get_all_diagnostics([name]).get(name, {})

    def get_all_diagnostics(self, names: Collection[str] | None = None) -> Mapping[str, dict[str, int]]:
        self.require("diagnostics")
        return {
            name: dict(_flattened(record))
            for name, record in self._active_records().items()
            if names is None or name in names
        }

    def is_host_itself(self, domain: libvirt.virDomain) -> bool:
        """Xen lists its management domain among the others; it is no instance."""
        return self.kind == "xen" and domain.ID() == 0

    def _active_records(self) -> dict[str, Record]:
        """The records of all active instances. One call on QEMU; the others have none for it, so one for each."""
        active = self.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        with self.guard("read the instances' counters"):
            if self.kind == "qemu":
                found = self.conn.getAllDomainStats(0, self.libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE)
                return {domain.name(): record for domain, record in found}
            return {
                domain.name(): _record_of_info(domain.info())
                for domain in self.conn.listAllDomains(active)
                if not self.is_host_itself(domain)
            }

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


def _record_of_info(info: list[int]) -> Record:
    _state, maximum_kib, memory_kib, vcpus, cpu_time_ns = info
    return {
        "cpu.time": cpu_time_ns,
        "vcpu.current": vcpus,
        "balloon.current": memory_kib,
        "balloon.maximum": maximum_kib,
    }


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
