# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake's migrations in simulated time: what converges and what does not, and what is done about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    HypervisorUnavailable,
    InstanceMigrating,
    InsufficientCapacity,
    MigrationAborted,
    MigrationFailed,
    TimeoutExpired,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk, Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import (
    LIVE,
    MigrationPlan,
    MigrationProgress,
    MigrationResult,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.helpers import state_of
from contract.migration_helpers import (
    DISK_BYTES,
    NAME,
    Ends,
    begun,
    both_ends,
    moved,
    overseer,
    plan_of,
    planned,
    spawned,
)
from contract.platforms.fake import FakePlatform

pytestmark = pytest.mark.on("fake")

MEMORY_MB = 96
RATE = 960
"""MiB a second: the memory goes over in a tenth of one."""


@pytest.fixture
def ends(platform: FakePlatform) -> Ends:
    """Both hosts, with a network between them that takes its time."""
    dial.write_host(str(platform.folder), platform.host, migration_mib_s=RATE)
    return both_ends(platform)


def running(ends: Ends, **guest: Any) -> Instance:
    """An instance whose guest behaves so."""
    assert isinstance(ends.platform, FakePlatform)
    dial.write_faults(str(ends.platform.folder), guests={NAME: guest})
    return spawned(ends, power_on=True)


def migrated(
    ends: Ends, plan: MigrationPlan, tell: Callable[[MigrationProgress], None] | None = None
) -> MigrationResult:
    """The job only."""
    return ends.source.migrate_instance(ends.destination, plan, overseer(plan, tell=tell))


def on_the_source(ends: Ends) -> bool:
    """Whether the guest runs on the source, and on it alone."""
    states = [state_of(driver, NAME) for driver in (ends.source, ends.destination)]
    return states == ["running", "shutoff"]


def on_the_destination(ends: Ends) -> bool:
    """The same of the destination."""
    states = [state_of(driver, NAME) for driver in (ends.source, ends.destination)]
    return states == ["shutoff", "running"]


# -- time -------------------------------------------------------------------------------------------------------------


def test_an_idle_guest_takes_as_long_as_its_memory(ends: Ends):
    result = moved(ends, running(ends), mode=LIVE)
    assert result.memory_bytes == MEMORY_MB * MIB
    assert 100 <= (result.total_ms or 0) < 2000
    assert result.iterations == 1
    assert (result.downtime_ms or 0) < 100


def test_a_busy_guest_is_gone_through_several_times(ends: Ends):
    result = moved(ends, running(ends, dirty_mib_s=RATE // 2), mode=LIVE, max_downtime_ms=20)
    assert (result.iterations or 0) >= 3
    assert (result.memory_bytes or 0) > 1.5 * MEMORY_MB * MIB
    assert (result.downtime_ms or 100) <= 20


def test_progress_tells_how_far_it_is(ends: Ends):
    seen: list[MigrationProgress] = []
    plan = begun(ends, running(ends), mode=LIVE)
    migrated(ends, plan, seen.append)
    assert len(seen) >= 3
    assert seen[0].total_bytes == MEMORY_MB * MIB
    shares = [progress.percent or 0.0 for progress in seen]
    assert shares == sorted(shares)
    assert 0 < shares[1] < 100
    assert {progress.phase for progress in seen} <= {"memory", "finishing"}


def test_bandwidth_is_kept(ends: Ends):
    result = moved(ends, running(ends), mode=LIVE, bandwidth_mib_s=RATE // 4)
    assert (result.total_ms or 0) >= 400


def test_compression_takes_half_the_time(ends: Ends):
    result = moved(ends, running(ends), mode=LIVE, compression=True, bandwidth_mib_s=RATE // 2)
    assert 100 <= (result.total_ms or 0) < 190


# -- what does not converge -------------------------------------------------------------------------------------------


def busy(ends: Ends, **wishes: Any) -> MigrationPlan:
    """One that changes its memory faster than it is sent."""
    return begun(ends, running(ends, dirty_mib_s=2 * RATE), mode=LIVE, max_downtime_ms=20, **wishes)


def test_without_end_it_is_aborted_in_time(ends: Ends):
    plan = busy(ends, timeout_s=0.4)
    with pytest.raises(TimeoutExpired, match="the guest changes"):
        migrated(ends, plan)
    assert on_the_source(ends)


def test_auto_converge_ends_it(ends: Ends):
    plan = busy(ends, auto_converge=True, timeout_s=20.0)
    result = migrated(ends, plan)
    assert (result.iterations or 0) > 3
    assert on_the_destination(ends)


def test_pausing_ends_it(ends: Ends):
    seen: list[MigrationProgress] = []
    plan = busy(ends, timeout_s=0.25, on_timeout="pause")
    result = migrated(ends, plan, seen.append)
    assert on_the_destination(ends)
    assert "paused" in {progress.phase for progress in seen}
    assert (result.downtime_ms or 0) > 50


def test_post_copy_ends_it(ends: Ends):
    seen: list[str] = []

    def tell(progress: MigrationProgress) -> None:
        if progress.phase == "post_copy":
            seen.append(state_of(ends.destination, NAME))
            with pytest.raises(HypervisorError, match="cannot be aborted"):
                ends.source.abort_migration(NAME)

    plan = busy(ends, timeout_s=0.15, on_timeout="post_copy", post_copy=True)
    result = migrated(ends, plan, tell)
    assert seen, "it took a while"
    assert set(seen) == {"running"}
    assert result.post_copy
    assert (result.downtime_ms or 100) < 50
    assert on_the_destination(ends)


def test_waiting_longer_says_so(ends: Ends):
    dials = busy(ends, timeout_s=0.1, on_timeout="continue", auto_converge=True)
    oversight = overseer(dials)
    ends.source.migrate_instance(ends.destination, dials, oversight)
    assert "longer than 0.1 s" in " ".join(oversight.warnings)
    assert on_the_destination(ends)


def test_somebody_else_aborts_it(ends: Ends):
    plan = busy(ends)
    other = ends.platform.migration_driver()

    def tell(progress: MigrationProgress) -> None:
        found = other.get_migrations()[NAME].progress
        assert found is not None
        assert other.abort_migration(NAME) is True

    with pytest.raises(MigrationAborted):
        migrated(ends, plan, tell)
    assert other.abort_migration(NAME) is False
    assert on_the_source(ends)


# -- what breaks ------------------------------------------------------------------------------------------------------


def test_a_connection_that_breaks_leaves_it_running(ends: Ends):
    instance = running(ends, migration_fails_at=50)
    before = ends.pictures()
    plan = begun(ends, instance, mode=LIVE)
    with pytest.raises(MigrationFailed, match="connection"):
        migrated(ends, plan)
    assert on_the_source(ends)
    ends.destination.discard_migration(NAME)
    ends.source.discard_migration(NAME)
    assert ends.pictures() == before


def test_a_guest_that_ends_by_itself_is_not_moved(ends: Ends):
    plan = begun(ends, running(ends, crashes_after_s=0.2), mode=LIVE, bandwidth_mib_s=10)
    with pytest.raises(MigrationFailed, match="ended"):
        migrated(ends, plan)
    assert state_of(ends.destination, NAME) == "shutoff"


def test_the_lost_answer_of_the_last_call_is_no_failure(ends: Ends):
    instance = running(ends)
    assert isinstance(ends.platform, FakePlatform)
    plan = begun(ends, instance, mode=LIVE)
    lost = {"operation": "migration_switch", "when": "after", "error": "hypervisor_unavailable", "times": 1}
    with ends.platform.ordering(faults=[lost]):
        migrated(ends, plan)
    assert on_the_destination(ends)


def test_what_has_arrived_does_so_even_when_nobody_can_write_it_down(ends: Ends):
    instance = running(ends)
    assert isinstance(ends.platform, FakePlatform)
    plan = begun(ends, instance, mode=LIVE)
    with ends.platform.ordering(faults=[{"operation": "migration_arrive", "error": "hypervisor_error"}]):
        migrated(ends, plan)
        assert on_the_destination(ends)
    with pytest.raises(InstanceMigrating):
        ends.destination.discard_migration(NAME)
    with pytest.raises(InstanceMigrating):
        ends.source.discard_migration(NAME)
    ends.source.finish_source(NAME)
    assert state_of(ends.destination, NAME) == "running", "written down before its job is forgotten"
    ends.destination.finish_destination(NAME)


# -- the hosts --------------------------------------------------------------------------------------------------------


def test_never_live_to_an_older_hypervisor(ends: Ends):
    instance = running(ends)
    assert isinstance(ends.platform, FakePlatform)
    assert isinstance(ends.partner, FakePlatform)
    dial.write_host(str(ends.platform.folder), ends.partner.host, version="0.9.12")
    [problem] = plan_of(ends, instance, mode=LIVE).problems
    assert "0.9.12" in problem
    planned(ends, instance, mode="cold")
    dial.write_host(str(ends.platform.folder), ends.partner.host, version="1.10")
    planned(ends, instance, mode=LIVE)


def test_a_processor_that_lacks_something_is_told_with_its_reason(ends: Ends):
    instance = running(ends)
    assert isinstance(ends.platform, FakePlatform)
    assert isinstance(ends.partner, FakePlatform)
    dial.write_host(str(ends.platform.folder), ends.partner.host, cpu={"features": ["sse", "sse2"]})
    [problem] = plan_of(ends, instance, mode=LIVE).problems
    assert "avx" in problem
    planned(ends, instance, mode="cold")
    dial.write_host(str(ends.platform.folder), ends.partner.host, cpu={"arch": "aarch64"})
    [problem] = plan_of(ends, instance, mode="cold").problems
    assert "aarch64" in problem


def test_memory_is_kept_for_what_is_about_to_come(ends: Ends):
    assert isinstance(ends.platform, FakePlatform)
    assert isinstance(ends.partner, FakePlatform)
    plans = {}
    for name in ("one", "two"):
        plans[name] = planned(ends, spawned(ends, power_on=True, name=name), mode=LIVE)
        ends.source.begin_migration(plans[name])
    dial.write_host(str(ends.platform.folder), ends.partner.host, memory_mb=150, reserved_memory_mb=0)
    ends.destination.accept_instance(ends.source, plans["one"])
    with pytest.raises(InsufficientCapacity):
        ends.destination.accept_instance(ends.source, plans["two"])
    assert ends.destination.list_instances() == ["one"]


def test_what_a_failed_try_has_left_is_not_in_the_way_of_the_next(ends: Ends):
    assert isinstance(ends.platform, FakePlatform)
    assert isinstance(ends.partner, FakePlatform)
    instance = running(ends)
    begun(ends, instance, mode=LIVE)
    pools = {"default": {"size": DISK_BYTES}}
    limits = {"memory_mb": 150, "reserved_memory_mb": 0, "vcpus": 1, "vcpu_overcommit": 1, "pools": pools}
    dial.write_host(str(ends.platform.folder), ends.partner.host, **limits)
    planned(ends, instance, mode=LIVE)


def test_a_host_that_restarts_starts_nothing_that_is_on_its_way(ends: Ends):
    assert isinstance(ends.platform, FakePlatform)
    assert isinstance(ends.partner, FakePlatform)
    instance = spawned(ends, power_on=True, autostart=True)
    plan = begun(ends, instance, mode="cold")
    migrated(ends, plan)
    for host in (ends.platform.host, ends.partner.host):
        dial.restart_host(str(ends.platform.folder), host)
    assert [state_of(driver, NAME) for driver in (ends.source, ends.destination)] == ["shutoff", "shutoff"]


def test_a_host_that_loses_its_power_sends_nothing_any_more(ends: Ends):
    assert isinstance(ends.platform, FakePlatform)
    plan = begun(ends, running(ends), mode=LIVE, manager="source", bandwidth_mib_s=RATE // 4)

    def cut(progress: MigrationProgress) -> None:
        dial.restart_host(str(ends.platform.folder), ends.platform.host)

    with pytest.raises(MigrationFailed):
        migrated(ends, plan, cut)
    time.sleep(0.5)
    assert [state_of(driver, NAME) for driver in (ends.source, ends.destination)] == ["shutoff", "shutoff"]
    assert ends.source.get_migrations()[NAME].progress is None


def test_nothing_else_may_change_it_meanwhile(ends: Ends):
    instance = running(ends)
    begun(ends, instance, mode=LIVE)
    for change in (ends.source.pause, ends.source.suspend, ends.source.power_on, ends.destination.power_on):
        with pytest.raises(InstanceMigrating, match="virt_migrate"):
            change(NAME)
    with pytest.raises(InstanceMigrating):
        ends.source.reboot(NAME, "hard")


@pytest.mark.parametrize("mode", [LIVE, "cold"])
def test_many_go_both_ways_at_once(ends: Ends, mode: str):
    back = Ends(ends.partner, ends.destination, ends.source)
    ways = [(ends, f"there{number}") for number in range(5)] + [(back, f"back{number}") for number in range(5)]
    instances = {name: spawned(way, power_on=mode == LIVE, name=name) for way, name in ways}
    with ThreadPoolExecutor(len(ways)) as pool:
        done = [pool.submit(moved, way, instances[name], mode=mode) for way, name in ways]
    assert all(future.result() for future in done)
    assert ends.source.list_instances() == [f"back{number}" for number in range(5)]
    assert ends.destination.list_instances() == [f"there{number}" for number in range(5)]
    expected = "running" if mode == LIVE else "shutoff"
    for way, name in ways:
        assert state_of(way.destination, name) == expected
        assert way.source.get_migrations() == way.destination.get_migrations() == {}


# -- storage that both hosts see ---------------------------------------------------------------------------------------


@pytest.fixture
def sharing(platform: FakePlatform) -> Ends:
    """Both hosts, with a pool that is the same on both."""
    for host in (platform, platform.partner()):
        assert isinstance(host, FakePlatform)
        dial.write_host(str(platform.folder), host.host, pools={"default": {}, "nas": {"shared": True}})
    return both_ends(platform)


@pytest.mark.parametrize("mode", [LIVE, "cold"])
def test_a_disk_on_shared_storage_stays_where_it_is(sharing: Ends, mode: str):
    disks = [Disk(size_bytes=DISK_BYTES, pool="nas"), Disk(size_bytes=DISK_BYTES)]
    instance = spawned(sharing, power_on=True, disks=disks)
    keys = [VolumeKey(disk.pool or "", disk.volume or "") for disk in instance.disks or ()]
    for number, key in enumerate(keys):
        sharing.platform.storage.fill(key, number + 1, 0, 4096)
    assert list(sharing.destination.get_volumes(keys)) == keys[:1], "the other host sees it"
    plan = planned(sharing, instance, mode=mode)
    assert [(move.how, move.source) for move in plan.disks] == [("shared", str(keys[0])), ("copy", str(keys[1]))]
    moved(sharing, instance, mode=mode)
    for number, key in enumerate(keys):
        assert sharing.partner.storage.data(key)[:4097] == bytes([number + 1]) * 4096 + b"\0"
    assert list(sharing.source.get_volumes(keys)) == keys[:1]
    assert sharing.source.find_remains([NAME]) == set(), "it belongs to the other host's instance"
    sharing.source.destroy(NAME)
    moved(Ends(sharing.partner, sharing.destination, sharing.source), sharing.destination.get_instances()[NAME])
    assert state_of(sharing.source, NAME) == "running"
    assert f"volume {keys[0]}" in sharing.source.destroy(NAME)
    assert sharing.destination.get_volumes(keys) == {}


def test_shared_storage_is_not_copied_onto_itself(sharing: Ends):
    instance = spawned(sharing, power_on=False, disks=[Disk(size_bytes=DISK_BYTES, pool="nas")])
    [problem] = plan_of(sharing, instance, storage="copy").problems
    assert "nothing to copy" in problem
    planned(sharing, instance, storage="shared")
    plan = planned(sharing, instance, storage="copy", pools={"nas": "default"})
    assert [(move.how, move.destination.partition("/")[0]) for move in plan.disks] == [("copy", "default")]


def test_taking_it_back_leaves_shared_storage_alone(sharing: Ends):
    instance = spawned(sharing, power_on=True, disks=[Disk(size_bytes=DISK_BYTES, pool="nas")])
    before = sharing.pictures()
    begun(sharing, instance, mode=LIVE)
    sharing.destination.discard_migration(NAME)
    sharing.source.discard_migration(NAME)
    assert sharing.pictures() == before


# -- the source's daemon ----------------------------------------------------------------------------------------------


def test_a_job_of_the_sources_daemon_is_followed_by_whoever_comes(ends: Ends):
    plan = begun(ends, running(ends), mode=LIVE, manager="source", bandwidth_mib_s=RATE // 4)

    class Killed(BaseException):
        """The process is gone: it takes nothing back."""

    def die(progress: MigrationProgress) -> None:
        raise Killed

    broken = {"operation": "migration_abort", "error": "hypervisor_unavailable"}
    assert isinstance(ends.platform, FakePlatform)
    with ends.platform.ordering(faults=[broken]), pytest.raises(Killed):
        migrated(ends, plan, die)
    assert ends.source.get_migrations()[NAME].progress is not None, "it goes on"
    follower = MigrationPlan(NAME, LIVE, plan.wishes, plan.record)
    ends.source.migrate_instance(ends.destination, follower, overseer(follower))
    assert on_the_destination(ends)
    ends.destination.finish_destination(NAME)
    ends.source.finish_source(NAME)
    assert ends.source.list_instances() == []
    assert state_of(ends.destination, NAME) == "running"


def test_one_that_nobody_followed_has_arrived_all_the_same(ends: Ends):
    plan = begun(ends, running(ends), mode=LIVE, manager="source")
    assert isinstance(ends.platform, FakePlatform)
    broken = {"operation": "migration_[ap]*", "error": "hypervisor_unavailable", "skip": 1}
    with ends.platform.ordering(faults=[broken]), pytest.raises(HypervisorUnavailable) as caught:
        migrated(ends, plan)
    assert "goes on" in " ".join(caught.value.not_undone)
    deadline = time.monotonic() + 10
    while ends.source.get_migrations()[NAME].progress is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert on_the_destination(ends)
    ends.destination.finish_destination(NAME)
    ends.source.finish_source(NAME)
    [key] = [f"{disk.pool}/{disk.volume}" for disk in ends.destination.get_instances([NAME])[NAME].disks or ()]
    assert key
