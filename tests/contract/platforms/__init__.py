# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisors that the contract suite runs on, by the names that ``--drivers`` takes."""

from __future__ import annotations

from contract.platforms.base import Platform

NAMES = ("fake", "libvirt", "lxc", "xen", "xenapi")


def make_platform(name: str) -> Platform:
    """Start the platform of that name; whatever it lacks is an exception, never a skipped test."""
    if name == "fake":
        from contract.platforms.fake import FakePlatform

        return FakePlatform()
    if name == "libvirt":
        from contract.platforms.libvirt_qemu import QemuPlatform

        return QemuPlatform()
    if name == "lxc":
        from contract.platforms.libvirt_lxc import LxcPlatform

        return LxcPlatform()
    if name == "xen":
        from contract.platforms.libvirt_xen import XenPlatform

        return XenPlatform()
    if name == "xenapi":
        from contract.platforms.xenapi import XenApiPlatform

        return XenApiPlatform()
    raise ValueError(f"no platform is named {name!r}")
