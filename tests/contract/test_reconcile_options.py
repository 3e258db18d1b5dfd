# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each option, changed through a task: it is reported, it is there, and the second run does nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from contract.helpers import bring_to, eventually, state_of
from contract.platforms.base import Platform
from contract.task import done, nic, run, small

SEED = {"user_data": "#cloud-config\n", "meta_data": {"local-hostname": "seeded"}}

OPTIONS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "memory_mb": (None, {"memory_mb": 80}),
    "vcpus": (None, {"vcpus": 2}),
    "flavor": (None, {"flavor": {"name": "small", "memory_mb": 80, "vcpus": 2}, "memory_mb": None, "vcpus": None}),
    "description": (None, {"description": "two\nlines & <marks>"}),
    "metadata": ("metadata", {"metadata": {"owner": "somebody", "number": "1"}}),
    "locked": ("metadata", {"locked": True, "override_lock": True}),
    "protected": ("metadata", {"protected": True}),
    "autostart": ("autostart", {"autostart": True}),
    "cloud_init": ("cloud_init", {"cloud_init": SEED}),
    "disks": ("image", {"disks": [{"size": "64M"}, {"size": "8M"}]}),
}


@pytest.mark.parametrize("when", ["new", "off", pytest.param("running", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("option", OPTIONS)
def test_one_option(driver: ComputeDriver, platform: Platform, option: str, when: str):
    feature, over = OPTIONS[option]
    params = {key: value for key, value in small(platform, "one", **over).items() if value is not None}
    if when != "new":
        first = {"disks": [{"size": "64M"}]} if option == "disks" and driver.supports("image") else {}
        done(platform, **small(platform, "one", state="running" if when == "running" else "present", **first))
    before = platform.snapshot()
    foretold = run(platform, check=True, **params)
    assert platform.snapshot() == before
    outcome = run(platform, **params)
    if feature and not driver.supports(feature):
        assert outcome.kind == foretold.kind
        assert outcome.kind in ("unsupported", "invalid_input")
        assert "driver does not support" in outcome.result["msg"]
        assert platform.snapshot() == before
        return
    assert outcome.kind is None, outcome.result
    assert outcome.changed
    assert outcome.steps == foretold.steps
    [instance] = outcome.result["instances"]
    if when != "new":
        assert option in " ".join(change["option"] for change in instance["changes"])
    again = done(platform, **params)
    assert not again.changed, again.steps
    assert again.calls.writes == []
    if when == "running":
        assert state_of(driver, "one") == "running"
        assert set(instance["pending"]) == set(again.result["instances"][0]["pending"])


def test_networks(driver: ComputeDriver, platform: Platform):
    networks = [nic(platform, mac="52:54:00:0e:00:01"), nic(platform)]
    params = small(platform, "one", networks=networks)
    assert done(platform, **params).changed
    again = done(platform, **params)
    assert not again.changed, again.steps
    assert again.calls.writes == []
    if driver.supports("nics"):
        assert done(platform, **{**params, "networks": networks[:1], "purge_networks": True}).changed
        assert not done(platform, **{**params, "networks": networks[:1], "purge_networks": True}).changed
        assert len(driver.get_instances()["one"].nics or []) == 1


def test_what_is_not_mentioned_stays(driver: ComputeDriver, platform: Platform):
    done(platform, **small(platform, "one", description="kept", metadata={"kept": "yes"}, networks=[nic(platform)]))
    outcome = done(platform, name="one", memory_mb=80)
    assert [change["option"] for change in outcome.result["instances"][0]["changes"]] == ["memory_mb"]
    found = driver.get_instances()["one"]
    assert (found.memory_mb, found.description, found.metadata) == (80, "kept", {"kept": "yes"})
    assert len(found.nics or []) == 1


@pytest.mark.parametrize("apply", ["next_boot", "restart"])
def test_when_a_change_is_applied(driver: ComputeDriver, platform: Platform, apply: str):
    done(platform, **small(platform, "one", state="running"))
    params = small(platform, "one", memory_mb=128, apply=apply, shutdown={"method": "forced"})
    outcome = done(platform, **params)
    [instance] = outcome.result["instances"]
    assert instance["power_cycled"] == (apply == "restart")
    assert state_of(driver, "one") == "running"
    pending = driver.get_instances()["one"].pending
    if apply == "restart":
        assert instance["pending"] == pending == {}
    else:
        assert instance["pending"]["memory_mb"] == {"running": 96, "configured": 128}
        assert pending["memory_mb"] == (96, 128)
    again = done(platform, **params)
    assert not again.changed, again.steps
    if apply == "next_boot":
        bring_to(driver, "one", "shutoff")
        done(platform, name="one", state="running")
        assert driver.get_instances()["one"].pending == {}


def test_a_plan_that_fails_is_taken_back(driver: ComputeDriver, platform: Platform):
    """Stop, change, start: whichever call fails, the instance runs again as it was."""
    done(platform, **small(platform, "one", state="running", description="before"))
    before = configured(platform)
    params = small(platform, "one", memory_mb=128, description="after", apply="restart", shutdown={"method": "forced"})
    calls = done(platform, **params).calls
    back = {**params, "memory_mb": 96, "max_memory_mb": 96, "description": "before"}
    done(platform, **back)
    assert configured(platform) == before
    samples = 10 if platform.starts_quickly else 3
    for number in range(1, len(calls) + 1, 1 if platform.name == "fake" else max(1, len(calls) // samples)):
        told = f"call {number} of {len(calls)}: {calls[number - 1].name}"
        outcome = run(platform, fail_at=number, **params)
        if outcome.kind is None:  # a call that it can do without
            done(platform, **back)
        else:
            assert outcome.result["error"]["not_undone"] == [], told
        assert eventually(lambda: state_of(driver, "one") == "running", 2), told
        assert configured(platform) == before, told


def configured(platform: Platform) -> Any:
    """The platform without what the fake writes about the guest's life, which starts anew with each start."""
    snapshot = platform.snapshot()
    if platform.name != "fake":
        return snapshot
    return {name: json.loads(text).get("config") for name, text in snapshot.items()}


NAMES = ("web 1 [prod]", "Büro: Ablage", "a,b&c=d<e>'f\"g", "100%", "#1")


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.thorough) for name in NAMES[1:])])
def test_names_that_people_give(driver: ComputeDriver, platform: Platform, name: str):
    """Machines made by hand are called all kinds of things."""
    disks = {"disks": [{"size": "8M"}]} if driver.supports("image") else {}
    params = small(platform, name, networks=[nic(platform)], **disks)
    assert done(platform, **params).changed
    assert not done(platform, **params).changed
    assert driver.list_instances() == [name]
    assert done(platform, name=name, state="running").changed
    assert done(platform, name=name, state="absent").changed
    assert driver.list_instances() == []
    assert platform.volumes() == set()
