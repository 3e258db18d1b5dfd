# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups, the operator's rules, and asking whether a packet would pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...errors import InvalidInput, NotFound, Problem, SecurityGroupInUse
from ...model import power_state
from ...model.secgroup import Drift, ProviderRule, SecurityGroup
from ...undo import Undo
from ..firewall import GroupUses
from ..members import LEASE
from . import filters
from .core import FakeCore
from .filters import PROVIDER, REMOTE
from .firewallrecords import group_of, group_record, member_records, policy_of, provider_of, provider_records
from .leases import leases_of
from .oracle import would_accept
from .packet import Packet
from .records import macs_of
from .store import FIREWALL, GROUPS, INSTANCES, Changes, Record, View, is_file_name

_SHOWN = 5


class FirewallMixin(FakeCore):
    """What is declared, and what is in place."""

    # -- groups -----------------------------------------------------------------------------------------------------

    def get_security_groups(self) -> dict[str, SecurityGroup]:
        with self._read("security_groups") as view:
            return {name: group_of(name, record) for name, record in view.all(GROUPS).items()}

    def check_security_group(self, group: SecurityGroup) -> list[Problem]:
        if is_file_name(group.name):
            return []
        return [Problem("name", "must be printable, without slashes and a leading dot")]

    def define_security_group(self, group: SecurityGroup) -> Undo:
        problems = self.check_security_group(group)
        if problems:
            raise InvalidInput(problems)
        return self._change_declared("security_group_define", GROUPS, group.name, group_record(group))

    def delete_security_group(self, name: str) -> Undo:
        with self._read("security_groups") as view:
            if not is_file_name(name) or view.get(GROUPS, name) is None:
                return lambda: None
        return self._change_declared("security_group_delete", GROUPS, name, None)

    def security_group_uses(self, names: Collection[str]) -> dict[str, GroupUses]:
        with self._read("security_group_uses") as view:
            return {name: _uses(view, name) for name in names}

    # -- rules for all, members -------------------------------------------------------------------------------------

    def get_provider_rules(self) -> tuple[ProviderRule, ...]:
        with self._read("provider_rules") as view:
            return provider_of(filters.provider_rules(view))

    def set_provider_rules(self, rules: Sequence[ProviderRule]) -> Undo:
        record = {"rules": provider_records(rules)} if rules else None
        return self._change_declared("provider_rules_change", FIREWALL, PROVIDER, record)

    def get_remote_members(self) -> dict[str, dict[str, tuple[str, ...]]]:
        with self._read("remote_members") as view:
            return {
                host: {group: tuple(addresses) for group, addresses in groups.items()}
                for host, groups in filters.remote_members(view).items()
            }

    def set_remote_members(self, hosts: Mapping[str, Mapping[str, Collection[str]]]) -> Undo:
        given = {host: member_records(groups) for host, groups in hosts.items()}
        with self._write("members_change") as changes:
            known = filters.remote_members(changes)
            before = {host: known.get(host, {}) for host in given}
            self._know_members(changes, given)
        return lambda: self._put_members_back(before)

    # -- what is really there ---------------------------------------------------------------------------------------

    def instance_filter_exists(self, name: str) -> bool:
        with self._read("filters", name) as view:
            record, _seen = self._instance(view, name)
            wanted, applied = filters.wanted_ports(record), filters.applied_filters(view)
            groups = {group for port in wanted.values() for group in port["groups"]}
            return (
                bool(wanted)
                and all(applied["ports"].get(mac) == port for mac, port in wanted.items())
                and all(applied["groups"].get(group) == view.get(GROUPS, group) for group in groups)
                and applied["provider"] == filters.provider_rules(view)
            )

    def verify_filters(self, names: Collection[str] | None = None) -> list[Drift]:
        with self._read("filters") as view:
            return [
                drift
                for drift in filters.drifts(view, self.look_at)
                if names is None or drift.instance is None or drift.instance in names
            ]

    def restore_filters(self) -> None:
        with self._write("filters_restore") as changes:
            filters.restore(changes, self.look_at)

    def would_accept(self, packet: Packet) -> bool:
        """Whether the filters that are in place let the packet through, as docs/security_groups.md says. Instances that
        are not active send and get nothing. Whether the two sides' networks are connected is another question.

        Raises:
            NotFound: its sender or its receiver is no network interface of this host's instances.
        """
        with self._read("packet") as view:
            leases: dict[str, list[str]] = {}
            for mac in {packet.sender, packet.receiver} - {None}:
                record, seen = self.look_at(self._owner_of(view, str(mac)))
                if seen.state not in power_state.ACTIVE:
                    return False
                for lease in leases_of(record, seen, LEASE):
                    leases.setdefault(lease.mac, []).append(f"{lease.address}/32")
            return would_accept(policy_of(filters.applied_filters(view), leases), packet)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _change_declared(self, operation: str, kind: str, key: str, record: Record | None) -> Undo:
        with self._write(operation) as changes:
            before = changes.get(kind, key)
            if kind == GROUPS and record is None:
                _require_unused(changes, key)
            _replace(changes, kind, key, record)
        if before == record:
            return lambda: None
        return lambda: self._put_back(operation, kind, key, before)

    def _put_back(self, operation: str, kind: str, key: str, before: Record | None) -> None:
        with self._write(operation) as changes:
            if kind == GROUPS and before is None:
                _require_unused(changes, key)
            _replace(changes, kind, key, before)

    def _put_members_back(self, before: Mapping[str, Mapping[str, list[str]]]) -> None:
        with self._write("members_change") as changes:
            self._know_members(changes, before)

    def _know_members(self, changes: Changes, hosts: Mapping[str, Mapping[str, list[str]]]) -> None:
        known = {host: groups for host, groups in {**filters.remote_members(changes), **hosts}.items() if groups}
        _replace(changes, FIREWALL, REMOTE, {"hosts": known} if known else None)
        filters.refresh_members(changes, self.look_at)

    def _owner_of(self, view: View, mac: str) -> Record:
        for record in view.all(INSTANCES).values():
            if mac in macs_of(record):
                return record
        raise NotFound(f"no instance of {self.host} has a network interface {mac}")


def _uses(view: View, name: str) -> GroupUses:
    instances = [key for key, record in view.all(INSTANCES).items() if name in _groups_in(record)]
    groups = [key for key, record in view.all(GROUPS).items() if key != name and _is_about(record, name)]
    return GroupUses(tuple(instances), tuple(groups))


def _groups_in(record: Record) -> Collection[str]:
    return record["config"].get("security_groups") or ()


def _is_about(record: Record, name: str) -> bool:
    return any(rule.get("group") == name for rule in record["rules"])


def _require_unused(view: View, name: str) -> None:
    uses = _uses(view, name)
    users = [f"instance {user}" for user in uses.instances] + [f"a rule of group {user}" for user in uses.groups]
    if users:
        more = f" and {len(users) - _SHOWN} more" if len(users) > _SHOWN else ""
        raise SecurityGroupInUse(f"the security group {name!r} is needed by {', '.join(users[:_SHOWN])}{more}")


def _replace(changes: Changes, kind: str, key: str, record: Record | None) -> None:
    if record is None:
        changes.delete(kind, key)
    else:
        changes.put(kind, key, record)
