# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_migrate from its entry to its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

RunModule = Callable[..., "dict[str, Any]"]


def kind(result: dict[str, Any]) -> str | None:
    return result["error"]["kind"] if result.get("failed") else None


def test_moved_once_as_foretold(instance_module: RunModule, migrate_module: RunModule) -> None:
    instance_module(name="web1", memory_mb=64, disks=[{"size": "1G"}], state="running")
    foretold = migrate_module(name="web1", _ansible_check_mode=True)
    moved = migrate_module(name="web1", _ansible_diff=True)
    again = migrate_module(name="web1")
    import json; print(json.dumps(moved, indent=1))
    assert [foretold["changed"], moved["changed"], again["changed"]] == [True, True, False]
    assert foretold["instance"]["steps"] == moved["instance"]["steps"]
