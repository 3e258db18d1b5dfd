# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is where, what that leaves of each host, and the hosts in the order of their load: it changes while planning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import add, sub

from .model import PACK, Cluster
from .shelf import Shelf


class State:
    """The cluster at one moment of the plan.

    Attributes:
        where: The host of each instance; None while it is nowhere.
        free: What is left of each host's resources; less than nothing where a host has more than it may.
        load: Of each host: the part in use of what it has least of, 1.0 when that is used up.
        counts: For each rule, how many of its members each host has; hosts without any are left out.
        open_hosts: Those that take instances.
        steps: How often a host, or a row of hosts, was looked at: what the plan costs.
    """

    def __init__(self, cluster: Cluster, strategy: str) -> None:
        self.cluster = cluster
        self.steps = 0
        self.where: list[int | None] = [None] * len(cluster.instances)
        self.free = [host.capacity for host in cluster.hosts]
        self.load = [0.0] * len(cluster.hosts)
        self.residents: list[set[int]] = [set() for _host in cluster.hosts]
        self.counts: list[dict[int, int]] = [{} for _rule in cluster.rules]
        self.rules_of: list[list[int]] = [[] for _instance in cluster.instances]
        for number, rule in enumerate(cluster.rules):
            for member in rule.members:
                self.rules_of[member].append(number)
        self.open_hosts = [number for number, host in enumerate(cluster.hosts) if not host.closed]
        self._loading = [number for number, resource in enumerate(cluster.resources) if resource.loads]
        self._sign = -1.0 if strategy == PACK else 1.0
        for member, instance in enumerate(cluster.instances):
            if instance.home is not None:
                self._enter(member, instance.home)
        for host in range(len(cluster.hosts)):
            self.load[host] = self.load_with(host, self.free[host])
        self._shelves = self._make_shelves()

    def put(self, members: Iterable[int], host: int) -> None:
        """These instances, which are nowhere, are on ``host`` from now on."""
        for member in members:
            self._enter(member, host)
        self._weigh(host)

    def take(self, members: Iterable[int]) -> None:
        """These instances are nowhere from now on."""
        left = set()
        for member in members:
            host = self.where[member]
            if host is not None:
                self._leave(member, host)
                left.add(host)
        for host in sorted(left):
            self._weigh(host)

    def move(self, members: Sequence[int], host: int) -> None:
        self.take(members)
        self.put(members, host)

    def demand_of(self, members: Sequence[int]) -> tuple[int, ...]:
        """What they take together."""
        instances = self.cluster.instances
        total = instances[members[0]].demand
        for member in members[1:]:
            total = tuple(map(add, total, instances[member].demand))
        return total

    def load_with(self, host: int, free: Sequence[int]) -> float:
        """The load that ``host`` would have with so much left."""
        capacity = self.cluster.hosts[host].capacity
        load = 0.0
        for number in self._loading:
            used = capacity[number] - free[number]
            if used > 0:
                load = max(load, used / capacity[number] if capacity[number] > 0 else float("inf"))
        return load

    def overfull(self, host: int) -> bool:
        """Whether it has more than it may."""
        return min(self.free[host], default=0) < 0

    def preferred(self, kind: tuple[str, ...], need: Sequence[tuple[int, int]]) -> Iterator[int]:
        """The open hosts of a kind that have room for ``need``, those first that the strategy takes first.

        The state must not change before the last of them was asked for.

        Args:
            need: Numbers of resources, and how much of each.
        """
        shelf = self._shelves.get(kind)
        return iter(()) if shelf is None else shelf.fitting(need)

    def rank(self, host: int) -> tuple[float, int]:
        """Sorts hosts as ``preferred`` does."""
        return self._sign * self.load[host], host

    def _make_shelves(self) -> dict[tuple[str, ...], Shelf]:
        hosts: dict[tuple[str, ...], list[int]] = {}
        for number, host in enumerate(self.cluster.hosts):
            if not host.closed:
                hosts.setdefault(host.kind, []).append(number)
        return {kind: Shelf(self, numbers) for kind, numbers in hosts.items()}

    def _enter(self, member: int, host: int) -> None:
        self.where[member] = host
        self.free[host] = tuple(map(sub, self.free[host], self.cluster.instances[member].demand))
        self.residents[host].add(member)
        for rule in self.rules_of[member]:
            self.counts[rule][host] = self.counts[rule].get(host, 0) + 1

    def _leave(self, member: int, host: int) -> None:
        self.where[member] = None
        self.free[host] = tuple(map(add, self.free[host], self.cluster.instances[member].demand))
        self.residents[host].remove(member)
        for rule in self.rules_of[member]:
            counts = self.counts[rule]
            counts[host] -= 1
            if not counts[host]:
                del counts[host]

    def _weigh(self, host: int) -> None:
        entry = self.cluster.hosts[host]
        self.load[host] = self.load_with(host, self.free[host])
        if not entry.closed:
            self._shelves[entry.kind].update(host)
