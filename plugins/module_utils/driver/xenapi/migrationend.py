# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a migration on the source, and of one that was cut short on either end."""

from __future__ import annotations

from collections.abc import Collection

from ...errors import InstanceDuplicated, InstanceMigrating, InvalidPowerState
from ...model import power_state
from ...model.instance import SEED
from .instances import choose
from .metadata import read_record, read_volume_record
from .migrationjobs import job_of
from .migrationmove import MigrationMoveMixin
from .records import Object, state_of
from .travels import read_travel


class MigrationEndMixin(MigrationMoveMixin):
    """Clearing up."""

    def finish_source(self, name: str, keep_definition: bool = False, delete_volumes: str = "own") -> list[str]:
        """As the contract says. The server leaves nothing but what belonged to an instance without being attached, and
        a VM that it could not remove in the end. ``keep_definition`` is a problem of plans."""
        if self.shares_pool:
            return []
        with self.guard(f"look up instance {name!r}", name):
            vms = choose(self.find_vms([name]))
        for vm in vms.values():
            if read_travel(vm) is None:
                return []
            if state_of(vm) in power_state.ACTIVE:
                raise InvalidPowerState(f"instance {name!r} is active on the source still, so it is not removed there")
            return self.destroy(name, delete_volumes)
        return self._remove_unattached(name)

    def discard_migration(self, name: str) -> list[str]:
        """As the contract says."""
        with self.guard(f"look up instance {name!r}", name):
            vms = choose(self.find_vms([name]))
        for ref, vm in vms.items():
            travel = read_travel(vm)
            if travel is None:
                continue
            if job_of(vm) is not None:
                raise InstanceMigrating(f"instance {name!r} is being moved at the moment; abort that first")
            if travel.destination == self.host_identity() and not travel.within:
                return self._remove_arriving(ref, vm)
            self.put_back_kept(ref, vm, travel)
            removed = self.remove_copies(travel)
            self.end_record(ref, name)
            return removed
        return []

    # -- parts ------------------------------------------------------------------------------------------------------

    def _remove_arriving(self, ref: str, vm: Object) -> list[str]:
        """Remove what the server has made of an instance that did not come. It is never the only one."""
        name = vm["name_label"]
        if state_of(vm) in power_state.ACTIVE:
            raise InvalidPowerState(f"instance {name!r} is active on the destination, so it is not removed there")
        original = self.partner_vm(vm["uuid"])
        if self.partner is None or original is None:
            raise InstanceMigrating(
                f"nothing tells that instance {name!r} is anywhere else, so it is not removed; run the task with the "
                "source that it came from"
            )
        if job_of(original) is not None:
            raise InstanceMigrating(f"instance {name!r} is being moved at the moment; abort that first")
        vdis = self.disks_by_place(vm)
        if vdis.keys() - self.partner.disks_by_place(original).keys():
            # The server deletes the disks there first, and then the VM.
            raise InstanceDuplicated(
                f"instance {name!r} has disks on the destination that it has no more on the source: its server did not "
                "come to an end with clearing up. Remove the virtual machine from the source with XenServer's own "
                "means, and run the task again"
            )
        own = {ref: vdi for ref, vdi in vdis.values() if not set(vdi["VBDs"]) - set(vm["VBDs"])}
        self.destroy_vm(ref, name)
        return [f"instance {name}", *self.delete_all(own)]

    def _remove_unattached(self, name: str) -> list[str]:
        """Seeds that an instance which has gone to another pool does not have any more. A volume of any other kind that
        was taken from it is somebody's data."""
        partner = self.partner
        if partner is None:
            return []
        with partner.guard(f"look up instance {name!r}", name):
            ids = self._record_ids(partner.find_vms([name]).values())
        if not ids:
            return []
        with self.guard("look for what is left of it"):
            left = {
                ref: vdi for ref, vdi in self.fetch("VDI").items() if not vdi["VBDs"] and _owner_of_seed(vdi) in ids
            }
        return self.delete_all(left)

    @staticmethod
    def _record_ids(vms: Collection[Object]) -> set[str]:
        records = [read_record(vm) for vm in vms]
        return {record.id for record in records if record is not None and record.id}


def _owner_of_seed(vdi: Object) -> str | None:
    record = read_volume_record(vdi)
    return None if record is None or vdi["is_a_snapshot"] or record.role != SEED else record.owner
