# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains as documents: what is built, read, changed and kept."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from xml.etree import ElementTree

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain import Domain
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.hostfacts import HostFacts
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.metadata import OwnedVolume, Record
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.pending import pending_options
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

QEMU = HostFacts("qemu", "x86_64", "/usr/bin/qemu-system-x86_64", "hvm", "pc-i440fx-7.2")
LXC = HostFacts("lxc", "x86_64", "/usr/lib/libvirt/libvirt_lxc", "exe", None)
PV = HostFacts("xen", "x86_64", None, "xen", "xenpv")
LOG = "/var/log/libvirt/qemu/one.log"
MAC, OTHER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02"

FOREIGN = """
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>foreign</name>
  <metadata xmlns:app='http://example.org/app'>
    <app:owner rack='7'>somebody &amp; co</app:owner>
  </metadata>
  <memory unit='GiB'>1</memory>
  <vcpu placement='static' cpuset='0-3'>4</vcpu>
  <cputune><shares>100</shares></cputune>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom'><model>Nehalem</model><topology sockets='2' dies='1' cores='2' threads='1'/></cpu>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/><source file='/srv/a.img' startupPolicy='optional'/>
      <target dev='vda' bus='virtio'/><boot order='2'/><serial>A1</serial>
    </disk>
    <disk type='block' device='cdrom'><source dev='/dev/sr0'/><target dev='sda' bus='sata'/><readonly/></disk>
    <disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='e1000'/><boot order='1'/>
      <bandwidth><inbound average='1000'/></bandwidth>
    </interface>
    <interface type='direct'><mac address='52:54:00:00:00:09'/><source dev='eth0' mode='bridge'/></interface>
    <graphics type='vnc' port='5999' autoport='no' passwd='hush'><listen type='address' address='0.0.0.0'/></graphics>
    <watchdog model='i6300esb' action='reset'/>
  </devices>
  <qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>
</domain>
"""


def complete(**changed: Any) -> Instance:
    """An instance as it is before it is built, with nothing left open."""
    instance = Instance(
        "one",
        memory_mb=96,
        max_memory_mb=128,
        vcpus=1,
        max_vcpus=2,
        flavor=Flavor("tiny", 96, 1, 1, 8, 0.5),
        image="/images/base.qcow2",
        pool="default",
        disks=[
            Disk("vda", "disk", "root", "/images/base.qcow2", "one.vda.qcow2", "default", "/pool/one.vda.qcow2"),
            Disk("vdb", volume="old", pool="other", path="/other/old", format="raw", bus="virtio"),
            Disk("sda", kind="cdrom", format="raw", bus="sata", read_only=True),
        ],
        nics=[Nic("lab", None, MAC, "virtio"), Nic(None, "br0", OTHER_MAC, "e1000")],
        boot=Boot("/k", "/i", "console=ttyS0", ["disk", "network"], "bios"),
        cpu=Cpu("default", None, 1, 2, 1),
        console=Console(True, True, "127.0.0.1", 5901),
        description="a <text> & more",
        metadata={"key with space": "value & <more>", "empty": ""},
        locked=True,
        protected=False,
        cloud_init_fingerprint="f00",
    )
    root = instance.disks[0]  # type: ignore[index]
    root.size_bytes, root.format, root.bus, root.owned = 1 << 30, "qcow2", "virtio", True
    for disk in instance.disks or []:
        disk.read_only = disk.kind == "cdrom"
    return replace(instance, **changed)


def build(instance: Instance, host: HostFacts = QEMU, log: str | None = LOG) -> Domain:
    return Domain.parse(Domain.build(instance, host, log).text())


def differing(one: Instance, other: Instance) -> set[str]:
    return {field.name for field in fields(Instance) if getattr(one, field.name) != getattr(other, field.name)}


def canonical(text: str) -> str:
    return ElementTree.canonicalize(text, strip_text=True)


