# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filtering with iptables, ip6tables, ebtables and ipset: chains of our own, beside whatever else the host filters.

ebtables holds guests to their MAC and ARP addresses before the bridge learns from their frames, iptables holds them to
their IP addresses before connection tracking sees their packets, and asks the rules after that. A port costs a few
rules on the way to its chains; ports with the same groups share those chains, and each group has its own.

What a guest gets from the host itself, or from another network through it, finds its port by the destination address
(iptables does not know ports there): where the networks of several ports overlap, all of them must let it through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

from ....errors import AnyvirtError
from ....model.secgroup import EGRESS, INGRESS, Drift, HostPolicy, Port, ProviderRule, Rule, SecurityGroup
from . import iptables_policy as policies
from .bridgecalls import bridge_call_problems
from .engine import Engine
from .iptables_drift import drift_between
from .iptables_match import unsupported
from .iptables_names import BRIDGE, EGRESS_OPERATOR, INGRESS_OPERATOR, PASS, SECURITY, group_chain
from .iptables_state import State, commands, read_chains, read_sets, read_state
from .onechange import only_one
from .tools import PACKAGES, Runner

_NEEDED = ("iptables-restore", "ebtables-restore", "ipset")


class IptablesEngine(Engine):
    """iptables' own idea of an engine.

    Each change reads what there is, and loads with one call of each tool what differs; what is the same keeps its
    counters. Where a later call fails, the earlier ones are taken back.

    Args:
        runner: Runs the tools on the host.
    """

    name: ClassVar[str] = "iptables"

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def problems(self) -> list[str]:
        """See Engine. Lets the kernel try the matches without keeping them."""
        missing = sorted({PACKAGES[tool] for tool in _NEEDED if not self._runner.is_installed(tool)})
        if missing:
            return [f"the firewall iptables needs tools that are not on this host; install {', '.join(missing)}"]
        try:
            for tool in ("iptables-restore", "ip6tables-restore"):
                self._runner.run((tool, "--noflush", "--test"), _TRIAL)
            for asking in (("ebtables", "-t", BRIDGE.name, "-L", "PREROUTING"), ("ipset", "list", "-name")):
                self._runner.run(asking)
        except AnyvirtError as error:
            return [f"the host's packet filters cannot be used: {error}"]
        return bridge_call_problems(self._runner)

    def unsupported_rules(self, rules: Collection[Rule]) -> list[str]:
        """See Engine."""
        return sorted({words for words in map(unsupported, rules) if words is not None})

    def put_ports(self, ports: Sequence[Port], policy: HostPolicy) -> None:
        """See Engine."""
        self._change(lambda state: policies.put_ports(state, ports, policy))

    def drop_ports(self, ports: Sequence[Port]) -> None:
        """See Engine."""
        self._change(lambda state: policies.drop_ports(state, ports))

    def put_groups(self, groups: Sequence[SecurityGroup], members: Mapping[str, frozenset[str]]) -> None:
        """See Engine. Reads only these groups' chains; where no port is filtered, nothing needs them."""
        names = [PASS, *(group_chain(direction, group.name) for group in groups for direction in (INGRESS, EGRESS))]
        with_sets = any(group.refers_to for group in groups)
        self._change(
            lambda state: policies.put_groups(state, groups, members) if state.is_loaded else None,
            lambda: read_chains(self._runner, names, with_sets),
        )

    def drop_groups(self, names: Collection[str]) -> None:
        """See Engine."""
        self._change(lambda state: policies.drop_groups(state, names))

    def put_provider_rules(self, rules: Sequence[ProviderRule]) -> None:
        """See Engine. As with groups."""
        names = (PASS, INGRESS_OPERATOR, EGRESS_OPERATOR)
        self._change(
            lambda state: policies.put_operator(state, rules) if state.is_loaded else None,
            lambda: read_chains(self._runner, names, with_sets=False),
        )

    def put_members(self, members: Mapping[str, frozenset[str]]) -> None:
        """See Engine. Sets that no rule is about do not exist; others change at once."""
        wanted = policies.member_sets(members, members)
        self._change(
            lambda state: state.sets.update({name: wanted[name] for name in wanted if name in state.sets}),
            lambda: State(sets=read_sets(self._runner)),
        )

    def load(self, policy: HostPolicy) -> None:
        """See Engine."""
        with only_one(self.name):
            current = read_state(self._runner)
            self._apply(current, policies.wanted_of(policy, current), lambda: read_state(self._runner))

    def drift(self, policy: HostPolicy) -> list[Drift]:
        """See Engine."""
        current = read_state(self._runner)
        found = drift_between(current, policies.wanted_of(policy, current), policy)
        if policy.ports:
            found += [
                Drift(None, "connection tracking on bridges", words) for words in bridge_call_problems(self._runner)
            ]
        return found

    def _change(self, edit: Callable[[State], None], read: Callable[[], State] | None = None) -> None:
        """Make what there is into what an edit of it says.

        Args:
            read: Reads as much of it as the edit is about; all of it by default.
        """
        reading = read or (lambda: read_state(self._runner))
        with only_one(self.name):
            current = reading()
            wanted = current.copy()
            edit(wanted)
            self._apply(current, wanted, reading)

    def _apply(self, current: State, wanted: State, read: Callable[[], State]) -> None:
        done = False
        try:
            self._run(commands(current, wanted))
            done = True
        finally:
            if not done:
                # Each call is all or nothing; an error here would hide the one that matters.
                with contextlib.suppress(AnyvirtError):
                    self._run(commands(read(), current))

    def _run(self, calls: Sequence[tuple[tuple[str, ...], str]]) -> None:
        for argv, text in calls:
            self._runner.run(argv, text)


_TRIAL = f"""*{SECURITY[4].name}
:anyvirt-trial - [0:0]
-A anyvirt-trial -m physdev --physdev-is-bridged -m conntrack --ctstate INVALID -m comment --comment trial -j DROP
-A anyvirt-trial -p udp -m udp --dport 67 -m u32 --u32 "0x0=0x0" -j MARK --set-xmark 0x0/0x1
COMMIT
"""
