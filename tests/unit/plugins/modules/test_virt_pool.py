# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_pool from its entry to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

from ansible_collections.anyvirt.compute.plugins.modules import virt_pool

RunModule = Callable[..., "dict[str, Any]"]

VMS: dict[str, Any] = {"name": "vms", "kind": "dir", "path": "/srv/vms", "autostart": True, "state": "running"}


def dial(folder: Path, **orders: Any) -> None:
    (folder / "faults.json").write_text(json.dumps(orders), encoding="utf-8")


def kind(result: dict[str, Any]) -> str | None:
    return result["error"]["kind"] if result.get("failed") else None


def options_of(result: dict[str, Any]) -> list[str]:
    return [problem["option"] for problem in result["error"]["problems"]]


def test_made_once_as_foretold(pool_module: RunModule) -> None:
    foretold = pool_module(**VMS, _ansible_check_mode=True)
    made = pool_module(**VMS, _ansible_diff=True)
    again = pool_module(**VMS)
    assert [foretold["changed"], made["changed"], again["changed"]] == [True, True, False]
    assert foretold["pool"]["steps"] == made["pool"]["steps"]
    assert foretold["pool"]["changes"] == made["pool"]["changes"]
    assert made["pool"]["before"] is None
    assert made["pool"]["after"].items() >= {"state": "running", "path": "/srv/vms", "autostart": True}.items()
    assert made["pool"]["capacity_bytes"] > 0
    assert made["diff"][0]["before_header"] == "pool vms"


def test_states_follow_each_other(pool_module: RunModule) -> None:
    pool_module(**{**VMS, "state": "stopped"})
    steps = [pool_module(name="vms", state=state)["pool"]["steps"] for state in ("present", "stopped", "running")]
    assert steps == [[], [], ["start the pool vms"]]
    assert pool_module(name="vms", autostart=False)["pool"]["steps"] == ["do not start the pool vms with the host"]
    assert pool_module(name="vms", state="absent")["pool"]["steps"] == ["remove the pool vms; its data stays"]
    assert not pool_module(name="vms", state="absent")["changed"]


def test_what_cannot_be_changed_is_refused_by_name(pool_module: RunModule) -> None:
    pool_module(**VMS)
    refused = pool_module(pools=[{"name": "new", "kind": "dir", "path": "/srv/new"}, {**VMS, "path": "/srv/other"}])
    assert options_of(refused) == ["pools[1].path"]
    assert pool_module(name="new", kind="dir", path="/srv/new", _ansible_check_mode=True)["changed"]


def test_a_new_pool_needs_to_say_what_it_is_made_of(pool_module: RunModule) -> None:
    assert options_of(pool_module(name="new")) == ["kind"]
    assert options_of(pool_module(name="new", kind="nfs", state="running"))


def test_refreshing_is_no_change(pool_module: RunModule) -> None:
    pool_module(**VMS)
    assert not pool_module(name="vms", refresh=True)["changed"]
    pool_module(name="vms", state="stopped")
    assert kind(pool_module(name="vms", refresh=True)) == "pool_not_found"


@pytest.mark.parametrize("state", ["stopped", "absent"])
@pytest.mark.parametrize("check_mode", [True, False])
def test_pools_in_use_stay(
    pool_module: RunModule, volume_module: RunModule, instance_module: RunModule, state: str, check_mode: bool
) -> None:
    pool_module(**VMS)
    instance_module(name="db1", memory_mb=64, state="running")
    volume_module(name="data", pool="vms", size="1M", instance="db1", state="attached")
    refused = pool_module(name="vms", state=state, _ansible_check_mode=check_mode)
    assert kind(refused) == "volume_in_use"
    assert "db1" in refused["msg"]
    assert refused["pool"]["after"]["state"] == "running"


def test_data_goes_only_from_an_empty_pool(pool_module: RunModule, volume_module: RunModule) -> None:
    pool_module(**VMS)
    volume_module(name="data", pool="vms", size="1M")
    refused = pool_module(name="vms", state="absent", delete_data=True)
    assert kind(refused) == "pool_not_empty"
    assert "data" in refused["msg"]
    volume_module(name="data", pool="vms", state="absent")
    assert pool_module(name="vms", state="absent", delete_data=True)["changed"]


def test_a_pool_that_does_not_start_is_taken_away_again(pool_module: RunModule, folder: Path) -> None:
    folder.mkdir()
    dial(folder, faults=[{"operation": "pool_start", "error": "hypervisor_error", "message": "no"}])
    failed = pool_module(**VMS)
    assert kind(failed) == "hypervisor_error"
    assert failed["error"]["rolled_back"] is True
    assert failed["pool"]["after"] is None


def test_one_failure_does_not_hide_the_others(pool_module: RunModule) -> None:
    pool_module(pools=[VMS, {**VMS, "name": "old", "path": "/srv/old", "state": "stopped"}])
    done = pool_module(pools=[{"name": "old", "refresh": True}, {"name": "vms", "autostart": False}])
    assert [item["changed"] for item in done["pools"]] == [False, True]
    assert kind(done) == "pool_not_found"


def test_all_problems_are_told_at_once(pool_module: RunModule) -> None:
    wrong = pool_module(
        kind="dir",
        pools=[
            {"name": "a", "path": "here", "port": 0},
            {"name": "a", "devices": ["/dev/a", "b", "/dev/a"], "server": "two words"},
            {"name": "b", "state": "absent", "refresh": True, "overwrite": True},
            {"name": "c", "delete_data": True},
        ],
    )
    assert options_of(wrong) == [
        "pools[0].path",
        "pools[0].port",
        "pools[1].devices[1]",
        "pools[1].devices[2]",
        "pools[1].server",
        "pools[2].refresh",
        "pools[2].overwrite",
        "pools[3].delete_data",
        "pools[1].name",
    ]


def test_documentation_and_options_agree() -> None:
    documented = yaml.safe_load(virt_pool.DOCUMENTATION)["options"]
    assert set(documented) | {"workers"} == set(virt_pool.ARGUMENT_SPEC)
    entries = documented["pools"]["suboptions"]
    assert set(entries) == set(virt_pool.POOL_OPTIONS) | {"name"}
    for name, spec in virt_pool.POOL_OPTIONS.items():
        assert entries[name].get("choices") == spec.get("choices"), name


@pytest.mark.parametrize("state", ["absent", "stopped"])
def test_a_pool_that_disks_in_other_pools_lean_on(
    pool_module: RunModule,
    image_module: RunModule,
    instance_module: RunModule,
    folder: Path,
    tmp_path: Path,
    state: str,
) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"data" * 1024)
    pool_module(name="images", kind="dir", path=str(folder / "images"), state="running")
    image_module(name="img", path=str(content), pool="images")
    instance_module(name="web1", memory_mb=64, image="img", pool="default", state="running")
    for check_mode in (True, False):
        refused = pool_module(name="images", state=state, _ansible_check_mode=check_mode)
        assert refused["error"]["kind"] == "volume_in_use"
        assert refused["error"]["step"] is None
        assert "web1" in refused["msg"]
