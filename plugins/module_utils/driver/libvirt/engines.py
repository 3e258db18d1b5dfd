# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engines of a host, and what they are told."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import SecurityGroupNotFound, Unsupported
from ...model.secgroup import HostPolicy, Port, SecurityGroup, project_group
from ...undo import UndoStack
from ..uri import ConnectionOptions
from .domain_filters import ENGINES, NWFILTER, PACKET_ENGINES
from .groupreading import GroupReadingMixin, merged

if TYPE_CHECKING:
    import libvirt

    from .firewall.engine import Engine
    from .firewall.store import Declarations
    from .firewall.tools import Runner

_ROUNDS = 5
"""How often members are looked at again because they changed meanwhile."""


class EnginesMixin(GroupReadingMixin):
    """Declarations, engines and the members that rules are about."""

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self._engines: dict[str, Engine] = {}
        self._engines_conn: libvirt.virConnect | None = None
        self._members_lock = threading.Lock()

    @property
    def declarations(self) -> Declarations:
        """What is declared on this host, whatever the engine."""
        from .firewall.store import Declarations

        if self.group_look is None:
            return Declarations(self.libvirt, self.conn)
        if self.group_look.declarations is None:
            from .firewall.readonce import ReadOnceDeclarations

            self.group_look.declarations = ReadOnceDeclarations(self.libvirt, self.conn)
        return self.group_look.declarations

    def engine(self, name: str) -> Engine:
        """An engine that can be used here.

        Raises:
            Unsupported: it cannot; the message says why and what to do.
        """
        problem = self.engine_problem(name)
        if problem is not None:
            raise Unsupported(problem)
        return self._engines[name]

    def engine_problem(self, name: str) -> str | None:
        """Why an engine cannot be used here; None when it can."""
        if self._engines_conn is not self.conn:
            self._engines, self._engines_conn = {}, self.conn
        if name in self._engines:
            return None
        if name not in ENGINES:
            return f"this version of the collection knows no firewall {name!r}: choose one of {', '.join(ENGINES)}"
        if name in PACKET_ENGINES and not self.is_on_this_host:
            return (
                f"{name} works on the hypervisor's host itself, and this connection goes to another one: run the task "
                f"on that host (delegate_to), or choose firewall: {NWFILTER}"
            )
        engine = self.make_engine(name)
        problems = engine.problems()
        if problems:
            return f"{name} cannot be used on this host: {'; '.join(problems)}"
        self._engines[name] = engine
        return None

    @property
    def is_on_this_host(self) -> bool:
        """Whether what this code does to its own host's packet filters is done to the hypervisor's."""
        from .firewall.tools import is_local

        return is_local(self.options.uri)

    def engines_to_change(self) -> list[Engine]:
        """The engines that enforce the host's groups, beside nwfilter, whose filters are the declarations.

        Raises:
            Unsupported: one of them cannot be reached from here, so that it would go on with the old rules.
        """
        names = sorted(self.declarations.engines_in_use() - {NWFILTER})
        for name in names:
            problem = self.engine_problem(name)
            if problem is not None:
                raise Unsupported(f"instances of this host are filtered by {name}, which has to follow: {problem}")
        return [self.engine(name) for name in names]

    def put_ports(self, name: str, ports: Sequence[Port]) -> None:
        """Have an engine filter these ports.

        The groups of nwfilter are the declarations, and are left to those who change them. Another engine is told them,
        and once more if they have changed while it was.
        """
        engine = self.engine(name)
        policy = self.policy_for(ports)
        if name == NWFILTER:
            engine.put_ports(ports, replace(policy, groups={}))
            return
        for _round in range(_ROUNDS):
            engine.put_ports(ports, policy)
            before, policy = policy, self.policy_for(ports)
            if policy == before:
                return

    def policy_for(self, ports: Sequence[Port]) -> HostPolicy:
        """What an engine has to know for these ports.

        Raises:
            SecurityGroupNotFound: one of their groups is not there.
        """
        groups = {name: self.require_group(name) for name in sorted({name for port in ports for name in port.groups})}
        known = {name for group in groups.values() for name in group.refers_to}
        known |= {project_group(port.project) for port in ports if port.allow_project and port.project is not None}
        return HostPolicy(tuple(ports), groups, self.declarations.provider(), self.members_now(known))

    def require_group(self, name: str) -> SecurityGroup:
        """A group that has to be there.

        Raises:
            SecurityGroupNotFound: it is not.
        """
        group = self.declarations.group(name)
        if group is None:
            raise SecurityGroupNotFound(f"there is no security group {name!r}; make it with virt_secgroup")
        return group

    def members_now(self, groups: Collection[str]) -> dict[str, frozenset[str]]:
        """The addresses of these groups' members, on this host and on the others as far as known."""
        if not groups:
            return {}
        whole = merged(self.local_members(), *self.declarations.remote().values())
        return {group: whole.get(group, frozenset()) for group in groups}

    def refresh_members(self, groups: Collection[str]) -> None:
        """Give all rules about these groups the members of now.

        Afterwards it is looked whether these are still the members: of two processes at once the last one to write has
        then seen what both did. An engine that cannot be reached from here keeps what it has until somebody on the host
        brings it up to date.
        """
        with self._members_lock:
            wanted = self._spoken_of(groups)
            if not wanted:
                return
            members = self.members_now(wanted)
            for _round in range(_ROUNDS):
                for engine in self._reachable_engines():
                    engine.put_members(members)
                before, members = members, self.members_now(wanted)
                if members == before:
                    return

    def _spoken_of(self, groups: Collection[str]) -> set[str]:
        """Those of the groups that rules may be about: projects are asked for by instances, so these always."""
        if not groups:
            return set()
        named = {name for group in self.declarations.groups().values() for name in group.refers_to}
        return {group for group in groups if ":" in group or group in named}

    def _reachable_engines(self) -> Iterable[Engine]:
        in_use = self.declarations.engines_in_use() | {NWFILTER}
        return [self.engine(name) for name in ENGINES if name in in_use and self.engine_problem(name) is None]

    def make_engine(self, name: str) -> Engine:
        """An engine, whether it can be used here or not."""
        if name == NWFILTER:
            from .firewall.nwfilter import NwfilterEngine
            from .firewall.store import Declarations

            return NwfilterEngine(
                Declarations(self.libvirt, self.conn), self.runner() if self.is_on_this_host else None
            )
        if name == "nftables":
            from .firewall.nftables import NftEngine

            return NftEngine(self.runner())
        from .firewall.iptables import IptablesEngine

        return IptablesEngine(self.runner())

    def runner(self) -> Runner:
        """What runs the host's tools for packet filters."""
        from .firewall.tools import Runner

        return Runner()

    def mark_engine(self, name: str, done: UndoStack) -> None:
        """Note that an engine has ports here, so that changes of groups reach it."""
        if name in PACKET_ENGINES and name not in self.declarations.engines_in_use():
            done.push(f"note that {name} is not used", self.declarations.mark_engine(name))

    def unmark_unused(self, name: str, but: str | None = None) -> None:
        """Note that an engine has no ports any more, if no instance beside the one with the UUID ``but`` has any. It is
        looked again afterwards: somebody may have made one that relied on the mark."""
        if name in PACKET_ENGINES and not self._is_used(name, but):
            self.declarations.unmark_engine(name)
            if self._is_used(name, but):
                self.declarations.mark_engine(name)

    def _is_used(self, name: str, but: str | None) -> bool:
        return any(domain.record.engine == name and domain.config.uuid != but for domain in self.filtered_domains())
