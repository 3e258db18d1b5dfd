# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt's drivers can do, as found by trying them."""

from __future__ import annotations

from collections.abc import Mapping

from ..capabilities import (
    FEATURES,
    FIREWALL_FEATURES,
    LATER,
    MIGRATION_FEATURES,
    STORAGE_FEATURES,
    YES,
    Capabilities,
    Support,
)

_PLANNED: Capabilities = dict.fromkeys((*STORAGE_FEATURES, "guest_operations"), LATER)

_ON_THE_HOST = Support(True, "where the module runs on the hypervisor's host itself")
_FIREWALL: Capabilities = {
    **dict.fromkeys(FIREWALL_FEATURES, YES),
    "firewall_nftables": _ON_THE_HOST,
    "firewall_iptables": _ON_THE_HOST,
}
_NO_FIREWALL = Support(False, "libvirt's Xen driver has no nwfilter; filter on the host, or in the guests")

_STORAGE: Capabilities = {
    **dict.fromkeys(("pools", "volume_metadata", "volume_transfer"), YES),
    "volumes": Support(True, "in pools of files and LVM; they grow in pools of files"),
    "volume_shrink": Support(True, "in pools of files; make a smaller volume in the others"),
    "volume_copy_on_write": Support(True, "in pools of files"),
    "volume_encryption": Support(True, "LUKS, of blank volumes in pools of files"),
    "volume_snapshots": Support(False, "libvirt has them on QEMU only; make copies with source.volume"),
    "images": Support(True, "in pools of files"),
}

_QEMU_MIGRATION: Capabilities = {
    **dict.fromkeys(MIGRATION_FEATURES, YES),
    "migration_live": Support(True, "without devices of the host, and to a host that has the guest's processor"),
    "migration_post_copy": Support(True, "where the destination's kernel lets QEMU use userfaultfd"),
    "migration_tls": Support(True, "where QEMU has certificates on both hosts"),
    "migration_by_source": Support(True, "where the source's daemon reaches the destination's, see peer_uri"),
    "migration_tunnelled": Support(True, "driven by the source, and without copied disks"),
}

_QEMU: Capabilities = {
    **dict.fromkeys(FEATURES, YES),
    **_PLANNED,
    **_STORAGE,
    **_FIREWALL,
    "resize_revertible": Support(
        True, "with snapshots if all disks are qcow2, otherwise with copies; not encrypted disks"
    ),
    "volume_snapshots": Support(True, "of qcow2 volumes, while the instances that use them are stopped"),
    **dict.fromkeys(("attach", "cdrom_media", "disk_tuning", "io_limits"), YES),
    "attach_live": Support(True, "on the buses virtio, scsi and usb"),
    "uefi": Support(True, "where the host has UEFI firmware installed"),
    "shutdown_agent": Support(True, "where the guest runs the QEMU guest agent"),
    "addresses": Support(True, "from DHCP leases of libvirt's networks, and from the guest agent"),
    "suspend": Support(True, "persistent instances only; pause the others"),
    **_QEMU_MIGRATION,
}

_MIGRATION_ELSEWHERE: Capabilities = {
    **dict.fromkeys(MIGRATION_FEATURES, Support(False, "libvirt has it on QEMU only")),
    "migration_cold": YES,
    "migration_transient": YES,
}
_LXC_MIGRATION: Capabilities = {
    **_MIGRATION_ELSEWHERE,
    "migration_live": Support(False, "libvirt does not move containers that run; move them cold"),
    "migration_cold": Support(True, "to hosts that have its folders; they are not copied"),
}
_XEN_MIGRATION: Capabilities = {
    **_MIGRATION_ELSEWHERE,
    "migration_live": Support(True, "PVH and HVM guests, on storage that both hosts see; PV guests move cold"),
    "migration_copy": Support(False, "libvirt's Xen driver copies no disks of guests that run; move them cold"),
    "migration_incremental": Support(True, "cold"),
    "migration_abort": Support(False, "libxl cannot stop a migration that has begun"),
}

_NO_DISKS = Support(False, "containers have no disks: give folders with libvirt.xml as a <filesystem>")
_NO_FIRMWARE = Support(False, "containers have none")

