# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a firewall engine of a libvirt host is: it makes the host drop what a policy does not let through.

The driver keeps the declarations (groups, the operator's rules, other hosts' members) in libvirt itself, whatever the
engine; an engine only enforces them. All it has can be made again from a ``HostPolicy``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ....model.secgroup import Drift, HostPolicy, Port, ProviderRule, Rule, SecurityGroup


class Engine(ABC):
    """One way of filtering. Each method that changes something is one transaction: a reader of the kernel's rules sees
    the state before or the state after, and what fails leaves the state before."""

    name: ClassVar[str]
    """As the option ``firewall`` has it."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Why this host cannot use it, in words with what to do about it; empty when it can."""

    @abstractmethod
    def unsupported_rules(self, rules: Collection[Rule]) -> list[str]:
        """Which of these rules it can never enforce, in words; asks nobody."""

    @abstractmethod
    def put_ports(self, ports: Sequence[Port], policy: HostPolicy) -> None:
        """Filter these ports, new ones or known ones, each with a ``device``, existing or not yet. ``policy`` has the
        groups, the members and the operator's rules that they need; its own ports are not looked at."""

    @abstractmethod
    def drop_ports(self, ports: Sequence[Port]) -> None:
        """Forget these ports; those that are unknown are ignored."""

    @abstractmethod
    def put_groups(self, groups: Sequence[SecurityGroup], members: Mapping[str, frozenset[str]]) -> None:
        """Give groups these rules; whatever number of ports is in them. ``members`` has those of the groups that
        their rules name."""

    @abstractmethod
    def drop_groups(self, names: Collection[str]) -> None:
        """Forget groups that no port is in any more."""

    @abstractmethod
    def put_provider_rules(self, rules: Sequence[ProviderRule]) -> None:
        """Replace the operator's rules."""

    @abstractmethod
    def put_members(self, members: Mapping[str, frozenset[str]]) -> None:
        """Replace the addresses of these groups' members, wherever rules are about them."""

    @abstractmethod
    def load(self, policy: HostPolicy) -> None:
        """Make everything as the policy has it, and remove what it has not; counters of what stays stay where the
        engine can keep them."""

    @abstractmethod
    def drift(self, policy: HostPolicy) -> list[Drift]:
        """Where the kernel has something else; changes nothing."""
