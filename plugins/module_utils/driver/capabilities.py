# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What hypervisors can do, as data: the drivers declare it, refusals and the support table in docs/ come from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FEATURES: Mapping[str, str] = {
    "spawn": "create and start instances",
    "image": "root disk made from an image file, copy on write",
    "existing_volume": "disks on existing volumes",
    "existing_file": "disks on existing files and block devices of the host",
    "new_pool": "create a storage pool on demand",
    "kernel_boot": "boot a kernel and ramdisk directly",
    "uefi": "UEFI firmware",
    "cloud_init": "cloud-init data on a NoCloud seed disk",
    "start_paused": "start an instance paused",
    "shutdown_acpi": "stop through the guest's power button",
    "shutdown_agent": "stop through the guest agent",
    "shutdown_forced": "stop at once",
    "reboot_soft": "reboot asked of the guest",
    "reboot_hard": "reset at once",
    "pause": "pause and unpause",
    "suspend": "suspend to disk and resume",
    "autostart": "start with the host",
    "memory_live": "change memory while running, up to the maximum",
    "vcpus_live": "change vCPUs while running, up to the maximum",
    "root_grow_live": "grow the root disk while running",
    "root_grow": "grow the root disk while stopped",
    "nics_live": "plug and unplug NICs while running",
    "nics": "change NICs, effective at the next start",
    "console_output": "read the serial console's log",
    "vnc_console": "VNC console",
    "vnc_address": "choose where the VNC console listens",
    "addresses": "find out an instance's addresses",
    "diagnostics": "diagnostics of running instances",
    "block_stats": "disk counters",
    "interface_stats": "network counters",
    "host_stats": "host capacity",
    "compare_cpu": "compare a processor with the host's",
    "metadata": "metadata, lock and protection kept with the instance",
    "pools": "make, start, stop and remove storage pools",
    "volumes": "make, grow and remove volumes",
    "volume_shrink": "make detached volumes smaller",
    "volume_copy_on_write": "volumes that are copy-on-write children of others",
    "volume_snapshots": "snapshots of volumes, and going back to them",
    "volume_encryption": "encrypted volumes",
    "volume_metadata": "metadata kept with a volume",
    "volume_transfer": "upload and download volumes",
    "images": "fetch images into a pool's cache",
    "attach": "attach and detach volumes",
    "attach_live": "attach and detach volumes while running",
    "cdrom_media": "change the medium of a CD drive",
    "disk_tuning": "cache, discard and serial number of attached volumes",
    "io_limits": "limits on a disk's bandwidth and operations",
    "firewall": "security groups",
    "firewall_base": "protection against spoofed addresses, rogue DHCP servers and router advertisements",
    "firewall_nwfilter": "filtering with libvirt's nwfilter",
    "firewall_nftables": "filtering with nftables",
    "firewall_iptables": "filtering with iptables",
    "provider_rules": "an operator's rules for all instances",
    "group_references": "rules about the members of a security group",
    "migration_live": "move running instances to another host",
    "migration_cold": "move stopped instances to another host",
    "migration_copy": "copy disks that the other host does not see, while the instance runs",
    "migration_incremental": "copy only what differs from an image that the other host has",
    "migration_pause": "pause an instance whose migration takes too long",
    "migration_post_copy": "switch a migration to post-copy",
    "migration_auto_converge": "slow down guests that change memory faster than it is sent",
    "migration_compression": "compress memory on its way",
    "migration_parallel": "several connections for memory",
    "migration_bandwidth": "limit the bandwidth of a migration",
    "migration_downtime": "limit the downtime of a migration",
    "migration_tls": "encrypted migration between the hypervisors",
    "migration_tunnelled": "migration through the management connection",
    "migration_by_source": "migration that the source's daemon drives by itself",
    "migration_transient": "move without defining the instance for good",
    "migration_abort": "abort a migration",
    "resize_revertible": "resize, and confirm it or take it back",
    "guest_operations": "password, files and snapshots of guests",
}
"""Feature -> what it means, in the order of the support table."""

STORAGE_FEATURES = (
    "pools",
    "volumes",
    "volume_shrink",
    "volume_copy_on_write",
    "volume_snapshots",
    "volume_encryption",
    "volume_metadata",
    "volume_transfer",
    "images",
    "attach",
    "attach_live",
    "cdrom_media",
    "disk_tuning",
    "io_limits",
)
"""Those of a storage driver."""

FIREWALL_FEATURES = (
    "firewall",
    "firewall_base",
    "firewall_nwfilter",
    "firewall_nftables",
    "firewall_iptables",
    "provider_rules",
    "group_references",
)
"""Those of a firewall driver."""

MIGRATION_FEATURES = tuple(feature for feature in FEATURES if feature.startswith("migration_"))
"""Those of a migration driver."""


class Support(NamedTuple):
    """Whether a feature works; ``note`` says with what limits, or what to use instead."""

    works: bool
    note: str = ""


YES = Support(True)
LATER = Support(False, "not there yet")

Capabilities = Mapping[str, Support]


def support(capabilities: Capabilities, feature: str) -> Support:
    """The declaration for ``feature``; what is not declared does not work.

    Raises:
        KeyError: there is no such feature at all.
    """
    if feature not in FEATURES:
        raise KeyError(feature)
    return capabilities.get(feature, Support(False))
