# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input gives its one clear error and changes nothing: the table in bad_input.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

RunModule = Callable[..., "dict[str, Any]"]

TABLE: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("bad_input.yml").read_text(encoding="utf-8"))

EXISTING: list[dict[str, Any]] = [
    {
        "name": "web1",
        "memory_mb": 512,
        "image": "/images/cirros.qcow2",
        "root_gb": 5,
        "disks": [{"size": "1G"}],
        "networks": [{"network": "default", "mac": "52:54:00:00:00:01"}],
        "state": "running",
    },
    {"name": "web2", "memory_mb": 64},
    {"name": "locked1", "memory_mb": 64, "locked": True},
    {"name": "protected1", "memory_mb": 64, "protected": True},
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["title"])
def test_wrong_input(instance_module: RunModule, folder: Path, row: dict[str, Any]) -> None:
    made = instance_module(instances=EXISTING)
    assert made["changed"]
    before = content_of(folder)
    for check_mode in (True, False):
        result = instance_module(**row["params"], _ansible_check_mode=check_mode)
        assert result.get("failed"), result
        assert not result.get("changed")
        assert result["error"]["kind"] == row.get("kind", "invalid_input")
        message = result["msg"][: len(row["error"])] if row.get("begins") else result["msg"]
        assert message == row["error"]
    assert content_of(folder) == before


def test_all_problems_are_told_at_once(instance_module: RunModule) -> None:
    result = instance_module(
        instances=[
            {"name": "a", "memory_mb": 0, "networks": ["default", {"network": "default", "mac": "zz"}]},
            {"name": "b", "memory_mb": "much", "boot": {"order": ["floppy"]}},
        ]
    )
    assert [problem["option"] for problem in result["error"]["problems"]] == [
        "instances[0].memory_mb",
        "instances[0].networks[1].mac",
        "instances[1].memory_mb",
        "instances[1].boot.order[0]",
    ]


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 40
    assert len({row["title"] for row in TABLE}) == len(TABLE)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
