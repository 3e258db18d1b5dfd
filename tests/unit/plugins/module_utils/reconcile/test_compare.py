# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs, and what never does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import BUILT_IN
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Cpu, Disk, Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.compare import Comparison, compare
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.options import read_desired

GIB = 1024**3
IS = Instance(
    "a",
    memory_mb=512,
    max_memory_mb=1024,
    vcpus=1,
    max_vcpus=1,
    image="/i",
    disks=[
        Disk("vda", role="root", image="/i", volume="a-vda", pool="p", size_bytes=5 * GIB, bus="virtio", owned=True),
        Disk("vdb", volume="a-vdb", pool="p", size_bytes=GIB, bus="virtio", format="qcow2", owned=True),
        Disk("sda", kind="cdrom", role="seed", volume="a-seed", pool="p"),
    ],
    nics=[Nic("lan", mac="52:00:00:00:00:01", model="virtio"), Nic("lan", mac="52:00:00:00:00:02", model="virtio")],
    boot=Boot(kernel="/k", order=["disk"]),
    metadata={"a": "1", "b": "2"},
)


def differing(current: Instance = IS, **params: Any) -> Comparison:
    [wanted] = read_desired({"name": "a", **params}, "hyper")
    return compare(current, wanted, lambda is_now, asked: {"x"} if asked.hypervisor else set(), "hyper")


def options(found: Comparison) -> list[str]:
    return [change.option for change in found.changes]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"memory_mb": 512, "vcpus": 1, "max_memory_mb": 1024},
        {"image": "/i", "root_gb": 5},
        {"image": "/i", "disks": [{"size": "1G"}]},
        {"disks": [{"size": "1G", "bus": "virtio", "format": "qcow2"}]},
        {"disks": [{"volume": "a-vdb", "pool": "p"}]},
        {"disks": [{"device": "vdb", "size": "1G"}]},
        {"networks": ["lan"]},
        {"networks": ["lan", "lan"], "purge_networks": True},
        {"networks": [{"network": "lan", "mac": "52:00:00:00:00:02"}, "lan"], "purge_networks": True},
        {"boot": {"kernel": "/k", "initrd": ""}},
        {"metadata": {"a": 1, "c": None}},
        {"autostart": False, "description": "", "locked": False, "protected": False},
        {"console": {}},
    ],
)
def test_nothing_differs(params: dict[str, Any]):
    found = differing(**params)
    assert found.changes == []
    assert found.problems == []
    assert found.warnings == []


@pytest.mark.parametrize(
    ("params", "changed"),
    [
        ({"memory_mb": 600}, ["memory_mb"]),
        ({"memory_mb": 2048}, ["memory_mb", "max_memory_mb"]),
        ({"vcpus": 2}, ["vcpus", "max_vcpus"]),
        ({"flavor": {"name": "x", "memory_mb": 512, "vcpus": 1}}, ["flavor"]),
        ({"root_gb": 6}, ["root_gb"]),
        ({"disks": [{"size": "1G"}, {"size": "2G"}]}, ["disks[1]"]),
        ({"disks": [{"volume": "other", "pool": "p"}]}, ["disks[0]"]),
        ({"swap_mb": 64}, ["swap_mb"]),
        ({"networks": ["wan"]}, ["networks[0]"]),
        ({"networks": ["lan"], "purge_networks": True}, ["networks"]),
        ({"networks": [{"network": "wan", "mac": "52:00:00:00:00:01"}]}, ["networks[0]"]),
        ({"networks": [{"network": "lan", "model": "e1000"}]}, ["networks[0].model"]),
        ({"networks": [{"network": "lan", "mac": "52:00:00:00:00:09"}]}, ["networks[0]"]),
        ({"boot": {"kernel": "", "order": ["network"]}}, ["boot.kernel", "boot.order"]),
        ({"metadata": {"a": "2", "b": None, "c": 3}}, ["metadata.a", "metadata.b", "metadata.c"]),
        ({"cloud_init": {"user_data": "x"}}, ["cloud_init"]),
        ({"autostart": True, "locked": True}, ["autostart", "locked"]),
        ({"hyper": {"x": 1, "y": 2}}, ["hyper.x"]),
    ],
)
def test_what_differs(params: dict[str, Any], changed: list[str]):
    found = differing(**params)
    assert options(found) == changed
    assert found.problems == []


