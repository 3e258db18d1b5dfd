# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users complain of in today's modules, and ours must be free of: a test for each complaint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state
from contract.helpers import bring_to, state_of
from contract.platforms.base import Platform
from contract.task import done, nic, run, small

if TYPE_CHECKING:
    from contract.platforms.libvirt_qemu import QemuPlatform


def test_a_second_define_always_reports_changed(platform: Platform):
    """The hypervisor adds elements of its own to what it was given; they are no difference."""
    params = small(platform, "one", description="x", networks=[nic(platform)], metadata={"a": "b"}, state="present")
    assert done(platform, **params).changed
    for _turn in range(2):
        again = done(platform, **params)
        assert not again.changed, again.result
        assert again.calls.writes == []


def test_a_state_returns_before_it_is_reached(driver: ComputeDriver, platform: Platform):
    done(platform, **small(platform, "one", state="running"))
    assert state_of(driver, "one") == "running"
    platform.wait_ready(driver, "one")
    params = {"state": "stopped", "shutdown": {"timeout_s": 60}}
    done(platform, name="one", **params)
    assert state_of(driver, "one") == "shutoff"
    done(platform, name="one", state="running")
    assert state_of(driver, "one") == "running"


def test_an_option_is_silently_ignored_beside_another(driver: ComputeDriver, platform: Platform):
    """autostart beside state, and memory beside both."""
    done(platform, **small(platform, "one"))
    over = {"autostart": True} if driver.supports("autostart") else {}
    outcome = done(platform, name="one", state="running", memory_mb=80, description="all of it", **over)
    found = driver.get_instances()["one"]
    assert (found.memory_mb, found.description) == (80, "all of it")
    assert found.autostart == bool(over)
    assert found.power_state == power_state.RUNNING
    changed = {change["option"] for change in outcome.result["instances"][0]["changes"]}
    assert changed == {"memory_mb", "description", "state", *over}


@pytest.mark.parametrize("state", ["running", "paused", "suspended", "shutoff"])
def test_undefine_fails_on_what_hangs_on_the_domain(driver: ComputeDriver, platform: Platform, state: str):
    if not driver.supports({"paused": "pause", "suspended": "suspend"}.get(state, "spawn")):
        state = "running"
    before = platform.snapshot()
    done(platform, **small(platform, "one"))
    bring_to(driver, "one", state)
    assert done(platform, name="one", state="absent").changed
    assert platform.snapshot() == before


@pytest.mark.on("libvirt")
@pytest.mark.parametrize("what", ["nvram", "snapshots", "checkpoints"])
def test_undefine_fails_on_nvram_snapshots_and_checkpoints(driver: ComputeDriver, platform: QemuPlatform, what: str):
    before = platform.snapshot()
    platform.burden("one", what)
    assert done(platform, name="one", state="absent").changed
    assert driver.list_instances() == []
    platform.remove_everything(set())  # the disk, which was there before it
    assert platform.snapshot() == before


@pytest.mark.on("libvirt", "lxc", "xen")
def test_the_only_way_to_change_a_domain_is_to_send_a_whole_document(driver: ComputeDriver, platform: QemuPlatform):
    platform.define_foreign("foreign")
    before = platform.domain_xml("foreign")
    outcome = done(platform, name="foreign", description="one option, that is all")
    assert [change["option"] for change in outcome.result["instances"][0]["changes"]] == ["description"]
    after = platform.domain_xml("foreign")
    assert "<description>one option, that is all</description>" in after
    kept = [line for line in after.splitlines() if "<description>" not in line]
    assert kept == before.splitlines()


def test_check_mode_answers_something_else_than_the_real_run(driver: ComputeDriver, platform: Platform):
    stages = [
        small(platform, "one", state="running"),
        small(platform, "one", state="running", memory_mb=80, description="x"),
        {"name": "one", "state": "stopped", "shutdown": {"method": "forced"}},
        {"name": "one", "state": "absent"},
        {"name": "one", "state": "absent"},
    ]
    for params in stages:
        foretold = run(platform, check=True, **params)
        outcome = done(platform, **params)
        assert (foretold.changed, foretold.steps) == (outcome.changed, outcome.steps)
        [told], [is_] = foretold.result["instances"], outcome.result["instances"]
        for key in ("changes", "power_state", "power_cycled", "before"):
            assert told.get(key) == is_.get(key), key


def test_the_cloud_init_disk_makes_every_later_run_report_a_change(driver: ComputeDriver, platform: Platform):
    seed = {"user_data": {"users": ["one", "two"]}, "meta_data": {"local-hostname": "x"}}
    params = small(platform, "one", cloud_init=seed)
    outcome = run(platform, **params)
    if not driver.supports("cloud_init"):
        assert outcome.result["error"]["kind"] in ("unsupported", "invalid_input")
        assert driver.list_instances() == []
        return
    assert outcome.changed
    assert not done(platform, **params).changed
    bring_to(driver, "one", "running")
    again = done(platform, **params)
    assert not again.changed, again.steps
    assert again.calls.writes == []
    other = {**params, "cloud_init": {**seed, "meta_data": {"local-hostname": "y"}}, "state": "stopped"}
    assert done(platform, **other, shutdown={"method": "forced"}).changed
    assert not done(platform, **other, shutdown={"method": "forced"}).changed


