# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a running domain can be given a disk, and can let go of one, by what it is made of."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from ...model.instance import CDROM, Disk
from .element import attribute_of
from .hotplug import by_device

HOT_BUSES = {"qemu": ("virtio", "scsi", "usb"), "xen": ("xen",), "lxc": ()}
"""Those whose devices come and go while a guest runs."""

_PORTS = ("pcie-root-port", "pcie-switch-downstream-port")
_BRIDGES = ("pci-bridge", "pcie-to-pci-bridge")
_BRIDGE_SLOTS = 31
_MORE_PORTS = "while it is stopped, add some with libvirt.xml: <controller type='pci' model='pcie-root-port'/>"
_MORE_SLOTS = "while it is stopped, add some with libvirt.xml: <controller type='pci' model='pci-bridge'/>"
_SWITCH_ON_ACPI = "while it is stopped, switch it on with libvirt.xml: <features><acpi/></features>"

_NO_DISK_SERVER = "it was started without any disk, and Xen serves disks only to guests that were started with one"


def plug_problem(kind: str, running: Element, disk: Disk) -> str | None:
    """Why the running domain cannot be given this disk, or cannot give it back; None when it can.

    Args:
        kind: libvirt's driver: ``qemu``, ``xen``.
        disk: With its bus; its device is looked up in the domain, where it is there already.
    """
    present = by_device(disk.device)(running) if disk.device else None
    bus = disk.bus if present is None else attribute_of(present, "target", "bus")
    if bus not in HOT_BUSES[kind]:
        what = "CD drives" if disk.kind == CDROM else "disks"
        return f"{what} on the bus {bus} come and go while it is stopped only; take one of {', '.join(HOT_BUSES[kind])}"
    if kind == "xen":
        return None if present is not None or _has_disk_server(running) else _NO_DISK_SERVER
    if bus == "usb":
        return None if _has_usb(running) else "it has no USB controller"
    if bus == "scsi":
        return None if present is not None or _has_scsi(running) else _no_place(running)
    return _no_place(running) if present is None else _stuck(running, present)


def _has_disk_server(running: Element) -> bool:
    is_hvm = (running.findtext("os/type") or "").strip() == "hvm"
    return is_hvm or any(running.find(f"devices/{tag}") is not None for tag in ("disk", "graphics"))


def _has_usb(running: Element) -> bool:
    controllers = running.findall("devices/controller[@type='usb']")
    return any(controller.get("model") != "none" for controller in controllers)


def _has_scsi(running: Element) -> bool:
    return running.find("devices/controller[@type='scsi']") is not None


def _no_place(running: Element) -> str | None:
    """Why there is no place for one more PCI device that comes while the domain runs."""
    if _has_no_pci(running):
        return f"its machine type {_machine(running)!r} has no PCI bus to plug a disk into"
    if not _is_express(running) and running.find("features/acpi") is None:
        return f"without ACPI its guest does not notice new devices; {_SWITCH_ON_ACPI}"
    if _free_places(running) > 0:
        return None
    return f"it has no free PCI slot left for a disk; {_MORE_PORTS if _is_express(running) else _MORE_SLOTS}"


def _stuck(running: Element, disk: Element) -> str | None:
    """Why a PCI device cannot be pulled: on the root bus of PCI Express there are fixed ones only."""
    if _is_express(running) and _bus_number(disk.find("address")) == 0:
        return "the disk sits on the PCI Express root bus, from which nothing can be pulled while it runs"
    return None


def _machine(running: Element) -> str:
    return attribute_of(running, "os/type", "machine") or ""


def _has_no_pci(running: Element) -> bool:
    return running.find("devices/controller[@type='pci']") is None


def _is_express(running: Element) -> bool:
    return running.find("devices/controller[@model='pcie-root']") is not None


def _free_places(running: Element) -> int:
    """How many PCI devices fit in."""
    addresses = [address for address in running.iterfind("devices/*/address") if address.get("type") == "pci"]
    used: dict[int, set[str]] = {}
    for address in addresses:
        used.setdefault(_bus_number(address), set()).add(address.get("slot", ""))
    free = 0 if _is_express(running) else _BRIDGE_SLOTS - len(used.get(0, ()))
    for controller in running.iterfind("devices/controller[@type='pci']"):
        number, model = int(controller.get("index", "0")), controller.get("model")
        if model in _PORTS:
            free += 0 if used.get(number) else 1
        elif model in _BRIDGES and number:
            free += max(0, _BRIDGE_SLOTS - len(used.get(number, ())))
    return free


def _bus_number(address: Element | None) -> int:
    return int((address.get("bus") if address is not None else None) or "0", 0)
