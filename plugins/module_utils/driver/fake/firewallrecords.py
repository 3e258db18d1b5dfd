# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of what a host's firewall is to do and of what it does, and how they become the model's things and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from ...model.secgroup import HostPolicy, Port, ProviderRule, Rule, SecurityGroup
from .store import Record


def group_record(group: SecurityGroup) -> Record:
    """A group without its name, which is the record's key."""
    return {"description": group.description, "rules": [_rule_record(rule) for rule in group.rules]}


def group_of(name: str, record: Record) -> SecurityGroup:
    """The group that a record tells of."""
    return SecurityGroup(name, tuple(Rule(**rule) for rule in record["rules"]), record["description"])


def provider_records(rules: Collection[ProviderRule]) -> list[Record]:
    """The operator's rules, in their order."""
    return [{"action": item.action, "rule": _rule_record(item.rule)} for item in rules]


def provider_of(records: Collection[Record]) -> tuple[ProviderRule, ...]:
    """The operator's rules that records tell of."""
    return tuple(ProviderRule(Rule(**record["rule"]), record["action"]) for record in records)


def member_records(groups: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Addresses by group, sorted; a group without any is left out."""
    return {name: sorted(addresses) for name, addresses in sorted(groups.items()) if addresses}


def port_record(port: Port) -> Record:
    """A port without its MAC address, which is the key."""
    return _plain({**vars(port), "mac": None})


def port_of(mac: str, record: Record, leases: Collection[str]) -> Port:
    """The port that a record tells of; one that learns has learnt its ``leases``."""
    port = Port(**{**record, "mac": mac, "addresses": tuple(record["addresses"]), "groups": tuple(record["groups"])})
    return replace(port, addresses=tuple(sorted({*port.addresses, *leases}))) if port.learns else port


def policy_of(applied: Record, leases: Mapping[str, Collection[str]]) -> HostPolicy:
    """All that the filters in place do; ``leases`` by MAC address."""
    return HostPolicy(
        ports=tuple(port_of(mac, port, leases.get(mac, ())) for mac, port in applied["ports"].items()),
        groups={name: group_of(name, group) for name, group in applied["groups"].items()},
        provider=provider_of(applied["provider"]),
        members={name: frozenset(addresses) for name, addresses in applied["members"].items()},
    )


def _rule_record(rule: Rule) -> Record:
    return _plain({**vars(rule), "description": rule.description or None})


def _plain(fields: Mapping[str, Any]) -> Record:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value is not None
    }
