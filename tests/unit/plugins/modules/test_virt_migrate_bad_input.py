# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong input of virt_migrate gives its one clear error and changes nothing: the table in migrate_bad_input.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest
import yaml

RunModule = Callable[..., "dict[str, Any]"]

TABLE: list[dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("migrate_bad_input.yml").read_text(encoding="utf-8")
)

WEB1 = {"name": "web1", "memory_mb": 64, "image": "/images/cirros.qcow2", "root_gb": 5, "state": "running"}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row["title"])
def test_wrong_input(instance_module: RunModule, migrate_module: RunModule, folder: Path, row: dict[str, Any]) -> None:
    assert instance_module(**WEB1)["changed"]
    before = content_of(folder)
    options = dict(row["params"])
    if str(options.get("dest")).startswith("SAME"):
        options["dest"] = f"fake://{folder}" + options["dest"][len("SAME") :]
    for check_mode in (True, False):
        result = migrate_module(**options, _ansible_check_mode=check_mode)
        assert result.get("failed"), result
        assert not result.get("changed")
        assert result["error"]["kind"] == row.get("kind", "invalid_input")
        message = result["msg"][: len(row["error"])] if row.get("begins") else result["msg"]
        assert message == row["error"]
        assert "hunter2" not in str(result)
    assert content_of(folder) == before


def test_all_problems_are_told_at_once(migrate_module: RunModule) -> None:
    result = migrate_module(
        instances=["a/b", {"name": "web1", "mode": "cold", "post_copy": True}, {"name": "web2", "parallel": 1}],
        dest="",
        workers=0,
        bandwidth=0,
    )
    assert [problem["option"] for problem in result["error"]["problems"]] == [
        "workers",
        "dest",
        "instances[0].name",
        "bandwidth",
        "instances[1].post_copy",
        "instances[2].parallel",
    ]


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 60
    assert len({row["title"] for row in TABLE}) == len(TABLE)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
