# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a task wants of security groups out of virt_secgroup's options, and finds every problem first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InvalidInput, Problem
from ..model.secgroup import DEFAULT_EGRESS, EGRESS, ProviderRule, Rule, SecurityGroup
from .entries import read_entries, told_once
from .filtering import problem_with_group_name
from .secgroup_members import Reported, read_members
from .secgroup_rules import WrittenRule, read_description, read_provider_rules, read_rules, what_it_matches
from .validate import Reader

PRESENT = "present"
ABSENT = "absent"
VERIFIED = "verified"

STATES = (PRESENT, ABSENT, VERIFIED)

_TASK_WIDE = {"name", "groups", "provider_rules", "members", "purge_members", "repair"}
_OF_GROUPS = ("description", "rules", "purge_rules", "default_egress", "allow_unknown_groups")


@dataclass(frozen=True)
class DesiredGroup:
    """What a task wants of one security group.

    Attributes:
        where: What stands in front of its options' names in messages.
        rules: None where the task says nothing about them.
        purge_rules: ``rules`` are all that the group is to have.
        default_egress: A list of all rules without one for egress stands for one with EC2's default.
        allow_unknown_groups: Rules may name groups that nobody knows.
    """

    where: str
    name: str
    state: str = PRESENT
    description: str | None = None
    rules: tuple[WrittenRule, ...] | None = None
    purge_rules: bool = True
    default_egress: bool = True
    allow_unknown_groups: bool = False

    def wanted(self, now: SecurityGroup | None) -> SecurityGroup:
        """The group as it is to be; descriptions that the task does not mention stay."""
        description = self.description
        if description is None:
            description = "" if now is None else now.description
        return SecurityGroup(self.name, self._wanted_rules(now), description)

    def _wanted_rules(self, now: SecurityGroup | None) -> tuple[Rule, ...]:
        existing = {} if now is None else {what_it_matches(rule): rule for rule in now.rules}
        if now is not None and self.rules is None:
            return now.rules
        kept = {} if self.purge_rules else existing
        declared = {
            rule: replace(rule, description=_said_or_there(written.description, existing.get(rule)))
            for written in self.rules or ()
            for rule in written.rules
        }
        is_whole_list = self.purge_rules or now is None
        if is_whole_list and self.default_egress and not _has_egress(declared):
            declared.update({rule: existing.get(rule, rule) for rule in DEFAULT_EGRESS})
        return tuple({**kept, **declared}.values())

    def references(self) -> list[tuple[str, str]]:
        """The groups that its rules name, each with the option that does."""
        return [
            (f"{written.where}.group", rule.group)
            for written in self.rules or ()
            for rule in written.rules
            if rule.group is not None
        ]


@dataclass(frozen=True)
class DesiredFirewall:
    """What a task wants of a host's security groups.

    Attributes:
        provider: The operator's rules; None where the task does not mention them.
        reported: What the play's hosts say of their members; None where the task does not mention it.
        verify: Only look whether everything is as declared, and with ``repair`` make it so.
    """

    groups: Sequence[DesiredGroup] = ()
    provider: tuple[ProviderRule, ...] | None = None
    reported: Reported | None = None
    verify: bool = False
    repair: bool = False

    @property
    def refreshes(self) -> bool:
        """Whether the members' addresses are brought up to date."""
        return not self.verify and (bool(self.groups) or self.reported is not None)


def read_firewall(params: Mapping[str, Any]) -> DesiredFirewall:
    """What the task wants.

    Raises:
        InvalidInput: with all that is wrong.
    """
    problems: list[Problem] = []
    whole = Reader(params, "", problems)
    named = params.get("name") is not None or params.get("groups") is not None
    verify = _is_verifying(params)
    if not named and not verify:
        _check_task_without_groups(whole)
    readers = read_entries(params, "groups", _TASK_WIDE, problems) if named else []
    groups = [_read_group(reader) for reader in readers]
    _find_doubles(groups, problems)
    wanted = DesiredFirewall(
        groups,
        read_provider_rules(whole),
        read_members(whole),
        verify,
        whole.truth("repair") or False,
    )
    problems += _contradictions(wanted, params)
    if problems:
        raise InvalidInput(told_once(problems, params, "groups"))
    return wanted


def _is_verifying(params: Mapping[str, Any]) -> bool:
    entries = params.get("groups")
    if not isinstance(entries, list) or not entries:
        return params.get("state") == VERIFIED
    return any(isinstance(entry, Mapping) and _state_of(entry, params) == VERIFIED for entry in entries)


def _state_of(entry: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    return entry.get("state") or params.get("state")


def _check_task_without_groups(reader: Reader) -> None:
    for option in ("state", *_OF_GROUPS):
        if reader.given(option):
            reader.complain(option, "needs name or groups, which say of which security groups")
            return
    if not any(reader.given(option) for option in ("provider_rules", "members", "purge_members", "repair")):
        reader.problems.append(
            Problem("", "there is nothing to do: give name, groups, provider_rules, members, or state verified")
        )


def _read_group(reader: Reader) -> DesiredGroup:
    name = reader.text("name")
    if name is None:
        if not reader.given("name"):
            reader.complain("name", "is missing")
    else:
        problem = problem_with_group_name(name)
        if problem:
            reader.complain("name", problem)
    state = reader.choice("state", STATES) or PRESENT
    if state == VERIFIED:
        for option in _OF_GROUPS:
            if reader.given(option):
                reader.complain(option, f"makes no sense with state {state}: what was declared before is verified")
        return DesiredGroup(reader.where, name or "", state)
    purge, default_egress = reader.truth("purge_rules"), reader.truth("default_egress")
    rules = read_rules(reader)
    return DesiredGroup(
        reader.where,
        name or "",
        state,
        read_description(reader),
        None if rules is None else tuple(rules),
        purge_rules=purge is not False,
        default_egress=default_egress is not False,
        allow_unknown_groups=reader.truth("allow_unknown_groups") or False,
    )


def _find_doubles(groups: Iterable[DesiredGroup], problems: list[Problem]) -> None:
    names: dict[str, str] = {}
    for item in groups:
        if item.name in names:
            problems.append(Problem(f"{item.where}name", f"{item.name!r} is the name of {names[item.name]} too"))
        elif item.name:
            names[item.name] = item.where.rstrip(".") or "name"


def _contradictions(wanted: DesiredFirewall, params: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if not wanted.verify:
        if params.get("repair") is not None:
            problems.append(Problem("repair", "makes no sense without state verified"))
        return problems
    for item in wanted.groups:
        if item.state != VERIFIED:
            problems.append(
                Problem(f"{item.where}state", f"{item.state} and verified exclude each other; make two tasks")
            )
    for option in ("provider_rules", "members", "purge_members"):
        if params.get(option) is not None:
            problems.append(Problem(option, "makes no sense with state verified, which declares nothing"))
    if not wanted.groups:
        problems += [
            Problem(option, "makes no sense with state verified")
            for option in _OF_GROUPS
            if params.get(option) is not None
        ]
    return problems


def _has_egress(rules: Iterable[Rule]) -> bool:
    return any(rule.direction == EGRESS for rule in rules)


def _said_or_there(said: str | None, there: Rule | None) -> str:
    if said is not None:
        return said
    return "" if there is None else there.description
