# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a policy, or a part of one, to the chains and sets that the kernel is to have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ....model.secgroup import EGRESS, INGRESS, HostPolicy, Port, ProviderRule, SecurityGroup, project_group
from .iptables_base import base_chains, group_chains, operator_chains, pass_chains
from .iptables_names import BRIDGE, SECURITY, group_chain, members_set, port_set, profile_set
from .iptables_ports import Entry, dispatch_chains, entries_in, entry_of, profile_chains, source_chains
from .iptables_sets import AddressSet, address_set
from .iptables_state import State


def wanted_of(policy: HostPolicy, current: State) -> State:
    """All of a policy.

    Args:
        current: What there is: what ports have learnt is known from there only.
    """
    wanted = State(sets=dict(current.sets))
    put_ports(wanted, policy.ports, policy)
    return wanted


def put_ports(state: State, ports: Iterable[Port], policy: HostPolicy) -> None:
    """Add these ports, or make them as they are now, with all that they need."""
    entries = entries_in(state.chains)
    put_operator(state, policy.provider)
    put_groups(state, policy.groups.values(), policy.members)
    for port in ports:
        if port.device is None:
            continue
        entries = {mac: entry for mac, entry in entries.items() if mac != port.mac and entry.device != port.device}
        entries[port.mac] = entry_of(port, port.device)
        _put_port(state, port, policy.members)
    _put_entries(state, entries.values())


def drop_ports(state: State, ports: Iterable[Port]) -> None:
    """Remove these ports."""
    gone = {port.mac for port in ports}
    _put_entries(state, [entry for mac, entry in entries_in(state.chains).items() if mac not in gone])


def put_groups(state: State, groups: Iterable[SecurityGroup], members: Mapping[str, frozenset[str]]) -> None:
    """Give groups their rules; each family's set of members is there for every rule."""
    for group in groups:
        state.put(group_chains(group))
        _put_members(state, group.refers_to, members)
    state.put(pass_chains())


def drop_groups(state: State, names: Iterable[str]) -> None:
    """Remove groups' chains."""
    for name in names:
        for table in (*SECURITY.values(), BRIDGE):
            for direction in (INGRESS, EGRESS):
                state.chains[table].pop(group_chain(direction, name), None)
    state.drop_unused_sets()


def put_operator(state: State, rules: Sequence[ProviderRule]) -> None:
    """Replace the operator's rules."""
    state.put(operator_chains(rules))
    state.put(pass_chains())


def member_sets(names: Iterable[str], members: Mapping[str, frozenset[str]]) -> dict[str, AddressSet]:
    """The sets of these groups' members."""
    return {
        members_set(family, name): address_set(family, members.get(name, ())) for name in names for family in (4, 6)
    }


def _put_members(state: State, names: Collection[str], members: Mapping[str, frozenset[str]]) -> None:
    state.sets.update(member_sets(names, members))


def _put_port(state: State, port: Port, members: Mapping[str, frozenset[str]]) -> None:
    if port.project is not None and port.allow_project:
        _put_members(state, [project_group(port.project)], members)
    for family in (4, 6):
        usable = address_set(family, port.addresses)
        name = port_set(family, port.mac)
        if port.learns and name in state.sets:
            usable = AddressSet(family, usable.networks | state.sets[name].networks)
        state.sets[name] = usable
    state.put(source_chains(port.mac, state.sets[port_set(4, port.mac)].networks))
    state.put(profile_chains(port))


def _put_entries(state: State, entries: Collection[Entry]) -> None:
    """Make the ways to these ports the only ones, and forget what is left without a way."""
    for table, chains in dispatch_chains(entries).items():
        state.put({table: chains})
    state.put(base_chains())
    state.put(pass_chains())
    for family in (4, 6):
        for profile in {entry.profile for entry in entries}:
            networks: set[str] = set()
            for entry in entries:
                usable = state.sets.get(port_set(family, entry.mac))
                if entry.profile == profile and usable is not None:
                    networks |= usable.networks
            state.sets[profile_set(family, profile)] = AddressSet(family, frozenset(networks))
    state.hooked = bool(entries)
    if not entries:
        state.clear()
    state.close_gaps()
    state.drop_unused_chains()
    state.drop_unused_sets()
