# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules from their entry to their result, in this process, on a fake hypervisor of each test's own."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, Callable

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

from ansible_collections.anyvirt.compute.plugins.modules import (
    virt_image,
    virt_instance,
    virt_migrate,
    virt_pool,
    virt_secgroup,
    virt_volume,
)

RunModule = Callable[..., "dict[str, Any]"]


@pytest.fixture(autouse=True)
def _no_uri_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYVIRT_URI", raising=False)
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The fake hypervisor's."""
    return tmp_path / "fake"


@pytest.fixture
def instance_module(folder: Path) -> RunModule:
    """virt_instance, on the fake where the options name no other hypervisor; its result."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module(virt_instance.main, {"uri": f"fake://{folder}", **options})

    return run


@pytest.fixture
def volume_module(folder: Path) -> RunModule:
    """virt_volume, as above."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module(virt_volume.main, {"uri": f"fake://{folder}", **options})

    return run


@pytest.fixture
def pool_module(folder: Path) -> RunModule:
    """virt_pool, as above."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module(virt_pool.main, {"uri": f"fake://{folder}", **options})

    return run


@pytest.fixture
def image_module(folder: Path) -> RunModule:
    """virt_image, as above."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module(virt_image.main, {"uri": f"fake://{folder}", **options})

    return run


@pytest.fixture
def secgroup_module(folder: Path) -> RunModule:
    """virt_secgroup, as above."""

    def run(**options: Any) -> dict[str, Any]:
        return run_module(virt_secgroup.main, {"uri": f"fake://{folder}", **options})

    return run


@pytest.fixture
def migrate_module(folder: Path) -> RunModule:
    """virt_migrate, from the fake's first host to its second where the options name no others; its result."""

    def run(**options: Any) -> dict[str, Any]:
        ends = {"uri": f"fake://{folder}", "dest": f"fake://{folder}?host=second"}
        return run_module(virt_migrate.main, {**ends, **options})

    return run


def run_module(main: Callable[[], None], options: dict[str, Any]) -> dict[str, Any]:
    """What a module answers; options that are None count as not given."""
    output = io.StringIO()
    given = {name: value for name, value in options.items() if value is not None}
    warnings._global_warnings.clear()  # those of what ran before in this process
    with patch_module_args(given), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main()
    result: dict[str, Any] = json.loads(output.getvalue())
    return result