def test_everything_reads_back():
    instance = complete()
    found = build(instance).to_instance()
    assert differing(found, instance) == {"hypervisor"}
    assert found.hypervisor == {"type": "qemu", "machine": "pc-i440fx-7.2", "os_type": "hvm"}


@pytest.mark.parametrize("host", [LXC, PV], ids=["lxc", "xen"])
def test_containers_and_paravirtual_guests_read_back(host: HostFacts):
    boot = Boot(init="/bin/start") if host is LXC else Boot("/k", "/i", "root=/dev/xvda")
    nics = [Nic(None, "br0", MAC)]
    instance = complete(
        boot=boot, nics=nics, disks=[], pool=None, cpu=Cpu("default"), console=Console(serial=True, vnc=False)
    )
    domain = build(instance, host, None)
    found = domain.to_instance()
    assert differing(found, instance) == {"hypervisor"}
    assert domain.root.find("devices/channel") is None
    assert found.hypervisor["os_type"] == host.os_type


def test_xen_disks_name_qemu_as_their_driver():
    disk = Disk("xvda", path="/x", format="qcow2", bus="xen", role="root")
    built = build(complete(disks=[disk]), PV).root.find("devices/disk/driver")
    assert built is not None
    assert built.attrib == {"name": "qemu", "type": "qcow2"}


def test_a_block_device_is_not_a_file():
    disk = build(complete(disks=[Disk("vda", path="/dev/vg/lv", bus="virtio")])).root.find("devices/disk")
    assert disk is not None
    assert disk.get("type") == "block"
    assert disk.find("source[@dev='/dev/vg/lv']") is not None


def test_uefi_is_left_to_libvirt_to_find():
    domain = build(complete(boot=Boot(firmware="uefi")))
    assert domain.root.find("os[@firmware='efi']") is not None
    assert domain.to_instance().boot == Boot(firmware="uefi")
    domain.apply(Instance("one", boot=Boot(firmware="bios")), {"boot"})
    assert domain.to_instance().boot == Boot(firmware="bios")


def test_without_a_log_there_is_no_serial_console_to_speak_of():
    assert build(complete(), log=None).to_instance().console == Console(False, True, "127.0.0.1", 5901)


def test_a_template_is_filled_in():
    template = "<domain><name>x</name><uuid>1</uuid><title>t</title><devices><rng model='virtio'/></devices></domain>"
    domain = build(complete(hypervisor={"template": template}))
    assert domain.name == "one"
    assert domain.uuid is None
    assert domain.root.findtext("title") == "t"
    assert domain.root.find("devices/rng") is not None
    assert domain.to_instance().memory_mb == 96


def test_a_foreign_domain_is_understood():
    found = Domain.parse(FOREIGN).to_instance()
    assert (found.memory_mb, found.max_memory_mb, found.vcpus, found.max_vcpus) == (1024, 1024, 4, 4)
    assert [(disk.device, disk.kind, disk.role, disk.path) for disk in found.disks or []] == [
        ("vda", "disk", "root", "/srv/a.img"),
        ("sda", "cdrom", "data", "/dev/sr0"),
        ("vdb", "disk", "data", None),
    ]
    assert found.disks
    assert (found.disks[2].pool, found.disks[2].volume) == ("p", "v")
    assert found.nics == [Nic(None, "br0", MAC, "e1000"), Nic(None, None, "52:54:00:00:00:09", None)]
    assert found.boot == Boot(order=["network", "disk"], firmware="bios")
    assert found.cpu == Cpu("custom", "Nehalem", 2, 2, 1)
    assert found.console == Console(False, True, "0.0.0.0", 5999)
    assert not found.unfinished
    assert "hush" not in repr(found)


def test_a_document_that_is_not_changed_stays_as_it_is():
    domain = Domain.parse(FOREIGN)
    domain.apply(domain.to_instance(), {field.name for field in fields(Instance)} - {"hypervisor"})
    assert canonical(domain.text()) == canonical(FOREIGN)
    assert "xmlns:app=" in domain.text()


