# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that hard rules keep together are blocks: they go together or not at all."""

from __future__ import annotations

from collections.abc import Iterable

from .model import Cluster
from .state import State


class Blocks:
    """All instances, each in exactly one block; most are alone in theirs.

    Attributes:
        members: Of each block, ascending.
        of: The block of each instance.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._instances = cluster.instances
        root = list(range(len(cluster.instances)))
        for rule in cluster.rules:
            if rule.hard and rule.together and rule.members:
                first = _root(root, rule.members[0])
                for member in rule.members[1:]:
                    other = _root(root, member)
                    root[max(first, other)] = first = min(first, other)
        found: dict[int, list[int]] = {}
        for member in range(len(root)):
            found.setdefault(_root(root, member), []).append(member)
        numbers = {first: number for number, first in enumerate(found)}
        self.members = [tuple(members) for members in found.values()]
        self.of = [numbers[_root(root, member)] for member in range(len(root))]

    def names(self, members: Iterable[int]) -> str:
        """For words about them."""
        return ", ".join(self._instances[member].name for member in members)

    def movable(self, state: State, host: int) -> list[tuple[int, ...]]:
        """The blocks that are on ``host`` as a whole, and may leave it."""
        found = []
        for block in sorted({self.of[member] for member in state.residents[host]}):
            members = self.members[block]
            if all(state.where[member] == host and self._free_to_go(member) for member in members):
                found.append(members)
        return found

    def _free_to_go(self, member: int) -> bool:
        instance = self._instances[member]
        return not instance.keeps and instance.bound is None


def _root(root: list[int], member: int) -> int:
    while root[member] != member:
        root[member] = member = root[root[member]]
    return member
