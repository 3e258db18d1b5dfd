# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What VM.migrate_send is asked to do: which disks go where, which network interfaces on which network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lab.xenapi import vdi_rules
from lab.xenapi.call import Call
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.neighbours import Remote
from lab.xenapi.srs import is_visible


@dataclass
class Motion:
    """A VM on its way to a host, with its snapshots.

    ``srs`` has a destination for each VDI that is not where it is to be, ``networks`` one for each VIF of a VM that
    leaves its pool.
    """

    call: Call
    remote: Remote
    vm: Ref
    machines: list[Ref]
    srs: dict[Ref, Ref] = field(default_factory=dict)
    networks: dict[Ref, Ref] = field(default_factory=dict)

    @property
    def db(self) -> Database:
        """The source's."""
        return self.call.db

    @property
    def is_within(self) -> bool:
        """Whether it stays in its pool."""
        return self.remote.is_within(self.call)

    @property
    def source(self) -> Ref:
        """The host that has it now."""
        return home_of(self.db, self.vm)

    def discs(self) -> list[Ref]:
        """The CD drives of the VM that something is in."""
        return [vbd for vbd in self._filled(self.vm) if self.db.get("VBD", vbd, "type") == "CD"]

    def disks(self, machine: Ref) -> list[Ref]:
        """The VDIs of a machine's disks."""
        vbds = [vbd for vbd in self._filled(machine) if self.db.get("VBD", vbd, "type") != "CD"]
        return [self.db.get("VBD", vbd, "VDI") for vbd in vbds]

    def vifs(self) -> list[Ref]:
        """Those of the VM and of its snapshots."""
        return [vif for machine in self.machines for vif in self.db.get("VM", machine, "VIFs")]

    def memories(self) -> list[Ref]:
        """The VDIs with memory of suspended machines."""
        suspended = [one for one in self.machines if self.db.get("VM", one, "power_state") == "Suspended"]
        return [self.db.get("VM", one, "suspend_VDI") for one in suspended]

    def _filled(self, machine: Ref) -> Iterable[Ref]:
        return [vbd for vbd in self.db.get("VM", machine, "VBDs") if not self.db.get("VBD", vbd, "empty")]


def home_of(db: Database, vm: Ref) -> Ref:
    """The host that has a VM now; the master where none has."""
    host = db.get("VM", vm, "resident_on")
    return str(host if host != NULL else db.get("pool", db.refs("pool")[0], "master"))


def plan_motion(call: Call, vm: Ref, remote: Remote, vdi_map: Mapping[Ref, Ref], vif_map: Mapping[Ref, Ref]) -> Motion:
    """Complete the maps. The caller holds the database's lock.

    Raises VDI_NOT_IN_MAP, VIF_NOT_IN_MAP, SUSPEND_IMAGE_NOT_ACCESSIBLE, OPERATION_NOT_ALLOWED.
    """
    motion = Motion(call, remote, vm, [vm, *call.db.get("VM", vm, "snapshots")])
    for vdi in motion.disks(vm):
        if vdi not in vdi_map:
            raise Failure("VDI_NOT_IN_MAP", vdi)
        _send(motion, vdi, vdi_map[vdi])
    _place_snapshots(motion, vdi_map)
    _place_memories(motion)
    if motion.is_within and vif_map:
        raise Failure("OPERATION_NOT_ALLOWED", "VIF mapping is not allowed for intra-pool migration")
    if not motion.is_within:
        motion.networks = _all_networks(motion, vif_map)
    return motion


def check_movable(db: Database, vdi: Ref) -> None:
    """Raise what keeps a disk from being moved."""
    if db.get("VDI", vdi, "cbt_enabled"):
        raise Failure("VDI_CBT_ENABLED", vdi)
    if db.get("VDI", vdi, "on_boot") == "reset":
        raise Failure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")


def check_leaves(db: Database, vdi: Ref, machines: Iterable[Ref]) -> None:
    """Raise VDI_IN_USE for a disk that goes and that another machine uses at the moment."""
    for vbd in vdi_rules.attached_vbds(db, vdi):
        if db.get("VBD", vbd, "VM") not in machines:
            raise Failure("VDI_IN_USE", vdi, "migrate")


def _send(motion: Motion, vdi: Ref, sr: Ref) -> None:
    motion.remote.db.get("SR", sr, "uuid")
    if not motion.is_within or motion.db.get("VDI", vdi, "SR") != sr:
        motion.srs[vdi] = sr


def _place_snapshots(motion: Motion, vdi_map: Mapping[Ref, Ref]) -> None:
    """The VDIs of snapshots follow what they are snapshots of."""
    for snapshot in motion.machines[1:]:
        for vdi in motion.disks(snapshot):
            origin = motion.db.get("VDI", vdi, "snapshot_of")
            sr = vdi_map.get(vdi) or vdi_map.get(origin) or _pool_sr(motion, "default_SR")
            if sr is None:
                raise Failure("VDI_NOT_IN_MAP", vdi)
            _send(motion, vdi, sr)


def _place_memories(motion: Motion) -> None:
    for vdi in motion.memories():
        sr = motion.db.get("VDI", vdi, "SR")
        if motion.is_within and is_visible(motion.db, sr, motion.remote.host):
            continue
        if not is_visible(motion.db, sr, motion.source):
            raise Failure("SUSPEND_IMAGE_NOT_ACCESSIBLE", vdi)
        target = _pool_sr(motion, "suspend_image_SR") or _pool_sr(motion, "default_SR")
        if target is None:
            raise Failure("VDI_NOT_IN_MAP", vdi)
        _send(motion, vdi, target)


def _pool_sr(motion: Motion, purpose: str) -> Ref | None:
    db = motion.remote.db
    sr = db.get("pool", db.refs("pool")[0], purpose)
    return sr if db.exists("SR", sr) else None


def _all_networks(motion: Motion, vif_map: Mapping[Ref, Ref]) -> dict[Ref, Ref]:
    """A VIF that is not mentioned goes where one of the same MAC address goes, as those of snapshots do."""
    by_mac = {motion.db.get("VIF", vif, "MAC"): network for vif, network in vif_map.items()}
    networks = {}
    for vif in motion.vifs():
        network = vif_map.get(vif) or by_mac.get(motion.db.get("VIF", vif, "MAC"))
        if network is None:
            raise Failure("VIF_NOT_IN_MAP", vif)
        motion.remote.db.get("network", network, "uuid")
        networks[vif] = network
    return networks
