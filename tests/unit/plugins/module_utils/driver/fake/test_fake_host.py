# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has and enforces: capacity, networks, pools, images, addresses; and where it is."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.driver import FakeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.qcow2 import encoded
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AlreadyExists,
    HypervisorError,
    HypervisorUnavailable,
    ImageNotFound,
    IncompatibleCpu,
    InsufficientCapacity,
    InvalidInput,
    InvalidUri,
    NetworkNotFound,
    PoolNotFound,
    VolumeNotFound,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.host import CpuInfo
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Disk, Nic

GIB = 1 << 30


def open_driver(uri: str) -> FakeDriver:
    driver = FakeDriver(ConnectionOptions(uri))
    driver.open()
    return driver


# -- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("fake://host/path", "third slash"),
        ("fake+ssh:///path", "no transport 'ssh'"),
        ("fake:///path?node=a", "takes one parameter, host"),
        ("fake:///path?host=a&host=b", "takes one parameter, host"),
        ("fake:///path?host=", "cannot be a host's name"),
        ("fake:///path?host=../etc", "cannot be a host's name"),
        ("fake:///path%00", "null character"),
        ("fake:path", "not absolute"),
        ("fake:///path#1", "fragment"),
    ],
)
def test_uris_that_are_refused(uri, complaint):
    with pytest.raises(InvalidUri, match=complaint):
        FakeDriver(ConnectionOptions(uri))


def test_without_a_path_it_is_in_the_users_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert FakeDriver(ConnectionOptions("fake:///")).root == str(tmp_path / "anyvirt" / "fake")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FakeDriver(ConnectionOptions("fake:")).root == str(tmp_path / ".local/state/anyvirt/fake")


def test_looking_makes_no_folder(driver, root, make):
    assert driver.list_instances() == []
    assert driver.validate_parameters([make()]) == {}
    assert driver.get_host_stats().instances == 0
    assert driver.verify() == []
    assert not os.path.exists(root)


def test_init_host_makes_the_folder_once_and_finds_what_is_there(driver, root, make):
    assert driver.init_host() == []
    assert os.listdir(os.path.join(root, "hosts")) == ["fake1"]
    driver.spawn(make())
    driver.calls.clear()
    assert driver.init_host() == ["web1"]
    assert driver.writing_calls() == []


def test_a_file_where_the_folder_should_be(root):
    Path(root).write_text("")
    driver = FakeDriver(ConnectionOptions(dial.uri(root)))
    with pytest.raises(HypervisorUnavailable, match="is not a folder"):
        driver.open()
    assert driver.verify() == [f"{root} is not a folder"]


def test_a_driver_that_is_not_open_answers_nothing(root):
    with pytest.raises(HypervisorUnavailable, match="not open"):
        FakeDriver(ConnectionOptions(dial.uri(root))).list_instances()


def test_hosts_under_one_root_are_apart(root, make):
    first, second = open_driver(dial.uri(root, "node1")), open_driver(dial.uri(root, "node2"))
    first.spawn(make())
    assert second.list_instances() == []
    second.spawn(make())
    assert first.host_identity() != second.host_identity()
    assert first.get_instances()["web1"].nics != second.get_instances()["web1"].nics


def test_damage_is_told_by_verify(driver, root, make):
    driver.spawn(make())
    Path(root, "hosts/fake1/instances/web1.json").write_text("no JSON")
    with FakeDriver(ConnectionOptions(dial.uri(root))) as other:
        [problem] = other.verify()
        assert "web1.json is damaged" in problem
        with pytest.raises(HypervisorError, match=r"web1\.json is damaged"):
            other.get_instances()


# -- host.json --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"ram": 1}, "no entry 'ram'"),
        ({"memory_mb": "1G"}, "memory_mb has to be a whole number"),
        ({"vcpus": True}, "vcpus has to be a whole number"),
        ({"pools": {"default": {"size": "big"}}}, "pools.default.size: 'big' is not a size"),
        ({"pools": ["default"]}, "pools has to be a mapping"),
        ({"networks": {"lan": {"subnet": "10.0.0.0/99"}}}, "networks.lan.subnet is no IPv4 network"),
        ({"images": {"/a.img": {}}}, "images./a.img needs a size"),
        ({"cpu": {"features": "aes"}}, "cpu.features has to be a list of texts"),
    ],
)
def test_hosts_that_make_no_sense(driver, root, entries, complaint):
    dial.write_host(root, **entries)
    with pytest.raises(HypervisorError, match=complaint):
        driver.get_host_stats()
    assert len(driver.verify()) == 1


