# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The beginning of migrations: what is recorded on the source, and made ready on the destination."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import AlreadyExists
from ...model.migration import LIVE, MigrationPlan
from ...model.secgroup import SecurityGroup
from ...undo import Undo, UndoStack
from ..migration import MigrationDriver
from ..migrationchecks import incoming_record, require_replaceable
from .domain import Domain
from .migrationend import MigrationEndMixin
from .migrationplan import LibvirtPlan, MigrationPlansMixin
from .migrationrecord import MovingRecord
from .migrationsnapshots import redirected_snapshot
from .recordkeeping import keep_record


class MigrationStartMixin(MigrationEndMixin, MigrationPlansMixin):
    """begin_migration and accept_instance."""

    def begin_migration(self, plan: MigrationPlan, replacing: str | None = None) -> Undo:
        self.require(f"migration_{plan.mode}")
        name, private = plan.name, _private(plan)
        handle, config = self.lookup(name), self.fresh_document(name)
        before = config.record.moving
        require_replaceable(name, None if before is None else before.migration, replacing)
        config.record.moving = MovingRecord(
            plan.record,
            private.autostart,
            private.passing,
            snapshots=private.snapshots,
            current_snapshot=private.current_snapshot,
            shares_variables=private.disks.shares_variables,
        )
        with UndoStack() as done:
            done.push(f"forget the migration of instance {name}", self._forgetting(plan, before))
            with self.guard(f"record the migration of instance {name!r}", name):
                if private.passing:
                    # Otherwise the record would go with the guest, before what it leaves here is cleared away.
                    self.conn.defineXML(config.text())
                keep_record(self.libvirt, self.conn, handle, config.record)
                if private.autostart:
                    handle.setAutostart(0)  # or a restart of this host would start it while it may be on the other
        self.forget(name)
        return self._discarding(plan)

    def _forgetting(self, plan: MigrationPlan, before: MovingRecord | None) -> Undo:
        """Undoes what a migration has recorded, of which nobody else knows yet."""
        if before is None:
            return self._discarding(plan)

        def put_back() -> None:
            if self.takes_part_in(plan):
                self.keep_moving_record(plan.name, before)

        return put_back

    def _discarding(self, plan: MigrationPlan) -> Undo:
        def discard() -> None:
            if self.takes_part_in(plan):  # and not in one that somebody else has begun meanwhile
                self.discard_migration(plan.name)

        return discard

    def accept_instance(self, source: MigrationDriver, plan: MigrationPlan) -> Undo:
        if not isinstance(source, MigrationStartMixin):
            raise TypeError("the source is no libvirt host")
        name, private = plan.name, _private(plan)
        missing = self._missing_groups(source, private.config)
        config = self._arriving(source, plan, missing)
        if self.find_domain(name) is not None:
            raise AlreadyExists(f"there is an instance named {name!r} on the destination already")
        taken_over: list[str] = []

        def return_groups() -> None:
            self.return_groups(taken_over)

        with UndoStack() as done:
            # After the definition that is in them, and but for those that another instance has come into meanwhile.
            done.push("remove the security groups that were taken over", return_groups)
            self.define_new(config, done)
            for group in missing:
                self.define_security_group(group)
                taken_over.append(group.name)
            self.require_filterable(config)
            self.make_arriving_volumes(source, private.disks, plan.record.id, done)
            # Before the first packet of the guest from here: libvirt gives it nothing that is not tied to these.
            self.put_filters(config, done)
        self.forget(name)

        def discard() -> None:
            if self.takes_part_in(plan):
                self.discard_migration(name)
            else:
                # Another task has defined it at the same moment, and its record does not tell of what this one made.
                self.discard_arriving_volumes(incoming_record(plan.record, source, plan.disks).volumes, plan.record.id)

        return discard

    def _arriving(self, source: MigrationStartMixin, plan: MigrationPlan, groups: Sequence[SecurityGroup]) -> Domain:
        """The configuration that an instance is to have here."""
        private = _private(plan)
        config = private.config.copy()
        networks = plan.wishes.networks

        def redirect(domain: Domain) -> None:
            private.redirect(domain, networks)

        redirect(config)
        config.record.moving = MovingRecord(
            incoming_record(plan.record, source, plan.disks),
            autostart=private.autostart,
            passing=not plan.wishes.persist,
            groups=tuple(group.name for group in groups),
            secrets=tuple(private.disks.lone_secrets),
            snapshots=tuple(redirected_snapshot(text, redirect, private.config) for text in private.snapshots),
            current_snapshot=private.current_snapshot,
            shares_variables=private.disks.shares_variables,
        )
        if plan.mode == LIVE:
            config.record.filtering.carried = source.leased_addresses(private.config)
        config.wire()
        return config

    def leased_addresses(self, config: Domain) -> dict[str, list[str]]:
        """What DHCP has given a guest that is filtered: where it goes to, nobody has seen that."""
        if not config.record.filtering.is_known_to_groups:
            return {}
        ports = self.ports_of_domain(config, {})
        return {
            port.mac: [address.partition("/")[0] for address in port.addresses]
            for port in ports
            if port.learns and port.addresses
        }

    def _missing_groups(self, source: MigrationStartMixin, config: Domain) -> list[SecurityGroup]:
        """The instance's security groups, and those that their rules are about, that are not here."""
        wanted = list(config.record.filtering.security_groups or ())
        if not wanted:
            return []
        here, there = self.declarations.groups(), source.declarations.groups()
        missing: dict[str, SecurityGroup] = {}
        while wanted:
            name = wanted.pop()
            if name not in here and name not in missing and name in there:
                missing[name] = there[name]
                wanted += there[name].refers_to
        return [missing[name] for name in sorted(missing)]


def _private(plan: MigrationPlan) -> LibvirtPlan:
    if not isinstance(plan.private, LibvirtPlan):
        raise TypeError("the plan was not made by this driver")
    return plan.private
