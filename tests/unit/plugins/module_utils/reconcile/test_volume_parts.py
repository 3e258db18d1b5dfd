# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of virt_volume that have more cases than a task shows: limits, sources, and what is done side by side."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    HypervisorUnavailable,
    InstanceAmbiguous,
    InvalidInput,
    Problem,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance, IoLimits
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Volume,
    VolumeKey,
    VolumeUse,
    VolumeUses,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.attachments import merged_limits
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.entries import told_once
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.plan import Plan, Step
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volume_desired import ABSENT, DesiredVolume
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volume_options import read_volumes
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volume_planned import PlannedVolume
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volume_plans import VolumePlanner
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volume_world import (
    World,
    all_disks,
    child_key,
    is_half_attached,
    is_on,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volumes import chains_of
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.workers import run_chains

KEY = VolumeKey("vms", "data")


def read(**params: Any) -> DesiredVolume:
    [wanted] = read_volumes({"name": "data", **params})
    return wanted


def complaints(**params: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read_volumes({"name": "data", **params})
    return [problem.option for problem in caught.value.problems]


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "wanted", "then"),
    [
        (None, None, None),
        (IoLimits(total_iops=5), None, IoLimits(total_iops=5)),
        (None, IoLimits(total_iops=5), IoLimits(total_iops=5)),
        (IoLimits(total_iops=5, read_bytes=7), IoLimits(total_iops=6), IoLimits(total_iops=6, read_bytes=7)),
        (IoLimits(read_iops=1, write_iops=2), IoLimits(total_iops=5), IoLimits(total_iops=5)),
        (IoLimits(total_iops=5), IoLimits(write_iops=2), IoLimits(write_iops=2)),
        (IoLimits(total_iops=5), IoLimits(read_iops=0), IoLimits(total_iops=5)),
        (IoLimits(total_iops=5, total_bytes=9), IoLimits(total_iops=0), IoLimits(total_bytes=9)),
    ],
)
def test_limits_are_merged(current: IoLimits | None, wanted: IoLimits | None, then: IoLimits | None) -> None:
    assert merged_limits(current, wanted) == then


def test_limits_are_read_with_units() -> None:
    limits = read(state="attached", instance="a", limits={"read_bytes": "1.5M", "write_bytes": 0}).disk.limits
    assert limits == IoLimits(read_bytes=1536 * 1024, write_bytes=0)


# -- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ({}, ["source"]),
        ({"volume": "a", "snapshot": "s", "copy_on_write": True, "pool": "p"}, []),
        ({"image": "a", "snapshot": "s"}, ["source.snapshot"]),
        ({"path": "disk.img"}, ["source.path"]),
        ({"path": "/disk.img", "copy_on_write": True, "username": "me"}, ["source.copy_on_write", "source.username"]),
        ({"url": "https://me:secret@example.com/x"}, ["source.url"]),
        ({"url": "https://example.com/x", "checksum": "sha256:12"}, ["source.checksum"]),
    ],
)
def test_sources(source: dict[str, Any], wrong: list[str]) -> None:
    if wrong:
        assert complaints(source=source) == wrong
    else:
        assert read(source=source).volume.source is not None


def test_a_wrong_url_is_not_repeated_with_its_password() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(source={"url": "https://me:hunter22@example.com/x"})
    assert "hunter22" not in str(caught.value)


def test_devices_may_be_given_as_in_the_guest() -> None:
    assert read(state="attached", instance="a", device="/dev/vdb").disk.device == "vdb"
    assert complaints(state="attached", instance="a", device="/dev/vdb1") == ["device"]


def test_options_that_the_state_has_no_use_for() -> None:
    assert complaints(instance="a", bus="scsi") == ["instance", "bus"]
    assert complaints(state="attached") == ["instance"]
    assert complaints(state="attached", instance="a", kind="cdrom", read_only=False) == ["read_only"]
    assert complaints(revert_to="s", size="1G", snapshots=["t"]) == ["size", "snapshots"]
    # What was declared to be made can be declared to go with one word changed.
    assert read(state="absent", size="1G", instance="a", bus="scsi").state == "absent"


