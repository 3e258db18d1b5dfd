# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which features of a driver an instance needs."""

from __future__ import annotations

from collections.abc import Iterator

from ..model.instance import CDROM, SEED, Disk, Instance
from ..model.secgroup import NO_FIREWALL
from .capabilities import FEATURES


def needed_features(instance: Instance) -> Iterator[tuple[str, str]]:
    """Options that are used, each with the feature that a driver needs for it."""
    if instance.image:
        yield "image", "image"
    if instance.pool_path:
        yield "pool_path", "new_pool"
    for number, disk in enumerate(instance.disks or []):
        if disk.role != SEED:
            yield f"disks[{number}]", _disk_feature(disk)
    if instance.boot is not None:
        for option in ("kernel", "initrd", "cmdline"):
            if getattr(instance.boot, option):
                yield f"boot.{option}", "kernel_boot"
        if instance.boot.firmware == "uefi":
            yield "boot.firmware", "uefi"
    if instance.cloud_init is not None:
        yield "cloud_init", "cloud_init"
    if instance.console is not None and instance.console.vnc:
        yield "console.vnc", "vnc_console"
    if instance.console is not None and (instance.console.vnc_listen or instance.console.vnc_port):
        yield "console.vnc", "vnc_address"
    if instance.nics:
        yield "nics", "nics"
    yield from _filtering_needs(instance)


def _filtering_needs(instance: Instance) -> Iterator[tuple[str, str]]:
    if instance.firewall == NO_FIREWALL:
        return
    if instance.security_groups is not None:
        yield "security_groups", "firewall"
    if f"firewall_{instance.firewall}" in FEATURES:
        yield "firewall", f"firewall_{instance.firewall}"
    if instance.allow_project_net_traffic:
        yield "allow_project_net_traffic", "group_references"
    for number, nic in enumerate(instance.nics or ()):
        if nic.addresses:
            yield f"nics[{number}].addresses", "firewall_base"


def _disk_feature(disk: Disk) -> str:
    """What a disk needs of the driver: that it is made, or that it can be one that is there already."""
    if disk.owned or (disk.volume is None and disk.path is None and disk.kind != CDROM):
        return "image"
    return "existing_volume" if disk.path is None else "existing_file"