def test_memory_is_enforced_when_it_is_taken(driver, root, make, files):
    dial.write_host(root, memory_mb=1024, reserved_memory_mb=0)
    driver.spawn(make("web1", memory_mb=600))
    driver.spawn(make("web2", memory_mb=600), power_on=False)
    before = files()
    for action in (lambda: driver.power_on("web2"), lambda: driver.spawn(make("web3", memory_mb=425))):
        with pytest.raises(InsufficientCapacity, match="has 424 MiB of memory left"):
            action()
    assert files() == before
    driver.suspend("web1")
    driver.power_on("web2")
    with pytest.raises(InsufficientCapacity):
        driver.resume("web1")
    assert driver.get_host_stats().memory_mb_free == 424


def test_processors_are_overcommitted_by_a_ratio(driver, root, make):
    dial.write_host(root, vcpus=2, vcpu_overcommit=1.5)
    driver.spawn(make("web1", vcpus=3))
    with pytest.raises(InsufficientCapacity, match="0 virtual processors left"):
        driver.spawn(make("web2"))
    assert driver.get_host_stats().vcpus_used == 3


def test_disk_space_is_enforced(driver, root, make, files):
    dial.write_host(root, pools={"default": {"size": "3G"}})
    before = files()
    with pytest.raises(InsufficientCapacity, match=r"'default' of fake1 has 1\.0 GiB left; 2\.0 GiB"):
        driver.spawn(make(disks=[Disk(size_bytes=2 * GIB), Disk(size_bytes=2 * GIB)]))
    assert files() == before


def test_eight_processes_never_overbook_the_host(root, make):
    dial.write_host(root, memory_mb=10 * 256, reserved_memory_mb=0)

    def spawn_five(number: int) -> None:
        with FakeDriver(ConnectionOptions(dial.uri(root))) as driver:
            for count in range(5):
                try:
                    driver.spawn(make(f"vm{number}-{count}"))
                except InsufficientCapacity:
                    continue

    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=spawn_five, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with FakeDriver(ConnectionOptions(dial.uri(root))) as driver:
        stats = driver.get_host_stats()
        assert (stats.running_instances, stats.instances, stats.memory_mb_free) == (10, 10, 0)
        addresses = [found[0].address for found in driver.get_addresses(driver.list_instances()).values()]
        assert len(set(addresses)) == 10


def test_a_processor_is_compared(driver):
    driver.compare_cpu(driver.get_cpu_info())
    with pytest.raises(IncompatibleCpu, match="lacks avx512f, sgx"):
        driver.compare_cpu(CpuInfo("x86_64", features=["aes", "sgx", "avx512f"]))
    with pytest.raises(IncompatibleCpu, match="aarch64"):
        driver.compare_cpu(CpuInfo("aarch64"))


# -- what instances are made of ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "option"),
    [
        ({"nics": [Nic(network="nowhere")]}, NetworkNotFound, "nics[0].network"),
        ({"nics": [Nic(network="default"), Nic(bridge="br9")]}, NetworkNotFound, "nics[1].bridge"),
        ({"nics": [Nic(network="default", mac="52:00:00:00:00:01")]}, AlreadyExists, "nics[0].mac"),
        ({"disks": [Disk(image="/no/such.img")]}, ImageNotFound, "disks[0].image"),
        ({"disks": [Disk(image="/images/debian-12.qcow2", size_bytes=GIB)]}, InvalidInput, "disks[0].size"),
        ({"disks": [Disk(path="/no/such/disk")]}, ImageNotFound, "disks[0].path"),
        ({"disks": [Disk(volume="gone")]}, VolumeNotFound, "disks[0].volume"),
        ({"disks": [Disk(size_bytes=GIB, pool="tape")]}, PoolNotFound, "disks[0].pool"),
        ({"pool": "tape", "disks": []}, PoolNotFound, "pool"),
        ({"image": "/no/such.img", "disks": None}, ImageNotFound, "image"),
        ({"boot": Boot(kernel="/no/kernel")}, ImageNotFound, "boot.kernel"),
    ],
)
def test_what_is_not_there_is_found_before_and_refused_by_spawn(driver, make, files, fields, error, option):
    driver.spawn(make("other", nics=[Nic(network="default", mac="52:00:00:00:00:01")]))
    before = files()
    wanted = make(**fields)
    assert option in [problem.option for problem in driver.validate_parameters([wanted])["web1"]]
    with pytest.raises(error):
        driver.spawn(wanted)
    assert files() == before


