# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of migrations, on either host: finished, or given up."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import HypervisorError, InstanceDuplicated, InstanceMigrating, SecurityGroupInUse
from ...model import power_state
from ...model.migration import DEPARTED, INCOMING, MOVED, OUTGOING
from ...undo import UndoStack
from .destroy import DestroyMixin
from .domain import Domain
from .domain_disks import SEED
from .migrationcold import ColdCopyMixin
from .migrationjobs import BY_FAILED_POST_COPY, BY_POST_COPY, HALVED, PAUSED, MigrationJobsMixin
from .migrationrecord import MovingRecord
from .migrationsnapshots import with_passwords
from .recordkeeping import keep_record, keep_running_record
from .secgroups import SecurityGroupsMixin
from .states import to_power_state
from .xmltext import from_libvirt

if TYPE_CHECKING:
    import libvirt


class MigrationEndMixin(ColdCopyMixin, DestroyMixin, SecurityGroupsMixin, MigrationJobsMixin):
    """finish_destination, finish_source and discard_migration."""

    # -- finished ---------------------------------------------------------------------------------------------------

    def finish_destination(self, name: str) -> None:
        handle, config = self.lookup(name), self.fresh_document(name)
        moving = config.record.moving
        if moving is None or moving.migration.direction != INCOMING:
            return
        migration = moving.migration
        if migration.start and not migration.paused:
            self.let_run(name, handle)
        self.settle_arrived_volumes(migration.volumes, migration.id)
        self.restore_snapshots(handle, config, moving)
        config.record.moving = None
        with self.guard(f"finish the migration of instance {name!r}", name):
            self._settle_definition(handle, config, moving)
        self.forget(name)
        self.refresh_members_of(config)

    def note_moved(self, name: str) -> None:
        """Let the record say that all of the instance is on the destination: there it may be started, and the source
        knows that what it has is old, even if it is moved on from there before that is cleared up."""
        moving = self.fresh_document(name).record.moving
        if moving is not None:
            self.keep_moving_record(name, replace(moving, migration=replace(moving.migration, phase=MOVED)))

    def keep_moving_record(self, name: str, moving: MovingRecord) -> None:
        """Keep this with the domain in place of what is kept of its migration."""
        handle, config = self.lookup(name), self.fresh_document(name)
        config.record.moving = moving
        with self.guard(f"record how far the migration of instance {name!r} is", name):
            keep_record(self.libvirt, self.conn, handle, config.record)
        self.forget(name)

    def finish_source(self, name: str, keep_definition: bool = False, delete_volumes: str = "own") -> list[str]:
        handle = self.find_domain(name)
        if handle is None:
            return self.finish_removal(name)
        config = self.fresh_document(name, handle)
        moving = config.record.moving
        if moving is None or moving.migration.direction != OUTGOING:
            return []
        self._require_gone(name, handle)
        if keep_definition and not moving.passing:
            return self._keep_departed(name, handle, config, moving)
        doomed = self.volumes_left_behind(config, moving.migration.volumes, delete_volumes)
        self._end_guest(name, handle)
        # Before the definition, whose record tells the next run of them if this one does not come to its end.
        removed = self.delete_all(doomed)
        for pool, _slash, volume in (key.partition("/") for key in moving.migration.volumes):
            self.remove_companions(pool, volume)  # whose volume somebody deleted who was killed then
        with UndoStack() as done:
            self.drop_filters(config, (), done)
            if self.has_console_log(config):
                self.remove_console_log(name)
            self.undefine(name, handle, moving.shares_variables)
        self.forget(name)
        self.refresh_members_of(config)
        return [f"instance {name}", *removed]

    def _require_gone(self, name: str, handle: libvirt.virDomain) -> None:
        """Raise where the guest runs here. One that the migration has stopped, and that nobody ended since the last
        answer was lost, is only what is left of it."""
        with self.guard(f"read the state of instance {name!r}", name):
            state = to_power_state(handle.state()[0])
            is_moving = bool(handle.isActive()) and self.progress_of(handle) is not None
        if is_moving:
            raise InstanceMigrating(f"instance {name!r} has not left yet: its migration still goes on")
        if state in power_state.EXECUTING:
            raise InstanceDuplicated(f"instance {name!r} runs on the host that it was moved away from")

    def _end_guest(self, name: str, handle: libvirt.virDomain) -> None:
        with self.guard(f"end what is left of instance {name!r}", name):
            if handle.isActive():
                handle.destroy()

    def _keep_departed(self, name: str, handle: libvirt.virDomain, config: Domain, moving: MovingRecord) -> list[str]:
        if moving.migration.phase == DEPARTED:
            return []
        self._end_guest(name, handle)
        own_seeds = {f"{owned.pool}/{owned.volume}" for owned in config.record.owned if owned.role == SEED}
        # Of no use to anybody, and in the way when it comes back.
        seeds = tuple(key for key in moving.migration.volumes if key in own_seeds)
        migration = replace(moving.migration, phase=DEPARTED, volumes=seeds)
        config.record.moving = replace(moving, migration=migration, autostart=False, snapshots=())
        with self.guard(f"record that instance {name!r} has left", name):
            keep_record(self.libvirt, self.conn, handle, config.record)
        self.forget(name)
        self.refresh_members_of(config)
        return []

    # -- given up ---------------------------------------------------------------------------------------------------

    def discard_migration(self, name: str) -> list[str]:
        handle = self.find_domain(name)
        config = None if handle is None else self.fresh_document(name, handle)
        moving = None if config is None else config.record.moving
        if handle is None or config is None or moving is None:
            return []
        if moving.migration.direction == INCOMING:
            return self._discard_arrival(name, handle, config, moving)
        return self._take_back_departure(name, handle, config, moving)

    def _discard_arrival(self, name: str, handle: libvirt.virDomain, config: Domain, moving: MovingRecord) -> list[str]:
        with self.guard(f"read the state of instance {name!r}", name):
            state, reason = handle.state()
        if to_power_state(state) in power_state.EXECUTING or (state, reason) in HALVED:
            raise InstanceDuplicated(f"instance {name!r} runs on the host that it is being moved to")
        self._end_guest(name, handle)
        removed = self.discard_arriving_volumes(moving.migration.volumes, moving.migration.id)
        with UndoStack() as done:
            self.drop_filters(config, (), done)
            if self.has_console_log(config):
                self.remove_console_log(name)
            if moving.groups:
                # Or they would be in use; and the record has to tell of them until they are gone.
                config.record.filtering.security_groups = None
                with self.guard(f"take instance {name!r} out of its security groups", name):
                    keep_record(self.libvirt, self.conn, handle, config.record)
                self.forget(name)
        removed += [f"security group {group}" for group in self.return_groups(moving.groups)]
        self._drop_secrets(moving, name)
        self.undefine(name, handle, moving.shares_variables)
        self.forget(name)
        return [f"instance {name}", *removed]

    def _drop_secrets(self, moving: MovingRecord, name: str) -> None:
        """Remove the passphrases that came along, but for those of disks that others have come to use."""
        if not moving.secrets:
            return
        with self.guard("find out who uses a volume"):
            used = self._paths_in_use(name)
        for path in moving.secrets:
            if self.real_path(path) not in used:
                self.remove_secret(path)

    def return_groups(self, groups: Collection[str]) -> list[str]:
        """Remove security groups that were taken over, but for those that others have come to need; which ones."""
        present = set(groups) & set(self.declarations.groups())
        gone: list[str] = []
        while True:  # a group goes after those whose rules are about it
            before = len(gone)
            for group in sorted(present.difference(gone)):
                with suppress(SecurityGroupInUse):
                    self.delete_security_group(group)
                    gone.append(group)
            if len(gone) == before:
                return gone

    def _take_back_departure(
        self, name: str, handle: libvirt.virDomain, config: Domain, moving: MovingRecord
    ) -> list[str]:
        migration = moving.migration
        if migration.start and not migration.paused:
            self.let_run(name, handle)
        self.restore_snapshots(handle, config, moving)
        config.record.moving = None
        with self.guard(f"forget the migration of instance {name!r}", name):
            self._settle_definition(handle, config, moving)
        self.forget(name)
        return []

    def _settle_definition(self, handle: libvirt.virDomain, config: Domain, moving: MovingRecord) -> None:
        """Write the configuration's record, and let the definition be there for good, or go."""
        goes = moving.passing and handle.isActive()
        if moving.autostart and not goes and handle.isPersistent():
            handle.setAutostart(1)
        if not goes or not handle.isPersistent():
            keep_record(self.libvirt, self.conn, handle, config.record)
            return
        # The definition goes with the record that tells of the move: until then the next run sees that it is to go.
        keep_running_record(self.libvirt, handle, config.record)
        handle.undefineFlags(self.libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM if self.kind == "qemu" else 0)

    def let_run(self, name: str, handle: libvirt.virDomain) -> None:
        """Let a guest run on that the migration has stopped, and that is to run."""
        with self.guard(f"let instance {name!r} run", name):
            state, reason = handle.state()
            if state == PAUSED and reason in (BY_POST_COPY, BY_FAILED_POST_COPY):
                raise HypervisorError(
                    f"the post-copy migration of instance {name!r} has not ended: each host has a part of its memory, "
                    "and the guest stands still until all of it is on one; run virt_migrate again"
                )
            if state == PAUSED:
                handle.resume()

    # -- snapshots --------------------------------------------------------------------------------------------------

    def drop_snapshots(self, handle: libvirt.virDomain) -> None:
        """Have libvirt forget a domain's snapshots, which stay in its disks: it moves none that has any.

        Raises:
            libvirtError: as libvirt says it.
        """
        library = self.libvirt
        for snapshot in reversed(handle.listAllSnapshots(library.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)):
            snapshot.delete(library.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)

    def restore_snapshots(self, handle: libvirt.virDomain, config: Domain, moving: MovingRecord) -> None:
        """Tell libvirt again of a domain's snapshots, parents first."""
        if not moving.snapshots:
            return
        redefine = self.libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        with self.guard("tell libvirt of an instance's snapshots"):
            known = {snapshot.getName() for snapshot in handle.listAllSnapshots(0)}
            for text in moving.snapshots:
                name = from_libvirt(text).findtext("name")
                is_current = name == moving.current_snapshot
                if name not in known:
                    current = self.libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT if is_current else 0
                    handle.snapshotCreateXML(with_passwords(text, config), redefine | current)
