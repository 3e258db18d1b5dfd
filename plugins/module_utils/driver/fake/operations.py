# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of the fake hypervisor, as other hypervisors have calls: each of them happens whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Operation(NamedTuple):
    """``writes`` is False for one that only looks."""

    writes: bool
    meaning: str


OPERATIONS: Mapping[str, Operation] = {
    "host_init": Operation(True, "make the host's folder"),
    "host_stats": Operation(False, "the host's capacity and what is taken"),
    "list": Operation(False, "names, or state and size, of all instances or some"),
    "info": Operation(False, "state and size of one instance"),
    "read": Operation(False, "full configuration of all instances or some"),
    "validate": Operation(False, "look for networks, pools, images, volumes and MAC addresses"),
    "find_remains": Operation(False, "look for what killed removals left"),
    "pools": Operation(False, "all storage pools"),
    "pool_create": Operation(True, "make a storage pool"),
    "pool_start": Operation(True, "make a storage pool usable"),
    "pool_stop": Operation(True, "make a storage pool unusable"),
    "pool_autostart": Operation(True, "whether a storage pool is started with the host"),
    "pool_refresh": Operation(False, "look again at what is in a storage pool"),
    "pool_delete": Operation(True, "remove a storage pool"),
    "define": Operation(True, "record a new instance, as unfinished"),
    "finish": Operation(True, "record that a new instance is complete"),
    "redefine": Operation(True, "change an instance's configuration"),
    "undefine": Operation(True, "remove an instance's record"),
    "volumes": Operation(False, "volumes of a pool, or some"),
    "volume_uses": Operation(False, "who needs volumes"),
    "volume_source": Operation(False, "what a new volume is made from"),
    "volume_create": Operation(True, "make a volume, or begin to"),
    "volume_copy": Operation(True, "copy a piece of a volume"),
    "volume_write": Operation(True, "upload a piece of a volume"),
    "volume_finish": Operation(True, "record that a new volume is complete"),
    "volume_open": Operation(False, "begin to download a volume"),
    "volume_read": Operation(False, "download a piece of a volume"),
    "volume_metadata": Operation(True, "change a volume's metadata"),
    "volume_snapshot": Operation(True, "keep what is in a volume"),
    "volume_snapshot_delete": Operation(True, "forget a volume's snapshot"),
    "volume_revert": Operation(True, "bring back what was in a volume"),
    "volume_resize": Operation(True, "change a volume's size"),
    "volume_replace": Operation(True, "give a cloud-init seed other contents"),
    "volume_delete": Operation(True, "remove a volume"),
    "attachment": Operation(False, "look at an instance's disks"),
    "hotplug_verify": Operation(False, "whether a disk can come or go while a guest runs"),
    "attach": Operation(True, "attach a volume"),
    "detach": Operation(True, "detach a volume, if the guest lets go of it"),
    "attachment_update": Operation(True, "change how a volume is attached"),
    "media_change": Operation(True, "insert or eject a CD"),
    "images": Operation(False, "all images of the caches"),
    "image_reserve": Operation(True, "take an image's name to fetch it"),
    "image_beat": Operation(True, "tell that a fetch goes on"),
    "image_write": Operation(True, "write a piece of an image"),
    "image_finish": Operation(True, "record that an image is complete"),
    "image_delete": Operation(True, "remove an image"),
    "security_groups": Operation(False, "all security groups"),
    "security_group_define": Operation(True, "make a security group, or give it other rules"),
    "security_group_delete": Operation(True, "remove a security group"),
    "security_group_uses": Operation(False, "who needs security groups"),
    "provider_rules": Operation(False, "the operator's rules"),
    "provider_rules_change": Operation(True, "replace the operator's rules"),
    "remote_members": Operation(False, "what is known of other hosts' members of security groups"),
    "members_change": Operation(True, "replace what is known of other hosts, and bring rules about members up to date"),
    "filters": Operation(False, "compare the filters in place with those that are to be there"),
    "filters_restore": Operation(True, "put all filters in place"),
    "packet": Operation(False, "whether a packet would pass"),
    "change_running": Operation(True, "change what a running guest has"),
    "balloon": Operation(True, "change a running guest's memory"),
    "start": Operation(True, "power on"),
    "shutdown": Operation(True, "ask the guest to power off"),
    "force_off": Operation(True, "take the power away"),
    "reboot": Operation(True, "ask the guest to reboot"),
    "reset": Operation(True, "reset at once"),
    "pause": Operation(True, "stop giving processor time"),
    "unpause": Operation(True, "give processor time again"),
    "suspend": Operation(True, "save the memory and stop"),
    "resume": Operation(True, "go on from the saved memory"),
    "addresses": Operation(False, "addresses known from leases"),
    "agent_addresses": Operation(False, "addresses that a guest's agent tells"),
    "stats": Operation(False, "counters of disks, NICs and guests"),
    "console": Operation(False, "the serial console's log"),
    "vnc": Operation(False, "where the VNC console listens"),
}
"""Their names are what ``faults.json`` and ``FakeDriver.calls`` call them by."""
