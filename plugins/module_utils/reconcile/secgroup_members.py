# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a play report of their security groups' members, and what has to be changed for it on one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.secgroup import project_group
from .filtering import network_of, problem_with_group_name
from .validate import Reader

HostMembers = dict[str, tuple[str, ...]]
"""A host's groups, with the addresses of their members there."""

_PROJECT = project_group("")


@dataclass(frozen=True)
class Reported:
    """The option ``members``.

    Attributes:
        hosts: What each host reports, by its identity; this host may be among them.
        silent: How many entries say nothing: their hosts failed.
        purge: Hosts that are not among them are to be forgotten.
        doubtful: Identities of which entries say different things: these may be several hosts.
    """

    hosts: Mapping[str, HostMembers]
    silent: int = 0
    purge: bool = False
    doubtful: Sequence[str] = ()

    def changes(self, known: Mapping[str, Mapping[str, tuple[str, ...]]], own_host: str) -> dict[str, HostMembers]:
        """Of which hosts something else is to be known than is; one without groups is to be forgotten.

        While hosts are silent none is forgotten: nobody can tell whose members these are.
        """
        wanted = {host: groups for host, groups in self.hosts.items() if host != own_host}
        found = {host: groups for host, groups in wanted.items() if dict(known.get(host, {})) != groups}
        if self.purge and not self.silent:
            found.update({host: {} for host in known if host not in wanted})
        return found


def read_members(reader: Reader) -> Reported | None:
    """The options ``members`` and ``purge_members``."""
    purge = reader.truth("purge_members") or False
    entries = reader.entries("members")
    if entries is None:
        if reader.given("purge_members") and not reader.given("members"):
            reader.complain("purge_members", "makes no sense without members")
        return None
    told: dict[str, list[HostMembers]] = {}
    silent = 0
    for number, entry in enumerate(entries):
        if _says_nothing(entry):
            silent += 1
        elif not isinstance(entry, Mapping):
            reader.complain(
                f"members[{number}]", "has to be a dictionary with host and members, as virt_facts reports them"
            )
        else:
            _read_host(reader.inner("members", entry, number), told)
    return Reported(
        {host: _merged(reports) for host, reports in told.items()},
        silent,
        purge,
        [host for host, reports in told.items() if any(report != reports[0] for report in reports)],
    )


def as_lists(groups: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """A host's groups as results have them."""
    return {group: list(addresses) for group, addresses in groups.items()}


def _says_nothing(entry: Any) -> bool:
    """Whether this is what comes of a host that failed or was not reached."""
    if isinstance(entry, Mapping):
        is_failed = entry.get("failed") is True or entry.get("unreachable") is True
        return not entry or (is_failed and entry.get("host") is None)
    return entry is None or entry == ""


def _merged(reports: Iterable[HostMembers]) -> HostMembers:
    found: dict[str, set[str]] = {}
    for report in reports:
        for group, addresses in report.items():
            found.setdefault(group, set()).update(addresses)
    return {group: tuple(sorted(addresses)) for group, addresses in sorted(found.items())}


def _read_host(reader: Reader, told: dict[str, list[HostMembers]]) -> None:
    """What one host reports. Other keys are left alone: the entry may be the registered result of a task."""
    host = reader.text("host")
    if not host:
        if host is not None or not reader.given("host"):
            reader.complain("host", "is missing: the identity of the host, as virt_facts reports it")
        return
    groups = reader.mapping("members")
    if groups is None:
        if not reader.given("members"):
            reader.complain("members", "is missing: the addresses of each group's members, as virt_facts reports them")
        return
    found: dict[str, set[str]] = {}
    for name, addresses in groups.items():
        inner = reader.inner("members", {str(name): addresses})
        problem = problem_with_group_name(str(name).removeprefix(_PROJECT))
        if problem:
            inner.complain(str(name), problem)
            continue
        found.setdefault(str(name), set()).update(_read_addresses(inner, str(name)))
    told.setdefault(host, []).append({name: tuple(sorted(addresses)) for name, addresses in found.items() if addresses})


def _read_addresses(reader: Reader, group: str) -> set[str]:
    found = set()
    for number, given in enumerate(reader.entries(group) or ()):
        try:
            network = network_of(given)
            if network.num_addresses != 1:
                raise ValueError("this is a network")
            found.add(str(network))
        except ValueError:
            reader.complain(f"{group}[{number}]", f"has to be the address of a guest, not {given!r}")
    return found
