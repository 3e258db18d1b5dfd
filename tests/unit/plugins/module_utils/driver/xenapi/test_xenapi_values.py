# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Devices, options and images: what needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.complete import (
    complete_cpu,
    merge_template,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.devices import (
    device_name,
    device_number,
    free_number,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.extras import differing, merged
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.images import chunks_of, look_at
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.provision import planned_disks
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.syntax import syntax_problems
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.vmfields import (
    boot_fields,
    map_fields,
    memory_fields,
    new_vbd,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import (
    CDROM,
    DISK,
    Boot,
    Console,
    Cpu,
    Disk,
    Instance,
    Nic,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB


@pytest.mark.parametrize(("number", "name"), [(0, "xvda"), (3, "xvdd"), (25, "xvdz"), (26, "xvdaa"), (27, "xvdab")])
def test_devices_have_a_name_and_a_number(number: int, name: str) -> None:
    assert device_name(str(number)) == name
    assert device_number(name) == number


def test_other_names_have_no_number() -> None:
    assert [device_number(name) for name in ("vda", "sda", "xvd", "xvd1", None)] == [None] * 5
    assert device_name("autodetect") == "autodetect"


def test_the_fourth_disk_leaves_the_dvd_drive_its_number() -> None:
    taken: set[int] = set()
    for _disk in range(5):
        taken.add(free_number(DISK, True, taken))
    assert taken == {0, 1, 2, 4, 5}
    assert free_number(CDROM, True, taken) == 3
    assert free_number(CDROM, True, {*taken, 3}) == 6
    assert free_number(DISK, False, {0, 1, 2}) == 3


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "format": ({"disks": [Disk(size_bytes=MIB, format="qcow2")]}, "disks[0].format"),
    "bus": ({"disks": [Disk(size_bytes=MIB, bus="virtio")]}, "disks[0].bus"),
    "device": ({"disks": [Disk(size_bytes=MIB, device="vda")]}, "disks[0].device"),
    "same device": (
        {"disks": [Disk(size_bytes=MIB, device="xvda"), Disk(size_bytes=MIB, device="xvda")]},
        "disks[1].device",
    ),
    "model": ({"nics": [Nic(network="lab", model="e1000")]}, "nics[0].model"),
    "init": ({"boot": Boot(init="/sbin/init")}, "boot.init"),
    "order": ({"boot": Boot(order=["floppy"])}, "boot.order"),
    "kernel and firmware": ({"boot": Boot(kernel="/boot/x", firmware="bios")}, "boot.firmware"),
    "kernel of an hvm guest": (
        {"boot": Boot(kernel="/boot/x"), "hypervisor": {"domain_type": "hvm"}},
        "boot.kernel",
    ),
    "mode": ({"cpu": Cpu(mode="host-passthrough")}, "cpu.mode"),
    "threads": ({"cpu": Cpu(threads=2)}, "cpu.threads"),
    "cores": ({"cpu": Cpu(cores=3), "vcpus": 4}, "cpu.cores"),
    "serial": ({"console": Console(serial=False)}, "console.serial"),
    "vnc": ({"console": Console(vnc=False)}, "console.vnc"),
    "option": ({"hypervisor": {"colour": "red"}}, "hypervisor.colour"),
    "type": ({"hypervisor": {"domain_type": "lxc"}}, "hypervisor.domain_type"),
    "map": ({"hypervisor": {"platform": "x"}}, "hypervisor.platform"),
    "deep map": ({"hypervisor": {"platform": {"a": {}}}}, "hypervisor.platform.a"),
    "guest data": ({"hypervisor": {"xenstore_data": {"hostname": "x"}}}, "hypervisor.xenstore_data.hostname"),
    "our key": ({"hypervisor": {"other_config": {"anyvirt": "{}"}}}, "hypervisor.other_config.anyvirt"),
    "autostart": ({"hypervisor": {"other_config": {"auto_poweron": 1}}}, "hypervisor.other_config.auto_poweron"),
    "template and image": ({"image": "golden", "hypervisor": {"template": "t"}}, "hypervisor.template"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_xenapi_cannot_do(what: str) -> None:
    over, option = WRONG[what]
    assert [problem.option for problem in syntax_problems(Instance("one", **over))] == [option]


def test_all_is_well() -> None:
    extras = {
        "template": "t",
        "domain_type": "hvm",
        "platform": {"viridian": True, "nx": None},
        "xenstore_data": {"vm-data/hostname": "x"},
        "affinity": "",
    }
    disks = [Disk(size_bytes=GIB), Disk(kind=CDROM, volume="tools.iso", pool="ISO library"), Disk(device="xvdaa")]
    instance = Instance("a name, of words", disks=disks, hypervisor=extras, cpu=Cpu(mode="default", cores=2), vcpus=4)
    assert syntax_problems(instance) == []


def test_maps_are_compared_by_what_is_mentioned() -> None:
    current = {"platform": {"nx": "true", "viridian": "false"}, "domain_type": "hvm"}
    assert differing(current, {"platform": {"nx": True}, "template": "t", "affinity": ""}) == set()
    assert differing(current, {"platform": {"nx": None}}) == {"platform"}
    assert differing(current, {"platform": {"gone": None}}) == set()
    assert differing(current, {"xenstore_data": {"vm-data/a": 1}, "affinity": "xen2"}) == {"xenstore_data", "affinity"}
    assert merged({"a": "1", "b": "2"}, {"a": None, "c": 3}) == {"b": "2", "c": "3"}


IMAGES = {
    "a qcow2 image": b"QFI\xfb\0\0\0\3",
    "a VMDK image": b"KDMV\1",
    "a VHDX image": b"vhdxfile",
    "a VHD image": b"\0" * 1024 + b"conectix" + b"\0" * 504,
    "a VirtualBox image": b"<<< Oracle".ljust(64, b"\0") + b"\x7f\x10\xda\xbe",
    "packed with gzip": b"\x1f\x8b\x08",
    "packed with xz": b"\xfd7zXZ\0",
    "a tar archive": b"ova.xml".ljust(257, b"\0") + b"ustar",
    "is empty": b"",
}


@pytest.mark.parametrize("what", IMAGES)
def test_images_that_cannot_be_uploaded_are_known_by_their_content(tmp_path: Path, what: str) -> None:
    path = tmp_path / "some.raw"
    path.write_bytes(IMAGES[what])
    found = look_at(str(path))
    assert found is not None
    assert found.obstacle is not None
    assert what in found.obstacle


def test_raw_images(tmp_path: Path) -> None:
    path = tmp_path / "some.qcow2"
    path.write_bytes(b"\0" * 700)
    found = look_at(str(path))
    assert found is not None
    assert (found.obstacle, found.file_bytes, found.size_bytes) == (None, 700, 1024)
    assert b"".join(chunks_of(str(path))) == b"\0" * 700
    assert look_at(str(tmp_path / "none")) is None
    assert "cannot be read" in str(look_at(str(tmp_path)))


def test_disks_that_a_template_plans() -> None:
    text = (
        '<provision><disk device="0" size="8589934592" sr="" bootable="true" type="system"/>'
        "<disk device='1' size='1048576' /><disk device='x' size='1'/></provision>"
    )
    assert [(disk.device, disk.size_bytes) for disk in planned_disks({"disks": text})] == [
        ("xvda", 8 * GIB),
        ("xvdb", MIB),
    ]
    assert planned_disks({}) == planned_disks({"disks": "<nonsense"}) == []


def test_declared_disks_are_those_of_the_template_first() -> None:
    brought = [
        Disk(device="xvda", size_bytes=GIB, pool="shared", volume="golden-root"),
        Disk(device="xvdd", kind=CDROM),
    ]
    own = [Disk(size_bytes=2 * GIB), Disk(role="swap", size_bytes=MIB), Disk(size_bytes=MIB)]
    merged_disks = merge_template(own, brought)
    assert [(disk.device, disk.size_bytes, disk.owned, disk.role) for disk in merged_disks] == [
        ("xvda", 2 * GIB, True, "root"),
        ("xvdd", None, False, "data"),
        (None, MIB, False, "swap"),
        (None, MIB, False, "data"),
    ]
    assert merged_disks[0].volume is None


def test_processors_are_arranged_where_that_is_asked_for() -> None:
    assert complete_cpu(Cpu(), 4) == Cpu(mode="default")
    assert complete_cpu(Cpu(cores=2), 4) == Cpu(mode="default", sockets=2, cores=2, threads=1)
    assert complete_cpu(Cpu(sockets=1), 4) == Cpu(mode="default", sockets=1, cores=4, threads=1)


def test_how_a_guest_boots() -> None:
    hvm = boot_fields(Instance("one", boot=Boot(order=["network", "disk"], firmware="uefi")))
    assert (hvm["domain_type"], hvm["HVM_boot_policy"]) == ("hvm", "BIOS order")
    assert hvm["HVM_boot_params"] == {"order": "nc", "firmware": "uefi"}
    direct = boot_fields(Instance("one", boot=Boot(kernel="/boot/k", cmdline="quiet")))
    assert (direct["domain_type"], direct["HVM_boot_policy"], direct["PV_kernel"]) == ("pv", "", "/boot/k")
    assert boot_fields(Instance("one", hypervisor={"bootloader": "pygrub"}))["PV_bootloader"] == "pygrub"


def test_memory_is_in_bytes_and_text() -> None:
    limits = memory_fields(Instance("one", memory_mb=96, max_memory_mb=128))
    assert limits["memory_dynamic_min"] == limits["memory_dynamic_max"] == str(96 * MIB)
    assert limits["memory_static_max"] == str(128 * MIB)


def test_what_others_keep_in_maps_stays() -> None:
    wanted = Instance("one", cpu=Cpu(cores=2), autostart=True, hypervisor={"other_config": {"a": "1"}})
    maps = map_fields(wanted, {"other_config": {"mac_seed": "x"}, "platform": {"nx": "true"}}, None)
    assert maps["other_config"] == {"mac_seed": "x", "a": "1", "auto_poweron": "true"}
    assert maps["platform"] == {"nx": "true", "cores-per-socket": "2"}


def test_cd_drives_may_be_empty() -> None:
    vbd = new_vbd("OpaqueRef:vm", Disk(kind=CDROM, device="xvdd", read_only=True), None, False)
    assert (vbd["type"], vbd["mode"], vbd["empty"], vbd["VDI"], vbd["userdevice"]) == (
        "CD",
        "RO",
        True,
        "OpaqueRef:NULL",
        "3",
    )
