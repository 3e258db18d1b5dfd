# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nobody has room, in words: in one line for all hosts together, and for the hosts that come closest one by one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from heapq import nsmallest

from .moving import Stay
from .search import Party, objection
from .state import State


class Explainer:
    """Explains stays, once all moves are decided.

    Args:
        most: How many hosts are named for each of them.
    """

    def __init__(self, state: State, most: int) -> None:
        self._state = state
        self._most = most
        self._left: dict[tuple[tuple[str, ...], int], list[int]] = {}

    def why(self, stay: Stay) -> str:
        """In one line."""
        if not stay.parties:
            return stay.why
        found = "; ".join(dict.fromkeys(self._summary(party) for party in stay.parties))
        return f"{stay.why}: {found}" if stay.why else found

    def by_host(self, stay: Stay) -> dict[str, str]:
        """What each host has against it: of many hosts those that have the most room."""
        if not stay.parties:
            return {}
        hosts = list(range(len(self._state.cluster.hosts)))
        if len(hosts) > self._most:
            hosts = sorted(nsmallest(self._most, hosts, key=lambda host: self._distance(stay.parties, host)))
        return {self._state.cluster.hosts[host].name: self._objection(stay, host) for host in hosts}

    def _objection(self, stay: Stay, host: int) -> str:
        kind = self._state.cluster.hosts[host].kind
        party = min(stay.parties, key=lambda party: party.kind != kind)
        found = objection(self._state, party, host)
        if found is None:
            return "would have room, but not for all that have to be with it"
        return found

    def _distance(self, parties: Sequence[Party], host: int) -> tuple[bool, float, int]:
        """How far a host is from having room; those that are no choice at all come last."""
        entry = self._state.cluster.hosts[host]
        party = min(parties, key=lambda party: party.kind != entry.kind)
        possible = not entry.closed and entry.kind == party.kind and (party.allowed is None or host in party.allowed)
        free = self._state.free[host]
        missing = max(((amount - free[number]) / amount for number, amount in party.need), default=0.0)
        return not possible, missing, host

    def _summary(self, party: Party) -> str:
        cluster = self._state.cluster
        if party.kind is None:
            return "these have to be together, and are on hosts of different kinds"
        hosts = [host for host, entry in enumerate(cluster.hosts) if entry.kind == party.kind and not entry.closed]
        if party.allowed is not None:
            hosts = [host for host in hosts if host in party.allowed]
        if not hosts:
            return f"no host {'of those that may have it ' if party.allowed is not None else ''}takes instances"
        parts = [*self._shortages(party, hosts), *self._rules(party, hosts), *self._refusals(party, hosts)]
        which = f"none of {len(hosts)} hosts" if len(hosts) > 1 else f"{cluster.hosts[hosts[0]].name} does not take it"
        if len(hosts) > 1:
            which += " takes it"
        return f"{which}: {', '.join(parts)}" if parts else which

    def _shortages(self, party: Party, hosts: Sequence[int]) -> list[str]:
        found = []
        for number, amount in party.need:
            left = self._sorted_left(party, number, hosts)
            lacking = bisect_left(left, amount)
            if lacking:
                resource = self._state.cluster.resources[number]
                most = f", at most {resource.amount(max(0, left[-1]))} left" if lacking == len(left) else ""
                found.append(f"{lacking} with too little {resource.name} ({resource.amount(amount)} needed{most})")
        return found

    def _sorted_left(self, party: Party, number: int, hosts: Sequence[int]) -> list[int]:
        """What the hosts have left of a resource; remembered where all hosts of a kind come into question."""
        if party.allowed is not None or party.kind is None:
            return sorted(self._state.free[host][number] for host in hosts)
        key = (party.kind, number)
        if key not in self._left:
            self._left[key] = sorted(self._state.free[host][number] for host in hosts)
        return self._left[key]

    def _rules(self, party: Party, hosts: Sequence[int]) -> list[str]:
        found = []
        choice: Mapping[int, None] = dict.fromkeys(hosts)
        for number, count in party.rules:
            rule = self._state.cluster.rules[number]
            if rule.hard and not rule.together:
                counts = self._state.counts[number]
                full = sum(1 for host, there in counts.items() if host in choice and there + count > rule.most)
                if full:
                    found.append(f"{full} with others of {rule.name}")
        return found

    def _refusals(self, party: Party, hosts: Sequence[int]) -> list[str]:
        older = sum(1 for host in hosts if self._state.cluster.hosts[host].version < party.version)
        refusing = sum(1 for host in hosts if host in party.refusing)
        found = [f"{older} with an older hypervisor"] if older else []
        return [*found, f"{refusing} that refused it"] if refusing else found
