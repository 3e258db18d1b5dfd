# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why nobody has room, in words: in one line for all hosts together, and for the hosts that come closest one by one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from heapq import nsmallest
from itertools import islice
from typing import Any

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
        self._open: dict[tuple[str, ...], list[int]] = {}
        for host, entry in enumerate(state.cluster.hosts):
            if not entry.closed:
                self._open.setdefault(entry.kind, []).append(host)
        self._versions: dict[tuple[str, ...] | None, tuple[int, ...]] = {}
        self._by_room: dict[tuple[tuple[str, ...] | None, int], list[int]] = {}

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
        return {
            self._state.cluster.hosts[host].name: self._objection(stay, host) for host in self._nearest(stay.parties)
        }

    def _nearest(self, parties: Sequence[Party]) -> list[int]:
        """As many hosts as are to be named. Each of what is needed is looked for where the most of it is."""
        everywhere = range(len(self._state.cluster.hosts))
        if len(everywhere) <= self._most:
            return list(everywhere)
        found: set[int] = set()
        for party in parties:
            found.update(party.allowed or ())
            for number, _amount in party.need:
                found.update(self._hosts_by_room(party.kind, number)[-self._most :] if self._most else ())
        if len(found) < self._most:
            found.update(islice((host for host in everywhere if host not in found), self._most - len(found)))
        return sorted(nsmallest(self._most, found, key=lambda host: self._distance(parties, host)))

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
        free = self._state.free[host]
        missing = max(((amount - free[number]) / amount for number, amount in party.need), default=0.0)
        return not self._is_choice(party, host), missing, host

    def _summary(self, party: Party) -> str:
        cluster = self._state.cluster
        if party.kind is None:
            return "these have to be together, and are on hosts of different kinds"
        hosts = self._open.get(party.kind, [])
        if party.allowed is not None:
            hosts = [host for host in hosts if host in party.allowed]
        if not hosts:
            return f"no host {'of those that may have it ' if party.allowed is not None else ''}takes instances"
        parts = [*self._shortages(party, hosts), *self._rules(party), *self._refusals(party, hosts)]
        which = f"none of {len(hosts)} hosts" if len(hosts) > 1 else f"{cluster.hosts[hosts[0]].name} does not take it"
        if len(hosts) > 1:
            which += " takes it"
        return f"{which}: {', '.join(parts)}" if parts else which

    def _shortages(self, party: Party, hosts: Sequence[int]) -> list[str]:
        found = []
        for number, amount in party.need:
            ordered = _Left(self._state, number, self._hosts_by_room(party.kind, number))
            if party.allowed is not None:
                ordered = _Left(self._state, number, [host for host in ordered.hosts if host in party.allowed])
            lacking = bisect_left(ordered, amount)
            if lacking:
                resource = self._state.cluster.resources[number]
                most = f", at most {resource.amount(max(0, ordered[-1]))} left" if lacking == len(hosts) else ""
                little = "little" if resource.unit else "few"
                found.append(f"{lacking} with too {little} {resource.name} ({resource.amount(amount)} needed{most})")
        return found

    def _hosts_by_room(self, kind: tuple[str, ...] | None, number: int) -> list[int]:
        """The open hosts of a kind, those with the most of a resource left at the end."""
        if (kind, number) not in self._by_room:
            free = self._state.free
            hosts = self._open.get(kind, []) if kind is not None else []
            self._by_room[kind, number] = sorted(hosts, key=lambda host: (free[host][number], -host))
        return self._by_room[kind, number]

    def _rules(self, party: Party) -> list[str]:
        found = []
        for number, count in party.rules:
            rule = self._state.cluster.rules[number]
            if rule.hard and not rule.together:
                counts = self._state.counts[number]
                full = sum(
                    1 for host, there in counts.items() if there + count > rule.most and self._is_choice(party, host)
                )
                if full:
                    found.append(f"{full} with others of {rule.name}")
        return found

    def _is_choice(self, party: Party, host: int) -> bool:
        entry = self._state.cluster.hosts[host]
        return not entry.closed and entry.kind == party.kind and (party.allowed is None or host in party.allowed)

    def _refusals(self, party: Party, hosts: Sequence[int]) -> list[str]:
        older = 0
        if party.version and self._oldest(party.kind) < party.version:
            older = sum(1 for host in hosts if self._state.cluster.hosts[host].version < party.version)
        refusing = sum(1 for host in hosts if host in party.refusing) if party.refusing else 0
        found = [f"{older} with an older hypervisor"] if older else []
        return [*found, f"{refusing} that refused it"] if refusing else found

    def _oldest(self, kind: tuple[str, ...] | None) -> tuple[int, ...]:
        if kind not in self._versions:
            hosts = self._open.get(kind, []) if kind is not None else []
            self._versions[kind] = min((self._state.cluster.hosts[host].version for host in hosts), default=())
        return self._versions[kind]


class _Left(Sequence[int]):
    """What hosts have left of a resource, without a list of it for each question."""

    def __init__(self, state: State, number: int, hosts: Sequence[int]) -> None:
        self.hosts = hosts
        self._free = state.free
        self._number = number

    def __len__(self) -> int:
        return len(self.hosts)

    def __getitem__(self, position: Any) -> Any:
        return self._free[self.hosts[position]][self._number]
