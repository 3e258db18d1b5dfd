# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A domain's disks."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from xml.etree.ElementTree import Element, SubElement

from ...model.instance import CDROM, DISK, Disk
from .element import attribute_of, make, text_of
from .iotune import read_limits, write_limits
from .metadata import OwnedVolume, Record, UsedVolume

PREFIXES = {"virtio": "vd", "ide": "hd", "xen": "xvd"}
"""How a bus' devices are called; on all others ``sd``."""

ROOT, SEED = "root", "seed"

_FIELD_OF = {"readonly": "read_only", "shareable": "shareable"}


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


def owned_behind(disk: Element, record: Record) -> OwnedVolume | None:
    """The instance's own volume that a disk is on; None when it is on another's, as when another medium is in the
    drive now."""
    owned = record.owns(attribute_of(disk, "target", "dev"))
    if owned is not None and disk.get("device") == CDROM and posixpath.basename(source_of(disk) or "") != owned.volume:
        return None
    return owned


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
    element = make("disk", {"device": disk.kind})
    if domain_type != "lxc":
        # Without the name libxl takes a loop device, which is slow and knows no qcow2.
        driver = {"name": "qemu", "cache": disk.cache, "discard": disk.discard}
        element.append(make("driver", driver))
    set_source(element, disk.path, disk.format or "raw", bool(disk.encrypted))
    element.append(make("target", {"dev": disk.device, "bus": disk.bus}))
    write_limits(element, disk.limits)
    for tag in ("readonly", "shareable"):
        if getattr(disk, _FIELD_OF[tag]):
            SubElement(element, tag)
    if disk.serial:
        SubElement(element, "serial").text = disk.serial
    if disk.boot_order:
        SubElement(element, "boot", {"order": str(disk.boot_order)})
    return element


def set_source(element: Element, path: str | None, data_format: str, encrypted: bool = False) -> None:
    """Let a <disk> have its data at a path, or nowhere. The format is always said: libvirt is not to look for it. What
    opens an encrypted one is a secret that libvirt knows by the path."""
    for old in (*element.findall("source"), *element.findall("backingStore")):
        element.remove(old)
    is_block = (path or "").startswith("/dev/")
    element.set("type", "block" if is_block else "file")
    driver = element.find("driver")
    if driver is not None:
        driver.set("type", data_format)
    if path is None:
        return
    source = make("source", {"dev" if is_block else "file": path})
    if encrypted:
        encryption = SubElement(source, "encryption", {"format": "luks"})
        SubElement(encryption, "secret", {"type": "passphrase", "usage": path})
    element.insert(1 if driver is not None else 0, source)


def note_volume(record: Record, disk: Disk) -> None:
    """Remember in the record which volume a new disk is on; the domain has only its path."""
    if disk.device is None or disk.volume is None or disk.pool is None:
        return
    record.drop(disk.device)
    if disk.owned:
        volume = OwnedVolume(disk.device, disk.pool, disk.volume, disk.role, disk.image, disk.size_bytes)
        record.owned.append(volume)
    else:
        record.used.append(UsedVolume(disk.device, disk.pool, disk.volume, disk.path))


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
    device, path = attribute_of(element, "target", "dev"), source_of(element)
    boot_order = attribute_of(element, "boot", "order")
    disk = Disk(
        device=device,
        kind=element.get("device", DISK),
        path=path,
        format=attribute_of(element, "driver", "type"),
        bus=attribute_of(element, "target", "bus"),
        read_only=element.find("readonly") is not None,
        cache=attribute_of(element, "driver", "cache"),
        discard=attribute_of(element, "driver", "discard"),
        serial=text_of(element, "serial"),
        boot_order=None if boot_order is None else int(boot_order),
        shareable=True if element.find("shareable") is not None else None,
        limits=read_limits(element),
        encrypted=True if element.find("source/encryption") is not None else None,
    )
    owned, used = owned_behind(element, record), record.uses(device, path)
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
