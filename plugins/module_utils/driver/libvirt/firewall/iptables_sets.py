# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address sets of the iptables engine: read from ``ipset save``, changed with ``ipset restore``."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .iptables_names import PREFIX

_MEMBERS = (f"{PREFIX}m4-", f"{PREFIX}m6-")
_NEW = f"{PREFIX}new"
"""A set that is filled before it takes another's place."""

_ANYWHERE = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
"""The kernel's sets take no network that is everything."""


@dataclass(frozen=True)
class AddressSet:
    """Networks of one version of IP, in CIDR notation."""

    family: int
    networks: frozenset[str] = frozenset()


def address_set(family: int, networks: Iterable[str]) -> AddressSet:
    """Of those networks that are of this family."""
    mine = {network for network in networks if (":" in network) == (family == 6)}
    return AddressSet(family, frozenset(part for network in mine for part in _ANYWHERE.get(network, (network,))))


def parse_sets(text: str) -> dict[str, AddressSet]:
    """Our sets in what ``ipset save`` printed."""
    families: dict[str, int] = {}
    networks: dict[str, set[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or not words[1].startswith(PREFIX):
            continue
        if words[0] == "create":
            families[words[1]] = 6 if "inet6" in words else 4
            networks[words[1]] = set()
        elif words[0] == "add":
            networks[words[1]].add(str(ipaddress.ip_network(words[2])))
    return {name: AddressSet(family, frozenset(networks[name])) for name, family in families.items()}


def is_members_set(name: str) -> bool:
    """Whether it is the set of a group's members."""
    return name.startswith(_MEMBERS)


def fill_commands(current: Mapping[str, AddressSet], wanted: Mapping[str, AddressSet]) -> list[str]:
    """What makes all wanted sets: a group's members change at once, and of a port's addresses those that differ, since
    the kernel itself adds to them."""
    lines: list[str] = []
    for name, wish in wanted.items():
        present = current.get(name)
        if present == wish:
            continue
        if present is None:
            lines += [_create(name, wish), *_adds(name, wish.networks)]
        elif is_members_set(name):
            new = f"{_NEW}{wish.family}"
            lines += [_create(new, wish), f"flush {new}", *_adds(new, wish.networks)]
            lines += [f"swap {new} {name}", f"destroy {new}"]
        else:
            lines += _adds(name, wish.networks - present.networks)
            lines += [f"del {name} {network} -exist" for network in sorted(present.networks - wish.networks)]
    return lines


def destroy_commands(current: Mapping[str, AddressSet], wanted: Mapping[str, AddressSet]) -> list[str]:
    """What removes the sets that are not wanted; no rule may use them any more."""
    return [f"destroy {name}" for name in current if name not in wanted]


def _create(name: str, of: AddressSet) -> str:
    family = "inet" if of.family == 4 else "inet6"
    return f"create {name} hash:net family {family} hashsize 64 maxelem 1048576 -exist"


def _adds(name: str, networks: Iterable[str]) -> list[str]:
    return [f"add {name} {network} -exist" for network in sorted(networks)]
