# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of instances that are moved, as far as no host is needed for it."""

from __future__ import annotations

import struct
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.domain import Domain
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.metadata import OwnedVolume, UsedVolume
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationcold import leaning_on
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdisks import (
    DiskCopy,
    DiskPlan,
    even_out,
    is_incremental,
    live_copies,
    pending_disks,
    redirect,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdriver import (
    LibvirtMigrationDriver,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationsnapshots import (
    redirected_snapshot,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationxen import live_problems
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.qcow2table import (
    has_data_elsewhere,
    read_backing,
    with_backing,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.volumexml import Backing
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import DiskMove
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import Hole, Segment

DOMAIN = """
<domain type='qemu'><name>web1</name><devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/here/root'/>
    <backingStore type='file'><format type='raw'/><source file='/here/base'/><backingStore/></backingStore>
    <target dev='vda' bus='virtio'/></disk>
  <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/here/data'/>
    <target dev='vdb' bus='virtio'/></disk>
  <disk type='volume' device='disk'><driver name='qemu' type='raw'/><source pool='here' volume='more'/>
    <target dev='vdc' bus='virtio'/></disk>
  <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/same/shared'/>
    <target dev='vdd' bus='virtio'/></disk>
</devices></domain>
"""
ROOT = DiskCopy(
    device="vda",
    source=VolumeKey("here", "root"),
    source_path="/here/root",
    destination=VolumeKey("there", "root"),
    path="/there/root",
    format="qcow2",
    size_bytes=1 << 20,
    source_format="qcow2",
    grow_to_bytes=1 << 21,
)
SEED = replace(ROOT, device="hda", source=VolumeKey("here", "seed"), at_once=True)


def a_domain() -> Domain:
    domain = Domain.parse(DOMAIN)
    domain.record.owned.append(OwnedVolume("vda", "here", "root", role="root", size_bytes=1 << 20))
    domain.record.used.append(UsedVolume("vdb", "here", "data", "/here/data"))
    domain.record.used.append(UsedVolume("vdd", "same", "shared", "/same/shared"))
    return domain


def disk(domain: Domain, device: str) -> ET.Element:
    found = domain.root.find(f"devices/disk/target[@dev='{device}']/..")
    assert found is not None
    return found


def test_a_definition_names_its_disks_as_they_are_on_the_destination():
    domain = a_domain()
    more = replace(ROOT, device="vdc", destination=VolumeKey("there", "more"), path="/dev/there/more", format="raw")
    plan = DiskPlan(copies=[ROOT, more], paths={"vdb": "/there/data"}, places={"vdb": VolumeKey("elsewhere", "data")})
    redirect(domain, plan)
    root = disk(domain, "vda")
    assert root.find("source").get("file") == "/there/root"
    assert root.find("backingStore") is None, "the destination finds out what it leans on"
    assert disk(domain, "vdb").find("source").get("file") == "/there/data"
    moved = disk(domain, "vdc")
    assert (moved.get("type"), moved.find("source").attrib) == ("block", {"dev": "/dev/there/more"})
    assert disk(domain, "vdd").find("source").get("file") == "/same/shared"
    assert domain.record.owned == [OwnedVolume("vda", "there", "root", role="root", size_bytes=1 << 21)]
    assert domain.record.used == [
        UsedVolume("vdb", "elsewhere", "data", "/there/data"),
        UsedVolume("vdd", "same", "shared", "/same/shared"),
    ]


def test_what_no_pool_of_the_destination_has_is_not_known_by_a_name_there():
    domain = a_domain()
    redirect(domain, DiskPlan(places={"vda": None, "vdb": None}))
    assert domain.record.owned == []
    assert domain.record.used == [UsedVolume("vdd", "same", "shared", "/same/shared")]


def test_a_floppy_is_named_as_it_is_on_the_destination():
    text = DOMAIN.replace("device='disk'><driver name='qemu' type='raw'/><source file='/here/data'/>", "{}")
    domain = Domain.parse(text.format("device='floppy'><driver name='qemu' type='raw'/><source file='/here/data'/>"))
    redirect(domain, DiskPlan(paths={"vdb": "/there/data"}))
    assert disk(domain, "vdb").find("source").get("file") == "/there/data"


def test_another_medium_in_the_drive_of_its_own_seed_does_not_become_its_own():
    """What is its own is deleted with it."""
    drive = "<disk type='file' device='cdrom'><source file='/iso/disc'/><target dev='hda' bus='ide'/><readonly/></disk>"
    domain = Domain.parse(DOMAIN.replace("</devices>", f"{drive}</devices>"))
    domain.record.owned.append(OwnedVolume("hda", "here", "seed", role="seed"))
    domain.record.used.append(UsedVolume("hda", "isos", "disc", "/iso/disc"))
    redirect(domain, DiskPlan(paths={"hda": "/there/disc"}, places={"hda": VolumeKey("there", "disc")}))
    assert domain.record.owned == []
    assert domain.record.used == [UsedVolume("hda", "there", "disc", "/there/disc")]


def test_disks_that_are_others_than_configured_keep_a_guest_from_moving_while_it_runs():
    config, running = a_domain(), a_domain()
    assert pending_disks(config, running) == []
    devices = running.root.find("devices")
    devices.remove(disk(running, "vdb"))
    disk(running, "vdd").find("source").set("file", "/another")
    (problem,) = pending_disks(config, running)
    assert "(vdb, vdd)" in problem


def test_what_nobody_writes_to_is_not_copied_by_the_hypervisor():
    plan = DiskPlan(copies=[ROOT, SEED])
    assert live_copies(plan) == ["vda"]
    assert plan.left_volumes == ("here/root", "here/seed")
    assert DiskPlan(ejected=[VolumeKey("here", "seed")]).left_volumes == ("here/seed",)


def test_only_what_differs_is_copied_where_something_is_there_to_lean_on():
    assert not is_incremental(DiskPlan(copies=[ROOT, SEED]))
    assert is_incremental(DiskPlan(copies=[replace(ROOT, backing=Backing("/there/base", "raw")), SEED]))


XEN = "<domain type='xen'><name>x</name><os><type arch='x86_64' machine='{}'>{}</type></os></domain>"


@pytest.mark.parametrize(("machine", "os_type"), [("xenpv", "linux"), ("xenpv", "xen")])
def test_xen_does_not_move_pv_guests_that_run(machine: str, os_type: str):
    (problem,) = live_problems("xen", Domain.parse(XEN.format(machine, os_type)))
    assert "PV guest" in problem
    assert "cold" in problem
    assert "PVH" in problem


@pytest.mark.parametrize(("machine", "os_type"), [("xenpvh", "xenpvh"), ("xenfv", "hvm")])
def test_xen_moves_other_guests_that_run(machine: str, os_type: str):
    assert live_problems("xen", Domain.parse(XEN.format(machine, os_type))) == []


def test_containers_that_run_are_not_moved():
    (problem,) = live_problems("lxc", Domain.parse("<domain type='lxc'><name>c</name></domain>"))
    assert "cold" in problem


def header(name: bytes, at: int = 600, cluster_bits: int = 16) -> bytes:
    """The first cluster of a qcow2 image that leans on a file of this name."""
    head = bytearray(1 << cluster_bits)
    struct.pack_into(">4sIQII", head, 0, b"QFI\xfb", 3, at, len(name), cluster_bits)
    head[at : at + len(name)] = name
    return bytes(head)


@pytest.mark.parametrize("path", ["/a/much/longer/name/than/the/one/before", "/b"])
def test_an_image_is_made_to_lean_on_a_file_elsewhere(path: str):
    before = header(b"/images/base.img")
    after = with_backing(before, path)
    assert read_backing(lambda offset, length: after[offset : offset + length]) == path
    assert after == header(path.encode()), "of the name before nothing is left, and nothing else is changed"


@pytest.mark.parametrize("head", [header(b"/x", at=500, cluster_bits=9), header(b"", at=0), header(b"/x", at=65000)])
def test_a_name_that_finds_no_room_is_refused(head: bytes):
    with pytest.raises(ValueError, match="no room"):
        with_backing(head, "/n" * 300)


@pytest.mark.parametrize("cluster_bits", [12, 16])
def test_all_of_an_image_is_sent_that_leans_on_a_file_elsewhere(cluster_bits: int):
    """One of small clusters, with little in it, is over before any of a usual size has begun."""
    rest = b"written by the guest"
    coming: list[Segment] = [header(b"/images/base.img", cluster_bits=cluster_bits), Hole(1 << 13), rest]
    data = b"".join(bytes(one.length) if isinstance(one, Hole) else one for one in leaning_on(coming, "/b"))
    assert data == header(b"/b", cluster_bits=cluster_bits) + bytes(1 << 13) + rest


@pytest.mark.parametrize(
    ("version", "features", "expected"), [(3, 4, True), (3, 5, True), (3, 0, False), (3, 3, False), (2, 4, False)]
)
def test_an_image_tells_that_its_data_is_in_another_file(version: int, features: int, expected: bool):
    head = bytearray(header(b"", at=0))
    struct.pack_into(">I", head, 4, version)
    struct.pack_into(">Q", head, 72, features)
    assert has_data_elsewhere(lambda offset, length: bytes(head[offset : offset + length])) is expected
    assert not has_data_elsewhere(lambda offset, length: bytes(head)[offset : offset + min(length, 40)])


def test_layered_copies_that_become_whole_ones_count_with_all_that_is_copied():
    """Or the destination's room would be looked for in vain."""
    layered = replace(ROOT, backing=Backing("/there/base", "raw"), whole_bytes=700)
    whole = replace(ROOT, device="vdb", is_flattened=True, whole_bytes=900)
    moves = [DiskMove("vda", "incremental", "a/b", "a/b", 30), DiskMove("vdb", "copy", "a/c", "a/c", 900)]
    plan = DiskPlan(moves=moves, copies=[layered, whole])
    even_out(plan)
    assert [(move.how, move.size_bytes) for move in plan.moves] == [("copy", 700), ("copy", 900)]
    assert all(copy.is_flattened and copy.backing is None for copy in plan.copies)


@pytest.mark.parametrize(
    ("scheme", "most"), [("qemu", 16), ("qemu+tls", 16), ("qemu+ssh", 10), ("qemu+libssh2", 10), ("xen+ssh", 1)]
)
def test_no_more_migrations_at_once_than_the_way_to_the_host_bears(scheme: str, most: int):
    """Each of them logs in anew."""
    assert LibvirtMigrationDriver(ConnectionOptions(f"{scheme}://kvm1/system")).max_workers == most


def test_a_snapshot_names_what_a_device_was_on_then_and_not_what_another_one_is_on_there():
    config = a_domain()
    then = DOMAIN.replace("/here/data", "/here/former").replace("<domain", "<domainsnapshot><domain", 1)
    plan = DiskPlan(copies=[ROOT, replace(ROOT, device="vdb", path="/there/data", format="raw")])
    text = redirected_snapshot(f"{then}</domainsnapshot>", lambda domain: redirect(domain, plan), config)
    disks = ET.fromstring(text).findall("domain/devices/disk")
    assert [found.find("target").get("dev") for found in disks] == ["vda", "vdb", "vdc", "vdd"]
    assert [found.find("source").get("file") for found in disks[:2]] == ["/there/root", "/here/former"]
