# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules as people write them, in the one form in which rules are kept and compared, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..model.secgroup import (
    ACCEPT,
    ANY,
    ANYWHERE_V4,
    ANYWHERE_V6,
    DROP,
    EGRESS,
    ICMP,
    ICMPV6,
    INGRESS,
    TCP,
    UDP,
    ProviderRule,
    Rule,
)
from .filtering import network_of, problem_with_group_name
from .validate import Reader

DIRECTIONS = (INGRESS, EGRESS)
ACTIONS = (DROP, ACCEPT)
DESCRIPTION_LIMIT = 255
"""Characters, as in EC2."""

_NAMES = {6: TCP, 17: UDP, 1: ICMP, 58: ICMPV6}
_WORDS = (TCP, UDP, ICMP, ICMPV6, ANY)
_ANYWHERE = {4: ANYWHERE_V4, 6: ANYWHERE_V6}
_LAST_PORT = 65535
_NUMBER = re.compile(r"\d{1,3}", re.ASCII)
_PORTS = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", re.ASCII)
_KNOWN = {"direction", "protocol", "port", "icmp_type", "icmp_code", "cidr", "group", "description"}


@dataclass(frozen=True)
class WrittenRule:
    """A rule of a task.

    Attributes:
        where: Its place: ``groups[2].rules[0]``.
        rules: What it stands for: one, or two where it says neither a network nor a group.
        description: None where the task says nothing about it.
        action: Of an operator's rule.
    """

    where: str
    rules: tuple[Rule, ...]
    description: str | None
    action: str = ACCEPT


def what_it_matches(rule: Rule) -> Rule:
    """The rule but for its description: two that are equal in this do the same."""
    return replace(rule, description="")


def read_rules(reader: Reader) -> list[WrittenRule] | None:
    """The option ``rules`` of a group."""
    return _read_list(reader, "rules", for_provider=False)


def read_provider_rules(reader: Reader) -> tuple[ProviderRule, ...] | None:
    """The option ``provider_rules``."""
    written = _read_list(reader, "provider_rules", for_provider=True)
    if written is None:
        return None
    return tuple(
        ProviderRule(replace(rule, description=entry.description or ""), entry.action)
        for entry in written
        for rule in entry.rules
    )


def read_description(reader: Reader) -> str | None:
    """What people want to know of a group or a rule."""
    text = reader.text("description")
    if text is not None and len(text) > DESCRIPTION_LIMIT:
        reader.complain("description", f"has {len(text)} characters; at most {DESCRIPTION_LIMIT} are allowed")
        return None
    if text is not None and not text.isprintable():
        reader.complain("description", "has unprintable characters in it")
        return None
    return text


def rule_as_dict(rule: Rule) -> dict[str, Any]:
    """A rule in the words of the module's options."""
    words: dict[str, Any] = {"direction": rule.direction, "protocol": rule.protocol}
    if rule.port_min is not None:
        words["port"] = rule.port_min if rule.port_min == rule.port_max else f"{rule.port_min}-{rule.port_max}"
    for option in ("icmp_type", "icmp_code", "cidr", "group"):
        if getattr(rule, option) is not None:
            words[option] = getattr(rule, option)
    if rule.description:
        words["description"] = rule.description
    return words


def provider_rules_as_dicts(rules: Iterable[ProviderRule]) -> list[dict[str, Any]]:
    """The operator's rules in the words of the module's options."""
    return [{"action": item.action, **rule_as_dict(item.rule)} for item in rules]


def _read_list(reader: Reader, option: str, for_provider: bool) -> list[WrittenRule] | None:
    entries = reader.entries(option)
    if entries is None:
        return None
    written: list[WrittenRule] = []
    seen: dict[Rule, WrittenRule] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            reader.complain(f"{option}[{number}]", f"has to be a dictionary, not {entry!r}")
            continue
        found = _read_one(reader.inner(option, entry, number), for_provider)
        if found is None:
            continue
        double = next((seen[rule] for rule in found.rules if rule in seen), None)
        if double is None:
            written.append(found)
            seen.update(dict.fromkeys(found.rules, found))
        else:
            reader.complain(f"{option}[{number}]", _what_is_double(found, double))
    return written


def _what_is_double(found: WrittenRule, other: WrittenRule) -> str:
    common = [rule for rule in found.rules if rule in other.rules]
    if len(common) == len(found.rules) == len(other.rules):
        return f"is the same rule as {other.where}; remove one of them"
    return (
        f"overlaps {other.where}: both say cidr {common[0].cidr}, since a rule without cidr and group stands for "
        f"{ANYWHERE_V4} and {ANYWHERE_V6}; remove one of them"
    )


