# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups, as EC2 and Nova have them: named sets of rules that say what traffic instances get and send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

INGRESS = "ingress"
EGRESS = "egress"

TCP = "tcp"
UDP = "udp"
ICMP = "icmp"
ICMPV6 = "icmpv6"
ANY = "any"

ACCEPT = "accept"
DROP = "drop"

ANYWHERE_V4 = "0.0.0.0/0"
ANYWHERE_V6 = "::/0"

NO_FIREWALL = "none"


@dataclass(frozen=True)
class Rule:
    """What is let through, in the one form in which rules are kept and compared.

    A rule says exactly one of ``cidr`` and ``group``. One that a person wrote without either stands for two: from
    anywhere with IPv4, and with IPv6.

    Attributes:
        direction: ``ingress`` or ``egress``, as the instance sees it.
        protocol: ``tcp``, ``udp``, ``icmp``, ``icmpv6``, ``any``, or the decimal number of another one.
        cidr: The other side's addresses: a network without host bits, e.g. ``10.0.0.0/8``.
        group: The other side is a member of this group, with any of its addresses.
        port_min, port_max: Destination ports of tcp and udp, both included; None for all.
        icmp_type, icmp_code: Of icmp and icmpv6; None for all. A code needs a type.
    """

    direction: str
    protocol: str = ANY
    cidr: str | None = None
    group: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    description: str = ""

    @property
    def families(self) -> tuple[int, ...]:
        """The versions of IP that it is about: 4, 6 or both."""
        if self.protocol in (ICMP, ICMPV6):
            return (4,) if self.protocol == ICMP else (6,)
        if self.cidr is not None:
            return (6,) if ":" in self.cidr else (4,)
        return (4, 6)

    @property
    def sort_key(self) -> tuple[str, ...]:
        """Rules have no order of their own; this one is for people and for comparing."""
        return tuple("" if value is None else f"{value:>6}" for value in vars(self).values())


DEFAULT_EGRESS = (Rule(EGRESS, cidr=ANYWHERE_V4), Rule(EGRESS, cidr=ANYWHERE_V6))
"""What EC2 gives each new group: everything goes out."""


@dataclass(frozen=True)
class SecurityGroup:
    """A named set of rules; what none of an instance's groups lets through is dropped.

    Attributes:
        rules: Sorted by ``Rule.sort_key``, none twice.
    """

    name: str
    rules: tuple[Rule, ...] = DEFAULT_EGRESS
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(sorted(set(self.rules), key=lambda rule: rule.sort_key)))

    @property
    def refers_to(self) -> frozenset[str]:
        """The groups whose members its rules are about."""
        return frozenset(rule.group for rule in self.rules if rule.group is not None)


@dataclass(frozen=True)
class ProviderRule:
    """A rule of the host's operator, for all instances of the host, before all groups; the first that fits decides.

    It sees each packet by itself: an established connection is cut off too. Its rule has a ``cidr``, never a group.
    """

    rule: Rule
    action: str = DROP


def project_group(project: str) -> str:
    """The group, never defined by anybody, whose members are a project's instances. No name that a user can give a
    group has a colon."""
    return f"project:{project}"


@dataclass(frozen=True)
class Port:
    """A network interface of an instance, as a firewall sees it.

    Attributes:
        mac: In lower case.
        device: The host's name for it; None while it has none.
        addresses: The networks (in CIDR notation, single addresses with /32 and /128) whose addresses the guest may
            use: declared ones, or otherwise those that the host itself leased to it.
        learns: It may use one more: that which DHCP gives it. True where none are declared.
        groups: Names, sorted; empty where nothing comes in and everything goes out.
        project, allow_project: See Instance.
    """

    instance: str
    mac: str
    device: str | None = None
    addresses: tuple[str, ...] = ()
    learns: bool = False
    groups: tuple[str, ...] = ()
    project: str | None = None
    allow_project: bool = False

    @property
    def member_of(self) -> frozenset[str]:
        """The groups that others know it by."""
        return frozenset(self.groups) | (frozenset() if self.project is None else {project_group(self.project)})


@dataclass(frozen=True)
class HostPolicy:
    """All that a host's firewall is to do.

    Attributes:
        members: The addresses (CIDR notation) of each group's active members, on this host and the others, the
            projects' groups among them.
    """

    ports: tuple[Port, ...] = ()
    groups: Mapping[str, SecurityGroup] = field(default_factory=dict)
    provider: tuple[ProviderRule, ...] = ()
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)


STALE_MEMBERS = "addresses of its members are not those of now"
"""The problem of ``Drift`` for a group (``subject`` is ``group NAME``) that rules are about."""


class Drift(NamedTuple):
    """Something that the kernel or the hypervisor has otherwise than declared.

    Attributes:
        instance: Whose; None for what concerns all or none.
        subject: What it is about, in a few words: ``group web``, ``port 52:54:00:12:34:56``.
        problem: What is wrong with it: ``missing``, ``rules differ``.
    """

    instance: str | None
    subject: str
    problem: str
