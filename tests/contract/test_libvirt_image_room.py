# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt knows how much room a pool has from when it last looked; nothing is given up on the strength of that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import Pool, VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.images import reconcile_images
from contract import task
from contract.platforms.libvirt_qemu import QemuPlatform

POOL_PATH = "/var/lib/libvirt/small"
KEY = VolumeKey("small", "one")


@pytest.fixture
def small(storage: StorageDriver, platform: QemuPlatform) -> Iterator[Pool]:
    """A pool in a file system of 32 MiB of its own."""
    platform.run_on_host("mkdir", POOL_PATH)
    platform.run_on_host("mount", "-t", "tmpfs", "-o", "size=32M", "none", POOL_PATH)
    try:
        storage.create_pool(Pool("small", "dir", path=POOL_PATH))
        storage.start_pool("small")
        yield storage.get_pools()["small"]
    finally:
        platform.cleanup()
        platform.run_on_host("umount", POOL_PATH)


@pytest.mark.on("libvirt")
def test_room_that_went_unseen_does_not_cost_the_old_image(
    storage: StorageDriver, platform: QemuPlatform, small: Pool, tmp_path: Path
):
    """As where the temporary folder is in the same file system as the pool, and the new image has just come there."""
    source = tmp_path / "source"
    source.write_bytes(os.urandom(4 * MIB))
    params = {"images": None, "name": "one", "pool": "small", "path": str(source), "force": True}
    first = task.run(platform, reconcile=reconcile_images, **params)
    assert first.kind is None, first.result
    before = storage.get_images()[KEY]
    storage.refresh_pool("small")
    platform.run_on_host("dd", "if=/dev/zero", f"of={POOL_PATH}/.temporary", "bs=1M", "count=18", "status=none")
    source.write_bytes(os.urandom(20 * MIB))
    outcome = task.run(platform, reconcile=reconcile_images, **params)
    assert outcome.kind == "insufficient_capacity", outcome.result
    assert not outcome.changed
    assert storage.get_images()[KEY] == before
