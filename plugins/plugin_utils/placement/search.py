# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where instances that go together can go, and which of these places the strategy takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .state import State

_NAMED = 3


class Party(NamedTuple):
    """Instances that go together, while they are nowhere.

    Attributes:
        kind: Of the hosts that they can go to; None when they are of several kinds.
        need: Numbers of resources, and how much of each they take.
        version: The oldest hypervisor that is new enough.
        allowed: The only hosts that may have them; None: all.
        refusing: Hosts that would not take one of them, and why.
        rules: Numbers of rules about them, and how many of them each rule is about.
    """

    members: tuple[int, ...]
    kind: tuple[str, ...] | None
    need: tuple[tuple[int, int], ...]
    version: tuple[int, ...]
    allowed: frozenset[int] | None
    refusing: dict[int, str]
    rules: tuple[tuple[int, int], ...]


def party_of(state: State, members: Sequence[int], kinds: Iterable[tuple[str, ...]]) -> list[Party]:
    """The party that these instances make: one, or for new instances, which any kind of host can have, one for each."""
    cluster = state.cluster
    instances = [cluster.instances[member] for member in members]
    homes = [cluster.hosts[instance.home] for instance in instances if instance.home is not None]
    allowed = None
    for instance in instances:
        if instance.allowed is not None:
            allowed = instance.allowed if allowed is None else allowed & instance.allowed
        if instance.bound is not None:
            bound = frozenset((instance.bound,))
            allowed = bound if allowed is None else allowed & bound
    counted: dict[int, int] = {}
    for member in members:
        for rule in state.rules_of[member]:
            counted[rule] = counted.get(rule, 0) + 1
    demand = state.demand_of(members)
    own_kinds = sorted({home.kind for home in homes})
    party = Party(
        tuple(members),
        own_kinds[0] if len(own_kinds) == 1 else None,
        tuple((number, amount) for number, amount in enumerate(demand) if amount > 0),
        max(
            (
                cluster.hosts[instance.home].version
                for instance in instances
                if instance.home is not None and instance.active
            ),
            default=(),
        ),
        allowed,
        {host: why for instance in instances for host, why in instance.refused.items()},
        tuple(sorted(counted.items())),
    )
    return [party] if own_kinds else [party._replace(kind=kind) for kind in kinds]


def find_host(state: State, party: Party, avoid: int | None = None) -> int | None:
    """The host that gets the party: of those that can have it, one where the fewest preferences are offended, and of
    these the one that the strategy takes first."""
    if party.kind is None:
        return None
    best: tuple[int, tuple[float, int]] | None = None
    for host in _friendly(state, party):
        found = (offence(state, party, host), state.rank(host))
        if (best is None or found < best) and host != avoid and _takes(state, party, host):
            best = found
    least = _least_offence(state, party)
    for host in _candidates(state, party):
        found = (offence(state, party, host), state.rank(host))
        if (best is None or found < best) and host != avoid and obeys(state, party, host):
            best = found
        if best is not None and best[0] <= least:
            break  # only friendly hosts are better
    return None if best is None else best[1][1]


def objection(state: State, party: Party, host: int) -> str | None:
    """Why the party cannot go to ``host``, all of it; None when it can."""
    entry = state.cluster.hosts[host]
    state.steps += 1
    if entry.closed:
        return entry.closed
    if entry.kind != party.kind:
        return f"is of another kind ({' '.join(filter(None, entry.kind))})"
    broken = [_rule_words(state, number, host) for number in _broken(state, party, host)]
    return "; ".join([*_refusals(state, party, host), *broken, *_shortages(state, party, host)]) or None


def obeys(state: State, party: Party, host: int) -> bool:
    """Whether nothing but perhaps the lack of room keeps the party from an open host of its kind."""
    return not any(_refusals(state, party, host)) and next(_broken(state, party, host), None) is None


def offence(state: State, party: Party, host: int) -> int:
    """How much the party on ``host`` would be against preferences: less than nothing where it is among its friends."""
    total = 0
    for number, count in party.rules:
        rule = state.cluster.rules[number]
        if rule.hard:
            continue
        there = state.counts[number].get(host, 0)
        total += -there if rule.together else max(0, there + count - rule.most)
    return total


def _takes(state: State, party: Party, host: int) -> bool:
    """Whether nothing keeps the party from ``host``; like ``objection``, without the words."""
    entry = state.cluster.hosts[host]
    state.steps += 1
    return (
        not entry.closed
        and entry.kind == party.kind
        and obeys(state, party, host)
        and next(_shortages(state, party, host), None) is None
    )


def _least_offence(state: State, party: Party) -> int:
    """What the party offends at least, on hosts where it has no friends."""
    total = 0
    for number, count in party.rules:
        rule = state.cluster.rules[number]
        if not rule.hard and not rule.together:
            counts = state.counts[number]
            there = min((counts.get(host, 0) for host in state.open_hosts), default=0)
            total += max(0, there + count - rule.most)
    return total


def _candidates(state: State, party: Party) -> Iterator[int]:
    if party.allowed is None:
        yield from state.preferred(party.kind or (), party.need)
        return
    for host in sorted(party.allowed, key=state.rank):
        entry = state.cluster.hosts[host]
        state.steps += 1
        if not entry.closed and entry.kind == party.kind and not any(_shortages(state, party, host)):
            yield host


def _friendly(state: State, party: Party) -> set[int]:
    """Hosts with instances that members of the party would like to be with."""
    rules = state.cluster.rules
    return {
        host
        for number, _count in party.rules
        if rules[number].together and not rules[number].hard
        for host in state.counts[number]
    }


def _refusals(state: State, party: Party, host: int) -> Iterator[str]:
    if party.allowed is not None and host not in party.allowed:
        yield "is not one of the hosts that may have it"
    version = state.cluster.hosts[host].version
    if version < party.version:
        yield f"its hypervisor {dotted(version)} is older than {dotted(party.version)}, where it runs now"
    if host in party.refusing:
        yield party.refusing[host]


def _broken(state: State, party: Party, host: int) -> Iterator[int]:
    """Hard rules about being apart that would be. Those about being together are what makes a party."""
    for number, count in party.rules:
        rule = state.cluster.rules[number]
        if rule.hard and not rule.together and state.counts[number].get(host, 0) + count > rule.most:
            yield number


def _rule_words(state: State, number: int, host: int) -> str:
    rule = state.cluster.rules[number]
    instances = state.cluster.instances
    # Rules may have far more members than hosts have instances.
    others = sorted(instances[member].name for member in state.residents[host] if number in state.rules_of[member])
    if not others:
        return f"{rule.name} allows {rule.most} on one host"
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"has {', '.join(others[:_NAMED])}{more} of {rule.name}"


def _shortages(state: State, party: Party, host: int) -> Iterator[str]:
    free = state.free[host]
    for number, amount in party.need:
        if free[number] < amount:
            resource = state.cluster.resources[number]
            yield f"{resource.name}: needs {resource.amount(amount)}, {resource.amount(max(0, free[number]))} left"


def dotted(version: Sequence[int]) -> str:
    """At least two numbers: zeros at the end are not known."""
    return ".".join(map(str, version if len(version) > 1 else (*version, 0)))
