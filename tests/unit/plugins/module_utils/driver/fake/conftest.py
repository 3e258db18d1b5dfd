# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake hypervisor in a folder of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.driver import FakeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "fake")


@pytest.fixture
def driver(root: str) -> Iterator[FakeDriver]:
    with FakeDriver(ConnectionOptions(dial.uri(root))) as opened:
        yield opened