_LXC: Capabilities = {
    **dict.fromkeys(
        (
            "spawn",
            "shutdown_acpi",
            "shutdown_forced",
            "reboot_hard",
            "pause",
            "autostart",
            "memory_live",
            "nics",
            "interface_stats",
            "host_stats",
            "metadata",
        ),
        YES,
    ),
    **_PLANNED,
    **_STORAGE,
    **_FIREWALL,
    "resize_revertible": YES,
    **dict.fromkeys(("attach", "attach_live", "cdrom_media", "disk_tuning", "io_limits"), _NO_DISKS),
    "image": Support(False, "a container's root is a folder: give it with libvirt.xml as a <filesystem>"),
    "existing_volume": Support(False, "a container's root is a folder: give it with libvirt.xml as a <filesystem>"),
    "existing_file": Support(False, "a container's root is a folder: give it with libvirt.xml as a <filesystem>"),
    "new_pool": Support(False, "containers have no disks"),
    "kernel_boot": Support(False, "containers run on the host's kernel; name the first program with boot.init"),
    "uefi": _NO_FIRMWARE,
    "cloud_init": Support(False, "containers have no disks; put the data into the root folder"),
    "start_paused": Support(False, "start it, then pause it"),
    "shutdown_acpi": Support(True, "by SIGTERM to the container's first program, which has to heed it"),
    "shutdown_agent": Support(False, "use method acpi or forced"),
    "reboot_soft": Support(False, "libvirt cannot tell whether a container has done so; use method hard"),
    "reboot_hard": Support(True, "by stopping and starting it; persistent instances only"),
    "suspend": Support(False, "pause it instead"),
    "vcpus_live": Support(False, "containers use the host's processors; limit them with libvirt.xml"),
    "nics_live": YES,
    **dict.fromkeys(("root_grow", "root_grow_live"), Support(False, "containers have no disks")),
    "console_output": Support(False, "libvirt keeps no log of it; attach to its console with virsh console"),
    **dict.fromkeys(("vnc_console", "vnc_address"), Support(False, "containers have no display")),
    "addresses": Support(True, "from DHCP leases of libvirt's networks"),
    "diagnostics": Support(True, "processor time, memory, network"),
    "block_stats": Support(False, "containers have no disks"),
    "compare_cpu": Support(False, "containers use the host's processor as it is"),
    **_LXC_MIGRATION,
}

_XEN: Capabilities = {
    **dict.fromkeys(
        (
            "spawn",
            "image",
            "existing_volume",
            "existing_file",
            "new_pool",
            "kernel_boot",
            "cloud_init",
            "start_paused",
            "shutdown_forced",
            "reboot_soft",
            "pause",
            "autostart",
            "memory_live",
            "vcpus_live",
            "root_grow",
            "nics_live",
            "nics",
            "interface_stats",
            "host_stats",
            "compare_cpu",
            "metadata",
        ),
        YES,
    ),
    **_PLANNED,
    **_STORAGE,
    **dict.fromkeys(FIREWALL_FEATURES, _NO_FIREWALL),
    "resize_revertible": Support(True, "with whole copies of the disks that grow; not encrypted ones"),
    "attach": YES,
    "attach_live": Support(True, "on the bus xen, of guests that were started with a disk"),
    "cdrom_media": Support(True, "of HVM guests, not tried on a real one yet; PV and PVH guests have no CD drives"),
    "disk_tuning": Support(False, "libxl decides by itself how disks are cached, and gives them no serial number"),
    "io_limits": Support(False, "libxl has none"),
    "uefi": Support(False, "boot PV and PVH guests with a kernel, HVM guests with BIOS"),
    "shutdown_acpi": Support(True, "through Xen's control channel"),
    "shutdown_agent": Support(False, "use method acpi or forced"),
    "reboot_hard": Support(True, "by stopping and starting it; persistent instances only"),
    "suspend": Support(True, "with the guest's help; a paused instance is unpaused for it"),
    **dict.fromkeys(("vnc_console", "vnc_address"), Support(True, "of PV and HVM guests; PVH guests have no display")),
    "root_grow_live": Support(False, "stop the instance first"),
    "console_output": Support(False, "libxl keeps no log; attach to its console with virsh console"),
    "addresses": Support(True, "from DHCP leases of libvirt's networks only"),
    "diagnostics": Support(True, "processor time, memory, network"),
    "block_stats": Support(False, "libxl has none for disks on files"),
    **_XEN_MIGRATION,
}

CAPABILITIES: Mapping[str, Capabilities] = {"qemu": _QEMU, "lxc": _LXC, "xen": _XEN}
"""By the URI's scheme."""
