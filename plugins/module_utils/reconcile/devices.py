# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks and network interfaces as tasks declare them."""

from __future__ import annotations

from collections.abc import Mapping

from ..model.instance import CDROM, DISK, Disk, Nic
from .filtering import read_addresses
from .validate import Reader

_DISK_OPTIONS = ("size", "image", "volume", "pool", "path", "kind", "bus", "format", "read_only", "device")
_NETWORK_OPTIONS = ("network", "bridge", "mac", "model", "addresses")


def read_networks(reader: Reader) -> list[Nic] | None:
    """The option ``networks``: each entry a dictionary, or just the name of a network."""
    entries = reader.entries("networks")
    if entries is None:
        return None
    nics = []
    for number, given in enumerate(entries):
        entry = {"network": given} if isinstance(given, str) else given
        if not isinstance(entry, Mapping):
            reader.complain(f"networks[{number}]", "has to be the name of a network, or a dictionary")
            continue
        inner = reader.inner("networks", entry, number)
        inner.only_known(_NETWORK_OPTIONS)
        nic = Nic(
            inner.name("network"),
            inner.name("bridge"),
            inner.mac("mac"),
            inner.text("model"),
            read_addresses(inner),
        )
        if inner.given("network") and inner.given("bridge"):
            inner.complain("bridge", "is given beside network; a NIC is on one of the two")
        elif not inner.given("network") and not inner.given("bridge"):
            inner.complain("network", "is missing; give network or bridge")
        nics.append(nic)
    return nics


def read_disks(reader: Reader, pool: str | None) -> list[Disk] | None:
    """The option ``disks``; volumes are in ``pool`` where they name no other."""
    entries = reader.entries("disks")
    if entries is None:
        return None
    disks = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            reader.complain(f"disks[{number}]", "has to be a dictionary")
            continue
        disks.append(_read_disk(reader.inner("disks", entry, number), pool))
    return disks


def _read_disk(reader: Reader, pool: str | None) -> Disk:
    reader.only_known(_DISK_OPTIONS)
    disk = Disk(
        device=reader.name("device"),
        kind=reader.choice("kind", (DISK, CDROM)) or DISK,
        image=reader.path_or_name("image"),
        volume=reader.name("volume"),
        pool=reader.name("pool"),
        path=reader.path("path"),
        size_bytes=reader.size("size"),
        format=reader.choice("format", ("qcow2", "raw")),
        bus=reader.choice("bus", ("virtio", "scsi", "sata", "ide", "usb", "xen")),
        read_only=reader.truth("read_only"),
    )
    sources = [option for option in ("image", "volume", "path") if reader.given(option)]
    if len(sources) > 1:
        reader.complain(sources[1], f"is given beside {sources[0]}; a disk's data comes from one of the two")
    if reader.given("size") and sources and sources[0] != "image":
        reader.complain("size", f"makes no sense beside {sources[0]}, which has a size already")
    if not sources and not reader.given("size") and disk.kind == DISK:
        reader.complain("size", "is missing; a disk needs size, image, volume or path")
    if disk.kind == CDROM and (reader.given("size") or reader.given("image")):
        reader.complain("size" if reader.given("size") else "image", "makes no sense for a cdrom; give path or volume")
    if disk.volume is not None and disk.pool is None:
        disk.pool = pool
        if pool is None:
            reader.complain("pool", "is missing: which pool the volume is in")
    if disk.path is not None and reader.given("pool"):
        reader.complain("pool", "makes no sense beside path; give volume for one of a pool")
    return disk
