# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bridge table after a change of ports or groups: what else is in it stays. None stands for no table at all, as on
hosts where the engine filters no port."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ....model.secgroup import HostPolicy, Port
from .nftanswers import answer_sets
from .nftbase import base_sets
from .nftpolicy import bridge_table
from .nfttable import Table, group_chain, is_member_set, port_chain


def whole(current: Table | None, policy: HostPolicy) -> Table | None:
    """What the policy has and nothing else, but addresses that guests got since."""
    wanted = bridge_table(policy)
    if not wanted.sets["ports"].elements:
        return None
    return wanted if current is None else _keep_learned(current, wanted)


def with_ports(current: Table | None, policy: HostPolicy) -> Table | None:
    """With all that the policy has, in place of what there was about the same ports."""
    wanted = bridge_table(policy)
    if current is None:
        return wanted
    devices = {device for (device,) in wanted.sets["ports"].elements}
    rest = _cleared(current, policy.ports, devices)
    sets = {**rest.sets, **wanted.sets}
    for name in base_sets():
        sets[name] = replace(wanted.sets[name], elements=wanted.sets[name].elements | _elements(rest, name))
    target = Table("bridge", {**rest.chains, **wanted.chains}, sets, rest.counters | wanted.counters)
    return _without_orphans(_keep_learned(current, target))


def without_ports(current: Table | None, ports: Sequence[Port]) -> Table | None:
    """Without what there is about these ports."""
    if current is None:
        return None
    # A name that is another port's device by now is left to that one.
    owned = {element[0] for element in _elements(current, "macs")}
    rest = _cleared(current, ports, {port.device for port in ports if port.device} - owned)
    return _without_orphans(rest) if _elements(rest, "ports") else None


def without_groups(current: Table | None, names: Iterable[str]) -> Table | None:
    """Without what there is about these groups."""
    if current is None:
        return None
    gone = {group_chain(direction, name) for name in names for direction in ("in", "out")}
    chains = {name: chain for name, chain in current.chains.items() if name not in gone}
    return _without_orphans(replace(current, chains=chains, counters=current.counters - gone))


def _cleared(current: Table, ports: Iterable[Port], devices: Collection[str]) -> Table:
    macs = {port.mac for port in ports}
    stale = {element[0] for element in _elements(current, "macs") if element[1] in macs}.union(devices)
    sets = {
        name: replace(item, elements=frozenset(element for element in item.elements if element[0] not in stale))
        if name in base_sets()
        else item
        for name, item in current.sets.items()
    }
    gone = {port_chain(direction, mac) for direction in ("from", "to") for mac in macs}
    return replace(current, sets=sets, chains={name: item for name, item in current.chains.items() if name not in gone})


def _keep_learned(current: Table, wanted: Table) -> Table:
    # What a device learned is that of its guest: not of the next guest that has the same device.
    same = {element[0] for element in _elements(current, "learners") & _elements(wanted, "learners")}
    learned = frozenset(element for element in _elements(current, "learned") if element[0] in same)
    kept = {"learned": learned, **{name: _elements(current, name) for name in answer_sets()}}
    sets = {name: replace(wanted.sets[name], elements=elements) for name, elements in kept.items()}
    return replace(wanted, sets={**wanted.sets, **sets})


def _without_orphans(table: Table) -> Table:
    used = {name for chain in table.chains.values() for name in chain.refers_to}
    sets = {name: item for name, item in table.sets.items() if name in used or not is_member_set(name)}
    return replace(table, sets=sets)


def _elements(table: Table, name: str) -> frozenset[tuple[str, ...]]:
    return table.sets[name].elements if name in table.sets else frozenset()
