# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks in XML, and what can be said of them without asking libvirt."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.attachxml import set_boot_order
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.disksyntax import attachment_problems
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain_disks import build_disk, read_disks
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.hotplugcheck import plug_problem
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.iotune import write_limits
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.metadata import Record, UsedVolume
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CDROM, Disk, IoLimits

WHOLE = Disk(
    "vdb",
    path="/pool/data",
    format="raw",
    bus="virtio",
    read_only=False,
    cache="none",
    discard="unmap",
    serial="S-1",
    boot_order=2,
    shareable=True,
    limits=IoLimits(total_bytes=1000, write_iops=5),
    encrypted=True,
)


def domain(devices: str = "", rest: str = "") -> ElementTree.Element:
    return ElementTree.fromstring(f"<domain>{rest}<devices>{devices}</devices></domain>")


def read(element: ElementTree.Element, record: Record | None = None) -> Disk:
    root = domain()
    root.find("devices").append(element)
    [disk] = read_disks(root, record or Record())
    return disk


def test_a_disk_is_read_as_it_was_written():
    assert read(build_disk(WHOLE, "kvm")) == replace(WHOLE, role="root")


def test_no_passphrase_is_written():
    element = build_disk(replace(WHOLE, passphrase="open sesame"), "kvm")
    assert "sesame" not in ElementTree.tostring(element, encoding="unicode")


def test_limits_are_replaced_whole():
    element = build_disk(WHOLE, "kvm")
    write_limits(element, IoLimits(read_bytes=7))
    assert read(element).limits == IoLimits(read_bytes=7)
    write_limits(element, IoLimits())
    assert element.find("iotune") is None
    assert read(element).limits is None


def test_a_note_of_a_volume_counts_for_its_path_alone():
    """Somebody else may have put another disk there since."""
    element = build_disk(WHOLE, "kvm")
    for path, volume in (("/pool/data", "data"), (None, "data"), ("/pool/other", None)):
        assert read(element, Record(used=[UsedVolume("vdb", "pool", "data", path)])).volume == volume


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"bus": "floppy"}, "bus"),
        ({"device": "vdb", "bus": "scsi"}, "device"),
        ({"device": "disk1"}, "device"),
        ({"cache": "much"}, "cache"),
        ({"discard": "all"}, "discard"),
        ({"serial": "x" * 21}, "serial"),
        ({"serial": "a\nb"}, "serial"),
        ({"boot_order": 0}, "boot_order"),
        ({"limits": IoLimits(total_iops=1, read_iops=1)}, "limits.total_iops"),
        ({"limits": IoLimits(read_bytes=-1)}, "limits.read_bytes"),
        ({"shareable": True, "format": "qcow2"}, "shareable"),
        ({"kind": CDROM, "read_only": False}, "read_only"),
        ({"volume": None}, "volume"),
        ({"volume": "a/b"}, "volume"),
    ],
)
def test_what_can_never_be(wrong: dict[str, Any], option: str):
    right = Disk("vdb", volume="data", pool="pool", bus="virtio")
    assert list(attachment_problems("qemu", right)) == []
    options = {problem.option for problem in attachment_problems("qemu", replace(right, **wrong))}
    assert option in options


PC = "<controller type='pci' index='0' model='pci-root'/>"
Q35 = "<controller type='pci' index='0' model='pcie-root'/>"
PORT = (
    "<controller type='pci' index='1' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x01'/></controller>"
)
IN_PORT = "<controller type='virtio-serial'><address type='pci' bus='0x01' slot='0x00'/></controller>"
ACPI = "<features><acpi/></features>"
FULL = "".join(f"<hostdev><address type='pci' bus='0x00' slot='{slot:#04x}'/></hostdev>" for slot in range(1, 32))


@pytest.mark.parametrize(
    ("kind", "devices", "rest", "disk", "why"),
    [
        ("qemu", PC, ACPI, Disk(bus="virtio"), None),
        ("qemu", PC, "", Disk(bus="virtio"), "without ACPI"),
        ("qemu", PC + FULL, ACPI, Disk(bus="virtio"), "no free PCI slot.*pci-bridge"),
        ("qemu", PC + FULL, ACPI, Disk(bus="scsi"), "no free PCI slot"),
        ("qemu", PC + FULL + "<controller type='scsi'/>", ACPI, Disk(bus="scsi"), None),
        ("qemu", Q35, "", Disk(bus="virtio"), "no free PCI slot.*pcie-root-port"),
        ("qemu", Q35 + PORT, "", Disk(bus="virtio"), None),
        ("qemu", Q35 + PORT + IN_PORT, "", Disk(bus="virtio"), "pcie-root-port"),
        ("qemu", "", ACPI, Disk(bus="virtio"), "no PCI bus"),
        ("qemu", PC, ACPI, Disk(bus="sata"), "bus sata.*virtio, scsi, usb"),
        ("qemu", PC, ACPI, Disk(kind=CDROM, bus="ide"), "CD drives on the bus ide"),
        ("qemu", PC, ACPI, Disk(bus="usb"), "no USB controller"),
        ("qemu", PC + "<controller type='usb' model='none'/>", ACPI, Disk(bus="usb"), "no USB controller"),
        ("qemu", PC + "<controller type='usb' model='qemu-xhci'/>", ACPI, Disk(bus="usb"), None),
        ("xen", "<disk/>", "<os><type>xen</type></os>", Disk(bus="xen"), None),
        ("xen", "", "<os><type>xenpvh</type></os>", Disk(bus="xen"), "without any disk"),
        ("xen", "", "<os><type>hvm</type></os>", Disk(bus="xen"), None),
        ("xen", "<disk/>", "", Disk(bus="ide"), "bus ide"),
    ],
)
def test_what_a_running_domain_can_be_given(kind: str, devices: str, rest: str, disk: Disk, why: str | None):
    problem = plug_problem(kind, domain(devices, rest), disk)
    if why is None:
        assert problem is None
    else:
        assert problem is not None
        assert re.search(why, problem)


def test_a_disk_on_the_root_bus_of_pci_express_stays():
    fixed = "<disk device='disk'><target dev='vdb' bus='virtio'/><address type='pci' bus='0x00' slot='0x05'/></disk>"
    assert "root bus" in str(plug_problem("qemu", domain(Q35 + fixed), Disk("vdb", bus="virtio")))
    movable = fixed.replace("bus='0x00'", "bus='0x01'")
    assert plug_problem("qemu", domain(Q35 + PORT + movable), Disk("vdb", bus="virtio")) is None


def orders(root: ElementTree.Element) -> dict[str, str]:
    found = {}
    for element in root.find("devices"):
        boot, target = element.find("boot"), element.find("target")
        if boot is not None:
            found["nic" if target is None else target.get("dev")] = boot.get("order")
    return found


def test_an_order_by_kinds_becomes_one_by_devices():
    disks = "".join(f"<disk device='disk'><target dev='{name}'/></disk>" for name in ("vda", "vdb"))
    root = domain(disks + "<interface/>", "<os><boot dev='network'/><boot dev='hd'/></os>")
    set_boot_order(root, "vdb", 1)
    assert root.find("os/boot") is None
    assert orders(root) == {"vdb": "1", "nic": "2", "vda": "3"}
    set_boot_order(root, "vdb", 5)
    assert orders(root) == {"nic": "1", "vda": "2", "vdb": "5"}
    set_boot_order(root, "vdb", None)
    assert orders(root) == {"nic": "1", "vda": "2"}