CHANGES: dict[str, tuple[Instance, str, str]] = {
    "memory": (
        Instance("x", memory_mb=2048),
        "<memory unit='GiB'>1</memory>",
        "<memory unit='KiB'>2097152</memory>",
    ),
    "boot": (
        Instance("x", boot=Boot(cmdline="quiet")),
        "machine='pc-q35-7.2'>hvm</type>",
        "machine='pc-q35-7.2'>hvm</type><cmdline>quiet</cmdline>",
    ),
    "console": (Instance("x", console=Console(vnc_port=5998)), "port='5999'", "port='5998'"),
    "nic's bridge": (
        Instance("x", nics=[Nic(None, "br1", MAC), Nic(mac="52:54:00:00:00:09")]),
        "bridge='br0'",
        "bridge='br1'",
    ),
    "cpu model": (
        Instance("x", cpu=Cpu("host-model")),
        "<cpu mode='custom'><model>Nehalem</model>",
        "<cpu mode='host-model'>",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_changes_only_that(what: str):
    desired, old, new = CHANGES[what]
    domain = Domain.parse(FOREIGN)
    options = {field.name for field in fields(Instance) if getattr(desired, field.name) not in (None, {}, "x")}
    domain.apply(desired, options & {"memory_mb", "boot", "console", "nics", "cpu"})
    expected = FOREIGN.replace(old, new)
    got = domain.root
    if what == "memory":
        present = got.find("currentMemory")
        assert present is not None
        assert present.text == "2097152"
        got.remove(present)
    if what == "cpu model":  # elements of one level may stand in any order
        for root in (got, wanted := ElementTree.fromstring(expected)):
            cpu = root.find("cpu")
            assert cpu is not None
            root.remove(cpu)
            root.append(cpu)
        expected = Domain(wanted, {"http://example.org/app": "app"}).text()
    assert canonical(domain.text()) == canonical(expected)


def test_a_nic_that_goes_takes_nothing_with_it_and_a_new_one_is_added():
    domain = Domain.parse(FOREIGN)
    domain.apply(Instance("x", nics=[Nic("lab", None, OTHER_MAC, "virtio"), Nic(None, "br0", MAC)]), {"nics"})
    found = domain.to_instance().nics
    assert found == [Nic(None, "br0", MAC, "e1000"), Nic("lab", None, OTHER_MAC, "virtio")]
    assert domain.root.find("devices/interface/bandwidth") is not None


def test_the_topology_follows_the_maximum_of_vcpus():
    domain = Domain.parse(FOREIGN)
    domain.apply(Instance("x", max_vcpus=8), {"max_vcpus"})
    assert domain.to_instance().cpu == Cpu("custom", "Nehalem", 4, 2, 1)
    domain.apply(Instance("x", vcpus=5, max_vcpus=5), {"vcpus", "max_vcpus"})
    assert domain.to_instance().cpu == Cpu("custom", "Nehalem", 5, 1, 1)


def test_empty_texts_take_away_what_is_there():
    domain = build(complete())
    domain.apply(Instance("one", boot=Boot(kernel="", initrd="", cmdline=""), description=""), {"boot", "description"})
    found = domain.to_instance()
    assert found.boot == Boot(order=["disk", "network"], firmware="bios")
    assert domain.root.find("description") is None


def test_console_log_comes_and_goes():
    domain = Domain.parse(FOREIGN)
    domain.apply(Instance("x", console=Console(serial=True)), {"console"}, LOG)
    assert domain.root.find(f"devices/serial/log[@file='{LOG}']") is not None
    domain.apply(Instance("x", console=Console(serial=False, vnc=False)), {"console"}, LOG)
    assert domain.to_instance().console == Console(serial=False, vnc=False)


def test_an_appended_disk_and_growth_are_recorded():
    domain = build(complete())
    instance = domain.to_instance()
    assert instance.disks
    disks = [replace(instance.disks[0], size_bytes=2 << 30), *instance.disks[1:]]
    new = Disk("vdc", "disk", "data", None, "one.vdc.qcow2", "default", "/p/c", 5, "qcow2", "virtio", False, True)
    domain.apply(replace(instance, disks=[*disks, new]), {"disks"})
    assert domain.to_instance().disks == [*disks, new]
    assert [volume.device for volume in domain.record.owned] == ["vda", "vdc"]


def test_cloud_init_leaves_only_its_fingerprint():
    data = CloudInit("#cloud-config\npassword: hush\n")
    domain = build(complete())
    domain.apply(Instance("one", cloud_init=data), {"cloud_init"})
    assert domain.record.cloud_init_fingerprint == data.fingerprint()
    assert "hush" not in domain.text()


def test_an_empty_record_leaves_nothing_behind():
    domain = Domain.parse(FOREIGN)
    domain.record.locked = True
    domain.record.owned.append(OwnedVolume("vda", "p", "v", "root", None, 7))
    assert Domain.parse(domain.text()).record == domain.record
    domain.record = Record()
    assert canonical(domain.text()) == canonical(FOREIGN)


def test_what_is_pending():
    config = build(complete())
    running = config.copy()
    assert pending_options(running, config) == {}
    now = config.to_instance()
    changed = replace(now, memory_mb=64, vcpus=2, nics=(now.nics or [])[:1], boot=replace(now.boot, cmdline="x"))  # type: ignore[type-var]
    config.apply(changed, {"memory_mb", "vcpus", "nics", "boot", "description"})
    pending = pending_options(running, config)
    assert set(pending) == {"memory_mb", "vcpus", "nics", "boot"}
    assert pending["memory_mb"] == (96, 64)


@pytest.mark.parametrize(
    ("config", "running", "is_pending"),
    [
        (
            "<cpu mode='custom' check='none'><model>qemu64</model></cpu>",
            "<cpu mode='custom'><model>qemu64</model></cpu>",
            False,
        ),
        ("<cpu mode='host-model'/>", "<cpu mode='custom'><model>Skylake</model></cpu>", False),
        ("<cpu mode='host-passthrough'/>", "<cpu mode='host-passthrough'/>", False),
        ("<cpu mode='host-passthrough'/>", "<cpu mode='custom'><model>qemu64</model></cpu>", True),
        ("<cpu mode='custom'><model>Nehalem</model></cpu>", "<cpu mode='custom'><model>qemu64</model></cpu>", True),
        ("<cpu mode='host-model'/>", "<cpu mode='host-passthrough'/>", True),
    ],
)
def test_a_processor_that_libvirt_wrote_out_is_not_pending(config: str, running: str, is_pending: bool):
    documents = [Domain.parse(f"<domain type='qemu'><name>x</name>{cpu}</domain>") for cpu in (running, config)]
    assert ("cpu" in pending_options(*documents)) == is_pending


def test_xen_names_a_pv_guest_by_its_older_name():
    domain = Domain.parse("<domain type='xen'><name>x</name><os><type machine='xenpv'>linux</type></os></domain>")
    assert domain.to_instance().hypervisor["os_type"] == "xen"


def test_sizes_that_xen_rounds_down_are_what_was_asked():
    domain = Domain.parse("<domain type='xen'><name>x</name><memory unit='KiB'>196264</memory></domain>")
    assert domain.to_instance().memory_mb == 192


def test_namespaces_stay_where_they_are_declared():
    text = (
        '<domain type="qemu"><name>x</name><metadata><a:one xmlns:a="http://a/?x&amp;y" b="&lt;&quot;&#10;">'
        '<a:two/></a:one><b:one xmlns:b="http://b"><a:other xmlns:a="http://c">t &amp; t</a:other><b:two/></b:one>'
        "</metadata></domain>"
    )
    domain = Domain.parse(text)
    assert canonical(domain.text()) == canonical(text)
    assert domain.text().count("xmlns:") == 3
    domain.record.locked = True
    without = domain.text().replace('<anyvirt:instance xmlns:anyvirt="urn:anyvirt:compute:1" locked="yes"/>', "")
    assert canonical(without) == canonical(text)
