# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of a VM that an instance comes to. Whole numbers are texts, as XenAPI has them."""

from __future__ import annotations

from typing import Any

from ...model.instance import Boot, Cpu, Disk, Instance, Nic
from ...model.units import MIB
from .devices import device_number
from .extras import AUTOSTART, CORES, HVM, MAPPINGS, merged, wanted_domain_type
from .metadata import BY_BRIDGE, KEY, Record, with_record
from .records import NULL
from .syntax import BOOT_LETTERS
from .vifaddresses import lock_for
from .xenstore import spawn_xenstore_data, without_networking

Fields = dict[str, Any]

MEMORY_LIMITS = ("memory_static_min", "memory_static_max", "memory_dynamic_min", "memory_dynamic_max")
"""In the order in which VM.set_memory_limits takes them."""

LEAST_MB = 16
"""Down to how much a running guest's memory can be taken away; the server lets it not be changed while it runs."""

_HVM_PLATFORM = {"acpi": "1", "apic": "true", "nx": "true", "pae": "true", "viridian": "false"}
"""What guests of today expect of a machine."""


def new_vm(instance: Instance, record: Record, affinity: str) -> Fields:
    """The record with which a VM is created.

    Args:
        affinity: The reference of the host that it is to run on, or of none.
    """
    is_hvm = wanted_domain_type(instance) == HVM
    return {
        "name_label": instance.name,
        "name_description": instance.description or "",
        "user_version": "1",
        "is_a_template": False,
        "affinity": affinity,
        **memory_fields(instance),
        **vcpus_fields(instance),
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "destroy",
        "PV_bootloader_args": "",
        "PV_legacy_args": "",
        **boot_fields(instance),
        **map_fields(instance, {"platform": _HVM_PLATFORM if is_hvm else {}}, record),
        "PCI_bus": "",
        "recommendations": "",
        "has_vendor_device": False,
    }


def memory_fields(instance: Instance) -> Fields:
    """The memory limits: the guest has all that it may have now, and can get more up to its maximum."""
    least = str(min(instance.memory_mb or 0, LEAST_MB) * MIB)
    memory = str((instance.memory_mb or 0) * MIB)
    most = str((instance.max_memory_mb or instance.memory_mb or 0) * MIB)
    return {
        "memory_static_min": least,
        "memory_dynamic_min": memory,
        "memory_dynamic_max": memory,
        "memory_static_max": most,
    }


def vcpus_fields(instance: Instance) -> Fields:
    """The numbers of virtual processors."""
    vcpus = instance.vcpus or 1
    return {"VCPUs_at_startup": str(vcpus), "VCPUs_max": str(instance.max_vcpus or vcpus)}


def boot_fields(instance: Instance) -> Fields:
    """How the guest is virtualized and starts."""
    boot, kind = instance.boot or Boot(), wanted_domain_type(instance)
    is_hvm = kind == HVM
    order = "".join(BOOT_LETTERS[word] for word in boot.order or BOOT_LETTERS)
    return {
        "domain_type": kind,
        "HVM_boot_policy": "BIOS order" if is_hvm else "",
        "HVM_boot_params": {"order": order, "firmware": boot.firmware or "bios"} if is_hvm else {},
        "PV_bootloader": instance.hypervisor.get("bootloader") or "",
        "PV_kernel": boot.kernel or "",
        "PV_ramdisk": boot.initrd or "",
        "PV_args": boot.cmdline or "",
    }


def map_fields(instance: Instance, old: Fields, record: Record | None) -> Fields:
    """The fields that are maps, ours among them.

    Args:
        old: The maps that the VM has already; all else in them stays, but for what a template says of its own NICs.
    """
    told = {**without_networking(old.get("xenstore_data", {})), **spawn_xenstore_data(instance)}
    old = {**old, "xenstore_data": told}
    maps = {field: merged(old.get(field, {}), instance.hypervisor.get(option)) for option, field in MAPPINGS.items()}
    maps["platform"] = with_topology(maps["platform"], instance.cpu or Cpu())
    other = with_record(maps["other_config"], record)
    maps["other_config"] = merged(other, {AUTOSTART: True} if instance.autostart else {})
    return maps


def with_topology(platform: dict[str, str], cpu: Cpu) -> dict[str, str]:
    """A platform with the processors' arrangement, where one is asked for."""
    return {**platform, CORES: str(cpu.cores)} if cpu.cores else platform


MOVED = (
    *("userdevice", "bootable", "mode", "type", "unpluggable", "empty"),
    *("other_config", "qos_algorithm_type", "qos_algorithm_params"),
)
"""What of a VBD its successor is made from."""


def new_vbd(vm: str, disk: Disk, vdi: str | None, bootable: bool) -> Fields:
    """The record with which a disk or CD drive is attached."""
    read_only = bool(disk.read_only)
    is_cd = disk.kind == "cdrom"
    return {
        "VM": vm,
        "VDI": vdi or NULL,
        "userdevice": str(device_number(disk.device)),
        "bootable": bootable,
        "mode": "RO" if read_only or is_cd else "RW",
        "type": "CD" if is_cd else "Disk",
        "unpluggable": not is_cd,
        "empty": vdi is None,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def new_vif(vm: str, nic: Nic, network: str, device: int, filtered: bool) -> Fields:
    """The record with which a NIC is made; that of a filtered instance sends nothing unfiltered at any moment."""
    return {
        "VM": vm,
        "network": network,
        "device": str(device),
        "MAC": nic.mac or "",
        "MTU": "1500",
        "other_config": {KEY: BY_BRIDGE} if nic.network is None else {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **(lock_for(nic).fields if filtered else {}),
    }
