# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of virt_migrate that was killed at any of its calls is mended by running it again: then the instance is on the
destination once, as it was, and nothing of it is anywhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

RunModule = Callable[..., "dict[str, Any]"]

KILLED = 137
LIVE = ("migration_begin", "migration_accept", "migration_start", "migration_switch", "migration_arrive")
FINISH = ("migration_finish", "migration_leave")
COLD = ("shutdown", "migration_copy", "start")


def run_killed(folder: Path, fault: dict[str, Any], run: Callable[[], Any]) -> bool:
    """Run in a process that ends without any farewell at this fault; whether it came to that."""
    orders = folder / "faults.json"
    orders.write_text(json.dumps({"faults": [{**fault, "kill": True}]}), encoding="utf-8")
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    orders.unlink()
    return os.waitstatus_to_exitcode(status) == KILLED


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder / "hosts")) for path in (folder / "hosts").rglob("*.json"))


@pytest.fixture
def at_home(instance_module: RunModule, volume_module: RunModule, tmp_path: Path, folder: Path) -> list[str]:
    """The files of both hosts when all is as it is to be in the end."""
    written = tmp_path / "disk.img"
    written.write_bytes(os.urandom(1 << 16))
    volume_module(name="data", source={"path": str(written)})
    disks = [{"size": "1G"}, {"volume": "data", "pool": "default"}]
    nic = {"network": "default", "mac": "52:54:00:00:00:01"}
    made = instance_module(name="web1", memory_mb=64, disks=disks, networks=[nic], state="running")
    assert made["changed"]
    return sorted(path.replace("fake1/", "second/", 1) for path in files(folder) if not _is_host_wide(path))


def _is_host_wide(path: str) -> bool:
    return "web1" not in path and "data" not in path


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("mode", "operation"),
    [*(("live", name) for name in (*LIVE, *FINISH)), *(("cold", name) for name in (*COLD, *LIVE, *FINISH))],
)
def test_the_next_run_mends_it(
    instance_module: RunModule,
    migrate_module: RunModule,
    folder: Path,
    at_home: list[str],
    mode: str,
    operation: str,
    when: str,
) -> None:
    task = {"name": "web1", "mode": mode, "delete_volumes": "all"}
    assert run_killed(folder, {"operation": operation, "when": when}, lambda: migrate_module(**task))
    foretold = migrate_module(**task, _ansible_check_mode=True)
    assert not foretold.get("failed"), foretold["msg"]
    mended = migrate_module(**task)
    assert not mended.get("failed"), mended["msg"]
    assert mended["instance"]["power_state"] == "running"
    assert mended["instance"].get("after") == foretold["instance"].get("after")
    assert [path for path in files(folder) if not _is_host_wide(path)] == at_home
    before = {path: (folder / "hosts" / path).read_bytes() for path in files(folder)}
    assert not migrate_module(**task)["changed"]
    assert {path: (folder / "hosts" / path).read_bytes() for path in files(folder)} == before


def test_the_new_size_of_one_that_is_off_is_not_forgotten(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, at_home: list[str]
) -> None:
    instance_module(name="web1", state="stopped", shutdown={"method": "forced"})
    task = {"name": "web1", "mode": "cold", "resize": {"memory_mb": 128}}
    assert run_killed(folder, {"operation": "redefine", "when": "before"}, lambda: migrate_module(**task))
    foretold = migrate_module(**task, _ansible_check_mode=True)["instance"]
    mended = migrate_module(**task)["instance"]
    assert mended["steps"] == foretold["steps"]
    assert mended["after"] == foretold["after"]
    assert mended["after"]["memory_mb"] == 128
    assert mended["power_state"] == "shutoff"


@pytest.mark.parametrize("operation", ["migration_start", "migration_switch", "start"])
def test_its_new_size_is_not_forgotten(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, at_home: list[str], operation: str
) -> None:
    task = {"name": "web1", "mode": "cold", "resize": {"memory_mb": 128}}
    assert run_killed(folder, {"operation": operation, "when": "before"}, lambda: migrate_module(**task))
    mended = migrate_module(**task)
    assert mended["instance"]["after"]["memory_mb"] == 128
    assert mended["instance"]["power_state"] == "running"


@pytest.mark.parametrize("operation", ["shutdown", "migration_accept", "migration_copy", "migration_start"])
def test_or_it_is_given_up(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, at_home: list[str], operation: str
) -> None:
    before = files(folder)
    task = {"name": "web1", "mode": "cold"}
    assert run_killed(folder, {"operation": operation, "when": "after"}, lambda: migrate_module(**task))
    assert migrate_module(name="web1", state="aborted")["changed"]
    assert files(folder) == before
    running = instance_module(name="web1", state="running", _ansible_check_mode=True)
    assert not running["changed"], running
