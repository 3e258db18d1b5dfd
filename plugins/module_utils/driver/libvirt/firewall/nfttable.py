# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of nftables as values: what is wanted and what the kernel has are compared in this form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ....model.secgroup import Port

TABLE = "anyvirt"
"""The name of both tables, one of the family bridge and one of the family inet."""

Element = tuple[str, ...]
"""Of a set: its columns. Of a map: the key and the verdict."""

_COMMENT_LIMIT = 127
_REFERENCE = re.compile(r"@([\w-]+)")
_VERDICT = re.compile(r"(accept|drop|return|(?:jump|goto) \S+|vmap @\S+)$")


class NftRule(NamedTuple):
    """A rule in nft's own language.

    Attributes:
        note: What it is for; people see it in the comment.
    """

    text: str
    note: str

    @property
    def comment(self) -> str:
        """Tells this rule from every other one. The kernel gives rules back in other words than they were written in,
        and other versions of nft in other words again; a comment stays as it is."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:12]
        readable = re.sub(r"[^\w .:/,()'-]", "?", self.note, flags=re.ASCII)
        return f"{digest} {readable}"[:_COMMENT_LIMIT].rstrip()

    @property
    def kept(self) -> KeptRule:
        """As the kernel should give it back."""
        verdict = _VERDICT.search(self.text)
        return KeptRule(self.comment, verdict.group(1) if verdict else "")


class KeptRule(NamedTuple):
    """What is compared of a rule in the kernel: its comment, and what becomes of a packet that fits."""

    comment: str
    verdict: str


class Hook(NamedTuple):
    """Where the kernel calls a chain, and what becomes of a packet at its end."""

    name: str
    priority: int
    policy: str = "accept"
    type: str = "filter"


class Owner(NamedTuple):
    """What a part of a table is there for, in the words of ``Drift``."""

    subject: str
    instance: str | None = None


@dataclass(frozen=True)
class Chain:
    """A chain.

    Attributes:
        kept: Its rules, as they are compared.
        rules: Empty in one that was read from the kernel.
        refers_to: The sets that its rules name.
    """

    kept: tuple[KeptRule, ...] = ()
    hook: Hook | None = None
    rules: tuple[NftRule, ...] = field(default=(), compare=False)
    refers_to: frozenset[str] = field(default=frozenset(), compare=False)
    owner: Owner = field(default=Owner("base rules"), compare=False)

    @classmethod
    def of(cls, owner: Owner, *rules: NftRule, hook: Hook | None = None) -> Chain:
        """A wanted chain."""
        names = frozenset(name for rule in rules for name in _REFERENCE.findall(rule.text))
        return cls(tuple(rule.kept for rule in rules), hook, tuple(rules), names, owner)


@dataclass(frozen=True)
class NftSet:
    """A set or map.

    Attributes:
        types: Of its columns; ``integer`` where bits of the packet are taken as they are.
        interval: Its elements may be networks.
        verdicts: It is a map to verdicts.
        declaration: How to make it.
    """

    types: tuple[str, ...]
    interval: bool = False
    verdicts: bool = False
    elements: frozenset[Element] = frozenset()
    declaration: str = field(default="", compare=False)
    owner: Owner = field(default=Owner("base rules"), compare=False)

    @property
    def shape(self) -> tuple[tuple[str, ...], bool, bool]:
        """What cannot be changed in a set that exists."""
        return self.types, self.interval, self.verdicts


@dataclass(frozen=True)
class Table:
    """A table; None in place of it stands for one that does not exist."""

    family: str
    chains: Mapping[str, Chain] = field(default_factory=dict)
    sets: Mapping[str, NftSet] = field(default_factory=dict)
    counters: frozenset[str] = frozenset()


def port_chain(direction: str, mac: str) -> str:
    """The chain of a port's own rules; ``direction`` is ``from`` or ``to`` the guest."""
    return f"{direction}-{mac.replace(':', '')}"


def group_chain(direction: str, group: str) -> str:
    """The chain of a group's rules, and the counter of what they let through; ``direction`` is ``in`` or ``out``."""
    return f"{direction}-{_group_key(group)}"


def member_set(family: int, group: str) -> str:
    """The set of the members' addresses; ``family`` is 4 or 6."""
    return f"members{family}-{_group_key(group)}"


def is_group_chain(name: str) -> bool:
    """Whether it is the name of a chain of a group's rules."""
    return name.startswith(("in-", "out-"))


def is_member_set(name: str) -> bool:
    """Whether it is the name of a set of members' addresses."""
    return name.startswith("members")


def port_owner(port: Port) -> Owner:
    """For drift in what belongs to one port."""
    return Owner(f"port {port.mac}", port.instance)


def _group_key(group: str) -> str:
    # Names of groups may be longer than names in the kernel, and have other letters.
    return hashlib.sha256(group.encode()).hexdigest()[:16]