def test_the_wanted_values_are_whole():
    found = differing(metadata={"b": None, "c": "3"}, boot={"kernel": "/new"}, networks=["wan"], hyper={"x": 1, "y": 2})
    desired = found.desired
    assert desired.metadata == {"a": "1", "c": "3"}
    assert desired.boot == Boot(kernel="/new", order=["disk"])
    assert desired.nics == [*(IS.nics or []), Nic("wan")]
    assert desired.hypervisor == {"x": 1}
    assert desired.memory_mb is None
    assert found.declared.nics == [Nic("wan")]
    assert found.declared.boot == Boot(kernel="/new")


def test_a_nic_that_moves_keeps_its_place():
    desired = differing(networks=[{"bridge": "br0", "mac": "52:00:00:00:00:01"}]).desired
    assert desired.nics == [Nic(bridge="br0", mac="52:00:00:00:00:01", model="virtio"), (IS.nics or [])[1]]


def test_a_root_disk_grows_in_its_place():
    found = differing(root_gb=7)
    assert found.grows
    assert [disk.size_bytes for disk in found.desired.disks or []] == [7 * GIB, GIB, None]
    assert found.changes[0].old == "5G"
    assert found.changes[0].new == "7G"
    assert found.declared.disks == []


def test_a_declared_first_disk_is_the_root_disk_of_an_instance_without_image():
    is_now = replace(IS, image=None, disks=[Disk("vda", role="root", size_bytes=GIB, volume="a-vda", pool="p")])
    assert options(differing(is_now, disks=[{"size": "2G"}])) == ["disks[0].size"]
    assert options(differing(is_now, disks=[{"size": "1G"}, {"size": "2G"}])) == ["disks[1]"]


@pytest.mark.parametrize(
    ("params", "option"),
    [
        ({"root_gb": 4}, "root_gb"),
        ({"flavor": {"memory_mb": 1, "vcpus": 1, "root_gb": 1}}, "flavor"),
        ({"image": "/other"}, "image"),
        ({"disks": [{"size": "2G"}]}, "disks[0].size"),
        ({"disks": [{"size": "1G", "bus": "sata"}]}, "disks[0].bus"),
        ({"max_memory_mb": 256}, "max_memory_mb"),
    ],
)
def test_what_cannot_be(params: dict[str, Any], option: str):
    assert [problem.option for problem in differing(**params).problems] == [option]


def test_an_unknown_image_is_told_and_left_alone():
    found = differing(replace(IS, image=None), image="/i")
    assert found.changes == []
    assert len(found.warnings) == 1


def test_the_texts_of_cloud_init_are_never_shown():
    found = differing(cloud_init={"user_data": "secret"})
    assert "secret" not in repr(found.changes)


def test_the_same_flavor_is_no_change():
    is_now = replace(IS, flavor=BUILT_IN["tiny"])
    assert options(differing(is_now, flavor="m1.tiny")) == []


def test_a_volume_of_an_adopted_instance_is_known_by_its_file():
    adopted = replace(IS, image=None, disks=[Disk("vda", role="root", path="/srv/pool/data.qcow2")])
    assert options(differing(adopted, disks=[{"volume": "data.qcow2", "pool": "p"}])) == []


def test_a_swap_disk_keeps_its_size():
    is_now = replace(IS, disks=[*(IS.disks or []), Disk("vdc", role="swap", size_bytes=GIB, volume="s", pool="p")])
    assert differing(is_now, swap_mb=1024).changes == []
    assert [problem.option for problem in differing(is_now, swap_mb=512).problems] == ["swap_mb"]
    assert [problem.option for problem in differing(is_now, swap_mb=0).problems] == ["swap_mb"]
    flavor = {"memory_mb": 512, "vcpus": 1, "swap": 512}
    found = differing(is_now, flavor=flavor)
    assert options(found) == ["flavor"]
    assert "swap disk has 1G" in found.warnings[0]


def test_what_goes_with_a_kernel_or_a_model_goes_with_it():
    is_now = replace(IS, boot=Boot(kernel="/k", initrd="/i", cmdline="quiet"), cpu=Cpu(mode="custom", model="EPYC"))
    found = differing(is_now, boot={"kernel": ""}, cpu={"mode": "host-model"})
    assert options(found) == ["boot.kernel", "boot.initrd", "boot.cmdline", "cpu.mode", "cpu.model"]
    assert found.desired.cpu == Cpu(mode="host-model")


def test_a_topology_has_to_fit_the_vcpus_that_there_are():
    assert [problem.option for problem in differing(cpu={"cores": 2}).problems] == ["cpu.cores"]
    assert differing(cpu={"cores": 2}, vcpus=2).problems == []
