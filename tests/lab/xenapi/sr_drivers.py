# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage drivers that the pool knows: which types of SR there are and what each can do."""

from __future__ import annotations

from dataclasses import dataclass

_ALL = "create delete attach detach clone snapshot resize update introduce reset_on_boot".split()


@dataclass(frozen=True)
class SrDriver:
    """One type of SR. `operations` are the VDI operations it supports; `thin` ones take space only as it is written."""

    type: str
    label: str
    description: str
    operations: tuple[str, ...]
    thin: bool = False
    shared: bool = False
    content_type: str = "user"
    device_config: tuple[str, ...] = ()  # keys without which nothing can be attached

    def supports(self, operation: str) -> bool:
        return operation in self.operations

    @property
    def capabilities(self) -> list[str]:
        return ["SR_SCAN", "SR_UPDATE", *(f"VDI_{name.upper()}" for name in self.operations)]


DRIVERS = {
    driver.type: driver
    for driver in (
        SrDriver(
            "ext",
            "Local EXT VHD",
            "VHD images on a local disk with a file system",
            tuple(_ALL),
            thin=True,
            device_config=("device",),
        ),
        SrDriver(
            "lvm", "Local VHD on LVM", "VHD images in volumes of a local disk", tuple(_ALL), device_config=("device",)
        ),
        SrDriver(
            "nfs",
            "NFS VHD",
            "VHD images on an NFS server",
            tuple(_ALL),
            thin=True,
            shared=True,
            device_config=("server", "serverpath"),
        ),
        SrDriver(
            "lvmoiscsi",
            "LVHD over iSCSI",
            "VHD images in volumes on an iSCSI LUN",
            tuple(_ALL),
            shared=True,
            device_config=("target", "targetIQN", "SCSIid"),
        ),
        SrDriver(
            "iso",
            "ISO",
            "CD images on a file server",
            ("attach", "detach"),
            shared=True,
            content_type="iso",
            device_config=("location",),
        ),
        SrDriver("udev", "udev", "Removable devices of a host", ("attach", "detach", "introduce")),
    )
}
