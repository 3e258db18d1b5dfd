# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module's options mean, and everything that can be wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidInput
from ansible_collections.anyvirt.compute.plugins.module_utils.model.flavor import Flavor
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.creation import new_disk_options, new_disks
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.desired import Desired
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.options import read_desired

GIB = 1024**3


def read(**params: Any) -> Desired:
    [wanted] = read_desired(params, "hyper")
    return wanted


def complaints(**params: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read_desired(params, "hyper")
    return [problem.option for problem in caught.value.problems]


def test_what_is_not_mentioned_is_none():
    wanted = read(name="a")
    mentioned = {name for name, value in vars(wanted.instance).items() if value is not None}
    assert mentioned == {"name", "hypervisor", "power_state", "persistent", "unfinished", "pending"}
    assert (wanted.state, wanted.apply, wanted.delete_volumes) == ("present", "live", "own")


def test_shared_options_are_defaults():
    one, two = read_desired(
        {"memory_mb": 64, "state": "running", "instances": [{"name": "a"}, {"name": "b", "memory_mb": 128}]}, "hyper"
    )
    assert (one.instance.memory_mb, two.instance.memory_mb) == (64, 128)
    assert one.state == two.state == "running"


def test_an_option_of_an_entry_takes_the_place_of_the_whole_shared_one():
    shared = {"metadata": {"a": "1"}, "instances": [{"name": "a", "metadata": {"b": "2"}}]}
    assert read_desired(shared, "hyper")[0].metadata == {"b": "2"}


def test_a_flavor_gives_sizes_and_what_stands_beside_it_goes_first():
    wanted = read(name="a", flavor="small", memory_mb=100)
    assert (wanted.instance.memory_mb, wanted.instance.vcpus, wanted.root_bytes) == (100, 1, 20 * GIB)
    assert wanted.flavor is not None
    assert wanted.flavor.name == "m1.small"


@pytest.mark.parametrize("flavors", [{"x": {"memory_mb": 1, "vcpus": 2}}, [{"name": "x", "memory_mb": 1, "vcpus": 2}]])
def test_flavors_of_ones_own(flavors: Any):
    assert read(name="a", flavor="x", flavors=flavors).flavor == Flavor("x", 1, 2)


def test_novas_words_for_a_flavor():
    flavor = {"name": "x", "memory_mb": 1, "vcpus": 2, "local_gb": 3, "swap": 4, "rxtx_factor": 2}
    assert read(name="a", flavor=flavor).flavor == Flavor("x", 1, 2, 3, 4, 2.0)


@pytest.mark.parametrize(
    ("params", "disks", "options"),
    [
        ({}, [], []),
        ({"root_gb": 0}, [], []),
        ({"root_gb": 1}, [Disk(role="root", size_bytes=GIB)], ["root_gb"]),
        ({"image": "/i"}, [Disk(role="root", image="/i")], ["image"]),
        (
            {"image": "/i", "root_gb": 1, "swap_mb": 1, "disks": [{"size": "1G"}], "pool": "p"},
            [
                Disk(role="root", image="/i", size_bytes=GIB, pool="p"),
                Disk(role="swap", size_bytes=1024**2, pool="p"),
                Disk(size_bytes=GIB),
            ],
            ["image", "swap_mb", "disks[0]"],
        ),
        ({"disks": [{"path": "/dev/x"}]}, [Disk(role="root", path="/dev/x")], ["disks[0]"]),
        (
            {"flavor": "small", "disks": [{"volume": "v", "pool": "p"}]},
            [Disk(role="root", volume="v", pool="p")],
            ["disks[0]"],
        ),
        ({"disks": [{"kind": "cdrom", "path": "/c.iso"}]}, [Disk(kind="cdrom", path="/c.iso")], ["disks[0]"]),
    ],
)
def test_disks_of_a_new_instance(params: dict[str, Any], disks: list[Disk], options: list[str]):
    wanted = read(name="a", **params)
    assert new_disks(wanted) == disks
    assert new_disk_options(wanted) == options


def test_networks():
    wanted = read(name="a", networks=["lan", {"bridge": "br0", "mac": "52-54-00-AA-BB-CC", "model": "e1000"}])
    assert wanted.instance.nics == [Nic("lan"), Nic(bridge="br0", mac="52:54:00:aa:bb:cc", model="e1000")]


def test_metadata_becomes_texts():
    wanted = read(name="a", metadata={"number": 7, "truth": True, "gone": None, "text": "x"})
    assert wanted.metadata == {"number": "7", "truth": "true", "gone": None, "text": "x"}


def test_cloud_init_from_dictionaries_is_always_the_same_text():
    data = {"user_data": {"users": [{"name": "ann"}]}, "meta_data": {"role": "web"}}
    first, second = (read(name="a", cloud_init=data).instance.cloud_init for _turn in range(2))
    assert first == second
    assert first is not None
    assert first.user_data.startswith("#cloud-config\n{")
    assert '"instance-id": "a"' in first.meta_data
    assert '"role": "web"' in first.meta_data


def test_cloud_init_always_has_an_instance_id():
    found = read(name="a", cloud_init={"user_data": "#!/bin/sh\n"}).instance.cloud_init
    assert found is not None
    assert found.user_data == "#!/bin/sh\n"
    assert found.meta_data == 'instance-id: "a"\nlocal-hostname: "a"\n'


def test_extras_stand_under_the_drivers_name():
    assert read(name="a", hyper={"machine": "x", "type": None}, other={"y": 1}).instance.hypervisor == {"machine": "x"}


def test_a_cpu_model_alone_means_custom():
    cpu = read(name="a", cpu={"model": "qemu64"}).instance.cpu
    assert cpu is not None
    assert cpu.mode == "custom"


def test_a_vnc_port_alone_means_vnc():
    console = read(name="a", console={"vnc_port": 5901}).instance.console
    assert console is not None
    assert console.vnc is True


def test_a_pattern_alone_means_the_console():
    assert read(name="a", wait={"pattern": "login:"}).wait.what == "console"


def test_every_problem_is_found():
    assert complaints(
        flavors=7,
        instances=[
            {"name": "a/b", "memory_mb": -1, "networks": [{"mac": "x"}], "disks": ["x"]},
            {"name": "c", "flavor": {"vcpus": 0, "memory_mb": 1}, "wait": {"timeout": 0}},
        ],
    ) == [
        "flavors",
        "instances[0].name",
        "instances[0].memory_mb",
        "instances[0].disks[0]",
        "instances[0].networks[0].mac",
        "instances[0].networks[0].network",
        "instances[1].flavor.vcpus",
        "instances[1].wait.timeout",
    ]


def test_sizes_of_disks_are_whole_sectors():
    [disk] = read(name="a", disks=[{"size": "0.3G"}]).disks or []
    assert disk.size_bytes == 322122752


def test_what_is_wrong_with_a_shared_option_is_told_once():
    entries = [{"name": "a"}, {"name": "b"}]
    assert complaints(memory_mb=0, instances=entries) == ["memory_mb"]
    assert complaints(memory_mb=0, instances=[{"name": "a"}, {"name": "b", "memory_mb": 0}]) == [
        "instances[0].memory_mb",
        "instances[1].memory_mb",
    ]
    assert complaints(boot={"kernel": "relative"}, instances=entries) == ["boot.kernel"]
    assert complaints(instances=[{"name": "a", "vcpus": 0}, {"name": "b", "vcpus": 0}]) == [
        "instances[0].vcpus",
        "instances[1].vcpus",
    ]


@pytest.mark.parametrize("size", [{"flavor": "small"}, {"memory_mb": 64}, {"max_vcpus": 2}, {"root_gb": 2}])
def test_a_resize_that_can_be_taken_back(size: dict[str, Any]):
    wanted = read(name="a", revertible=True, confirm_window=60, **size)
    assert (wanted.revertible, wanted.confirm_window_s) == (True, 60.0)


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ({"revertible": True}, "revertible"),
        ({"revertible": True, "description": "no size"}, "revertible"),
        ({"revertible": "perhaps", "memory_mb": 64}, "revertible"),
        ({"confirm_window": 60, "memory_mb": 64}, "confirm_window"),
        ({"confirm_window": 60, "revertible": False, "memory_mb": 64}, "confirm_window"),
        ({"confirm_window": 0, "revertible": True, "memory_mb": 64}, "confirm_window"),
        ({"confirm_window": "soon", "revertible": True, "memory_mb": 64}, "confirm_window"),
        ({"state": "resize_confirmed", "wait": {"for": "address"}}, "wait.for"),
    ],
)
def test_what_makes_no_sense_of_a_resize(params: dict[str, Any], wrong: str):
    assert complaints(name="a", **params) == [wrong]
