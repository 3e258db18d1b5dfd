# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the table that is to the table that is wanted: nft's commands, and what differs in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ....model.secgroup import STALE_MEMBERS, Drift
from .nfttable import TABLE, Chain, Element, NftSet, Owner, Table, is_group_chain, is_member_set

MISSING = "missing"
DIFFERENT = "rules differ"
EXTRA = "not declared"


def change_commands(current: Table | None, wanted: Table | None) -> list[str]:
    """What makes the one into the other, as lines for one ``nft -f``; what is the same is not touched."""
    if wanted is None:
        return [] if current is None else [f"delete table {current.family} {TABLE}"]
    where = f"{wanted.family} {TABLE}"
    lines = []
    if current is None or is_reshaped(current, wanted):
        if current is not None:
            lines.append(f"delete table {where}")
        lines.append(f"add table {where}")
        current = Table(wanted.family)
    lines += [f"add counter {where} {name}" for name in sorted(wanted.counters - current.counters)]
    lines += [_add_set(where, name, wanted.sets[name]) for name in _new(wanted.sets, current.sets)]
    lines += [_add_chain(where, name, wanted.chains[name]) for name in _new(wanted.chains, current.chains)]
    stale = [name for name, chain in current.chains.items() if wanted.chains.get(name) != chain]
    lines += [f"flush chain {where} {name}" for name in stale]
    for name, present in current.sets.items():
        keep = wanted.sets[name].elements if name in wanted.sets else frozenset()
        lines += _elements("delete", where, name, present, present.elements - keep)
    for name, chain in wanted.chains.items():
        if name not in current.chains or name in stale:
            lines += [_add_rule(where, name, rule.text, rule.comment) for rule in chain.rules]
    for name, wish in wanted.sets.items():
        there = current.sets[name].elements if name in current.sets else frozenset()
        lines += _elements("add", where, name, wish, wish.elements - there)
    lines += [f"delete chain {where} {name}" for name in _new(current.chains, wanted.chains)]
    lines += [f"delete set {where} {name}" for name in _new(current.sets, wanted.sets)]
    lines += [f"delete counter {where} {name}" for name in sorted(current.counters - wanted.counters)]
    return lines


def refill_commands(part: Table) -> list[str]:
    """What gives these chains and sets of an existing table their contents, whether they were there before and whatever
    was in them."""
    where = f"{part.family} {TABLE}"
    lines = [f"add counter {where} {name}" for name in sorted(part.counters)]
    for name, wish in part.sets.items():
        lines += [_add_set(where, name, wish), f"flush set {where} {name}"]
        lines += _elements("add", where, name, wish, wish.elements)
    for name, chain in part.chains.items():
        lines += [_add_chain(where, name, chain), f"flush chain {where} {name}"]
        lines += [_add_rule(where, name, rule.text, rule.comment) for rule in chain.rules]
    return lines


def drift_between(current: Table | None, wanted: Table | None, owners: dict[str, Owner]) -> list[Drift]:
    """Where the one differs from the other.

    Args:
        owners: Whose the devices are that sets name in their first column.
    """
    if wanted is None:
        return [] if current is None else [Drift(None, f"table {current.family} {TABLE}", EXTRA)]
    if current is None:
        return [Drift(None, f"table {wanted.family} {TABLE}", MISSING)]
    found: set[tuple[Owner, str]] = set()
    for name, chain in wanted.chains.items():
        if name not in current.chains:
            found.add((chain.owner, MISSING))
        elif chain != current.chains[name]:
            found.add((chain.owner, DIFFERENT))
    for name, wish in wanted.sets.items():
        present = current.sets.get(name)
        if present is None:
            found.add((wish.owner, MISSING))
            continue
        if present.shape != wish.shape:
            found.add((wish.owner, DIFFERENT))
        for problem, elements in (
            (MISSING, wish.elements - present.elements),
            (EXTRA, present.elements - wish.elements),
        ):
            found.update(_element_drift(wish, elements, problem, owners))
    # Groups without ports may stay: packets do not get there.
    found.update(
        (Owner(f"chain {name}"), EXTRA) for name in _new(current.chains, wanted.chains) if not is_group_chain(name)
    )
    found.update((Owner(f"set {name}"), EXTRA) for name in _new(current.sets, wanted.sets) if not is_member_set(name))
    return sorted(
        (Drift(owner.instance, owner.subject, problem) for owner, problem in found),
        key=lambda item: (item.instance or "", item.subject, item.problem),
    )


def _element_drift(
    wish: NftSet, elements: Iterable[Element], problem: str, owners: dict[str, Owner]
) -> Iterable[tuple[Owner, str]]:
    for element in elements:
        if wish.types[0] != "ifname":
            yield wish.owner, STALE_MEMBERS
        elif element[0] in owners:
            yield owners[element[0]], MISSING if problem == MISSING else DIFFERENT
        else:
            yield Owner(f"device {element[0]}"), problem


def is_reshaped(current: Table, wanted: Table) -> bool:
    """Whether hooks or types differ, which cannot be changed: somebody else made these, or another version of this."""
    return any(
        name in current.chains and current.chains[name].hook != chain.hook for name, chain in wanted.chains.items()
    ) or any(name in current.sets and current.sets[name].shape != wish.shape for name, wish in wanted.sets.items())


def _new(of: Collection[str], beside: Collection[str]) -> list[str]:
    return [name for name in of if name not in beside]


def _add_set(where: str, name: str, wish: NftSet) -> str:
    return f"add {'map' if wish.verdicts else 'set'} {where} {name} {{ {wish.declaration} }}"


def _add_chain(where: str, name: str, chain: Chain) -> str:
    if chain.hook is None:
        return f"add chain {where} {name}"
    hook = chain.hook
    return (
        f"add chain {where} {name} "
        f"{{ type {hook.type} hook {hook.name} priority {hook.priority}; policy {hook.policy}; }}"
    )


def _add_rule(where: str, chain: str, text: str, comment: str) -> str:
    return f'add rule {where} {chain} {text} comment "{comment}"'


def _elements(verb: str, where: str, name: str, owner: NftSet, elements: Collection[Element]) -> list[str]:
    if not elements:
        return []
    words = ", ".join(_element(owner, element) for element in sorted(elements))
    return [f"{verb} element {where} {name} {{ {words} }}"]


def _element(owner: NftSet, element: Element) -> str:
    first = f'"{element[0]}"' if owner.types[0] == "ifname" else element[0]
    return (" : " if owner.verdicts else " . ").join([first, *element[1:]])