def test_a_volume_is_there_twice_only_for_two_instances() -> None:
    twice = [
        {"name": "a", "instance": "one", "state": "attached"},
        {"name": "a", "instance": "two", "state": "detached"},
    ]
    assert len(read_volumes({"volumes": twice})) == 2
    with pytest.raises(InvalidInput):
        read_volumes({"volumes": [{**twice[0]}, {**twice[0]}]})
    with pytest.raises(InvalidInput):
        read_volumes({"volumes": [{**twice[0]}, {"name": "a"}]})
    assert len(read_volumes({"volumes": [{"name": "a", "pool": "x"}, {"name": "a", "pool": "y"}]})) == 2


def test_a_shared_problem_is_told_once() -> None:
    problems = [Problem(f"volumes[{number}].size", "wrong") for number in range(3)]
    params = {"size": "x", "volumes": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}
    assert told_once(problems, params, "volumes") == [Problem("size", "wrong")]


# -- the world ------------------------------------------------------------------------------------------------------


def test_disks_are_known_by_volume_or_path() -> None:
    assert is_on(Disk(volume="data", pool="vms"), KEY, None)
    assert not is_on(Disk(volume="data", pool="other", path="/vms/data"), KEY, "/vms/data")
    assert is_on(Disk(path="/vms/data"), KEY, "/vms/data")
    assert not is_on(Disk(), KEY, None)


def test_a_disk_that_the_running_guest_lacks_is_half_attached() -> None:
    configured = Disk("vdb", volume="data", pool="vms")
    other = Disk("vdc", volume="more", pool="vms")
    instance = Instance("a", disks=[configured], pending={"disks": ([other], [configured])})
    assert is_half_attached(instance, configured)
    assert all_disks(instance) == [configured, other]
    assert not is_half_attached(Instance("a", disks=[configured]), configured)


@pytest.mark.parametrize(
    ("name", "key"),
    [("vms/child", VolumeKey("vms", "child")), ("/elsewhere/child", None), ("a/b/c", VolumeKey("a/b", "c"))],
)
def test_children(name: str, key: VolumeKey | None) -> None:
    assert child_key(name) == key


def test_nothing_is_removed_from_under_an_instance_that_cannot_be_told() -> None:
    key = VolumeKey("vms", "data")
    uses = {key: VolumeUses([VolumeUse("twin", "vdb", active=False, read_only=False)])}
    driver = cast(StorageDriver, None)
    world = World(driver, {key: Volume("data", "vms")}, failed={"twin": InstanceAmbiguous("two")}, uses=uses)
    wanted = DesiredVolume("", Volume("data", "vms"), ABSENT, detach_first=True)
    with pytest.raises(InstanceAmbiguous):
        VolumePlanner(driver, world).fill(PlannedVolume(wanted))


# -- side by side ---------------------------------------------------------------------------------------------------


def planned(name: str, *touches: VolumeKey | str) -> PlannedVolume:
    return PlannedVolume(DesiredVolume("", Volume(name, "vms")), touches={VolumeKey("vms", name), *touches})


def test_what_has_to_do_with_each_other_is_done_in_order() -> None:
    items = [planned("a", "one"), planned("b", "two"), planned("c"), planned("d", "one", "two"), planned("e")]
    assert [[item.wanted.name for item in chain] for chain in chains_of(items)] == [["c"], ["a", "b", "d"], ["e"]]


def test_a_chain_goes_on_after_a_failure_and_not_when_the_hypervisor_is_gone() -> None:
    done: list[str] = []

    def run(item: PlannedVolume) -> None:
        done.append(item.wanted.name)
        item.plan.run()

    def fail(error: AnyvirtError) -> Plan:
        def do() -> None:
            raise error

        return Plan([Step("fail", do)])

    items = [planned(name) for name in "abcd"]
    items[0].plan = fail(AnyvirtError("no"))
    items[2].plan = fail(HypervisorUnavailable("gone"))
    run_chains([items], run, 4)
    assert done == ["a", "b", "c"]
    assert [type(item.error).__name__ for item in items] == [
        "AnyvirtError",
        "NoneType",
        "HypervisorUnavailable",
        "HypervisorUnavailable",
    ]


def test_chains_are_done_side_by_side() -> None:
    together = threading.Barrier(3, timeout=10)
    run_chains([[planned(name)] for name in "abc"], lambda _item: together.wait() and None, 3)
