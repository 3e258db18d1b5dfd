# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between the definitions that a policy stands for and those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from xml.etree.ElementTree import Element

from ....model.secgroup import STALE_MEMBERS, Drift, Port
from ..domain_filters import filter_name
from .filterxml import canonical
from .nicfilter import instance_of, is_nic_filter, learns_addresses, mac_of
from .nwfilterkernel import Listing, expected_counts
from .store import members_of, subject_of, with_members

Filters = Mapping[str, Element]

_MISSING = "missing"
_DIFFERENT = "rules differ"
_LEFT_BEHIND = "left behind by an interface that is gone"
_UNFILTERED = "libvirt does not filter it"
_FLUSHED = "the kernel's rules are not those that libvirt made, or others come before them"

NOT_HELD = Drift(None, "rules that lead to libvirt's chains", "missing: nothing filters while libvirt makes rules anew")


def definition_drift(ports: Iterable[Port], wanted: Filters, found: Filters) -> Iterator[Drift]:
    """Each definition that is missing or other than wanted, and those of interfaces that are gone."""
    instances = {filter_name(port.mac): port.instance for port in ports}
    stale = set()
    for name, root in wanted.items():
        present = found.get(name)
        if present is None:
            yield Drift(instances.get(name), _subject(name, root), _MISSING)
        elif canonical(present) != canonical(root):
            changed = _changed_members(root, present)
            stale |= changed
            if not changed:
                yield Drift(instances.get(name), _subject(name, root), _DIFFERENT)
    for group in sorted(stale):
        yield Drift(None, f"group {group}", STALE_MEMBERS)
    for name in sorted(found.keys() - wanted.keys()):
        if is_nic_filter(name):
            yield Drift(instance_of(found[name]), _subject(name, found[name]), _LEFT_BEHIND)


def unfiltered_ports(
    ports: Iterable[Port], found: Filters, bindings: Mapping[str, str], listing: Listing | None
) -> Iterator[tuple[Port, Drift]]:
    """The ports whose device is there and not filtered as defined.

    Args:
        found: The definitions that there are.
        bindings: Interfaces that libvirt filters, each with the name of its filter.
        listing: What the kernel has; None where nobody can look.
    """
    for port in ports:
        name = filter_name(port.mac)
        if port.device is None:
            continue
        if bindings.get(port.device) != name:
            yield port, Drift(port.instance, f"port {port.mac}", _UNFILTERED)
        elif listing is not None and not _is_there(port.device, name, found, listing):
            yield port, Drift(port.instance, f"port {port.mac}", _FLUSHED)


def _is_there(device: str, name: str, found: Filters, listing: Listing) -> bool:
    root = found.get(name)
    return root is not None and listing.has_all(device, expected_counts(device, root, found), learns_addresses(root))


def _changed_members(root: Element, present: Element) -> set[str]:
    """The groups whose members are other ones, where that is all that differs."""
    known, current = members_of(present), members_of(root)
    changed = {group for group in current if current[group] != known.get(group)}
    made_then = with_members(root, {group: known.get(group, frozenset()) for group in changed})
    return changed if made_then is not None and canonical(made_then) == canonical(present) else set()


def _subject(name: str, root: Element) -> str:
    return f"port {mac_of(name)}" if is_nic_filter(name) else subject_of(root)
