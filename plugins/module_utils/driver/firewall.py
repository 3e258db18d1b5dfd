# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of drivers that also manage security groups.

What an instance's own filters need (``firewall``, ``security_groups``, ``project``, ``allow_project_net_traffic``
and ``Nic.addresses``) is kept by the compute driver's ``spawn``, ``update_instance``, ``plug_vifs``, power operations
and ``destroy``: filters are in place before the guest's first packet, and none is left behind by an instance that is
gone. What is here is about groups. It descends from Nova's FirewallDriver.

The rules of ``driver.base`` hold here too. docs/security_groups.md says which packets pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ..errors import Problem, Unsupported
from ..model.secgroup import STALE_MEMBERS, Drift, ProviderRule, SecurityGroup
from ..undo import Undo
from .base import ComputeDriver


class GroupUses(NamedTuple):
    """Who needs a security group: names of instances in it, and of other groups whose rules are about its members."""

    instances: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class FirewallDriver(ComputeDriver):
    """A hypervisor host with its security groups."""

    def _firewall_refusal(self) -> Unsupported:
        try:
            self.require("firewall")
        except Unsupported as error:
            return error
        return Unsupported(f"the {self.name} driver declares a firewall and does not have it")

    # -- groups -----------------------------------------------------------------------------------------------------

    def get_security_groups(self) -> dict[str, SecurityGroup]:
        """All groups by name. Groups of which only the members are known are not among them."""
        raise self._firewall_refusal()

    def check_security_group(self, group: SecurityGroup) -> list[Problem]:
        """What this hypervisor can never do with a wanted group; asks no hypervisor. Options are named relative to
        the group; a rule of the model is not a rule of the task, so one is named in words: ``rules``."""
        raise self._firewall_refusal()

    def define_security_group(self, group: SecurityGroup) -> Undo:
        """Make a group, or give it these rules; each instance in it follows at once, in one transaction that leaves
        none without filters at any moment (Nova's refresh_security_group_rules). The number of calls does not depend on
        how many instances are in it.

        A rule may name a group that does not exist (yet): it has the members that are known of.
        """
        raise self._firewall_refusal()

    def delete_security_group(self, name: str) -> Undo:
        """Remove a group; succeeds when it is gone already.

        Raises:
            SecurityGroupInUse: instances are in it, or rules of other groups name it.
        """
        raise self._firewall_refusal()

    def security_group_uses(self, names: Collection[str]) -> dict[str, GroupUses]:
        """Who needs these groups; each name is in the answer. Costs at most as much as reading all instances once."""
        raise self._firewall_refusal()

    # -- rules for all ----------------------------------------------------------------------------------------------

    def get_provider_rules(self) -> tuple[ProviderRule, ...]:
        """The operator's rules, in their order."""
        raise self._firewall_refusal()

    def set_provider_rules(self, rules: Sequence[ProviderRule]) -> Undo:
        """Replace them all, for all instances at once, in one transaction (Nova's refresh_provider_fw_rules)."""
        raise self._firewall_refusal()

    # -- members ----------------------------------------------------------------------------------------------------

    def get_remote_members(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """What is known of other hosts: host identity -> group -> its members' addresses there (CIDR notation,
        sorted)."""
        raise self._firewall_refusal()

    def set_remote_members(self, hosts: Mapping[str, Mapping[str, Collection[str]]]) -> Undo:
        """Replace what is known of these hosts, and bring all rules about the members up to date; hosts that are not
        mentioned stay, one with no groups is forgotten (Nova's refresh_security_group_members)."""
        raise self._firewall_refusal()

    def stale_group_members(self) -> list[str]:
        """The groups of which rules here know other addresses than their members on this host have now, sorted: an
        instance started, stopped or moved, or DHCP gave it another one. Drivers that can tell without a look at the
        kernel override this."""
        stale = [drift.subject for drift in self.verify_filters(()) if drift.problem == STALE_MEMBERS]
        return sorted({subject.partition(" ")[2] for subject in stale})

    def refresh_security_group_members(self) -> None:
        """Give all rules about members the addresses of now; each engine in one transaction."""
        self.set_remote_members({})

    # -- what is really there ---------------------------------------------------------------------------------------

    def instance_filter_exists(self, name: str) -> bool:
        """Whether the instance's filters are really in place, all of them."""
        raise self._firewall_refusal()

    def verify_filters(self, names: Collection[str] | None = None) -> list[Drift]:
        """Where hypervisor and kernel have something else than what is declared, for all instances or for those in
        ``names``; what concerns all is always looked at. Includes members whose addresses changed."""
        raise self._firewall_refusal()

    def restore_filters(self) -> None:
        """Make everything as declared, with the members' addresses of now, in one transaction for each engine; rules
        of others stay as they are."""
        raise self._firewall_refusal()
