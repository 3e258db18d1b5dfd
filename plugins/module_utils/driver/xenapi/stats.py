# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of running instances, made of the rates that their hosts record."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Collection, Mapping, Sequence
from http.client import INTERNAL_SERVER_ERROR, NOT_FOUND
from typing import NamedTuple

from ...errors import NotFound
from ...model import power_state
from ...model.instance import BlockStats, InterfaceStats
from ...model.units import KIB
from .devices import device_name
from .instances import InstancesMixin, choose
from .records import Object, Objects, in_order, present_memory_kib, present_vcpus, state_of
from .rrd import ARCHIVES, PATH, Column, Rates, latest, needed, query, read_rates, total
from .transport import HttpRefused

_NS = 1_000_000_000
_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)")
_DISK_RATES = {
    "rd_req": "iops_read",
    "rd_bytes": "read",
    "wr_req": "iops_write",
    "wr_bytes": "write",
}
_NIC_RATES = {"rx_bytes": "rx", "rx_errs": "rx_errors", "tx_bytes": "tx", "tx_errs": "tx_errors"}
_ALWAYS = ("rd_bytes", "wr_bytes", "rx_bytes", "tx_bytes")
"""What hosts record without being told to; right after a start there is just nothing yet."""


class Watched(NamedTuple):
    """An active VM with all that its counters are made of.

    Attributes:
        known: The archives of its rates, from coarse to fine.
        since_s: When it was started, by its host's clock.
    """

    vm: Object
    metrics: Object | None
    vbds: Sequence[Object]
    vifs: Sequence[Object]
    known: Sequence[Rates]
    since_s: float

    def counter(self, rate: str) -> float | None:
        """The sum of a rate since the start; None where it is not recorded."""
        return total(self.known, self.column(rate), self.since_s)

    def column(self, rate: str) -> Column:
        """Where the archives have the rate."""
        return self.vm["uuid"], rate


class StatsMixin(InstancesMixin):
    """Looking at what instances have used."""

    def list_disks(self, name: str) -> list[str]:
        ref, _vm = self.lookup(name)
        with self.guard(f"read the disks of instance {name!r}", name):
            vbds = self.fetch_devices("VBD", [ref])[ref]
        return [device_name(vbd["userdevice"]) for vbd in in_order(vbds, "userdevice")]

    def list_interfaces(self, name: str) -> list[str]:
        """As the contract says: their MAC addresses."""
        ref, _vm = self.lookup(name)
        with self.guard(f"read the NICs of instance {name!r}", name):
            vifs = self.fetch_devices("VIF", [ref])[ref]
        return [vif["MAC"].lower() for vif in in_order(vifs, "device")]

    def block_stats(self, name: str, disk_id: str) -> BlockStats:
        watched = self._watch_one(name)
        for vbd in watched.vbds:
            if device_name(vbd["userdevice"]) == disk_id:
                has = _disk_counters(watched, vbd)
                return BlockStats(*(has.get(field, 0) for field in BlockStats._fields))
        raise NotFound(f"instance {name!r} has no disk {disk_id!r}")

    def interface_stats(self, name: str, interface_id: str) -> InterfaceStats:
        watched = self._watch_one(name)
        for vif in watched.vifs:
            if vif["MAC"].lower() == interface_id.lower():
                has = _nic_counters(watched, vif)
                return InterfaceStats(*(has.get(field, 0) for field in InterfaceStats._fields))
        raise NotFound(f"instance {name!r} has no NIC {interface_id!r}")

    def get_diagnostics(self, name: str) -> dict[str, int]:
        return _diagnostics(self._watch_one(name))

    def get_all_diagnostics(self, names: Collection[str] | None = None) -> Mapping[str, dict[str, int]]:
        with self.guard("read the instances' counters"):
            vms = choose(self.find_vms(names), strictly=False)
            active = {ref: vm for ref, vm in vms.items() if state_of(vm) in power_state.ACTIVE}
            return {watched.vm["name_label"]: _diagnostics(watched) for watched in self._watch_all(active)}

    # -- parts ------------------------------------------------------------------------------------------------------

    def _watch_one(self, name: str) -> Watched:
        ref, vm = self.lookup_active(name)
        with self.guard(f"read the counters of instance {name!r}", name):
            [watched] = self._watch_all({ref: vm})
        return watched

    def _watch_all(self, vms: Objects) -> list[Watched]:
        """All that tells of these active VMs: a constant number of calls, and for each host that they are on one for
        each archive that reaches back to the oldest start there."""
        if not vms:
            return []
        vbds, vifs = self.fetch_devices("VBD", vms.keys()), self.fetch_devices("VIF", vms.keys())
        metrics = self.fetch_refs("VM_metrics", (vm["metrics"] for vm in vms.values()))
        hosts = self.fetch_refs("host", (vm["resident_on"] for vm in vms.values()))
        starts = {ref: _start_of(metrics.get(vm["metrics"])) for ref, vm in vms.items()}
        known = {}
        for place, host in hosts.items():
            there = [ref for ref, vm in vms.items() if vm["resident_on"] == place]
            uuids = [vms[ref]["uuid"] for ref in there]
            known[place] = self._read_archives(host, uuids, min(starts[ref] for ref in there))
        return [
            Watched(
                vm,
                metrics.get(vm["metrics"]),
                in_order(vbds[ref], "userdevice"),
                in_order(vifs[ref], "device"),
                _back_to(starts[ref], known.get(vm["resident_on"], [])),
                starts[ref],
            )
            for ref, vm in vms.items()
        ]

    def _read_archives(self, host: Object, uuids: Collection[str], start_s: float) -> list[Rates]:
        """The archives of a host that reach back to that time, from coarse to fine."""
        only = next(iter(uuids)) if len(uuids) == 1 else None
        finest = self._read_archive(host, query(ARCHIVES[0], None, only), uuids)
        if finest is None:
            return []
        known = [finest]
        for archive in needed(finest.end_s - start_s)[1:]:
            from_s = max(int(start_s), finest.end_s - archive.span_s + archive.step_s)
            rates = self._read_archive(host, query(archive, from_s, only), uuids)
            if rates is not None:
                known.insert(0, rates)
        return known

    def _read_archive(self, host: Object, wanted: dict[str, str], uuids: Collection[str]) -> Rates | None:
        """One of them; None when the host has recorded nothing of these VMs yet."""
        try:
            answer = self.http_request("GET", PATH, wanted, address=host["address"])
        except HttpRefused as error:
            # Asked for the one VM that it knows nothing of yet, a host stumbles.
            if error.status == NOT_FOUND or (error.status == INTERNAL_SERVER_ERROR and "vm_uuid" in wanted):
                return None
            raise
        return read_rates(answer, uuids)


