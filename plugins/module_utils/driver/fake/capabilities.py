# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fake hypervisor can do."""

from __future__ import annotations

from ..capabilities import FEATURES, LATER, YES, Capabilities, Support

_LATER = ("guest_operations",)

CAPABILITIES: Capabilities = {
    **{feature: LATER if feature in _LATER else YES for feature in FEATURES},
    "vcpus_live": Support(True, "adding; taking away waits for the next start"),
    "volume_copy_on_write": Support(True, "children are qcow2 or vhd"),
    "volume_snapshots": Support(True, "of qcow2 and vhd volumes"),
    "attach_live": Support(True, "on the buses virtio, scsi, usb and xen"),
    "firewall_nwfilter": Support(True, "its rules are simulated"),
    "firewall_nftables": Support(True, "its rules are simulated"),
    "firewall_iptables": Support(True, "its rules are simulated"),
    "migration_parallel": Support(True, "which makes nothing faster"),
    "migration_tls": Support(True, "nothing is really sent"),
    "migration_tunnelled": Support(True, "nothing is really sent"),
    "migration_transient": Support(False, "what arrives is defined for good; leave out persist: false"),
    "cloud_init": Support(True, "the seed is a record; what is in it is not kept"),
}
