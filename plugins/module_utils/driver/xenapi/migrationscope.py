# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances each end of a migration shows, where one end is a host of a pool.

Those that belong to it (see ``homes``); one that belongs to no host is a source's that is asked for it by its name,
since otherwise nobody could move it.
"""

from __future__ import annotations

from collections.abc import Collection

from ...errors import InvalidUri
from ..migration import MigrationDriver
from ..uri import ConnectionOptions
from .errors import code_of
from .query import any_of
from .records import NULL, Object, Objects
from .storagedriver import XenApiStorageDriver
from .travels import read_travel


class MigrationScopeMixin(XenApiStorageDriver, MigrationDriver):
    """One end of a migration.

    Attributes:
        partner: The other one, once they face each other.
        is_destination: This one takes the instances.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.partner: MigrationScopeMixin | None = None
        self.is_destination = False
        self._own_host: str | None = None
        self._known_pool: str | None = None
        self.scope = self._those_here
        self.remaining = self._those_at_partner

    def face(self, destination: MigrationDriver) -> None:
        """As the contract says."""
        if not isinstance(destination, MigrationScopeMixin):
            return
        if self.pool_uuid() == destination.pool_uuid() and destination.own_host() in (None, self.own_host()):
            raise InvalidUri(
                "dest: it is the pool in which uri is, or the same host of it; name another host, like "
                f"{destination.options.uri.partition('?')[0]}?host=NAME"
            )
        self.partner, destination.partner = destination, self
        self.is_destination, destination.is_destination = False, True
        destination.partner_identity = self.host_identity() if self.shares_pool else None

    @property
    def shares_pool(self) -> bool:
        """Whether the other end is in the same pool."""
        return self.partner is not None and self.partner.pool_uuid() == self.pool_uuid()

    def own_host(self) -> str | None:
        """The reference of the host that this end is; None for a whole pool."""
        if self._own_host is None:
            chosen = self.chosen_host()
            self._own_host = NULL if chosen is None else chosen[0]
        return None if self._own_host == NULL else self._own_host

    def pool_uuid(self) -> str:
        """The pool's identity."""
        if self._known_pool is None:
            with self.guard("read the pool"):
                self._known_pool = str(self.pool()[1]["uuid"])
        return self._known_pool

    def partner_vm(self, uuid: str) -> Object | None:
        """The VM of this uuid at the other end of a migration between pools; None where there is none."""
        partner = self.partner
        if partner is None:
            return None
        with partner.guard("see whether the other pool has the instance"):
            try:
                vm: Object = partner.call("VM.get_record", partner.call("VM.get_by_uuid", uuid))
            except partner.api.library.Failure as failure:
                if code_of(failure) not in ("UUID_INVALID", "HANDLE_INVALID"):
                    raise
                return None
        return vm

    def disks_by_place(self, vm: Object) -> dict[str, tuple[str, Object]]:
        """The virtual disks that a VM has, with their references, by their places in it (userdevice)."""
        with self.guard(f"look at the disks of instance {vm['name_label']!r}", vm["name_label"]):
            vbds = [vbd for vbd in self.fetch_refs("VBD", vm["VBDs"]).values() if vbd["type"] == "Disk"]
            vdis = self.fetch_refs("VDI", {vbd["VDI"] for vbd in vbds})
        return {vbd["userdevice"]: (vbd["VDI"], vdis[vbd["VDI"]]) for vbd in vbds if vbd["VDI"] in vdis}

    # -- who is where -----------------------------------------------------------------------------------------------

    def _those_at_partner(self, vms: Objects) -> Collection[str]:
        """Those of VMs that move between pools that the other pool has, or of which this other end does not know."""
        partner = self.partner
        if partner is None:
            return vms.keys()
        refs = {vm["uuid"]: ref for ref, vm in vms.items() if self._is_about(partner, vm)}
        if not refs:
            return vms.keys()
        with partner.guard("see whether the other pool has the instances"):
            there = {vm["uuid"] for vm in partner.fetch("VM", any_of("uuid", refs)).values()}
        return vms.keys() - {ref for uuid, ref in refs.items() if uuid not in there}

    @staticmethod
    def _is_about(partner: MigrationScopeMixin, vm: Object) -> bool:
        """Whether a VM moves to or from this other end, and not a third one."""
        travel = read_travel(vm)
        return travel is not None and partner.host_identity() in (travel.source, travel.destination)

    def _those_here(self, vms: Objects, by_name: bool) -> Objects:
        """Those of a pool's VMs that this end shows."""
        own = self.own_host()
        theirs = self.partner.own_host() if self.partner is not None and self.shares_pool else None
        if own is None and (theirs is None or self.is_destination):
            return vms
        homes = self.homes(vms)
        if own is None:
            return {ref: vm for ref, vm in vms.items() if homes[ref] != theirs}
        return {
            ref: vm
            for ref, vm in vms.items()
            if homes[ref] == own or (homes[ref] is None and self._adopts(vm, by_name))
        }

    def _adopts(self, vm: Object, by_name: bool) -> bool:
        """Whether a VM that belongs to no host is shown here."""
        travel = read_travel(vm)
        if travel is not None:
            ends = (travel.source,) if travel.within else (travel.source, travel.destination)
            if self.host_identity() in ends:
                return True
        return by_name and not self.is_destination
