# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of virt_volume that was killed at any of its calls is mended by running it again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable

import pytest

RunModule = Callable[..., "dict[str, Any]"]

KILLED = 137


def run_killed(folder: Path, operation: str, when: str, run: Callable[[], Any]) -> bool:
    """Run in a process that ends without any farewell at this operation; whether it came to that."""
    orders = folder / "faults.json"
    orders.write_text(json.dumps({"faults": [{"operation": operation, "kill": True, "when": when}]}), encoding="utf-8")
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    orders.unlink()
    return os.waitstatus_to_exitcode(status) == KILLED


@pytest.fixture
def at_home(instance_module: RunModule, volume_module: RunModule, folder: Path, file: Path) -> list[str]:
    """An instance that runs, beside a volume that stays; the files that there are then."""
    instance_module(name="db1", memory_mb=64, state="running")
    volume_module(name="base", source={"path": str(file)})
    return files(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Something to upload."""
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(1 << 20))
    return path


def files(folder: Path) -> list[str]:
    """The hypervisor's own, but for the contents of what is there."""
    return sorted(str(path.relative_to(folder)) for path in (folder / "hosts").rglob("*") if path.is_file())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["volume_create", "volume_copy", "volume_write", "volume_finish", "attach"])
def test_making_and_attaching(
    volume_module: RunModule, folder: Path, file: Path, at_home: list[str], operation: str, when: str
) -> None:
    source = {"path": str(file)} if operation == "volume_write" else {"volume": "base"}
    task = {"name": "data", "source": source, "size": "2M", "instance": "db1", "state": "attached"}
    assert run_killed(folder, operation, when, lambda: volume_module(**task))
    mended = volume_module(**task)
    assert not mended.get("failed"), mended["msg"]
    assert mended["volume"]["device"] == "vda"
    assert "unfinished" not in mended["volume"]["after"]
    assert not volume_module(**task)["changed"]
    assert volume_module(name="data", state="absent", detach_first=True)["changed"]
    assert files(folder) == at_home


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["detach", "volume_delete"])
def test_detaching_and_deleting(
    volume_module: RunModule, folder: Path, at_home: list[str], operation: str, when: str
) -> None:
    volume_module(name="data", size="1M", snapshots=["one"], instance="db1", state="attached")
    task = {"name": "data", "state": "absent", "detach_first": True}
    assert run_killed(folder, operation, when, lambda: volume_module(**task))
    mended = volume_module(**task)
    assert not mended.get("failed"), mended["msg"]
    assert mended["volume"]["after"] is None
    assert not volume_module(**task)["changed"]
    assert not volume_module(name="data", instance="db1", state="detached")["changed"]
    assert files(folder) == at_home


@pytest.mark.parametrize("when", ["before", "after"])
def test_pools(pool_module: RunModule, folder: Path, at_home: list[str], when: str) -> None:
    task = {"name": "vms", "kind": "dir", "path": "/srv/vms", "autostart": True, "state": "running"}
    for operation in ("pool_create", "pool_start"):
        assert run_killed(folder, operation, when, lambda: pool_module(**task))
    mended = pool_module(**task)
    assert not mended.get("failed"), mended["msg"]
    assert not pool_module(**task)["changed"]
    assert run_killed(folder, "pool_delete", when, lambda: pool_module(name="vms", state="absent", delete_data=True))
    pool_module(name="vms", state="absent", delete_data=True)
    assert not pool_module(name="vms", state="absent", delete_data=True)["changed"]
    assert files(folder) == at_home