def _read_one(reader: Reader, for_provider: bool) -> WrittenRule | None:
    """A rule; None where something is wrong with it."""
    before = len(reader.problems)
    given = Reader({key: value for key, value in reader.data.items() if value is not None}, "", [])
    known = (_KNOWN - {"group"}) | {"action"} if for_provider else _KNOWN
    if for_provider and given.given("group"):
        reader.complain("group", "an operator's rule is about a network, never about the members of a group; give cidr")
        given = Reader({key: value for key, value in given.data.items() if key != "group"}, "", [])
    Reader(given.data, reader.where, reader.problems).only_known(known)
    direction = reader.choice("direction", DIRECTIONS) or INGRESS
    action = (reader.choice("action", ACTIONS) or DROP) if for_provider else ACCEPT
    protocol = _read_protocol(reader)
    port_min, port_max = _read_ports(reader, protocol)
    icmp_type, icmp_code = _read_icmp(reader, protocol)
    description = read_description(reader)
    sides = _read_other_side(reader, protocol)
    if len(reader.problems) > before or protocol is None:
        return None
    rules = tuple(
        Rule(direction, protocol, cidr, group, port_min, port_max, icmp_type, icmp_code) for cidr, group in sides
    )
    return WrittenRule(reader.where.rstrip("."), rules, description, action)


def _read_protocol(reader: Reader) -> str | None:
    text = reader.text("protocol")
    if text is None:
        return None if reader.given("protocol") else ANY
    if text in _WORDS:
        return text
    if _NUMBER.fullmatch(text) and int(text) <= 255:
        return _NAMES.get(int(text), str(int(text)))
    reader.complain(
        "protocol", f"has to be one of {', '.join(_WORDS)}, or the number of a protocol from 0 to 255, not {text!r}"
    )
    return None


def _read_ports(reader: Reader, protocol: str | None) -> tuple[int | None, int | None]:
    text = reader.text("port")
    if text is None:
        return None, None
    if protocol not in (TCP, UDP, None):
        hint = "give icmp_type and icmp_code" if protocol in (ICMP, ICMPV6) else "give protocol tcp or udp, or no port"
        reader.complain("port", f"makes no sense with protocol {protocol}: {hint}")
        return None, None
    match = _PORTS.fullmatch(text.strip())
    if match is None:
        reader.complain("port", f"has to be a port such as 443, or a range such as 8000-8100, not {text!r}")
        return None, None
    first, last = int(match[1]), int(match[2] or match[1])
    if max(first, last) > _LAST_PORT:
        reader.complain("port", f"has to be at most {_LAST_PORT}, not {max(first, last)}")
        return None, None
    if first > last:
        reader.complain("port", f"goes from {first} to {last}, which is less; did you mean {last}-{first}?")
        return None, None
    return (None, None) if (first, last) == (0, _LAST_PORT) else (first, last)


def _read_icmp(reader: Reader, protocol: str | None) -> tuple[int | None, int | None]:
    if protocol in (ICMP, ICMPV6, None):
        icmp_type = reader.whole("icmp_type", 0, 255)
        icmp_code = reader.whole("icmp_code", 0, 255)
        if icmp_code is not None and not reader.given("icmp_type"):
            reader.complain("icmp_code", "needs icmp_type")
        return icmp_type, icmp_code
    for option in ("icmp_type", "icmp_code"):
        if reader.given(option):
            reader.complain(option, f"makes no sense with protocol {protocol}: give protocol icmp or icmpv6")
            break
    return None, None


def _read_other_side(reader: Reader, protocol: str | None) -> list[tuple[str | None, str | None]]:
    """What the rule says of the other side, as pairs of network and group of which one is None."""
    if reader.given("cidr") and reader.given("group"):
        reader.complain("group", "excludes cidr: a rule is about a network or about a group; make two rules")
        return []
    group = reader.text("group")
    if group is not None:
        problem = problem_with_group_name(group)
        if problem:
            reader.complain("group", problem)
        return [(None, group)]
    family = {ICMP: 4, ICMPV6: 6}.get(protocol or "")
    if not reader.given("cidr"):
        return [(_ANYWHERE[version], None) for version in (4, 6) if family in (None, version)]
    cidr = _read_cidr(reader)
    if cidr is not None and family is not None and (":" in cidr) != (family == 6):
        other = ICMPV6 if protocol == ICMP else ICMP
        reader.complain(
            "cidr", f"is IPv{10 - family}, and protocol {protocol} is of IPv{family} only: give protocol {other}"
        )
    return [(cidr, None)]


def _read_cidr(reader: Reader) -> str | None:
    text = reader.text("cidr")
    if text is None:
        return None
    import ipaddress  # takes long to import, and not all tasks need it

    try:
        network = network_of(text, strict=False)
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        reader.complain("cidr", f"has to be a network such as 10.0.0.0/8 or fd00::/8, not {text!r}")
        return None
    if address != network.network_address:
        reader.complain(
            "cidr", f"{text} has bits of a host in it; did you mean {network} or {address}/{network.max_prefixlen}?"
        )
        return None
    return str(network)
