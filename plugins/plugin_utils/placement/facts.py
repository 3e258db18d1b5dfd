# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what virt_facts found on each host."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .reading import Reader

VCPUS = "vcpus"
MEMORY = "memory"
DISK = "disk"
_OFF = frozenset({"shutoff", "crashed", "suspended"})
_MIB = 1024**2


class Found(NamedTuple):
    """An instance as its host shows it.

    Attributes:
        memory_mb, vcpus: None where the host does not tell. The memory is what it has now, or is to be started with.
        disks: MiB in each pool.
        keeps: Why it cannot be moved, if anything is known.
        record: What the host keeps of its migration.
    """

    name: str
    active: bool
    memory_mb: int | None
    vcpus: int | None
    disks: Mapping[str, int]
    keeps: str
    record: Mapping[str, Any]


class Pool(NamedTuple):
    total_mb: int
    available_mb: int


class HostFacts(NamedTuple):
    """A host as virt_facts shows it.

    Attributes:
        identity: What other hosts' records of migrations call it; empty where the facts do not tell.
        others_mb: MiB of memory that something else than its instances uses.
        pools: Its active pools that are its own.
        enabled: Whether its administrator lets new instances come.
    """

    name: str
    identity: str
    kind: tuple[str, ...]
    version: tuple[int, ...]
    vcpus: int
    memory_mb: int
    others_mb: int
    pools: Mapping[str, Pool]
    instances: Sequence[Found]
    enabled: bool = True


class FactsReader:
    """Reads facts of hosts.

    Args:
        shared_pools: Patterns of pools that all hosts see, so that moving takes no room in them.
        override_lock: Locked instances may be moved.
        overhead_mb: MiB that a host needs for each instance that runs, beside the instance's own memory.
    """

    def __init__(self, reader: Reader, shared_pools: Sequence[str], override_lock: bool, overhead_mb: int = 0) -> None:
        self._reader = reader
        self._shared = shared_pools
        self._override_lock = override_lock
        self._overhead_mb = overhead_mb

    def read(self, hosts: Any) -> list[HostFacts]:
        """All hosts, sorted by name."""
        given = self._reader.mapping("hosts", hosts)
        if not given and not self._reader.problems:
            self._reader.complain("hosts", "there is none: give the facts of each host under its name")
        found = [self._host(str(name), facts) for name, facts in sorted(given.items(), key=lambda item: str(item[0]))]
        readable = [host for host in found if host is not None]
        self._find_doubles(readable)
        return readable

    def _find_doubles(self, hosts: Sequence[HostFacts]) -> None:
        """One host under two names would have its room given away twice, and be moved to itself."""
        seen: dict[tuple[str, ...], str] = {}
        for host in hosts:
            key = (*host.kind, host.identity)
            if host.identity and seen.setdefault(key, host.name) != host.name:
                self._reader.complain(
                    f"hosts: {host.name}", f"is the same hypervisor as {seen[key]} ({host.identity}): leave one out"
                )
        for name, count in Counter(host.name for host in hosts).items():
            if count > 1:
                self._reader.complain(f"hosts: {name}", "is given more than once")

    def _host(self, name: str, facts: Any) -> HostFacts | None:
        option = f"hosts: {name}"
        for wrapping in ("ansible_facts", "anyvirt"):
            if isinstance(facts, Mapping) and wrapping in facts:
                facts = facts[wrapping]
        if not isinstance(facts, Mapping) or not {"host", "instances"} <= set(facts):
            self._reader.complain(
                option, "these are not facts of a host: gather the subsets host and instances with virt_facts"
            )
            return None
        try:
            return self._read_host(name, facts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._reader.complain(option, f"these are not facts of virt_facts: {error!r}")
            return None

    def _read_host(self, name: str, facts: Mapping[str, Any]) -> HostFacts:
        host = facts["host"]
        pools = {
            str(pool["name"]): Pool(int(pool["total_bytes"]) // _MIB, int(pool["available_bytes"]) // _MIB)
            for pool in host.get("pools", ())
            if pool["active"] and not self._is_shared(str(pool["name"]))
        }
        instances = [self._instance(entry, pools) for entry in facts["instances"] if not _lives_elsewhere(entry)]
        used_mb = sum((found.memory_mb or 0) + self._overhead_mb for found in instances if found.active)
        return HostFacts(
            name,
            str(facts.get("security_groups", {}).get("host", "")),
            _kind(facts, str(host["hypervisor_type"])),
            _version(str(host["hypervisor_version"])),
            int(host["vcpus"]),
            int(host["memory_mb"]),
            max(0, int(host["memory_mb_used"]) - used_mb),
            pools,
            instances,
            bool(host.get("enabled", True)),
        )

    def _instance(self, entry: Mapping[str, Any], pools: Mapping[str, Pool]) -> Found:
        config = entry.get("config") or {}
        disks = self._disks(config)
        missing = sorted(set(disks) - set(pools))
        hindrances = [*self._hindrances(entry, config), *(f"its pool {pool} is not active" for pool in missing)]
        return Found(
            str(entry["name"]),
            entry["state"] not in _OFF,
            _memory_mb(entry, config),
            _whole(entry["vcpus"]),
            {pool: size for pool, size in disks.items() if pool in pools},
            "; ".join(hindrances),
            _record(entry),
        )

    def _disks(self, config: Mapping[str, Any]) -> dict[str, int]:
        found: dict[str, int] = {}
        for disk in config.get("disks") or ():
            pool, size_bytes = disk.get("pool"), disk.get("size_bytes")
            if pool and size_bytes and disk.get("kind", "disk") == "disk" and not self._is_shared(str(pool)):
                found[str(pool)] = found.get(str(pool), 0) - (-int(size_bytes) // _MIB)
        return found

    def _hindrances(self, entry: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
        if config.get("locked") and not self._override_lock:
            yield "is locked"
        if config.get("unfinished"):
            yield "was not made completely: virt_instance makes it anew, or removes it"
        if entry["state"] == "suspended":
            yield "is suspended: resume it, or power it off"
        if entry.get("resize") or config.get("resize"):
            yield "has been resized, and that is neither confirmed nor reverted yet"

    def _is_shared(self, pool: str) -> bool:
        return any(fnmatchcase(pool, pattern) for pattern in self._shared)


def _kind(facts: Mapping[str, Any], hypervisor: str) -> tuple[str, ...]:
    """XenServer's hosts tell the name under which theirs was sold, which an upgrade changes."""
    driver, arch = str(facts.get("driver", "")), str(facts.get("cpu", {}).get("arch", ""))
    return (driver, arch) if driver == "xenapi" else (driver, hypervisor, arch)


def _version(text: str) -> tuple[int, ...]:
    """1.2 and 1.2.0 are one version, and 1.2.0-rc3 is not 1.2."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _memory_mb(entry: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    """What it has now or, as one that is off has none, what it is started with: at most what it can grow to."""
    now = _whole(entry["memory_mb"])
    if entry["state"] not in _OFF:
        return now
    return _whole(config.get("memory_mb")) or now or _whole(entry.get("max_memory_mb"))


def _record(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the host keeps of the instance's migration."""
    record: Mapping[str, Any] = entry.get("migration") or (entry.get("config") or {}).get("migration") or {}
    return record


def _lives_elsewhere(entry: Mapping[str, Any]) -> bool:
    """It has left no more than its definition here, and is counted where it is."""
    return _record(entry).get("phase") == "departed"
