# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in security groups, and with which addresses; a constant number of calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...model import power_state
from ...model.instance import Instance, Nic
from ..members import members_of, ports_of
from .instances import InstancesMixin
from .metadata import Record, read_record
from .records import Object, is_instance, state_of


class Member(NamedTuple):
    """An instance with what we know of its filtering."""

    vm: Object
    record: Record

    @property
    def name(self) -> str:
        """The instance's."""
        return str(self.vm["name_label"])

    @property
    def is_active(self) -> bool:
        """Whether its guest can send anything."""
        return state_of(self.vm) in power_state.ACTIVE

    def instance(self) -> Instance:
        """What its filtering is, and its declared NICs."""
        record = self.record
        return Instance(
            self.name,
            nics=[Nic(mac=mac, addresses=addresses) for mac, addresses in record.addresses.items()],
            firewall=record.firewall,
            security_groups=record.security_groups,
            project=record.project,
            allow_project_net_traffic=record.allow_project_net_traffic,
        )


class MembersMixin(InstancesMixin):
    """Finding members."""

    def get_group_members(self) -> dict[str, tuple[str, ...]]:
        """As the contract says. Guests' agents can say anything, so only declared addresses count."""
        with self.guard("read the members of security groups"):
            members = self.find_members()
        ports = [port for member in members.values() if member.is_active for port in ports_of(member.instance())]
        return {group: tuple(sorted(addresses)) for group, addresses in sorted(members_of(ports).items())}

    def find_members(self) -> Mapping[str, Member]:
        """The instances that are in groups, an empty list of groups included, or in projects, by the VM's reference;
        to be used within ``guard``."""
        records = {ref: (vm, read_record(vm)) for ref, vm in self.fetch("VM").items() if is_instance(vm)}
        return {
            ref: Member(vm, record)
            for ref, (vm, record) in records.items()
            if record is not None and (record.security_groups is not None or record.project is not None)
        }
