# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VM messages that move VMs between hosts and between pools."""

from __future__ import annotations

from lab.xenapi import migration_rules, storage_motion
from lab.xenapi.behaviour.vm_run import migrate
from lab.xenapi.database import Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure
from lab.xenapi.motion import Motion, plan_motion
from lab.xenapi.neighbours import remote_of
from lab.xenapi.operations import check, operation
from lab.xenapi.registry import Call, message

RefMap = dict[Ref, Ref]


@message("VM.pool_migrate")
def pool_migrate(call: Call, vm: Ref, host: Ref, options: dict[str, str]) -> None:
    with operation(call, vm, "pool_migrate") as current:
        with call.db.lock:
            migration_rules.check_moves_within(call.db, vm, host, disks=True)
        migrate(current, host)


@message("host.migrate_receive")
def migrate_receive(call: Call, host: Ref, network: Ref, options: dict[str, str]) -> dict[str, str]:
    """What VM.migrate_send has to be told to send a VM to this host."""
    with call.db.lock:
        _check_address(call, host, network)
        [pool] = call.db.refs("pool")
        here, master = (call.db.get("host", one, "address") for one in (host, call.db.get("pool", pool, "master")))
    scheme = call.world.scheme
    return {
        "host": host,
        "SM": f"{scheme}://{here}/services/SM?session_id={call.session}",
        "xenops": f"{scheme}://{here}/services/xenops?session_id={call.session}",
        "master": f"{scheme}://{master}/",
        "session_id": call.session,
    }


def _check_address(call: Call, host: Ref, network: Ref) -> None:
    """Raise what keeps VMs from arriving on this network of the host."""
    pifs = call.db.get("network", network, "PIFs")
    own = [pif for pif in pifs if call.db.get("PIF", pif, "host") == host]
    if not own:
        raise Failure("HOST_CANNOT_ATTACH_NETWORK", host, network)
    if not call.db.get("PIF", own[0], "IP"):
        raise Failure("INTERFACE_HAS_NO_IP", own[0])


@message("VM.assert_can_migrate")
def assert_can_migrate(
    call: Call, vm: Ref, dest: dict[str, str], live: bool, vdi_map: RefMap, vif_map: RefMap, options: dict[str, str],
    vgpu_map: RefMap,
) -> None:  # fmt: skip
    with call.db.lock:
        check(call.db, vm, "migrate_send")
    _checked(call, vm, dest, vdi_map, vif_map, options)


@message("VM.migrate_send")
def migrate_send(
    call: Call, vm: Ref, dest: dict[str, str], live: bool, vdi_map: RefMap, vif_map: RefMap, options: dict[str, str],
    vgpu_map: RefMap,
) -> Ref:  # fmt: skip
    """Move the VM with its disks; a VM that leaves its pool is gone from it, and has a new reference in the other."""
    with operation(call, vm, "migrate_send") as current, storage_motion.one_of_few(call.world):
        return storage_motion.carry_out(current, _checked(call, vm, dest, vdi_map, vif_map, options))


def _checked(
    call: Call, vm: Ref, dest: dict[str, str], vdi_map: RefMap, vif_map: RefMap, options: dict[str, str]
) -> Motion:
    remote = remote_of(dest)
    if options.get("copy") == "true":
        raise Failure("NOT_IMPLEMENTED", "VM.migrate_send that copies")
    with call.db.lock:
        motion = plan_motion(call, vm, remote, vdi_map, vif_map)
    with storage_motion.both_locked(motion):
        migration_rules.check_motion(motion)
        return motion


@message("VDI.pool_migrate")
def pool_migrate_disk(call: Call, vdi: Ref, sr: Ref, options: dict[str, str]) -> Ref:
    """Move a disk of a running VM to another SR of the pool; the VM stays on its host. The VDI's new reference."""
    db = call.db
    with db.lock:
        running = [vbd for vbd in db.get("VDI", vdi, "VBDs") if db.get("VBD", vbd, "currently_attached")]
        if not running:
            raise Failure("VDI_NEEDS_VM_FOR_MIGRATE", vdi)
        vm = db.get("VBD", running[0], "VM")
        host = db.get("VM", vm, "resident_on")
        disks = [db.get("VBD", vbd, "VDI") for vbd in db.get("VM", vm, "VBDs") if db.get("VBD", vbd, "type") != "CD"]
        network = db.get("PIF", db.get("host", host, "PIFs")[0], "network")
    where = {disk: sr if disk == vdi else db.get("VDI", disk, "SR") for disk in disks if disk != NULL}
    migrate_send(call, vm, migrate_receive(call, host, network, {}), True, where, {}, {}, {})
    return str(db.get("VBD", running[0], "VDI"))
