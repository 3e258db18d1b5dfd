# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's disks."""

from __future__ import annotations

from collections.abc import Collection
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import CDROM, DISK, Disk
from .element import make
from .metadata import OwnedVolume, Record, UsedVolume

PREFIXES = {"virtio": "vd", "ide": "hd", "xen": "xvd"}
"""How a bus' devices are called; on all others ``sd``."""

ROOT, SEED = "root", "seed"


def disk_elements(domain: Element) -> list[Element]:
    """The disks and CD drives; no floppies and passed-through LUNs."""
    return [disk for disk in domain.findall("devices/disk") if disk.get("device", DISK) in (DISK, CDROM)]


def device_names(domain: Element) -> set[str]:
    """The devices that are taken, of floppies and the like too."""
    return {target.get("dev", "") for target in domain.findall("devices/disk/target")}


def source_of(disk: Element) -> str | None:
    """The path of a disk's data on the host."""
    source = disk.find("source")
    if source is None or disk.get("type") == "volume":
        return None
    return source.get("file") or source.get("dev")


def read_disks(domain: Element, record: Record) -> list[Disk]:
    """The disks, in the domain's order."""
    disks = [_read_disk(element, record) for element in disk_elements(domain)]
    if not any(disk.role == ROOT for disk in disks):
        first = next((disk for disk in disks if disk.kind == DISK and disk.role == "data"), None)
        if first is not None:
            first.role = ROOT
    return disks


def build_disk(disk: Disk, domain_type: str) -> Element:
    """A <disk> for a complete disk, whose path is known."""
    is_block = (disk.path or "").startswith("/dev/")
    element = make("disk", {"type": "block" if is_block else "file", "device": disk.kind})
    if domain_type != "lxc":
        # Without the name libxl takes a loop device, which is slow and knows no qcow2.
        SubElement(element, "driver", {"name": "qemu", "type": disk.format or "raw"})
    if disk.path is not None:
        SubElement(element, "source", {"dev" if is_block else "file": disk.path})
    element.append(make("target", {"dev": disk.device, "bus": disk.bus}))
    if disk.read_only:
        SubElement(element, "readonly")
    return element


def note_volume(record: Record, disk: Disk) -> None:
    """Remember in the record which volume a new disk is on; the domain has only its path."""
    if disk.device is None or disk.volume is None or disk.pool is None:
        return
    if disk.owned:
        volume = OwnedVolume(disk.device, disk.pool, disk.volume, disk.role, disk.image, disk.size_bytes)
        record.owned.append(volume)
    else:
        record.used.append(UsedVolume(disk.device, disk.pool, disk.volume))


def free_device(bus: str, taken: Collection[str]) -> str:
    """The first device name of a bus that is not taken."""
    prefix = PREFIXES.get(bus, "sd")
    number = 0
    while prefix + _letters(number) in taken:
        number += 1
    return prefix + _letters(number)


def _letters(number: int) -> str:
    """a, b, ... z, aa, ab, ..."""
    text = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def _read_disk(element: Element, record: Record) -> Disk:
    target, driver = element.find("target"), element.find("driver")
    device = None if target is None else target.get("dev")
    disk = Disk(
        device=device,
        kind=element.get("device", DISK),
        path=source_of(element),
        format=None if driver is None else driver.get("type"),
        bus=None if target is None else target.get("bus"),
        read_only=element.find("readonly") is not None,
    )
    owned = record.owns(device)
    used = next((volume for volume in record.used if volume.device == device), None)
    if owned is not None:
        disk.pool, disk.volume, disk.role = owned.pool, owned.volume, owned.role
        disk.image, disk.size_bytes, disk.owned = owned.image, owned.size_bytes, True
    elif used is not None:
        disk.pool, disk.volume = used.pool, used.volume
    elif element.get("type") == "volume":
        source = element.find("source")
        if source is not None:
            disk.pool, disk.volume = source.get("pool"), source.get("volume")
    return disk
