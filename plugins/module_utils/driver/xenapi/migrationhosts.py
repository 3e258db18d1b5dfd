# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that can take VMs at one end of a migration: one that the URI names, or those of a pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...model.units import MIB, format_shortage
from .. import migrationchecks as checks
from ..migration import Promise
from .host import cpu_of, cpu_problem
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object, Objects

_VERSION = "platform_version"


@dataclass(frozen=True)
class Needs:
    """What a VM needs of the host that takes it.

    Attributes:
        is_live: Its guest is moved while it runs.
        is_sent: It is sent with its disks, or to another pool.
        is_started: It is started there.
        memory_mb: What it has to have at once.
        vcpus: As many processors the host has to have.
        networks: References of the networks that it is to be on.
        rooms: Bytes that it needs in storage repositories, by their references.
        home: The host that it is on, or of which it is thought to be.
    """

    is_live: bool
    is_sent: bool
    is_started: bool
    memory_mb: int
    vcpus: int
    networks: Collection[str]
    home: Object
    rooms: Mapping[str, int] = field(default_factory=dict)


class Receivers:
    """They, with what they have left: instances of one task may be planned one after the other.

    Args:
        names: Those that are planned now; what was planned for them before is forgotten.
    """

    def __init__(self, source: MigrationScopeMixin, destination: MigrationScopeMixin, names: Collection[str]) -> None:
        own = destination.own_host()
        self._places = destination.places()
        with destination.guard("read the hosts"):
            self._metrics = destination.fetch("host_metrics")
            self._pifs = destination.fetch("PIF")
        self._hosts: Objects = {ref: host for ref, host in self._places.hosts.items() if own in (None, ref)}
        # Guests see the features that all hosts of their pool have, and a host's own flags say nothing of those: the
        # server compares them.
        self._cpu = replace(source.get_cpu_info(), features=[])
        self._newest = max(checks.version(_version_of(host)) for host in self._places.hosts.values())
        self._promised_mb: Counter[str] = Counter()
        self._promised_bytes: Counter[str] = Counter()
        self._promised = destination.promised
        for name in names:
            self._promised.pop(name, None)
        for promise in self._promised.values():
            self._count(promise)

    @property
    def are_several(self) -> bool:
        """Whether there is a choice."""
        return len(self._hosts) > 1

    def in_order(self) -> list[str]:
        """Their references: those that take VMs first, and of these the one with most memory left."""

        def rank(ref: str) -> tuple[bool, int, str]:
            return not self._takes(ref), self._promised_mb[ref] - self._free_mb(ref), ref

        return sorted(self._hosts, key=rank)

    def name(self, host: str) -> str:
        """What it is called."""
        return str(self._hosts[host]["name_label"])

    def network(self, host: str) -> str:
        """The network on which a host receives VMs: that of its management interface."""
        for pif in self._pifs.values():
            if pif["host"] == host and pif["management"]:
                return str(pif["network"])
        return NULL

    def problems(self, host: str, needs: Needs) -> Iterator[str]:
        """Why a host cannot take a VM; each names the host. What is about its disks is not among them."""
        record, name = self._hosts[host], self.name(host)
        if not record["enabled"]:
            yield f"{name} is disabled, and takes no instances"
        if not self._is_live(record):
            yield f"{name} is not there: its pool does not hear from it"
        elif (shortage := self._memory_problem(host, needs)) is not None:
            yield shortage
        if needs.vcpus > len(record["host_CPUs"]):
            yield f"{name} has {len(record['host_CPUs'])} processors; it needs {needs.vcpus}"
        for network in sorted(needs.networks, key=self._network_name):
            if not self._reaches(host, network):
                yield f"{name} has no interface on the network {self._network_name(network)!r}"
        if needs.is_sent and self.network(host) == NULL:
            yield f"{name} has no management interface on which it could receive instances"
        own, other = _version_of(record), _version_of(needs.home)
        if (needs.is_live or needs.is_sent) and own and checks.version(own) < checks.version(other):
            yield f"{name} has an older version ({own}) than {needs.home['name_label']} ({other})"
        elif needs.is_started and own and checks.version(own) < self._newest:
            yield f"{name} has an older version ({own}) than others of its pool: it starts none until it is upgraded"
        if needs.is_live:
            problem = cpu_problem(self._cpu, cpu_of({host: record}, record), name)
            if problem is not None:
                yield f"{problem}; move it cold"

    def room_problems(self, needs: Needs) -> Iterator[str]:
        """Storage repositories in which its disks have no room."""
        for repository, wanted in needs.rooms.items():
            record = self._places.srs[repository]
            room = int(record["physical_size"]) - int(record["physical_utilisation"])
            left = max(0, room - self._promised_bytes[repository])
            if wanted > left:
                pool = record["name_label"]
                yield f"in the pool {pool!r} of the destination its disks need {format_shortage(wanted, left)}"

    def reserve(self, name: str, host: str, needs: Needs) -> None:
        """An instance goes there: those that come later find that much less."""
        self._promised[name] = Promise(needs.memory_mb, needs.rooms, host)
        self._count(self._promised[name])

    # -- parts ------------------------------------------------------------------------------------------------------

    def _count(self, promise: Promise) -> None:
        self._promised_mb[promise.host] += promise.memory_mb
        self._promised_bytes.update(promise.rooms)

    def _takes(self, host: str) -> bool:
        record = self._hosts[host]
        return bool(record["enabled"]) and self._is_live(record)

    def _is_live(self, host: Object) -> bool:
        return host["metrics"] in self._metrics and bool(self._metrics[host["metrics"]]["live"])

    def _free_mb(self, host: str) -> int:
        metrics = self._metrics.get(self._hosts[host]["metrics"])
        return 0 if metrics is None else int(metrics["memory_free"]) // MIB

    def _memory_problem(self, host: str, needs: Needs) -> str | None:
        return checks.memory_problem(self.name(host), self._free_mb(host), self._promised_mb[host], needs.memory_mb)

    def _network_name(self, network: str) -> str:
        return str(self._places.networks.get(network, {}).get("name_label", network))

    def _reaches(self, host: str, network: str) -> bool:
        """A network that has interfaces of hosts is on these only; one without is made wherever it is needed."""
        pifs = self._places.networks.get(network, {}).get("PIFs", ())
        return not pifs or any(self._pifs[pif]["host"] == host for pif in pifs if pif in self._pifs)


def _version_of(host: Object) -> str:
    version: str = host["software_version"].get(_VERSION, "")
    return version
