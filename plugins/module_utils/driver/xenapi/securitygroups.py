# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups: kept with the pool, so that all of its hosts and all who ask know the same ones.

XenAPI cannot filter by their rules. Those of a group that no filtered instance is in are kept all the same: plays that
define groups on all of their hypervisors mean the others. Instances can only be in groups that let everything through.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from ...errors import Problem, SecurityGroupInUse, Unsupported
from ...model.secgroup import ProviderRule, SecurityGroup
from ...undo import Undo, UndoStack
from ..firewall import FirewallDriver, GroupUses
from ..members import is_filtered
from .groups import GROUP, MEMBERS, cannot_filter, group_text, is_open, members_text, read_groups, read_members
from .members import Member, MembersMixin
from .poolkeys import PoolKeysMixin


class SecurityGroupsMixin(PoolKeysMixin, MembersMixin, FirewallDriver):
    """Groups, and what is known of their members."""

    def get_security_groups(self) -> dict[str, SecurityGroup]:
        return read_groups(self._pool_config())

    def check_security_group(self, group: SecurityGroup) -> list[Problem]:
        """As the contract says: all groups can be kept."""
        return []

    def define_security_group(self, group: SecurityGroup) -> Undo:
        """As the contract says.

        Raises:
            Unsupported: filtered instances are in it, and would not be let do all that they can with its new rules.
        """
        if not is_open([group]):
            self._require_still_open(group)
        return self._keep(f"define the security group {group.name!r}", {GROUP + group.name: group_text(group)})

    def delete_security_group(self, name: str) -> Undo:
        uses = self.security_group_uses([name])[name]
        if uses.instances:
            raise SecurityGroupInUse(f"instances are in the security group {name!r}: {', '.join(uses.instances)}")
        if uses.groups:
            raise SecurityGroupInUse(
                f"rules of other groups are about the members of the security group {name!r}: {', '.join(uses.groups)}"
            )
        return self._keep(f"remove the security group {name!r}", {GROUP + name: None})

    def security_group_uses(self, names: Collection[str]) -> dict[str, GroupUses]:
        with self.guard("find out who needs security groups"):
            members = self.find_members().values()
        groups = self.get_security_groups().values()
        return {
            name: GroupUses(
                tuple(sorted({member.name for member in members if _is_in(member, name)})),
                tuple(group.name for group in groups if name in group.refers_to and name != group.name),
            )
            for name in names
        }

    def get_provider_rules(self) -> tuple[ProviderRule, ...]:
        """As the contract says: none."""
        return ()

    def set_provider_rules(self, rules: Sequence[ProviderRule]) -> Undo:
        if rules:
            self.require("provider_rules")
        return _nothing

    def get_remote_members(self) -> dict[str, dict[str, tuple[str, ...]]]:
        return read_members(self._pool_config())

    def set_remote_members(self, hosts: Mapping[str, Mapping[str, Collection[str]]]) -> Undo:
        """As the contract says. No instance here is filtered by them: they are kept for who asks."""
        texts = {MEMBERS + host: members_text(groups) for host, groups in hosts.items()}
        return self._keep("keep what members groups have on other hosts", texts)

    def stale_group_members(self) -> list[str]:
        """As the contract says: no rules here know members."""
        return []

    # -- parts of it ------------------------------------------------------------------------------------------------

    def _keep(self, what: str, texts: Mapping[str, str | None]) -> Undo:
        with UndoStack() as done, self.guard(what):
            for name, text in texts.items():
                self.keep(name, text, done)
        return partial(done.take_back, f"what was done to {what}")

    def _pool_config(self) -> Mapping[str, str]:
        with self.guard("read the security groups"):
            _ref, pool = self.pool()
        other_config: Mapping[str, str] = pool["other_config"]
        return other_config

    def _require_still_open(self, group: SecurityGroup) -> None:
        with self.guard("find out who is in security groups"):
            members = [one for one in self.find_members().values() if _is_in(one, group.name)]
        groups = {**self.get_security_groups(), group.name: group} if members else {}
        for member in members:
            names = member.record.security_groups or []
            its = [groups[name] for name in names if name in groups]
            if is_filtered(member.instance()) and not is_open(its):
                raise Unsupported(
                    f"the security group {group.name!r} cannot have these rules, because instance {member.name!r} is "
                    f"in it: {cannot_filter(names)}"
                )


def _is_in(member: Member, group: str) -> bool:
    return group in (member.record.security_groups or ())


def _nothing() -> None:
    """Nothing was done."""
