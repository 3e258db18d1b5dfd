# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The declarations of a libvirt host, kept as nwfilter definitions whatever engine enforces them: they survive reboots,
and are within reach from afar."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from xml.etree.ElementTree import Element

from ....model.secgroup import ProviderRule, SecurityGroup
from ....undo import Undo
from .filterrules import add_group_rules, add_project_rules, add_provider_rules
from .filterstore import FilterStore
from .filterxml import PREFIX, new_filter
from .notes import (
    NOTE,
    first,
    group_notes,
    member_notes,
    pack,
    pack_provider_rule,
    read_group,
    read_members,
    read_notes,
    unpack_provider_rule,
    write_notes,
)

Members = Mapping[str, Collection[str]]

PROVIDER = f"{PREFIX}provider"
_GROUP = f"{PREFIX}group-"
_PROJECT = f"{PREFIX}project-"
_HOST = f"{PREFIX}host-"
_ENGINE = f"{PREFIX}engine-"


def group_filter_name(group: str) -> str:
    """The name of a group's definition."""
    return f"{_GROUP}{group}"


def project_filter_name(group: str) -> str:
    """The name of the definition that lets in a project's instances; ``group`` as model.project_group has it."""
    return f"{_PROJECT}{_hash(group)}"


def is_shared(name: str) -> bool:
    """Whether a definition is the operator's rules or a project's members, which many ports refer to."""
    return name == PROVIDER or name.startswith(_PROJECT)


def group_filter(group: SecurityGroup, members: Members) -> Element:
    """A group's definition: its rules, and what they were made of."""
    root = new_filter(group_filter_name(group.name))
    known = {name: members.get(name, ()) for name in group.refers_to}
    add_group_rules(root, group.rules, known)
    write_notes(root, {**group_notes(group), "MEMBER": member_notes(known)})
    return root


def placeholder(group: str) -> Element:
    """What stands for a group that nobody has defined, so that instances can be in it already."""
    root = new_filter(group_filter_name(group))
    write_notes(root, {"PLACEHOLDER": [pack(group)]})
    return root


def project_filter(group: str, members: Members) -> Element:
    """The definition that lets in a project's instances."""
    root = new_filter(project_filter_name(group))
    known = {group: members.get(group, ())}
    add_project_rules(root, known[group])
    write_notes(root, {"PROJECT": [pack(group)], "MEMBER": member_notes(known)})
    return root


def provider_filter(rules: Sequence[ProviderRule]) -> Element:
    """The definition of the operator's rules."""
    root = new_filter(PROVIDER)
    add_provider_rules(root, rules)
    write_notes(root, {"RULE": [pack_provider_rule(rule) for rule in rules]})
    return root


def members_of(root: Element) -> dict[str, frozenset[str]]:
    """The members' addresses that a definition was made with, by group."""
    return read_members(read_notes(root).get("MEMBER", []))


def with_members(root: Element, members: Members) -> Element | None:
    """A group's or project's definition with other members of the groups that it is about; None for one of something
    else, or about other groups."""
    group, project = _group_of(root), first(read_notes(root), "PROJECT")
    about = {project} if group is None else group.refers_to
    if not about & members.keys():
        return None
    known = {**members_of(root), **members}
    return project_filter(project, known) if group is None else group_filter(group, known)


def subject_of(root: Element) -> str:
    """What a definition is about, in words."""
    notes = read_notes(root)
    for note, word in (("NAME", "group"), ("PLACEHOLDER", "group"), ("PROJECT", "project")):
        if note in notes:
            return f"{word} {first(notes, note).partition(':')[2] if note == 'PROJECT' else first(notes, note)}"
    return "the operator's rules" if root.get("name") == PROVIDER else f"filter {root.get('name')}"


class Declarations(FilterStore):
    """Groups, the operator's rules, what is known of other hosts, and which engines have something to do here.

    What others have defined or changed by hand is read as well as it can be, and never fails. Whatever writes skips
    what is there already, and returns what puts back the definitions that were there before.
    """

    def groups(self) -> dict[str, SecurityGroup]:
        """All groups by name; one call for each, and one more."""
        found = {}
        for root in self.read_ours(_GROUP).values():
            group = _group_of(root)
            if group is not None:
                found[group.name] = group
        return found

    def group(self, name: str) -> SecurityGroup | None:
        """One group; None when there is none of that name."""
        root = self.read(group_filter_name(name))
        return None if root is None else _group_of(root)

    def define_group(self, group: SecurityGroup, members: Members) -> Undo:
        """Make a group, or give it these rules. ``members`` has those of the groups that its rules name."""
        return self.define_groups([group], members)

    def define_groups(self, groups: Sequence[SecurityGroup], members: Members) -> Undo:
        """The same for several."""
        return self.define(new_filter(NOTE), *(group_filter(group, members) for group in groups))

    def delete_group(self, name: str) -> Undo:
        """Remove a group; fine when it is gone already."""
        return self.undefine([group_filter_name(name)])

    def provider(self) -> tuple[ProviderRule, ...]:
        """The operator's rules, in their order."""
        root = self.read(PROVIDER)
        values = [] if root is None else read_notes(root).get("RULE", [])
        return tuple(rule for rule in map(unpack_provider_rule, values) if rule is not None)

    def set_provider(self, rules: Sequence[ProviderRule]) -> Undo:
        """Replace the operator's rules."""
        return self.define(new_filter(NOTE), provider_filter(rules))

    def remote(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """What is known of other hosts: host -> group -> its members' addresses there, sorted."""
        found = {}
        for root in self.read_ours(_HOST).values():
            notes = read_notes(root)
            host = first(notes, "HOST")
            if host:
                members = read_members(notes.get("MEMBER", []))
                found[host] = {group: tuple(sorted(members[group])) for group in sorted(members)}
        return found

    def set_remote(self, host: str, groups: Members) -> Undo:
        """Replace what is known of another host; with no groups it is forgotten."""
        name = f"{_HOST}{_hash(host)}"
        if not groups:
            return self.undefine([name])
        root = new_filter(name)
        write_notes(root, {"HOST": [pack(host)], "MEMBER": member_notes(groups)})
        return self.define(new_filter(NOTE), root)

    def put_members(self, members: Members) -> Undo:
        """Replace the addresses of these groups' members in the definitions that are about them, and leave the other
        groups' as they are there."""
        names = [name for name in self.names() if name.startswith((_GROUP, _PROJECT))]
        return self.rewrite(names, lambda root: with_members(root, members))

    def known_members(self) -> list[dict[str, frozenset[str]]]:
        """The addresses that each definition that is about members was made with, by group."""
        return [members_of(root) for root in self.read_ours(_GROUP, _PROJECT).values()]

    def engines_in_use(self) -> set[str]:
        """The engines that were marked."""
        return {name[len(_ENGINE) :] for name in self.names() if name.startswith(_ENGINE)}

    def mark_engine(self, name: str) -> Undo:
        """Remember that an engine has something to do on this host."""
        return self.define(new_filter(f"{_ENGINE}{name}"))

    def unmark_engine(self, name: str) -> Undo:
        """It has nothing to do here any more."""
        return self.undefine([f"{_ENGINE}{name}"])


def _group_of(root: Element) -> SecurityGroup | None:
    """A definition whose name is another group's is a copy that somebody made."""
    group = read_group(read_notes(root))
    return group if group is not None and group_filter_name(group.name) == root.get("name") else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
