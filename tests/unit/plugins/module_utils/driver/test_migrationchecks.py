# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before a migration that all drivers have in common, with two hosts of the fake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver import migrationchecks as checks
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.capabilities import Capabilities
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.capabilities import CAPABILITIES
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.migrationdriver import FakeMigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import SEED, Disk, Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    AUTO,
    COLD,
    INCOMING,
    LIVE,
    OUTGOING,
    DiskMove,
    MigrationPlan,
    MigrationWishes,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.resize import ResizeRecord
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import GIB

RUNNING = Instance("web1", memory_mb=1024, vcpus=1, power_state=power_state.RUNNING)
OFF = replace(RUNNING, power_state=power_state.SHUTOFF)


class Two:
    """Two hosts."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.here, self.there = self._host("here"), self._host("there")

    def _host(self, name: str) -> FakeMigrationDriver:
        driver = FakeMigrationDriver(ConnectionOptions(dial.uri(self.root, name)))
        driver.open()
        return driver

    def host(self, name: str, **entries: Any) -> None:
        """What that one is like from now on."""
        dial.write_host(self.root, name, **entries)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(str(tmp_path))


class Limited(FakeMigrationDriver):
    """One that cannot do everything."""

    lacks: tuple[str, ...] = ()

    @property
    def capabilities(self) -> Capabilities:
        return {feature: found for feature, found in CAPABILITIES.items() if feature not in self.lacks}


def plan(name: str, *disks: DiskMove, start: bool = True, two: Two | None = None) -> MigrationPlan:
    assert two is not None
    instance = replace(RUNNING if start else OFF, name=name)
    record = checks.records(two.here, two.there, instance, COLD)[0]
    return MigrationPlan(name, COLD, MigrationWishes(), record, list(disks))


# -- how --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "state", "can_live", "expected"),
    [
        (AUTO, power_state.RUNNING, True, LIVE),
        (AUTO, power_state.PAUSED, True, LIVE),
        (AUTO, power_state.RUNNING, False, COLD),
        (AUTO, power_state.SHUTOFF, True, COLD),
        (AUTO, power_state.CRASHED, True, COLD),
        (AUTO, power_state.SUSPENDED, True, COLD),
        (COLD, power_state.RUNNING, True, COLD),
        (LIVE, power_state.SHUTOFF, False, LIVE),
    ],
)
def test_live_or_cold(two: Two, mode: str, state: int, can_live: bool, expected: str):
    instance = replace(RUNNING, power_state=state)
    assert checks.mode_for(two.here, instance, MigrationWishes(mode=mode), can_live) == expected


def test_a_driver_that_moves_nothing_live_moves_it_cold(two: Two):
    driver = Limited(ConnectionOptions(dial.uri(two.root)))
    driver.lacks = ("migration_live",)
    assert checks.mode_for(driver, RUNNING, MigrationWishes()) == COLD


@pytest.mark.parametrize(
    ("instance", "mode", "word"),
    [
        (OFF, LIVE, "shutoff"),
        (replace(OFF, power_state=power_state.SUSPENDED), COLD, "suspended"),
        (replace(OFF, unfinished=True), COLD, "unfinished"),
        (replace(OFF, resize=ResizeRecord(0.0, 1, 1, 1, 1)), COLD, "resize"),
    ],
)
def test_what_cannot_be_moved_as_it_is(instance: Instance, mode: str, word: str):
    [problem] = checks.state_problems(instance, mode)
    assert word in problem


def test_what_can(two: Two):
    for instance, mode in ((RUNNING, LIVE), (RUNNING, COLD), (OFF, COLD)):
        assert checks.state_problems(instance, mode) == []


def test_wishes_that_one_end_cannot_fulfil_are_told_once(two: Two):
    wishes = MigrationWishes(
        storage="copy", bandwidth_mib_s=1, parallel=2, auto_converge=True, post_copy=True, compression=True,
        max_downtime_ms=1, timeout_s=1, on_timeout="pause", transport="tunnelled", manager="source", persist=False,
    )  # fmt: skip
    nothing = Limited(ConnectionOptions(dial.uri(two.root, "nothing")))
    nothing.lacks = tuple(CAPABILITIES)
    options = [problem.partition(":")[0] for problem in checks.unmet_wishes(two.here, nothing, wishes, LIVE)]
    assert sorted(options) == sorted(
        ["mode", "bandwidth", "on_timeout", "persist", "storage", "post_copy", "auto_converge", "compression"]
        + ["parallel", "max_downtime_ms", "transport", "manager"]
    )
    cold = [problem.partition(":")[0] for problem in checks.unmet_wishes(nothing, two.here, wishes, COLD)]
    assert sorted(cold) == ["bandwidth", "mode", "on_timeout", "persist"]


def test_a_cold_one_that_takes_too_long_can_only_be_aborted(two: Two):
    driver = Limited(ConnectionOptions(dial.uri(two.root)))
    driver.lacks = ("migration_abort",)
    wishes = MigrationWishes(timeout_s=1, on_timeout="pause")
    assert checks.unmet_wishes(driver, driver, wishes, LIVE) == []
    assert len(checks.unmet_wishes(driver, driver, wishes, COLD)) == 1
    assert checks.unmet_wishes(driver, driver, replace(wishes, on_timeout="continue"), COLD) == []


# -- the hosts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7.2.22", (7, 2, 22)), ("7.2", (7, 2)), ("7.0.0", (7,)), ("4.17.3-pre (x)", (4, 17, 3)), ("", ())],
)
def test_versions(text: str, expected: tuple[int, ...]):
    assert checks.version(text) == expected


@pytest.mark.parametrize(
    ("here", "there", "mode", "fine"),
    [
        ("1.9", "1.10", LIVE, True),
        ("1.10", "1.9", LIVE, False),
        ("1.10", "1.10.0", LIVE, True),
        ("1.10", "1.9", COLD, True),
    ],
)
def test_never_live_to_an_older_version(two: Two, here: str, there: str, mode: str, fine: bool):
    two.host("here", version=here)
    two.host("there", version=there)
    assert (checks.host_problems(two.here, two.there, mode) == []) is fine


def test_processors(two: Two):
    two.host("there", cpu={"features": ["sse2"]})
    [problem] = checks.host_problems(two.here, two.there, LIVE)
    assert "aes" in problem
    assert checks.host_problems(two.here, two.there, LIVE, two.there.get_cpu_info()) == []
    assert checks.host_problems(two.here, two.there, LIVE, compares_cpu=False) == []
    two.host("there", cpu={"arch": "aarch64"})
    for mode in (LIVE, COLD):
        [problem] = checks.host_problems(two.here, two.there, mode)
        assert "aarch64" in problem


def test_the_same_host(two: Two):
    assert len(checks.host_problems(two.here, two.here, COLD)) == 1


# -- room -------------------------------------------------------------------------------------------------------------


def test_memory_for_all_together_counts_what_is_to_run(two: Two):
    two.host("there", memory_mb=2048 + 512, reserved_memory_mb=512)
    instances = {name: replace(RUNNING, name=name) for name in ("a", "b", "c", "d")}
    plans = {name: plan(name, start=name != "a", two=two) for name in instances}
    found = checks.room_problems(two.there, instances, plans)
    assert list(found) == ["d"]
    assert "2048 MiB" in found["d"][0]


def test_room_in_pools(two: Two):
    two.host("there", pools={"default": {"size": "10G"}, "other": {"size": "1G"}})
    instances = {name: replace(RUNNING, name=name) for name in ("a", "b")}
    moves = {
        "a": [
            DiskMove("vda", "copy", "default/a", "default/a", 6 * GIB),
            DiskMove("vdb", "shared", "other/x", "other/x", 9 * GIB),
        ],
        "b": [DiskMove("vda", "incremental", "default/b", "default/b", 6 * GIB)],
    }
    plans = {name: plan(name, *disks, two=two) for name, disks in moves.items()}
    found = checks.room_problems(two.there, instances, plans)
    assert list(found) == ["b"]
    assert "'default'" in found["b"][0]
    again = {"c": replace(RUNNING, name="c")}
    disk = DiskMove("vda", "copy", "default/c", "default/c", 6 * GIB)
    [problem] = checks.room_problems(two.there, again, {"c": plan("c", disk, two=two)})["c"]
    assert "'default'" in problem, "planned after the others, and for the same task"


# -- what it needs there ----------------------------------------------------------------------------------------------


def test_mapping_names():
    instance = replace(
        RUNNING,
        pool="fast",
        disks=[Disk(pool="fast", volume="a"), Disk(pool="slow", volume="b"), Disk(path="/dev/x")],
        nics=[Nic(network="lan"), Nic(bridge="br0"), Nic(network="wan")],
    )
    wishes = MigrationWishes(pools={"fast": "ssd"}, networks={"lan": "office", "br0": "br7"})
    found = checks.mapped(instance, wishes)
    assert found.pool == "ssd"
    assert [disk.pool for disk in found.disks or ()] == ["ssd", "slow", None]
    assert [(nic.network, nic.bridge) for nic in found.nics or ()] == [("office", None), (None, "br7"), ("wan", None)]
    assert instance.pool == "fast"


def test_what_the_destination_lacks(two: Two):
    two.there.spawn(two.there.complete(Instance("web1", memory_mb=64, vcpus=1)), power_on=False)
    instance = replace(
        RUNNING,
        nics=[Nic(network="lan")],
        disks=[Disk(pool="fast", volume="a"), Disk(pool="seeds", volume="s", role=SEED)],
    )
    told = "\n".join(checks.place_problems(two.there, {"web1": instance}, MigrationWishes())["web1"])
    for word in ("'web1'", "'fast'"):
        assert word in told
    assert "networks[0].network: there is no active network 'lan'; map it with networks or make it" in told
    fine = MigrationWishes(networks={"lan": "default"}, pools={"fast": "default"})
    assert checks.place_problems(two.there, {"web2": replace(instance, name="web2")}, fine) == {}


# -- records ----------------------------------------------------------------------------------------------------------


def test_records_of_both_ends_agree(two: Two):
    outgoing, incoming = checks.records(two.here, two.there, replace(RUNNING, power_state=power_state.PAUSED), LIVE)
    assert outgoing.id == incoming.id
    assert (outgoing.direction, incoming.direction) == (OUTGOING, INCOMING)
    assert (outgoing.peer, incoming.peer) == (two.there.host_identity(), two.here.host_identity())
    assert outgoing.start
    assert outgoing.paused
    assert checks.records(two.here, two.there, OFF, COLD)[0].id != outgoing.id


def test_which_volumes_are_made_and_which_are_left():
    disks = [
        DiskMove("vda", "copy", "a/1", "b/1"),
        DiskMove("vdb", "incremental", "a/2", "b/2"),
        DiskMove("vdc", "shared", "a/3", "a/3"),
        DiskMove("sda", "remade", "a/seed", "b/seed"),
        DiskMove("vdd", "copy", "/dev/sdx", "/dev/sdy"),
    ]
    assert checks.copied_volumes(disks) == ("a/1", "a/2")
    assert checks.made_volumes(disks) == ("b/1", "b/2", "b/seed")
