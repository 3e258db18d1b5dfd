# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What XenServer and XCP-ng can do through XenAPI."""

from __future__ import annotations

from ..capabilities import FEATURES, LATER, YES, Capabilities, Support

_PLANNED: Capabilities = {"guest_operations": LATER}
_ENGINE = "XenServer locks the network interfaces of instances that have security_groups by itself; leave firewall out"

CAPABILITIES: Capabilities = {
    **dict.fromkeys(FEATURES, YES),
    **_PLANNED,
    "image": Support(True, "a raw image file where the module runs, or a VDI of the pool by its name"),
    "existing_file": Support(False, "disks are VDIs of storage repositories: use volume and pool"),
    "new_pool": Support(False, "make the storage repository with XenServer's own tools and name it with pool"),
    "pools": Support(
        True,
        "storage repositories of kinds ext, lvm, nfs, iscsi and iso; hosts always connect with them when they start",
    ),
    "volumes": Support(True, "virtual disks; they grow while no running instance has them"),
    "volume_shrink": Support(False, "make a smaller volume and copy the data in a guest"),
    "volume_copy_on_write": Support(True, "within one pool"),
    "volume_encryption": Support(False, "encrypt inside the guest, or keep the pool on encrypted storage"),
    "volume_transfer": Support(True, "raw and dynamic VHD images in, raw ones out; holes are not sent"),
    "volume_snapshots": Support(
        True, "of volumes that are not shareable, at any time; going back while no active instance has the volume"
    ),
    "images": Support(True, "raw and dynamic VHD images"),
    "attach_live": Support(True, "HVM guests need XenServer's tools; PV guests need none"),
    "cdrom_media": Support(True, "media are volumes of pools of kind iso"),
    "disk_tuning": Support(False, "XenServer decides how disks are cached, and gives them their serial numbers"),
    "io_limits": Support(False, "XenServer only weighs disks against each other; limit them in the guest"),
    "kernel_boot": Support(True, "files of the host, in the folders that XenServer allows; the guest is a PV one then"),
    "uefi": Support(True, "HVM guests, on hosts that offer it"),
    "shutdown_acpi": Support(True, "through Xen's control channel; the guest needs drivers that heed it"),
    "shutdown_agent": Support(False, "use method acpi or forced"),
    "reboot_soft": Support(True, "the guest needs drivers that heed it"),
    "suspend": Support(
        True,
        "with the guest's help, so that a paused one goes on for a moment; where the pool has a storage repository for "
        "suspended memory",
    ),
    "memory_live": Support(True, "up to its maximum, by ballooning; the guest needs drivers that heed it"),
    "vcpus_live": Support(True, "adding; taking away waits for the next start"),
    "root_grow_live": Support(False, "stop the instance first"),
    "console_output": Support(False, "XenServer keeps no log of it; open the console that console.vnc.url leads to"),
    "vnc_console": Support(True, "through the pool, at a URL that wants a session"),
    "vnc_address": Support(False, "the pool chooses where it listens; results tell its URL"),
    "addresses": Support(True, "told by the guest agent"),
    "diagnostics": Support(True, "from the rates that hosts record, added up since the start"),
    "block_stats": Support(
        True, "from the rates that hosts record, added up since the start; no errors, requests only where recorded"
    ),
    "interface_stats": Support(
        True, "from the rates that hosts record, added up since the start; no packets and drops"
    ),
    "firewall": Support(
        True,
        "all groups are kept; instances can be in those that let everything in and out, which gives them the base "
        "protection; filter in the guest or on the network",
    ),
    "firewall_base": Support(
        True,
        "spoofed addresses and router advertisements, where addresses are declared; rogue DHCP servers with an address "
        "of their own are not stopped",
    ),
    **dict.fromkeys(("firewall_nwfilter", "firewall_nftables", "firewall_iptables"), Support(False, _ENGINE)),
    "provider_rules": Support(False, "XenServer only keeps guests from using other addresses; filter on the network"),
    "migration_live": Support(True, "guests that run, not paused ones; HVM guests need XenServer's tools"),
    "migration_cold": Support(True, "suspended instances as well"),
    "migration_copy": Support(True, "storage motion, also to another pool; snapshots of volumes do not travel"),
    "migration_incremental": Support(False, "storage motion finds by itself what it need not copy"),
    "migration_compression": Support(True, "XenServer 8 and XCP-ng 8.3 and later; older ones take no notice"),
    "migration_by_source": Support(True, "always: the pool's own tasks do it"),
    "migration_abort": Support(True, "until the guest is about to change places"),
    **dict.fromkeys(
        ("migration_pause", "migration_post_copy", "migration_auto_converge", "migration_parallel"),
        Support(False, "XenServer decides by itself how it comes to an end"),
    ),
    "migration_bandwidth": Support(False, "limit the network on which hosts are managed"),
    "migration_downtime": Support(False, "XenServer decides by itself how it comes to an end"),
    "migration_tls": Support(False, "whether hosts encrypt migration is a setting of theirs"),
    "migration_tunnelled": Support(False, "hosts send instances to each other"),
    "migration_transient": Support(False, "XenServer has no instances that are gone when they are off"),
    "group_references": Support(False, "such rules are kept, and no instance can be in their groups alone"),
}
