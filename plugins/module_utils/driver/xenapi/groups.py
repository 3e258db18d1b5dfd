# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups as the pool keeps them, and what VIF locking can make of them: pure functions, no calls."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from ...model.secgroup import ANY, ANYWHERE_V4, ANYWHERE_V6, EGRESS, INGRESS, Rule, SecurityGroup
from .poolkeys import newest

GROUP = "anyvirt-group:"
"""Begins the keys of the pool's other_config that hold security groups; their names follow."""
MEMBERS = "anyvirt-members:"
"""The same of the members that groups have on other hosts, whose identities follow."""

OPEN_RULES = frozenset((direction, cidr) for direction in (INGRESS, EGRESS) for cidr in (ANYWHERE_V4, ANYWHERE_V6))

_TYPES: Mapping[str, type] = {
    **dict.fromkeys(("direction", "protocol", "cidr", "group", "description"), str),
    **dict.fromkeys(("port_min", "port_max", "icmp_type", "icmp_code"), int),
}


def is_open(groups: Collection[SecurityGroup]) -> bool:
    """Whether these groups together let everything in and out, which is all that XenAPI can do for their members."""
    found = {(rule.direction, rule.cidr) for group in groups for rule in group.rules if _is_unconditional(rule)}
    return found >= OPEN_RULES


def cannot_filter(names: Collection[str]) -> str:
    """Why instances cannot be in these groups, and what to do instead."""
    together = f"the security groups {', '.join(sorted(names))} do" if names else "an empty list does"
    return (
        "the xenapi driver can only keep guests from using addresses that are not theirs, and "
        f"{together} not let everything in and out: add a group with rules for any protocol, in and out, from "
        "0.0.0.0/0 and ::/0, and filter in the guest or on the network; or give firewall: none"
    )


def read_groups(other_config: Mapping[str, str]) -> dict[str, SecurityGroup]:
    """The security groups in the pool's other_config, sorted by name; what is none of ours is left out."""
    found = {name: _read_group(name, kept.text) for name, kept in newest(other_config, GROUP).items()}
    return {name: group for name, group in sorted(found.items()) if group is not None}


def group_text(group: SecurityGroup) -> str:
    """What is written for a group."""
    values: dict[str, Any] = {"rules": [_plain(asdict(rule)) for rule in group.rules]}
    if group.description:
        values["description"] = group.description
    return json.dumps(values)


def read_members(other_config: Mapping[str, str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """What is known of other hosts: their identity -> group -> addresses."""
    found = {}
    for host, kept in newest(other_config, MEMBERS).items():
        values = _parsed(kept.text)
        found[host] = {
            group: tuple(sorted(item for item in addresses if isinstance(item, str)))
            for group, addresses in sorted(values.items())
            if isinstance(addresses, list)
        }
    return dict(sorted(found.items()))


def members_text(groups: Mapping[str, Collection[str]]) -> str | None:
    """What is written for a host's members; None where it has none."""
    members = {group: sorted(addresses) for group, addresses in sorted(groups.items()) if addresses}
    return json.dumps(members) if members else None


def _is_unconditional(rule: Rule) -> bool:
    return rule.protocol == ANY and rule.group is None


def _read_group(name: str, text: str) -> SecurityGroup | None:
    values = _parsed(text)
    rules, description = values.get("rules"), values.get("description", "")
    if not isinstance(rules, list) or not isinstance(description, str):
        return None
    read = [_read_rule(rule) for rule in rules]
    return SecurityGroup(name, tuple(rule for rule in read if rule is not None), description)


def _read_rule(values: Any) -> Rule | None:
    """A rule that cannot be understood lets nothing through."""
    if not isinstance(values, dict) or any(not isinstance(item, _TYPES.get(key, ())) for key, item in values.items()):
        return None
    return Rule(**values) if "direction" in values else None


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "")}


def _parsed(text: str) -> dict[str, Any]:
    """Anybody who may change the pool may write into our keys."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
