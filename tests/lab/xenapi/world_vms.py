# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool's templates as a test finds them, and VMs that only fill it."""

from __future__ import annotations

from typing import Any

from lab.xenapi import vm_devices, volumes
from lab.xenapi.database import Database, Ref
from lab.xenapi.datamodel import NULL
from lab.xenapi.settings import GIB, MIB
from lab.xenapi.vm_records import HVM_BOOT_POLICY, create_vm

OTHER_INSTALL_MEDIA, DEBIAN, GOLDEN = "Other install media", "Debian Bookworm 12", "golden"
DVD_NUMBER = "3"

_RECOMMENDATIONS = (
    '<restrictions><restriction field="memory-static-max" max="137438953472"/>'
    '<restriction field="vcpus-max" max="32"/>'
    '<restriction field="has-vendor-device" value="false"/>'
    '<restriction max="255" property="number-of-vbds"/><restriction max="7" property="number-of-vifs"/></restrictions>'
)
_PLATFORM = {
    "nx": "true",
    "acpi": "1",
    "apic": "true",
    "pae": "true",
    "viridian": "false",
    "device-model": "qemu-upstream-compat",
}


def build_templates(db: Database, golden_image: Ref) -> None:
    """Those of the distribution, which only tell what disks to make, and one with a disk of its own."""
    _make_default(db, OTHER_INSTALL_MEDIA, 256 * MIB, "<provision></provision>")
    _make_default(db, DEBIAN, 1024 * MIB, _disks(10 * GIB), install_methods="cdrom,nfs,http,ftp", linux_template="true")
    golden = create_vm(
        db, **_hvm(256 * MIB), name_label=GOLDEN, name_description="A system that is ready to use", is_a_template=True
    )
    system = volumes.duplicate(db, golden_image, name_label="golden system")
    _add_disk(db, golden, system)
    dvd = db.create(
        "VBD", VM=golden, VDI=NULL, type="CD", mode="RO", userdevice=DVD_NUMBER, empty=True, unpluggable=True
    )
    vm_devices.refresh_disk(db, dvd)


def build_extra_vms(db: Database, number: int, sr: Ref, network: Ref) -> None:
    """Halted VMs with a disk and an interface each, so that the pool is large."""
    for index in range(number):
        name = f"bench{index:04}"
        vm = create_vm(db, **_hvm(512 * MIB), name_label=name)
        _add_disk(db, vm, volumes.create_volume(db, sr, 4 * MIB, name_label=f"{name} disk"))
        mac = f"02:99:00:{index >> 16 & 255:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"
        db.create("VIF", VM=vm, network=network, device="0", MAC=mac, MTU=1500)
        vm_devices.refresh_devices(db, vm)


def _make_default(db: Database, name: str, memory: int, disks: str, **other_config: str) -> None:
    create_vm(
        db,
        **_hvm(memory),
        name_label=name,
        name_description=f"Template of the distribution: {name}",
        is_a_template=True,
        is_default_template=True,
        other_config={"default_template": "true", "disks": disks, **other_config},
    )


def _hvm(memory: int) -> dict[str, Any]:
    return {
        "memory_static_min": memory,
        "memory_dynamic_min": memory,
        "memory_dynamic_max": memory,
        "memory_static_max": memory,
        "VCPUs_max": 1,
        "VCPUs_at_startup": 1,
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "restart",
        "HVM_boot_policy": HVM_BOOT_POLICY,
        "HVM_boot_params": {"order": "cdn"},
        "domain_type": "hvm",
        "platform": dict(_PLATFORM),
        "recommendations": _RECOMMENDATIONS,
    }


def _disks(size: int) -> str:
    return f'<provision><disk device="0" size="{size}" sr="" bootable="true" type="system"/></provision>'


def _add_disk(db: Database, vm: Ref, vdi: Ref) -> None:
    vbd = db.create("VBD", VM=vm, VDI=vdi, type="Disk", mode="RW", userdevice="0", bootable=True, unpluggable=True)
    vm_devices.refresh_disk(db, vbd)