def test_a_name_is_taken_once(driver, make, files):
    driver.spawn(make())
    before = files()
    with pytest.raises(AlreadyExists):
        driver.spawn(make())
    assert files() == before


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb", "x" * 201, ""])
def test_names_that_no_file_can_have(driver, make, root, name):
    assert [problem.option for problem in driver.check_parameter_syntax(make(name))] == ["name"]
    with pytest.raises(InvalidInput):
        driver.spawn(make(name))
    assert driver.destroy(name) == []
    assert driver.get_instances([name]) == {}


def test_flavors_give_disks(driver, make):
    small = Flavor("small", 256, 1, root_gb=20, swap_mb=512)
    driver.spawn(make("blank", flavor=small, disks=None, cloud_init=None))
    driver.spawn(make("imaged", flavor=small, disks=None, cloud_init=None, image="/images/cirros.qcow2"))
    driver.spawn(make("whole", disks=None, cloud_init=None, image="/images/cirros.qcow2"))
    driver.spawn(make("none", disks=None, cloud_init=None))
    driver.spawn(make("diskless", flavor=small, disks=[], cloud_init=None))
    found = {
        name: [(disk.role, disk.device, disk.size_bytes, disk.image) for disk in instance.disks or []]
        for name, instance in driver.get_instances().items()
    }
    assert found == {
        "blank": [("root", "vda", 20 * GIB, None), ("swap", "vdb", GIB // 2, None)],
        "imaged": [("root", "vda", 20 * GIB, "/images/cirros.qcow2"), ("swap", "vdb", GIB // 2, None)],
        "whole": [("root", "vda", GIB // 8, "/images/cirros.qcow2")],
        "none": [],
        "diskless": [],
    }


def test_real_files_are_images(driver, make, tmp_path):
    qcow2 = tmp_path / "disk.qcow2"
    qcow2.write_bytes(b"".join(encoded(3 * GIB, [], lambda _at, _length: b"")))
    raw = tmp_path / "disk.raw"
    raw.write_bytes(bytes(4096))
    driver.spawn(make(disks=[Disk(image=str(qcow2)), Disk(image=str(raw))], cloud_init=None))
    assert [disk.size_bytes for disk in driver.get_instances()["web1"].disks] == [3 * GIB, 4096]
    qcow2.unlink()
    driver.force_off("web1")
    with pytest.raises(ImageNotFound):
        driver.power_on("web1")
    assert driver.validate_parameters(list(driver.get_instances().values())) == {}


def test_what_was_completed_is_what_reads_back(driver, make):
    completed = driver.complete(make(pool="default", description="x"))
    assert driver.complete(completed) == completed
    driver.spawn(completed, power_on=False)
    found = driver.get_instances()["web1"]
    for field in ("memory_mb", "max_memory_mb", "max_vcpus", "disks", "nics", "boot", "cpu", "console", "description"):
        assert getattr(found, field) == getattr(completed, field), field
    assert found.cloud_init_fingerprint == completed.cloud_init.fingerprint()


def test_a_pool_made_on_demand_goes_with_a_spawn_that_fails(driver, root, make, files):
    dial.write_faults(root, faults=[{"operation": "finish", "error": "hypervisor_error", "times": 1}])
    wanted = make(pool="mine", pool_path="/srv/mine")
    with pytest.raises(HypervisorError):
        driver.spawn(wanted)
    assert files() == {}
    driver.spawn(wanted)
    assert [pool.name for pool in driver.get_host_stats().pools] == ["default", "mine"]
    driver.destroy("web1")
    assert [pool.name for pool in driver.get_host_stats().pools] == ["default", "mine"]


def test_one_volume_has_one_active_writer(driver, root, make):
    dial.add_volume(root, "default", "data", "1G")
    wanted = [Disk(volume="data", pool="default")]
    driver.spawn(make("web1", disks=wanted))
    with pytest.raises(HypervisorError, match="in use by the active instance 'web1'"):
        driver.spawn(make("web2", disks=wanted))
    driver.force_off("web1")
    driver.spawn(make("web2", disks=wanted))
    assert driver.get_instances()["web2"].disks[0].size_bytes == GIB


def test_reading_costs_the_same_for_many(driver, make):
    names = [f"vm{number}" for number in range(20)]
    for name in names:
        driver.spawn(make(name))
    driver.calls.clear()
    driver.get_instances()
    driver.list_instances_detail(names)
    driver.get_addresses(names)
    driver.get_all_diagnostics(names)
    driver.get_host_stats()
    driver.find_remains(names)
    assert driver.calls == ["read", "list", "addresses", "stats", "host_stats", "find_remains"]
    assert driver.writing_calls() == []
