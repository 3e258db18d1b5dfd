# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts, instances and rules as the planner sees them: numbers, and positions in tuples instead of names.

Room is counted as Nova's placement counts it: a host has ``(total - reserved) * ratio`` of each resource, and an
instance takes what it was declared with, whatever it uses at the moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

SPREAD = "spread"
PACK = "pack"
STRATEGIES = (SPREAD, PACK)


class Resource(NamedTuple):
    """Something that hosts have so much of.

    Attributes:
        name: ``vcpus``, ``memory``, ``disk``, or ``disk in POOL``.
        unit: What it is counted in: nothing for vcpus, ``MiB`` for the others.
        loads: Whether it counts where hosts are compared by their load.
    """

    name: str
    unit: str
    loads: bool

    def amount(self, number: int) -> str:
        """So much of it, in words."""
        return f"{number} {self.unit}" if self.unit else str(number)


class Host(NamedTuple):
    """A host.

    Attributes:
        kind: Driver, hypervisor and architecture: instances do not go from one kind to another.
        version: Of the hypervisor. A running instance does not go to an older one (Ganeti's VersionsSafeForMigration).
        capacity: Of each resource, in the order of ``Cluster.resources``.
        closed: Why it takes no more instances; empty when it does.
        drained: All its instances are to leave it.
    """

    name: str
    kind: tuple[str, ...]
    version: tuple[int, ...]
    capacity: tuple[int, ...]
    closed: str = ""
    drained: bool = False


@dataclass(frozen=True)
class Instance:
    """An instance. Hosts are positions in ``Cluster.hosts``.

    Attributes:
        home: Where it is; None for one that is to be made.
        demand: Of each resource, in the order of ``Cluster.resources``.
        active: It runs, or will once it is there.
        keeps: Why it has to stay where it is; empty when it may go.
        bound: Where a migration that has begun takes it: it can go nowhere else.
        allowed: The only hosts that may have it; None: all.
        refused: Hosts that would not take it, and why.
    """

    name: str
    home: int | None
    demand: tuple[int, ...]
    active: bool = True
    keeps: str = ""
    bound: int | None = None
    allowed: frozenset[int] | None = None
    refused: Mapping[int, str] = field(default_factory=dict)


class Rule(NamedTuple):
    """Instances that are to be together on one host, or apart.

    Attributes:
        together: On one host; otherwise apart.
        hard: No instance goes where the rule would be broken; otherwise it only prefers other hosts.
        most: How many of those that are apart one host may have.
        members: Positions in ``Cluster.instances``.
    """

    name: str
    together: bool
    hard: bool
    most: int
    members: tuple[int, ...]


class Cluster(NamedTuple):
    """All that there is. Hosts and instances are sorted by name, so that the same input has the same answer."""

    resources: Sequence[Resource]
    hosts: Sequence[Host]
    instances: Sequence[Instance]
    rules: Sequence[Rule] = ()


class Wishes(NamedTuple):
    """What is wanted.

    Attributes:
        strategy: ``spread``: the least loaded host that can have an instance gets it; ``pack``: the fullest.
        rebalance: Move also what need not move.
        tolerance: How far apart, in parts of 1, the loads of two hosts may be without being worth a move.
        max_moves: Rebalancing moves at most so many instances; None: as many as it takes.
    """

    strategy: str = SPREAD
    rebalance: bool = False
    tolerance: float = 0.1
    max_moves: int | None = None
