# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What XenServer and XCP-ng can do through XenAPI."""

from __future__ import annotations

from ..capabilities import FEATURES, LATER, STORAGE_FEATURES, YES, Capabilities, Support

_PLANNED: Capabilities = dict.fromkeys((*STORAGE_FEATURES, "firewall", "migration", "guest_operations"), LATER)

CAPABILITIES: Capabilities = {
    **dict.fromkeys(FEATURES, YES),
    **_PLANNED,
    "image": Support(True, "a raw image file where the module runs, or a VDI of the pool by its name"),
    "existing_file": Support(False, "disks are VDIs of storage repositories: use volume and pool"),
    "new_pool": Support(False, "make the storage repository with XenServer's own tools and name it with pool"),
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
}
