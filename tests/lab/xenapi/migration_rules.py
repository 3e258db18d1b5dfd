# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a VM can be moved to a host, of its own pool or of another one."""

from __future__ import annotations

from collections.abc import Sequence

from lab.xenapi import motion as plans
from lab.xenapi import placement
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.motion import Motion, home_of
from lab.xenapi.srs import driver_of, is_visible

_NEEDED_OF_SR = "snapshot"


def check_motion(motion: Motion) -> None:
    """Raise what keeps VM.migrate_send from doing it. The caller holds the locks of both databases."""
    for vdi in motion.disks(motion.vm):
        plans.check_movable(motion.db, vdi)
    for vdi, sr in motion.srs.items():
        plans.check_leaves(motion.db, vdi, motion.machines)
        check_sr(motion.db, motion.db.get("VDI", vdi, "SR"))
        check_sr(motion.remote.db, sr)
        if not is_visible(motion.remote.db, sr, motion.remote.host):
            raise Failure("SR_NOT_ATTACHED", sr)
    if motion.is_within:
        check_moves_within(motion.db, motion.vm, motion.remote.host, disks=False)
    else:
        _check_leaves_pool(motion)


def check_moves_within(db: Database, vm: Ref, host: Ref, *, disks: bool) -> None:
    """Raise what keeps a VM from going to another host of its pool. Disks that come along are not looked at."""
    if placement.platform(db, host) < placement.platform(db, home_of(db, vm)):
        raise Failure("NOT_SUPPORTED_DURING_UPGRADE")
    if db.get("VM", vm, "power_state") != "Halted":
        check_cpu(db, vm, db, host)
    placement.assert_can_boot(db, vm, host, disks=disks)


def check_sr(db: Database, sr: Ref) -> None:
    """Raise SR_DOES_NOT_SUPPORT_MIGRATION for a kind of SR that storage motion cannot use."""
    driver = driver_of(db, sr)
    if not driver.supports(_NEEDED_OF_SR):
        raise Failure("SR_DOES_NOT_SUPPORT_MIGRATION", sr, ", ".join(driver.capabilities))


def _check_leaves_pool(motion: Motion) -> None:
    db, remote, vm = motion.db, motion.remote, motion.vm
    if placement.platform(remote.db, remote.host) < placement.platform(db, motion.source):
        raise Failure("VM_HOST_INCOMPATIBLE_VERSION_MIGRATE", remote.host, vm)
    record = db.view("VM", vm)
    placement.assert_host_takes(remote.db, remote.host, record["VCPUs_max"])
    if record["power_state"] != "Halted":
        check_cpu(db, vm, remote.db, remote.host)
    if record["power_state"] in ("Running", "Paused"):
        placement.assert_room(remote.db, remote.host, {**record, "resident_on": NULL})
    for network in set(motion.networks.values()):
        pifs = remote.db.get("network", network, "PIFs")
        if pifs and not any(remote.db.get("PIF", pif, "host") == remote.host for pif in pifs):
            raise Failure("HOST_CANNOT_ATTACH_NETWORK", remote.host, network)
    _check_unique(motion)


def _check_unique(motion: Motion) -> None:
    """What a VM keeps on its way to another pool must not be there already."""
    there = motion.remote.db
    uuid = motion.db.get("VM", motion.vm, "uuid")
    if there.by_uuid("VM", uuid) is not None:
        raise Failure("DUPLICATE_VM", uuid)
    seed = motion.db.get("VM", motion.vm, "other_config").get("mac_seed")
    if seed and any(there.view("VM", other)["other_config"].get("mac_seed") == seed for other in there.refs("VM")):
        raise Failure("DUPLICATE_MAC_SEED", seed)


def check_cpu(db: Database, vm: Ref, there: Database, host: Ref) -> None:
    """Raise VM_INCOMPATIBLE_WITH_THIS_HOST where the guest knows of more than the host's processor has."""
    ours, theirs = (one.get("host", ref, "cpu_info") for one, ref in ((db, home_of(db, vm)), (there, host)))
    if ours["vendor"] != theirs["vendor"]:
        reason = f"VM was last booted on a CPU of vendor {ours['vendor']}, this host's is {theirs['vendor']}"
        raise Failure("VM_INCOMPATIBLE_WITH_THIS_HOST", vm, host, reason)
    kind = "features_hvm" if db.get("VM", vm, "domain_type") == "hvm" else "features_pv"
    if any(mine & ~its for mine, its in zip(_words(ours[kind]), _words(theirs[kind]), strict=True)):
        reason = f"VM's CPU features {ours[kind]} are not a subset of the host's, {theirs[kind]}"
        raise Failure("VM_INCOMPATIBLE_WITH_THIS_HOST", vm, host, reason)


def _words(features: str) -> Sequence[int]:
    return [int(word, 16) for word in features.split("-")]
