# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filtering with nftables: two tables of our own, changed in one transaction, whatever else the host filters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ....errors import AnyvirtError, HypervisorError
from ....model.secgroup import Drift, HostPolicy, Port, ProviderRule, Rule, SecurityGroup
from .bridgecalls import bridge_call_problems
from .engine import Engine
from .nftbase import marking_table
from .nftchange import change_commands, drift_between, is_reshaped, refill_commands
from .nftedit import whole, with_ports, without_groups, without_ports
from .nftpolicy import (
    bridge_table,
    group_chains,
    group_counters,
    member_sets,
    operator_chains,
    port_owners,
    referred_groups,
)
from .nftread import parse_table
from .nfttable import TABLE, Table
from .onechange import only_one
from .tools import Runner

_ATTEMPTS = 3


class NftEngine(Engine):
    """nftables' own idea of an engine.

    A bridge table decides, since only the bridge knows which port a packet comes from and goes to; an inet table tells
    it in bits of the packet's mark what connection tracking knows (see ``nftbase``). A port costs two chains, with one
    jump for each of its groups, and elements in sets that all ports share; a group costs two chains; the members of a
    group that rules are about are two sets. So a change is as large as what it is about, however many ports there are.

    Args:
        runner: Runs ``nft`` on the host.
    """

    name: ClassVar[str] = "nftables"

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def problems(self) -> list[str]:
        """See Engine. Lets the kernel try the base rules without keeping them, which needs no list of versions."""
        try:
            self._runner.run(("nft", "--check", "-f", "-"), _base_script())
        except HypervisorError as error:
            return [f"nftables or the kernel is too old, or lacks what bridges need: {error}"]
        except AnyvirtError as error:
            return [str(error)]
        return bridge_call_problems(self._runner)

    def unsupported_rules(self, rules: Collection[Rule]) -> list[str]:
        """See Engine: there are none."""
        return []

    def put_ports(self, ports: Sequence[Port], policy: HostPolicy) -> None:
        """See Engine."""
        self._change(lambda current: with_ports(current, replace(policy, ports=tuple(ports))))

    def drop_ports(self, ports: Sequence[Port]) -> None:
        """See Engine."""
        self._change(lambda current: without_ports(current, ports))

    def put_groups(self, groups: Sequence[SecurityGroup], members: Mapping[str, frozenset[str]]) -> None:
        """See Engine. Reads nothing: what there is to do does not depend on what there is."""
        self._refill(
            Table(
                "bridge",
                group_chains(groups),
                member_sets(referred_groups((), groups), members),
                group_counters(group.name for group in groups),
            )
        )

    def drop_groups(self, names: Collection[str]) -> None:
        """See Engine."""
        self._change(lambda current: without_groups(current, names))

    def put_provider_rules(self, rules: Sequence[ProviderRule]) -> None:
        """See Engine. Reads nothing, as ``put_groups``."""
        self._refill(Table("bridge", operator_chains(rules)))

    def put_members(self, members: Mapping[str, frozenset[str]]) -> None:
        """See Engine."""
        wanted = member_sets(members, members)
        with only_one(self.name):
            present = parse_table(self._runner.run(("nft", "-j", "list", "sets", "bridge")), "bridge").sets
            known = {name: present[name] for name in wanted if name in present}
            target = Table("bridge", sets={name: wanted[name] for name in known})
            self._run(change_commands(Table("bridge", sets=known), target))

    def load(self, policy: HostPolicy) -> None:
        """See Engine."""
        self._change(lambda current: whole(current, policy), rebuild=True)

    def drift(self, policy: HostPolicy) -> list[Drift]:
        """See Engine."""
        current = self._read("bridge")
        wanted = whole(current, policy)
        owners = port_owners(policy.ports)
        found = drift_between(current, wanted, owners)
        if wanted is not None:
            marking = drift_between(self._read("inet"), _marking_beside(wanted), owners)
            found += [drift for drift in marking if drift not in found]
            found += [Drift(None, "bridged packets", problem) for problem in bridge_call_problems(self._runner)]
        return found

    def _change(self, edit: Callable[[Table | None], Table | None], rebuild: bool = False) -> None:
        # Whoever takes out the last port removes the tables, and with them a port that somebody puts in meanwhile.
        with only_one(self.name):
            self._change_alone(edit, rebuild)

    def _change_alone(self, edit: Callable[[Table | None], Table | None], rebuild: bool) -> None:
        for attempt in range(_ATTEMPTS):
            current = self._read("bridge")
            wanted = edit(current)
            if not rebuild and current is not None and wanted is not None and is_reshaped(current, wanted):
                raise HypervisorError(
                    f"the table bridge {TABLE} of nftables is not this engine's, or was changed: restore the filters"
                )
            inet = self._read("inet")
            try:
                self._run(change_commands(inet, _marking_beside(wanted)) + change_commands(current, wanted))
                return
            except HypervisorError:
                # Somebody who is none of us may have changed the tables since they were read.
                if attempt == _ATTEMPTS - 1 or self._read("bridge") == current:
                    raise

    def _refill(self, part: Table) -> None:
        with only_one(self.name):
            try:
                self._run(refill_commands(part))
            except HypervisorError:
                # Without a table there is no port whose packets come here, and the first one brings all that it needs.
                if self._read("bridge") is not None:
                    raise

    def _run(self, commands: Sequence[str]) -> None:
        if commands:
            self._runner.run(("nft", "-f", "-"), "\n".join(commands) + "\n")

    def _read(self, family: str) -> Table | None:
        try:
            text = self._runner.run(("nft", "-j", "list", "table", family, TABLE))
        except HypervisorError as error:
            if "No such file or directory" in str(error):
                return None
            raise
        return parse_table(text, family)


def _marking_beside(bridge: Table | None) -> Table | None:
    return None if bridge is None else marking_table(bridge.sets["ports"].elements)


def _base_script() -> str:
    lines = []
    for table in (bridge_table(HostPolicy()), marking_table()):
        # As if there were none yet.
        lines += [f"add table {table.family} {TABLE}", *change_commands(table, None), *change_commands(None, table)]
    return "\n".join(lines) + "\n"