def _back_to(start_s: float, known: Sequence[Rates]) -> Sequence[Rates]:
    """The archives without those so coarse that all of that time is in finer ones."""
    return known[-len(needed(known[-1].end_s - start_s)) :] if known else ()


def _start_of(metrics: Object | None) -> float:
    """When a VM was started, in seconds since 1970."""
    text = "" if metrics is None else str(metrics["start_time"])
    match = _TIME.match(text)
    return 0.0 if match is None else float(calendar.timegm(time.strptime("".join(match.groups()), "%Y%m%d%H%M%S")))


def _diagnostics(watched: Watched) -> dict[str, int]:
    vm, metrics = watched.vm, watched.metrics
    vcpus = present_vcpus(vm, metrics)
    times = [round((watched.counter(f"cpu{number}") or 0) * _NS) for number in range(vcpus)]
    found = {
        "vcpus": vcpus,
        "cpu_time_ns": sum(times),
        **{f"cpu{number}_time_ns": time_ns for number, time_ns in enumerate(times)},
        "memory_kib": present_memory_kib(vm, metrics),
        "memory_max_kib": int(vm["memory_static_max"]) // KIB,
    }
    unused = latest(watched.known, watched.column("memory_internal_free"))
    if unused is not None:
        found["memory_unused_kib"] = round(unused)
    for vbd in watched.vbds:
        device = device_name(vbd["userdevice"])
        found.update({f"{device}_{field}": value for field, value in _disk_counters(watched, vbd).items()})
    for number, vif in enumerate(watched.vifs):
        found.update({f"nic{number}_{field}": value for field, value in _nic_counters(watched, vif).items()})
    return found


def _disk_counters(watched: Watched, vbd: Object) -> dict[str, int]:
    device = vbd["device"] or device_name(vbd["userdevice"])
    return _counters(watched, f"vbd_{device}_", _DISK_RATES)


def _nic_counters(watched: Watched, vif: Object) -> dict[str, int]:
    return _counters(watched, f"vif_{vif['device']}_", _NIC_RATES)


def _counters(watched: Watched, prefix: str, rates: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for field, rate in rates.items():
        value = watched.counter(prefix + rate)
        if value is not None or field in _ALWAYS:
            found[field] = round(value or 0)
    return found
