# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups: made, changed and removed, with the operator's rules and the members of other hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import Problem, SecurityGroupInUse, Unsupported
from ...model.secgroup import ProviderRule, SecurityGroup, project_group
from ...undo import Undo, UndoStack
from ..firewall import FirewallDriver, GroupUses
from .domain_filters import NWFILTER, PACKET_ENGINES
from .filtering import FilteringMixin

if TYPE_CHECKING:
    from .firewall.engine import Engine

_SHOWN = 5
_ROUNDS = 5


class SecurityGroupsMixin(FilteringMixin, FirewallDriver):
    """What is declared, and told to each engine.

    Each change is declared first, which is all that nwfilter needs, and then given to the other engines in use. Where
    one of these cannot be reached, nothing is changed at all.
    """

    def get_security_groups(self) -> dict[str, SecurityGroup]:
        self.require("firewall")
        return self.declarations.groups()

    def check_security_group(self, group: SecurityGroup) -> list[Problem]:
        self.require("firewall")
        refused = self.make_engine(NWFILTER).unsupported_rules(group.rules)
        others = PACKET_ENGINES if refused and self.is_on_this_host else ()
        if any(not self.make_engine(name).unsupported_rules(group.rules) for name in others):
            return []
        return [Problem("rules", message) for message in refused]

    def define_security_group(self, group: SecurityGroup) -> Undo:
        self.require("firewall")
        engines = self.engines_to_change()
        before = self.declarations.group(group.name)
        if before == group:
            return _nothing
        self._require_enforceable(group)
        members = self.members_now(group.refers_to)
        with UndoStack() as done:
            done.push(f"put back the security group {group.name}", self.declarations.define_group(group, members))
            for engine in engines:
                done.push(f"put back what {engine.name} had", self._putting_back_group(engine, group.name, before))
                engine.put_groups([group], members)
                self._follow_others(engine, group)
            self.refresh_members(group.refers_to)
            self._insist_on(group, before)
        return lambda: done.take_back(f"the change of the security group {group.name!r}")

    def delete_security_group(self, name: str) -> Undo:
        self.require("firewall")
        engines = self.engines_to_change()
        before = self.declarations.group(name)
        if before is None:
            return _nothing
        uses = self.security_group_uses([name])[name]
        users = [f"instance {user}" for user in uses.instances] + [f"a rule of group {user}" for user in uses.groups]
        if users:
            more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
            raise SecurityGroupInUse(f"the security group {name!r} is needed by {', '.join(users[:_SHOWN])}{more}")
        with UndoStack() as done:
            done.push(f"put back the security group {name}", self.declarations.delete_group(name))
            for engine in engines:
                done.push(f"put back what {engine.name} had", self._putting_back_group(engine, name, before))
                engine.drop_groups([name])
        return lambda: done.take_back(f"the removal of the security group {name!r}")

    def security_group_uses(self, names: Collection[str]) -> dict[str, GroupUses]:
        self.require("firewall")
        if not names:
            return {}
        instances: dict[str, set[str]] = defaultdict(set)
        for domain in self.filtered_domains():
            for name in domain.record.security_groups or ():
                instances[name].add(domain.config.name)
        groups: dict[str, set[str]] = defaultdict(set)
        for group in self.declarations.groups().values():
            for name in group.refers_to - {group.name}:
                groups[name].add(group.name)
        return {name: GroupUses(tuple(sorted(instances[name])), tuple(sorted(groups[name]))) for name in names}

    def get_provider_rules(self) -> tuple[ProviderRule, ...]:
        self.require("provider_rules")
        return self.declarations.provider()

    def set_provider_rules(self, rules: Sequence[ProviderRule]) -> Undo:
        self.require("provider_rules")
        engines = [self.engine(NWFILTER), *self.engines_to_change()]
        before = self.declarations.provider()
        if before == tuple(rules):
            return _nothing
        with UndoStack() as done:
            for engine in engines:
                done.push(f"put back the operator's rules of {engine.name}", _putting_back_rules(engine, before))
                engine.put_provider_rules(rules)
        return lambda: done.take_back("the change of the operator's rules")

    def get_remote_members(self) -> dict[str, dict[str, tuple[str, ...]]]:
        self.require("group_references")
        return self.declarations.remote()

    def set_remote_members(self, hosts: Mapping[str, Mapping[str, Collection[str]]]) -> Undo:
        self.require("group_references")
        self.engines_to_change()
        with UndoStack() as done:
            done.push("put back the members that rules are about", self._refresh_all_members)
            for host, groups in hosts.items():
                done.push(f"put back what was known of {host}", self.declarations.set_remote(host, groups))
            self._refresh_all_members()
        return lambda: done.take_back("the change of what is known of other hosts")

    # -- parts ------------------------------------------------------------------------------------------------------

    def _refresh_all_members(self) -> None:
        named = {name for group in self.declarations.groups().values() for name in group.refers_to}
        projects = {domain.record.project for domain in self.filtered_domains()}
        self.refresh_members(named | {project_group(project) for project in projects if project is not None})

    def _follow_others(self, engine: Engine, told: SecurityGroup) -> None:
        """Tell an engine what somebody else has made of a group meanwhile: the last to declare it need not be the last
        to tell."""
        now = self.declarations.group(told.name)
        if now is not None and now != told:
            engine.put_groups([now], self.members_now(now.refers_to))

    def _insist_on(self, group: SecurityGroup, before: SecurityGroup | None) -> None:
        """Whoever brought members up to date at that moment may have written back the rules that it had read before."""
        for _round in range(_ROUNDS):
            if before is None or self.declarations.group(group.name) != before:
                return
            self.declarations.define_group(group, self.members_now(group.refers_to))

    def _require_enforceable(self, group: SecurityGroup) -> None:
        """Raise when an engine that filters one of the group's members has no words for its rules."""
        if not self.make_engine(NWFILTER).unsupported_rules(group.rules):
            return
        for domain in self.filtered_domains():
            engine = domain.record.engine
            if engine is not None and group.name in (domain.record.security_groups or ()):
                problems = self.make_engine(engine).unsupported_rules(group.rules)
                if problems:
                    raise Unsupported(
                        f"instance {domain.config.name!r} is in the group {group.name!r}: {'; '.join(problems)}"
                    )

    def _putting_back_group(self, engine: Engine, name: str, before: SecurityGroup | None) -> Undo:
        def put_back() -> None:
            if before is None:
                engine.drop_groups([name])
            else:
                engine.put_groups([before], self.members_now(before.refers_to))

        return put_back


def _putting_back_rules(engine: Engine, before: Sequence[ProviderRule]) -> Undo:
    return lambda: engine.put_provider_rules(before)


def _nothing() -> None:
    """There is nothing to take back."""
