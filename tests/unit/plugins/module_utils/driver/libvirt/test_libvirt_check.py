# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking and completing what is asked of libvirt."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain_disks import free_device
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.driver import LibvirtDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.hostfacts import (
    HostFacts,
    canonical_machine,
    host_facts,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import (
    Boot,
    CloudInit,
    Console,
    Cpu,
    Disk,
    Instance,
    Nic,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB, MIB

QEMU_HOST = """
<capabilities>
  <host><uuid>0815</uuid><cpu><arch>x86_64</arch></cpu></host>
  <guest><os_type>hvm</os_type><arch name='i686'><emulator>/i386</emulator><domain type='qemu'/></arch></guest>
  <guest><os_type>hvm</os_type><arch name='x86_64'>
    <emulator>/x86</emulator>
    <machine>pc-i440fx-7.2</machine><machine canonical='pc-i440fx-7.2'>pc</machine>
    <machine canonical='pc-q35-7.2'>q35</machine><machine>pc-q35-7.2</machine>
    <domain type='qemu'/>{kvm}
  </arch></guest>
</capabilities>
"""
LXC_HOST = """
<capabilities><host><uuid>1</uuid><cpu><arch>x86_64</arch></cpu></host>
<guest><os_type>exe</os_type><arch name='x86_64'><emulator>/lxc</emulator><domain type='lxc'/></arch></guest>
</capabilities>
"""
XEN_HOST = """
<capabilities><host><cpu><arch>x86_64</arch></cpu></host>
<guest><os_type>xen</os_type><arch name='x86_64'><machine>xenpv</machine><domain type='xen'/></arch></guest>
<guest><os_type>hvm</os_type><arch name='x86_64'><machine>xenfv</machine><domain type='xen'/></arch></guest>
</capabilities>
"""
HOSTS = {"qemu": QEMU_HOST.format(kvm=""), "lxc": LXC_HOST, "xen": XEN_HOST}


class Driver(LibvirtDriver):
    """One that asks no daemon."""

    def capabilities_xml(self) -> str:
        return HOSTS[self.kind]

    def host_identity(self) -> str:
        return "0815"


def driver(kind: str = "qemu") -> Driver:
    # Of a host elsewhere, so that no image is looked for on this machine.
    # pylint: disable-next=abstract-class-instantiated  # it gives up on so many bases
    return Driver(ConnectionOptions(f"{kind}+ssh://host/system"))


def test_the_best_domain_type_is_taken():
    assert host_facts("qemu", QEMU_HOST.format(kvm=""), {}) == HostFacts(
        "qemu", "x86_64", "/x86", "hvm", "pc-i440fx-7.2"
    )
    with_kvm = QEMU_HOST.format(kvm="<domain type='kvm'/>")
    assert host_facts("qemu", with_kvm, {}).domain_type == "kvm"
    assert host_facts("qemu", with_kvm, {"type": "qemu", "machine": "q35"}) == HostFacts(
        "qemu", "x86_64", "/x86", "hvm", "pc-q35-7.2"
    )


def test_a_kernel_makes_a_xen_guest_paravirtual():
    assert host_facts("xen", XEN_HOST, {}, kernel_boot=True)[3:] == ("xen", "xenpv")
    assert host_facts("xen", XEN_HOST, {})[3:] == ("hvm", "xenfv")
    assert host_facts("lxc", LXC_HOST, {}) == HostFacts("lxc", "x86_64", "/lxc", "exe", None)


@pytest.mark.parametrize("wanted", [{"type": "kvm"}, {"machine": "isapc"}, {"os_type": "xen"}])
def test_what_the_host_does_not_offer(wanted: dict[str, Any]):
    with pytest.raises(Unsupported):
        host_facts("qemu", HOSTS["qemu"], wanted)


def test_aliases_of_machines():
    assert canonical_machine(HOSTS["qemu"], "x86_64", "q35") == "pc-q35-7.2"
    assert canonical_machine(HOSTS["qemu"], "x86_64", "pc-q35-7.2") == "pc-q35-7.2"


def test_a_name_for_each_device():
    taken: set[str] = set()
    for _number in range(28):
        taken.add(free_device("virtio", taken))
    assert {"vda", "vdz", "vdaa", "vdab"} <= taken
    assert free_device("sata", {"sda"}) == "sdb"
    assert free_device("xen", ()) == "xvda"


def test_completing_names_every_volume():
    flavor = Flavor("f", 64, 1, root_gb=2, swap_mb=8)
    wanted = Instance(
        "one", 64, vcpus=1, flavor=flavor, image="/i", pool="fast", cloud_init=CloudInit("x"), nics=[Nic("lab")]
    )
    found = driver().complete(wanted)
    assert [
        (disk.device, disk.role, disk.volume, disk.pool, disk.size_bytes, disk.owned) for disk in found.disks or []
    ] == [
        ("vda", "root", "one.vda.qcow2", "fast", 2 * GIB, True),
        ("vdb", "swap", "one.vdb.qcow2", "fast", 8 * MIB, True),
        (found.disks[2].device, "seed", "one.seed.iso", "fast", None, True),  # type: ignore[index]
    ]
    assert found.hypervisor == {"type": "qemu", "os_type": "hvm", "machine": "pc-i440fx-7.2"}
    assert found.boot == Boot(order=["disk"], firmware="bios")
    assert found.console == Console(serial=True, vnc=True, vnc_listen="127.0.0.1")
    assert (found.max_memory_mb, found.max_vcpus, found.description, found.metadata) == (64, 1, "", {})
    assert found.nics
    assert found.nics[0].mac
    assert found.nics[0].model == "virtio"
    assert wanted.disks is None
    assert driver().complete(found) == found, "completing what is complete changes nothing"


def test_existing_disks_keep_what_they_are():
    disks = [Disk(path="/srv/a.img"), Disk(volume="v", pool="p", bus="sata"), Disk(kind="cdrom")]
    found = driver().complete(Instance("one", 64, vcpus=1, disks=disks)).disks
    assert found
    assert [(disk.device, disk.bus, disk.owned, disk.format) for disk in found[:2]] == [
        ("vda", "virtio", False, None),
        ("sda", "sata", False, None),
    ]
    assert (found[2].path, found[2].read_only, found[2].owned) == (None, True, False)
    assert found[0].role == "root"


def test_containers_and_xen_have_no_models_of_nics():
    for kind in ("lxc", "xen"):
        found = driver(kind).complete(Instance("one", 64, vcpus=1, nics=[Nic(bridge="br0", mac="52:54:00:00:00:01")]))
        assert found.nics == [Nic(None, "br0", "52:54:00:00:00:01", None)]
        assert found.console == Console(serial=True, vnc=False)


WRONG: list[tuple[str, Instance, str]] = [
    ("qemu", Instance("a/b"), "name"),
    ("qemu", Instance("x" * 201), "name"),
    ("qemu", Instance("x", disks=[Disk(path="/a", bus="xen")]), "disks[0].bus"),
    ("qemu", Instance("x", disks=[Disk(path="/a"), Disk(path="/b", device="vdA")]), "disks[1].device"),
    ("qemu", Instance("x", boot=Boot(order=["floppy"])), "boot.order"),
    ("qemu", Instance("x", boot=Boot(init="/i")), "boot.init"),
    ("qemu", Instance("x", cpu=Cpu(mode="fast")), "cpu.mode"),
    ("qemu", Instance("x", cpu=Cpu(mode="custom")), "cpu.model"),
    ("qemu", Instance("x", max_vcpus=3, cpu=Cpu(sockets=1, cores=2, threads=1)), "cpu"),
    ("qemu", Instance("x", console=Console(vnc_port=80)), "console.vnc_port"),
    ("qemu", Instance("x", hypervisor={"type": "xen"}), "hypervisor.type"),
    ("qemu", Instance("x", hypervisor={"what": 1}), "hypervisor.what"),
    ("qemu", Instance("x", hypervisor={"xml": ["<rng/>", "<a"]}), "hypervisor.xml[1]"),
    ("qemu", Instance("x", hypervisor={"template": "<pool/>"}), "hypervisor.template"),
    ("lxc", Instance("x", image="/i"), "image"),
    ("lxc", Instance("x", boot=Boot(kernel="/k")), "boot.kernel"),
    ("lxc", Instance("x", cloud_init=CloudInit()), "cloud_init"),
    ("lxc", Instance("x", nics=[Nic("lab", model="virtio")]), "nics[0].model"),
    ("xen", Instance("x", cpu=Cpu(mode="host-model")), "cpu"),
    ("xen", Instance("x", boot=Boot(firmware="uefi")), "boot.firmware"),
]


@pytest.mark.parametrize(
    ("kind", "instance", "option"), WRONG, ids=[f"{kind} {option}" for kind, _one, option in WRONG]
)
def test_what_can_never_be(kind: str, instance: Instance, option: str):
    assert option in [problem.option for problem in driver(kind).check_parameter_syntax(instance)]


def test_what_is_fine():
    instance = Instance(
        "web-1.example (a)", 64, disks=[Disk(size_bytes=5)], hypervisor={"machine": "q35", "xml": ["<rng/>"]}
    )
    assert driver().check_parameter_syntax(instance) == []


RUNNING = Instance(
    "x",
    memory_mb=64,
    max_memory_mb=128,
    vcpus=2,
    max_vcpus=4,
    nics=[Nic("lab", None, "52:54:00:00:00:01", "virtio")],
    disks=[Disk("vda", size_bytes=5)],
    power_state=power_state.RUNNING,
)


@pytest.mark.parametrize(
    ("desired", "live"),
    [
        (Instance("x", memory_mb=128), True),
        (Instance("x", memory_mb=129), False),
        (Instance("x", vcpus=4), True),
        (Instance("x", vcpus=5), False),
        (Instance("x", vcpus=1), False),
        (Instance("x", max_memory_mb=64), False),
        (Instance("x", nics=[]), True),
        (Instance("x", nics=[Nic("lab", None, "52:54:00:00:00:01", "e1000")]), False),
        (Instance("x", disks=[Disk("vda", size_bytes=6), Disk(size_bytes=1)]), True),
        (Instance("x", disks=[Disk("vda", size_bytes=5), Disk(size_bytes=1, bus="sata")]), False),
        (Instance("x", description="y"), True),
        (Instance("x", boot=Boot(cmdline="y")), False),
    ],
)
def test_what_a_running_guest_can_be_given(desired: Instance, live: bool):
    options = {name for name, value in vars(desired).items() if value is not None} & {
        *("memory_mb", "max_memory_mb", "vcpus", "nics", "disks", "description", "boot")
    }
    assert driver().live_options(RUNNING, desired, options) == (options if live else set())
