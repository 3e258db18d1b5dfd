# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM boots from, and what keeps it from booting anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lab.xenapi.database import Database, Ref
from lab.xenapi.failures import Failure
from lab.xenapi.guest import Guest
from lab.xenapi.settings import MIB
from lab.xenapi.vm_records import MEMORY_LIMITS

if TYPE_CHECKING:
    from lab.xenapi.world import World

BOOTLOADERS = ("pygrub", "eliloader")
_LEAST_MEMORY = 16 * MIB
_WORDS_KEY = "vm-data/lab"


def assert_bootable(world: World, vm: Ref) -> None:
    """Raise what is wrong with the VM's own settings. The caller holds the database's lock."""
    record = world.db.view("VM", vm)
    _assert_vcpus(vm, record)
    limits = [record[name] for name in MEMORY_LIMITS]
    if limits != sorted(limits):
        raise Failure("MEMORY_CONSTRAINT_VIOLATION_ORDER")
    if record["memory_static_max"] < _LEAST_MEMORY:
        raise Failure("VM_MEMORY_SIZE_TOO_LOW", vm)
    if record["domain_type"] != "hvm":
        _assert_kernel(world, vm, record)


def new_guest(world: World, vm: Ref) -> Guest:
    """The guest that boots in the VM as it is configured now."""
    record = world.db.view("VM", vm)
    words = f"{record['PV_args']} {record['xenstore_data'].get(_WORDS_KEY, '')}".split()
    boots = record["domain_type"] != "hvm" or _finds_boot_device(world.db, vm, record)
    return Guest(domid=record["domid"], words=frozenset(words), boots=boots)


def _assert_vcpus(vm: Ref, record: Mapping[str, Any]) -> None:
    most, first = record["VCPUs_max"], record["VCPUs_at_startup"]
    if most < 1:
        raise Failure("VM_NO_VCPUS", vm)
    if not 1 <= first <= most:
        raise Failure("INVALID_VALUE", "VCPUs_at_startup", str(first))
    cores = record["platform"].get("cores-per-socket", "1")
    if not cores.isdecimal() or int(cores) < 1:
        raise Failure("INVALID_VALUE", "platform:cores-per-socket", cores)
    if most % int(cores):
        raise Failure("VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE", str(most), cores)


def _assert_kernel(world: World, vm: Ref, record: Mapping[str, Any]) -> None:
    """A guest that is not HVM boots from files of the host, or with a boot loader from its disk."""
    kernel, bootloader = record["PV_kernel"], record["PV_bootloader"]
    if kernel:
        for path in filter(None, (kernel, record["PV_ramdisk"])):
            if path not in world.host_files:
                raise Failure("DOMAIN_BUILDER_ERROR", "xc_dom_linux_build", "2", f"{path}: No such file or directory")
    elif bootloader not in BOOTLOADERS:
        raise Failure("UNKNOWN_BOOTLOADER", vm, bootloader)
    elif not _has_disk(world.db, vm, bootable=True):
        raise Failure("BOOTLOADER_FAILED", vm, f"{bootloader}: no bootable disk")


def _finds_boot_device(db: Database, vm: Ref, record: Mapping[str, Any]) -> bool:
    """Whether the firmware finds something in its boot order: c disks, d CDs, n the network."""
    present = {"c": _has_disk(db, vm), "d": _has_cd(db, vm), "n": bool(record["VIFs"])}
    return any(present.get(letter, False) for letter in record["HVM_boot_params"].get("order", "dc").lower())


def _has_disk(db: Database, vm: Ref, bootable: bool = False) -> bool:
    vbds = [db.view("VBD", vbd) for vbd in db.get("VM", vm, "VBDs")]
    return any(vbd["type"] == "Disk" and not vbd["empty"] and (vbd["bootable"] or not bootable) for vbd in vbds)


def _has_cd(db: Database, vm: Ref) -> bool:
    vbds = [db.view("VBD", vbd) for vbd in db.get("VM", vm, "VBDs")]
    return any(vbd["type"] == "CD" and not vbd["empty"] for vbd in vbds)
