# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters: functions of the time that a guest has run, so they grow, and repeat from run to run."""

from __future__ import annotations

from collections.abc import Collection

from ...errors import InvalidPowerState, NotFound
from ...model import power_state
from ...model.instance import BlockStats, InterfaceStats
from ...model.units import KIB
from .guest import Look
from .instances import InstancesMixin, cpu_time_ns
from .store import Record

_READS_PER_S = 20
_WRITES_PER_S = 8
_REQUEST_BYTES = 4096
_PACKETS_PER_S = 10
_PACKET_BYTES = 400


class StatsMixin(InstancesMixin):
    """What guests have used."""

    def list_disks(self, name: str) -> list[str]:
        with self._read("info", name) as view:
            record, _seen = self._instance(view, name)
        return _disk_ids(record["running"] or record["config"])

    def list_interfaces(self, name: str) -> list[str]:
        with self._read("info", name) as view:
            record, _seen = self._instance(view, name)
        return _interface_ids(record["running"] or record["config"])

    def block_stats(self, name: str, disk_id: str) -> BlockStats:
        running, seen = self._active(name)
        disks = _disk_ids(running)
        if disk_id not in disks:
            raise NotFound(f"instance {name!r} has no disk {disk_id!r}; it has {', '.join(disks) or 'none'}")
        return _block_stats(seen, disks.index(disk_id))

    def interface_stats(self, name: str, interface_id: str) -> InterfaceStats:
        running, seen = self._active(name)
        interfaces = _interface_ids(running)
        if interface_id not in interfaces:
            there = ", ".join(interfaces) or "none"
            raise NotFound(f"instance {name!r} has no network interface {interface_id!r}; it has {there}")
        return _interface_stats(seen, interfaces.index(interface_id))

    def get_diagnostics(self, name: str) -> dict[str, int]:
        return _diagnostics(*self._active(name))

    def get_all_diagnostics(self, names: Collection[str] | None = None) -> dict[str, dict[str, int]]:
        with self._read("stats") as view:
            chosen = self._chosen(view, names)
        return {
            name: _diagnostics(record["running"], seen)
            for name, (record, seen) in chosen.items()
            if seen.state in power_state.ACTIVE
        }

    def _active(self, name: str) -> tuple[Record, Look]:
        with self._read("stats", name) as view:
            record, seen = self._instance(view, name)
        if seen.state not in power_state.ACTIVE:
            raise InvalidPowerState(
                f"instance {name!r} is {power_state.name(seen.state)}; only a running one has counters"
            )
        return record["running"], seen


def _disk_ids(has: Record) -> list[str]:
    return [disk["device"] for disk in has.get("disks", [])]


def _interface_ids(has: Record) -> list[str]:
    return [f"nic{number}" for number in range(len(has.get("nics", [])))]


def _block_stats(seen: Look, number: int) -> BlockStats:
    share = seen.run_s / (number + 1)
    reads, writes = int(share * _READS_PER_S), int(share * _WRITES_PER_S)
    return BlockStats(reads, reads * _REQUEST_BYTES, writes, writes * _REQUEST_BYTES, 0)


def _interface_stats(seen: Look, number: int) -> InterfaceStats:
    packets = int(seen.run_s * _PACKETS_PER_S / (number + 1))
    sent = packets * 2 // 3
    return InterfaceStats(packets * _PACKET_BYTES, packets, 0, 0, sent * _PACKET_BYTES, sent, 0, 0)


def _diagnostics(running: Record, seen: Look) -> dict[str, int]:
    vcpus = running["vcpus"]
    each_ns = cpu_time_ns(running, seen) // vcpus
    found = {f"cpu{number}_time_ns": each_ns for number in range(vcpus)}
    found["memory_kib"] = running["memory_mb"] * KIB
    found["memory_rss_kib"] = running["memory_mb"] * KIB * 3 // 4
    for number, device in enumerate(_disk_ids(running)):
        found.update({f"{device}_{key}": value for key, value in _block_stats(seen, number)._asdict().items()})
    for number, interface in enumerate(_interface_ids(running)):
        found.update({f"{interface}_{key}": value for key, value in _interface_stats(seen, number)._asdict().items()})
    return found
