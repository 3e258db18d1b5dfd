# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a definition says about itself, for us to read back: parameters of a reference to a filter that does nothing.

They cost nothing in the kernel, have no limit of length, and change together with the rules. libvirt lets few
characters through, so the others are escaped: ``_`` and two hexadecimal digits for each byte.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element

from ....model.secgroup import EGRESS, INGRESS, ProviderRule, Rule, SecurityGroup
from .filterxml import PREFIX, add_reference, parameters

NOTE = f"{PREFIX}note"
"""The filter that does nothing."""

_ESCAPED = re.compile(r"_([0-9a-f]{2})")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.")
_RULE_FIELDS = 9

Notes = dict[str, list[str]]


def write_notes(root: Element, notes: Mapping[str, Iterable[str]]) -> None:
    """Put notes into a definition; one without values leaves no trace."""
    add_reference(root, NOTE, notes)


def read_notes(root: Element) -> Notes:
    """The notes in a definition; empty where there are none."""
    reference = root.find(f"filterref[@filter='{NOTE}']")
    return {} if reference is None else parameters(reference)


def pack(*fields: str) -> str:
    """One value for some texts."""
    return ":".join(
        "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in field.encode()) for field in fields
    )


def unpack(value: str) -> list[str]:
    """The texts again. What somebody has changed by hand is read as well as it can be."""
    return [_unescaped(field).decode("utf-8", "replace") for field in value.split(":")]


def _unescaped(field: str) -> bytes:
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), field).encode("latin-1", "replace")


def group_notes(group: SecurityGroup) -> Notes:
    """What is to be remembered of a group."""
    notes = {"NAME": [pack(group.name)], "RULE": [pack_rule(rule) for rule in group.rules]}
    if group.description:
        notes["DESCRIPTION"] = [pack(group.description)]
    return notes


def read_group(notes: Notes) -> SecurityGroup | None:
    """The group that notes are of; None where they are of none. Rules that nobody can read are left out."""
    if not notes.get("NAME"):
        return None
    rules = [rule for rule in map(unpack_rule, notes.get("RULE", [])) if rule is not None]
    return SecurityGroup(first(notes, "NAME"), tuple(rules), first(notes, "DESCRIPTION"))


def first(notes: Notes, name: str) -> str:
    """The text of a note that has one; empty when it is missing."""
    return unpack(notes[name][0])[0] if notes.get(name) else ""


def member_notes(members: Mapping[str, Iterable[str]]) -> list[str]:
    """Addresses of the members of groups; a group without members is remembered, too."""
    values = []
    for group in sorted(members):
        addresses = sorted(members[group])
        values += [pack(group, address) for address in addresses] or [pack(group)]
    return values


def read_members(values: Iterable[str]) -> dict[str, frozenset[str]]:
    """The addresses of the members of groups again."""
    members: dict[str, set[str]] = {}
    for group, *addresses in map(unpack, values):
        members.setdefault(group, set()).update(filter(_is_network, addresses))
    return {group: frozenset(addresses) for group, addresses in members.items()}


def pack_rule(rule: Rule) -> str:
    """One value for a rule."""
    return pack(*("" if value is None else str(value) for value in vars(rule).values()))


def unpack_rule(value: str) -> Rule | None:
    """The rule again; None when the value is none of ours."""
    fields = unpack(value)
    if len(fields) != _RULE_FIELDS:
        return None
    direction, protocol, cidr, group, *numbers, description = fields
    try:
        port_min, port_max, icmp_type, icmp_code = (int(number) if number else None for number in numbers)
    except ValueError:
        return None
    if direction not in (INGRESS, EGRESS) or not (_is_network(cidr) if cidr else group):
        return None
    return Rule(direction, protocol, cidr or None, group or None, port_min, port_max, icmp_type, icmp_code, description)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def pack_provider_rule(rule: ProviderRule) -> str:
    """One value for a rule of the operator."""
    return f"{pack(rule.action)}:{pack_rule(rule.rule)}"


def unpack_provider_rule(value: str) -> ProviderRule | None:
    """The rule of the operator again; None when the value is none of ours."""
    action, _colon, rest = value.partition(":")
    rule = unpack_rule(rest)
    return None if rule is None else ProviderRule(rule, action)
