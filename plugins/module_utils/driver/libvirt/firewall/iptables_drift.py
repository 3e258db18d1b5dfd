# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the state that the kernel has and the one that is declared, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ....model.secgroup import EGRESS, INGRESS, STALE_MEMBERS, Drift, HostPolicy, Port, project_group
from .iptables_names import (
    EGRESS_OPERATOR,
    EGRESS_PROFILE,
    INGRESS_OPERATOR,
    INGRESS_PROFILE,
    LEARN,
    SOURCE,
    TABLES,
    Table,
    bare,
    group_chain,
    is_group_chain,
    members_set,
    port_set,
    profile_of,
)
from .iptables_ports import device_of
from .iptables_sets import is_members_set
from .iptables_state import State

MISSING = "missing"
DIFFERENT = "rules differ"
EXTRA = "not declared"
_ADDRESSES_DIFFER = "addresses differ"
_DIRECTIONS = (INGRESS, EGRESS)


class _Owner(NamedTuple):
    instance: str | None
    subject: str


_BASE = (_Owner(None, "base rules"),)
_Finding = tuple[_Owner, str]


def drift_between(current: State, wanted: State, policy: HostPolicy) -> list[Drift]:
    """Where the one differs from the other."""
    owners = _owners(policy)
    found: set[_Finding] = set()
    for table in TABLES:
        found.update(_chain_drift(table, current, wanted, policy, owners))
        if wanted.hooked:
            found.update(
                (_Owner(None, f"{table.tool}, table {table.name}"), f"{chain} does not begin with our rules")
                for chain, _ours, _count in current.unhooked(table)
            )
    found.update(_set_drift(current, wanted, owners))
    return sorted(
        (Drift(owner.instance, owner.subject, problem) for owner, problem in found),
        key=lambda item: (item.instance or "", item.subject, item.problem),
    )


def _chain_drift(
    table: Table, current: State, wanted: State, policy: HostPolicy, owners: dict[str, Sequence[_Owner]]
) -> Iterator[_Finding]:
    old, new = current.chains[table], wanted.chains[table]
    ports = {port.device: _owner(port) for port in policy.ports if port.device is not None}
    used = {group_chain(direction, name) for port in policy.ports for name in port.groups for direction in _DIRECTIONS}
    for name, rules in new.items():
        concerned: Sequence[_Owner] = owners.get(name, _BASE)
        if name in old and old[name] != rules:
            devices = {device_of(rule) for rule in {*rules} ^ {*old[name]}}
            concerned = [ports[device] for device in devices if device in ports] or concerned
            yield from ((owner, DIFFERENT) for owner in concerned)
        elif name not in old and (name in used or not is_group_chain(name)):
            yield from ((owner, MISSING) for owner in concerned)
    for name in old:
        if name not in new and not is_group_chain(name):
            yield _Owner(None, f"chain {name}"), EXTRA


def _set_drift(current: State, wanted: State, owners: dict[str, Sequence[_Owner]]) -> Iterator[_Finding]:
    named = current.named_sets()
    for name, wish in wanted.sets.items():
        present = current.sets.get(name)
        if present is None:
            if name in named:
                yield from ((owner, MISSING) for owner in owners.get(name, _BASE))
        elif present != wish:
            problem = STALE_MEMBERS if is_members_set(name) else _ADDRESSES_DIFFER
            yield from ((owner, problem) for owner in owners.get(name, _BASE))
    for name in current.sets:
        # A group that no rule is about any more may leave its members behind: they do nothing.
        if name not in wanted.sets and not is_members_set(name):
            yield _Owner(None, f"set {name}"), EXTRA


def _owners(policy: HostPolicy) -> dict[str, Sequence[_Owner]]:
    owners: dict[str, Sequence[_Owner]] = {
        name: (_Owner(None, "provider rules"),) for name in (INGRESS_OPERATOR, EGRESS_OPERATOR)
    }
    names = {*policy.groups, *policy.members}
    names.update(project_group(port.project) for port in policy.ports if port.project is not None)
    for group in policy.groups.values():
        names |= group.refers_to
    for name in names:
        owner = (_Owner(None, f"group {name}"),)
        owners.update({group_chain(direction, name): owner for direction in _DIRECTIONS})
        owners.update({members_set(family, name): owner for family in (4, 6)})
    sharing: dict[str, list[_Owner]] = {}
    for port in policy.ports:
        mine = [_owner(port)]
        owners.update({f"{kind}{bare(port.mac)}": mine for kind in (SOURCE, LEARN)})
        owners.update({port_set(family, port.mac): mine for family in (4, 6)})
        sharing.setdefault(profile_of(port), []).extend(mine)
    for profile, ports in sharing.items():
        owners.update({f"{kind}{profile}": ports for kind in (INGRESS_PROFILE, EGRESS_PROFILE)})
    return owners


def _owner(port: Port) -> _Owner:
    return _Owner(port.instance, f"port {port.mac}")
