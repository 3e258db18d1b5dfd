# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake hypervisor in a folder of each test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.driver import FakeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import CloudInit, Disk, Instance, Nic

Files = dict[str, bytes]


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "fake")


@pytest.fixture
def driver(root: str) -> Iterator[FakeDriver]:
    with FakeDriver(ConnectionOptions(dial.uri(root))) as opened:
        yield opened


@pytest.fixture
def storage(root: str) -> Iterator[FakeStorageDriver]:
    with FakeStorageDriver(ConnectionOptions(dial.uri(root))) as opened:
        yield opened


@pytest.fixture
def make() -> Callable[..., Instance]:
    """An instance with something of everything that is made for it."""

    def make(name: str = "web1", **fields: Any) -> Instance:
        ordinary: dict[str, Any] = {
            "memory_mb": 256,
            "vcpus": 1,
            "disks": [Disk(role="root", image="/images/cirros.qcow2"), Disk(size_bytes=1 << 30)],
            "nics": [Nic(network="default")],
            "cloud_init": CloudInit("#cloud-config"),
        }
        return Instance(name, **{**ordinary, **fields})

    return make


@pytest.fixture
def files(root: str) -> Callable[[], Files]:
    """All files of the hypervisor with their contents, without its lock, its counters and its orders."""

    def read() -> Files:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(Path(root).rglob("*"))
            if path.is_file() and path.name not in ("lock", "faults.seen", "faults.json", "host.json")
        }

    return read