def test_no_way_to_define_without_starting(driver: ComputeDriver, platform: Platform):
    for state in ("present", "stopped"):
        done(platform, **small(platform, f"in-{state}", state=state))
        assert state_of(driver, f"in-{state}") == "shutoff"


@pytest.mark.on("libvirt", "lxc", "xen", "xenapi")
def test_no_way_to_take_over_an_existing_machine(driver: ComputeDriver, platform: Platform):
    platform.define_foreign("foreign")
    params = {"name": "foreign", "memory_mb": 80, "metadata": {"owner": "us"}, "state": "present"}
    assert done(platform, **params).changed
    again = done(platform, **params)
    assert not again.changed, again.steps
    assert again.calls.writes == []
    found = driver.get_instances()["foreign"]
    assert (found.memory_mb, found.metadata) == (80, {"owner": "us"})


def test_check_mode_that_really_deletes(driver: ComputeDriver, platform: Platform):
    done(platform, **small(platform, "one"))
    before = platform.snapshot()
    outcome = run(platform, check=True, name="one", state="absent", delete_volumes="all")
    assert outcome.changed
    assert outcome.calls.writes == []
    assert platform.snapshot() == before


def test_an_absent_that_removes_the_disk_first_and_then_fails(driver: ComputeDriver, platform: Platform):
    if not driver.supports("image"):
        assert run(platform, **small(platform, "one", disks=[{"size": "8M"}])).kind in ("unsupported", "invalid_input")
        return
    params = small(platform, "one", disks=[{"size": "8M"}])
    done(platform, **params)
    calls = done(platform, name="one", state="absent").calls
    for number in range(1, len(calls) + 1):
        if not driver.list_instances():
            done(platform, **params)
        run(platform, fail_at=number, name="one", state="absent")
        if driver.list_instances():
            assert len(platform.volumes()) == 1, calls[number - 1].name
    done(platform, name="one", state="absent")
    assert platform.volumes() == set()


def test_a_nic_declared_without_a_mac_changes_at_every_run(driver: ComputeDriver, platform: Platform):
    params = small(platform, "one", networks=[nic(platform), nic(platform)])
    done(platform, **params)
    macs = [nic.mac for nic in driver.get_instances()["one"].nics or []]
    assert len(set(macs)) == 2
    for _turn in range(2):
        assert not done(platform, **params).changed
    assert [nic.mac for nic in driver.get_instances()["one"].nics or []] == macs


def test_start_and_stop_report_no_change_when_they_act(driver: ComputeDriver, platform: Platform):
    done(platform, **small(platform, "one"))
    forced = {"shutdown": {"method": "forced"}}
    for state in ("running", "stopped", "running"):
        outcome = done(platform, name="one", state=state, **forced)
        assert outcome.changed
        assert [change["option"] for change in outcome.result["instances"][0]["changes"]] == ["state"]
        assert not done(platform, name="one", state=state, **forced).changed


@pytest.mark.on("fake", "libvirt", "xenapi")
def test_waiting_for_an_address_returns_early(driver: ComputeDriver, platform: Platform):
    params = small(platform, "one", state="running", networks=[nic(platform)])
    outcome = done(platform, **params, wait={"for": "address", "timeout": 60})
    assert outcome.result["instances"][0]["addresses"]


def test_waiting_for_an_address_never_ends_or_fails_on_agent_not_connected(driver: ComputeDriver, platform: Platform):
    params = small(platform, "one", state="running", networks=[])
    started = time.monotonic()
    outcome = run(platform, **params, wait={"for": "address", "timeout": 2})
    assert time.monotonic() - started < 30
    assert outcome.kind in ("timeout", "invalid_input", "unsupported", "invalid_power_state"), outcome.result
    assert "agent is not connected" not in outcome.result["msg"]


def test_one_process_and_one_connection_for_each_machine(driver: ComputeDriver, platform: Platform):
    count = 20 if platform.starts_quickly else 4
    shared = small(platform, "x", networks=[nic(platform)])
    del shared["name"]
    instances = [{"name": f"many{number}"} for number in range(count)]
    first = done(platform, **shared, instances=instances)
    again = done(platform, **shared, instances=instances)
    assert first.connections == again.connections == 1
    assert sum("Open" in name for name in again.calls.names) <= 1
    assert len(again.calls) <= (12 if platform.name in ("fake", "xenapi") else 12 + 2 * count)
