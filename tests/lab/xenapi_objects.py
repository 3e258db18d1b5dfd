# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of a pool for the tests of its storage and networks, made through the XenAPI package."""

from __future__ import annotations

import time
from typing import Any

import pytest
import XenAPI

MIB = 1024**2
NULL = "OpaqueRef:NULL"


def fails(call: Any, *args: Any) -> list[str]:
    """The error code and its parameters that the call fails with."""
    with pytest.raises(XenAPI.Failure) as caught:
        call(*args)
    return list(caught.value.details)


def make_vm(xenapi: Any, name: str = "vm1", **fields: Any) -> str:
    """A halted paravirtual VM of 128 MiB without devices."""
    memory = str(128 * MIB)
    record = {
        "name_label": name,
        "name_description": "",
        "user_version": "1",
        "is_a_template": False,
        "affinity": NULL,
        "memory_static_min": memory,
        "memory_dynamic_min": memory,
        "memory_dynamic_max": memory,
        "memory_static_max": memory,
        "VCPUs_params": {},
        "VCPUs_max": "1",
        "VCPUs_at_startup": "1",
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "restart",
        "PV_bootloader": "",
        "PV_kernel": "/boot/guest/vmlinuz",
        "PV_ramdisk": "/boot/guest/initrd.img",
        "PV_args": "",
        "PV_bootloader_args": "",
        "PV_legacy_args": "",
        "HVM_boot_policy": "",
        "HVM_boot_params": {},
        "platform": {},
        "PCI_bus": "",
        "other_config": {},
        "recommendations": "",
        "domain_type": "pv",
        **fields,
    }
    return str(xenapi.VM.create(record))


def hvm(**fields: Any) -> dict[str, Any]:
    """What makes it a fully virtual VM."""
    return {
        "PV_kernel": "",
        "PV_ramdisk": "",
        "HVM_boot_policy": "BIOS order",
        "HVM_boot_params": {"order": "cdn"},
        "domain_type": "hvm",
        **fields,
    }


def vdi_record(sr: str, size: int = 8 * MIB, **fields: Any) -> dict[str, Any]:
    return {
        "name_label": "vdi1",
        "name_description": "",
        "SR": sr,
        "virtual_size": str(size),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": {},
        **fields,
    }


def make_vdi(xenapi: Any, sr: str, size: int = 8 * MIB, **fields: Any) -> str:
    return str(xenapi.VDI.create(vdi_record(sr, size, **fields)))


def vbd_record(vm: str, vdi: str, **fields: Any) -> dict[str, Any]:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": "autodetect",
        "bootable": False,
        "mode": "RW",
        "type": "Disk",
        "unpluggable": True,
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **fields,
    }


def drive_record(vm: str, vdi: str = NULL, **fields: Any) -> dict[str, Any]:
    """A CD drive, empty unless there is a VDI."""
    return vbd_record(vm, vdi, **{"mode": "RO", "type": "CD", "empty": vdi == NULL, **fields})


def make_disk(xenapi: Any, vm: str, vdi: str, **fields: Any) -> str:
    return str(xenapi.VBD.create(vbd_record(vm, vdi, **fields)))


def vif_record(vm: str, network: str, **fields: Any) -> dict[str, Any]:
    return {
        "VM": vm,
        "network": network,
        "device": "0",
        "MAC": "",
        "MTU": "1500",
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        **fields,
    }


def start(xenapi: Any, vm: str) -> None:
    """Start it and wait until its tools are up."""
    xenapi.VM.start(vm, False, False)
    wait_for_tools(xenapi, vm)


def wait_for_tools(xenapi: Any, vm: str) -> None:
    end = time.monotonic() + 5
    while xenapi.VM.get_guest_metrics(vm) == NULL:
        assert time.monotonic() < end, "the guest's tools do not come up"
        time.sleep(0.01)


def sr_named(xenapi: Any, name: str) -> str:
    return str(xenapi.SR.get_by_name_label(name)[0])


def network_named(xenapi: Any, name: str) -> str:
    return str(xenapi.network.get_by_name_label(name)[0])
