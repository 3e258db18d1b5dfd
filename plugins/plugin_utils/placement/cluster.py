# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a cluster, of numbers and positions, from facts and options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .blocks import Blocks
from .facts import DISK, MEMORY, VCPUS, Found, HostFacts
from .model import Cluster, Host, Instance, Resource, Rule
from .options import Group, Options, Sizes
from .reading import Names, Reader

_MIB_PER_GIB = 1024
_IN_POOL = f"{DISK} in "


class _Entry(NamedTuple):
    """An instance before its demand is a row of numbers.

    Attributes:
        made: What of its demand is taken already on the host where it is bound.
        travels: Why it cannot go anywhere else, if its migration has begun and the other host is not among these.
    """

    name: str
    home: int | None
    found: Found
    sizes: Sizes
    demand: Mapping[str, int]
    bound: int | None = None
    made: Mapping[str, int] = MappingProxyType({})
    travels: str = ""


class Builder:
    """Puts a cluster together; complaints are about names that fit nothing and rules that cannot be kept."""

    def __init__(self, reader: Reader, options: Options, hosts: Sequence[HostFacts]) -> None:
        self._reader = reader
        self._options = options
        self._hosts = hosts
        self._host_names = Names(host.name for host in hosts)
        self._whatever_pool = any(sizes.disk_mb is not None for sizes in options.instances)
        self._drained = self._named_hosts("drain", options.drain)
        self._excluded = self._named_hosts("exclude_hosts", options.exclude_hosts)
        self._allowances = [options.allowance] * len(hosts)
        for pattern, allowance in options.overrides.items():
            self._named_hosts("overrides", [pattern])
            for number in self._host_names.matching(pattern):
                self._allowances[number] = allowance

    def build(self) -> Cluster:
        """The cluster; what is wrong is known to the reader."""
        entries = sorted(self._entries(), key=lambda entry: (entry.name, -1 if entry.home is None else entry.home))
        resources = self._resources(entries)
        names = Names(entry.name for entry in entries)
        for pattern in self._options.pinned:
            if not names.matching(pattern):
                self._reader.warn_of("pinned", f"{pattern} fits no instance")
        pinned = names.matching_any(self._options.pinned)
        doubles = Counter((entry.name, entry.home) for entry in entries)
        instances = [
            self._instance(entry, resources, number in pinned, doubles[entry.name, entry.home] > 1)
            for number, entry in enumerate(entries)
        ]
        rules = [*self._rules(names), *_name_rules(names)]
        cluster = Cluster(resources, self._closed_and_open(resources, entries), instances, rules)
        self._find_contradictions(cluster)
        return cluster

    # -- instances --------------------------------------------------------------------------------------------------

    def _entries(self) -> Iterable[_Entry]:
        """All instances; of one that is on its way, both ends show it, and it counts where it is now."""
        arriving = {
            str(found.record["id"]): (number, found)
            for number, host in enumerate(self._hosts)
            for found in host.instances
            if found.record.get("direction") == "incoming"
        }
        leaving = {
            str(found.record["id"])
            for host in self._hosts
            for found in host.instances
            if found.record.get("direction") == "outgoing"
        }
        identities = {host.identity: number for number, host in enumerate(self._hosts) if host.identity}
        given = {sizes.name: sizes for sizes in self._options.instances}
        seen = set()
        for number, host in enumerate(self._hosts):
            for found in host.instances:
                seen.add(found.name)
                direction, record = found.record.get("direction"), str(found.record.get("id"))
                if direction == "incoming" and record in leaving:
                    continue
                sizes = given.get(found.name, _nothing_said(found.name))
                entry = _Entry(found.name, number, found, sizes, self._demand(found, sizes, host.name))
                if direction == "incoming":
                    entry = entry._replace(travels="is on its way here from a host that is not among these")
                elif direction == "outgoing" and record in arriving:
                    bound, arrived = arriving[record]
                    entry = entry._replace(bound=bound, made=self._disk_demand(arrived, sizes))
                elif direction == "outgoing":
                    # Cut short before anything was there, so only its record says where it was going.
                    peer = str(found.record.get("peer"))
                    entry = entry._replace(bound=identities.get(peer))
                    if host.identity and peer not in identities:
                        entry = entry._replace(travels=f"is on its way to {peer}, which is not among these hosts")
                yield entry
        for sizes in given.values():
            self._named_hosts(f"instances.{sizes.name}.hosts", sizes.hosts or ())
            self._named_hosts(f"instances.{sizes.name}.refused", sizes.refused)
            if sizes.name in seen:
                continue
            if self._options.new:
                yield self._new(sizes)
            else:
                self._reader.warn_of(f"instances.{sizes.name}", "no host has this instance")

    def _new(self, sizes: Sizes) -> _Entry:
        if sizes.pinned:
            self._reader.complain(f"instances.{sizes.name}.pinned", "no host has this instance, so it cannot stay")
        found = Found(sizes.name, True, None, None, {}, "", {})
        return _Entry(sizes.name, None, found, sizes, self._demand(found, sizes, None))

    def _demand(self, found: Found, sizes: Sizes, host: str | None) -> dict[str, int]:
        demand = self._disk_demand(found, sizes)
        if found.active or self._options.count_stopped:
            for resource, option, said, seen, more in (
                (VCPUS, "vcpus", sizes.vcpus, found.vcpus, 0),
                (MEMORY, "memory_mb", sizes.memory_mb, found.memory_mb, self._options.overhead_mb),
            ):
                amount = seen if said is None else said
                if amount is None:
                    why = "no host has this instance" if host is None else f"{host} does not tell it"
                    self._reader.complain(f"instances.{sizes.name}.{option}", f"is needed: {why}")
                demand[resource] = (amount or 0) + more
        return demand

    def _disk_demand(self, found: Found, sizes: Sizes) -> dict[str, int]:
        """Where some say only how much they take in whatever pool, what others take in a pool is no room for them."""
        if sizes.disk_mb is not None:
            return {DISK: sizes.disk_mb}
        demand = {f"{_IN_POOL}{pool}": size for pool, size in found.disks.items()}
        if demand and self._whatever_pool:
            demand[DISK] = sum(demand.values())
        return demand

    def _instance(self, entry: _Entry, resources: Sequence[Resource], pinned: bool, double: bool) -> Instance:
        keeps = [entry.found.keeps] if entry.found.keeps else []
        if double:
            keeps.append("is one of several of that name on its host")
        if pinned or entry.sizes.pinned:
            keeps.append("is pinned")
        if entry.travels:
            keeps.append(entry.travels)
        bound = entry.bound
        if bound is not None and self._closed(bound):
            keeps.append(
                f"is on its way to {self._hosts[bound].name}, which {self._closed(bound)}: "
                "run virt_migrate for it, once more or with state: aborted"
            )
        elif bound is not None and entry.home not in self._drained and not self._options.wishes.rebalance:
            keeps.append(f"is on its way to {self._hosts[bound].name}")
        allowed = entry.sizes.hosts
        return Instance(
            entry.name,
            entry.home,
            tuple(entry.demand.get(resource.name, 0) for resource in resources),
            entry.found.active,
            "; ".join(keeps),
            bound,
            None if allowed is None else self._host_names.matching_any(allowed),
            {host: why for pattern, why in entry.sizes.refused.items() for host in self._host_names.matching(pattern)},
        )

    # -- hosts ------------------------------------------------------------------------------------------------------

    def _named_hosts(self, option: str, patterns: Iterable[str]) -> frozenset[int]:
        found: set[int] = set()
        for pattern in patterns:
            matching = self._host_names.matching(pattern)
            if not matching:
                tell = self._reader.complain if option == "drain" else self._reader.warn_of
                tell(option, f"{pattern} is not among the hosts whose facts are given")
            found.update(matching)
        return frozenset(found)

    def _closed_and_open(self, resources: Sequence[Resource], entries: Sequence[_Entry]) -> list[Host]:
        on_disk: list[dict[str, int]] = [{} for _host in self._hosts]
        for entry in entries:
            if entry.home is not None:
                here = on_disk[entry.home]
                for name, amount in entry.demand.items():
                    here[name] = here.get(name, 0) + amount
            if entry.bound is not None:
                there = on_disk[entry.bound]
                for name, amount in entry.made.items():
                    there[name] = there.get(name, 0) + amount
        hosts = []
        for number, host in enumerate(self._hosts):
            capacity = tuple(self._capacity(number, resource.name, on_disk[number]) for resource in resources)
            drained = number in self._drained
            hosts.append(Host(host.name, host.kind, host.version, capacity, self._closed(number), drained))
        return hosts

    def _closed(self, number: int) -> str:
        """Why a host takes no more instances; empty when it does."""
        if number in self._drained:
            return "is to be empty"
        if number in self._excluded:
            return "is excluded"
        return "" if self._hosts[number].enabled else "is disabled"

    def _capacity(self, number: int, resource: str, taken: Mapping[str, int]) -> int:
        """What instances may take. Pools tell what is left, so what their instances have is added to that."""
        host, allowance = self._hosts[number], self._allowances[number]
        reserved = allowance.reserved
        if resource == VCPUS:
            return allowance.capacity(VCPUS, host.vcpus, reserved[VCPUS])
        if resource == MEMORY:
            return allowance.capacity(MEMORY, host.memory_mb, max(reserved["memory_mb"], host.others_mb))
        pools = [pool for name, pool in host.pools.items() if resource in (DISK, f"{_IN_POOL}{name}")]
        if not pools:
            return 0
        total = sum(pool.total_mb for pool in pools)
        used = total - sum(pool.available_mb for pool in pools)
        most = allowance.capacity(DISK, total, reserved["disk_gb"] * _MIB_PER_GIB)
        return max(0, most - used) + taken.get(resource, 0)

    def _resources(self, entries: Iterable[_Entry]) -> list[Resource]:
        """Those that any instance takes."""
        disks = sorted({name for entry in entries for name in entry.demand} - {VCPUS, MEMORY})
        load = self._options.load
        return [
            Resource(VCPUS, "", VCPUS in load),
            Resource(MEMORY, "MiB", MEMORY in load),
            *(Resource(name, "MiB", DISK in load) for name in disks),
        ]

    # -- rules ------------------------------------------------------------------------------------------------------

    def _rules(self, names: Names) -> list[Rule]:
        found = []
        for group in self._options.groups:
            members = tuple(sorted(names.matching_any(group.members)))
            found.append(Rule(_words_of(group), group.together, group.hard, group.most, members))
            for pattern in group.members:
                if not names.matching(pattern):
                    self._reader.warn_of(f"groups.{group.name}.members", f"{pattern} fits no instance")
        return found

    def _find_contradictions(self, cluster: Cluster) -> None:
        """Groups that want instances together of which another wants no more than so many on one host."""
        blocks = Blocks(cluster)
        for rule in cluster.rules:
            if rule.hard and not rule.together:
                for block, count in sorted(Counter(blocks.of[member] for member in rule.members).items()):
                    if count > rule.most:
                        together = blocks.names(blocks.members[block])
                        self._reader.complain(
                            "groups", f"{together} have to be together, but {rule.name} allows {rule.most} on one host"
                        )


def _words_of(group: Group) -> str:
    return f"the {'affinity' if group.together else 'anti-affinity'} group {group.name}"


def _name_rules(names: Names) -> list[Rule]:
    """No host can have two instances of one name."""
    return [Rule("the same name", False, True, 1, tuple(members)) for members in names.doubles().values()]


def _nothing_said(name: str) -> Sizes:
    return Sizes(name, None, None, None, False, None, {})
