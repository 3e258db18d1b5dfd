# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How VMs can get to another host or pool, and what keeps them from it.

The server has the last word: its own check (VM.assert_can_migrate, VM.assert_can_boot_here) is asked where nothing else
speaks against it, since it tells only the first thing that it finds. Where the destination is a pool, its hosts are
looked at one after the other, until one can take the instance.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import AnyvirtError, InvalidUri, Unsupported
from ...model.instance import Instance
from ...model.migration import MigrationPlan, MigrationWishes
from .. import migrationchecks as checks
from ..migration import MigrationDriver
from .instances import choose
from .migrationplanner import Planner
from .migrationroutes import Route
from .migrationscope import MigrationScopeMixin


class MigrationPlanMixin(MigrationScopeMixin):
    """Planning."""

    def plan_migrations(
        self,
        destination: MigrationDriver,
        instances: Mapping[str, Instance],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, MigrationPlan]:
        """As the contract says. What is shared is known without a test."""
        try:
            there = self.facing(destination)
        except (InvalidUri, Unsupported) as error:
            return {
                name: self._impossible(destination, instance, wishes, error) for name, instance in instances.items()
            }
        self.forget_places()
        there.forget_places()
        with self.guard("look up the instances"):
            vms = choose(self.find_vms(instances))
        return Planner(self, there, instances, vms, wishes, self.send_token).plans()

    def _impossible(
        self, destination: MigrationDriver, instance: Instance, wishes: MigrationWishes, error: AnyvirtError
    ) -> MigrationPlan:
        mode = checks.mode_for(self, instance, wishes)
        record, _incoming = checks.records(self, destination, instance, mode)
        return MigrationPlan(instance.name, mode, wishes, record, problems=[str(error)])

    def facing(self, destination: MigrationDriver) -> MigrationScopeMixin:
        """The destination, which this one faces from then on.

        Raises:
            Unsupported: it is no XenServer.
        """
        if not isinstance(destination, MigrationScopeMixin):
            raise Unsupported(
                f"dest: instances of the {self.name} driver cannot go to one of the {destination.name} one"
            )
        if self.partner is not destination or self.is_destination:
            self.face(destination)
        return destination

    def send_token(self, route: Route) -> dict[str, str]:
        """What the source's server has to be told to send a VM to the destination's host: it has the session of our
        connection with the destination."""
        there = self.partner
        if there is None:
            raise InvalidUri("dest: the driver was not told the destination")
        with there.guard("let the destination receive an instance"):
            told: dict[str, str] = there.call("host.migrate_receive", route.host, route.network, {})
        return told
