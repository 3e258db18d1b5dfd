# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume of which an old state is kept, so that a resize can be taken back, is let alone until that is decided."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.base import ComputeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import SnapshotNotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.volumes import reconcile_volumes
from contract.platforms.base import Platform
from contract.task import Outcome, done, run, small

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")

NAME = "resized"
PIECE = 64 * 1024


def resized(platform: Platform, driver: ComputeDriver, **disk: Any) -> VolumeKey:
    """An instance with a larger root disk, about which nobody has decided yet; that disk's volume."""
    done(platform, **small(platform, NAME, state="present", disks=[{"size": "32M", **disk}]))
    done(platform, name=NAME, disks=[{"size": "48M", **disk}], revertible=True)
    root = (driver.get_instances([NAME])[NAME].disks or [])[0]
    return VolumeKey(root.pool or "", root.volume or "")


def volume(platform: Platform, key: VolumeKey, **params: Any) -> Outcome:
    given = {"name": key.name, "pool": key.pool, **params}
    return run(platform, reconcile=reconcile_volumes, volumes=None, **given)


def test_virt_volume_lets_it_alone(driver: ComputeDriver, platform: Platform):
    key = resized(platform, driver)
    kept = [one.name for one in platform.storage_driver().get_volumes([key], snapshots=True)[key].snapshots or []]
    for params in (
        {"state": "detached", "instance": NAME},
        {"state": "absent", "detach_first": True},
        {"state": "present", "size": "64M"},
        *({"state": "present", "revert_to": name} for name in kept),
        *({"state": "present", "snapshots": [{"name": name, "state": "absent"}]} for name in kept),
    ):
        refused = volume(platform, key, **params)
        assert refused.kind == "resize_pending", (params, refused.result)
        assert "resize_reverted" in refused.result["msg"]
        assert refused.calls.lasting_writes == []
    done(platform, name=NAME, state="resize_confirmed")
    assert volume(platform, key, state="present", size="64M").changed


@pytest.mark.parametrize("disk_format", ["qcow2", "raw"])
def test_another_disk_in_its_place_is_let_alone(driver: ComputeDriver, platform: Platform, disk_format: str):
    """Somebody else has exchanged it: going back would write over what was never kept, and delete what was resized."""
    disk = {"format": disk_format} if driver.name in ("fake", "libvirt") else {}
    if not disk and disk_format == "raw":
        return
    key = resized(platform, driver, **disk)
    other = VolumeKey(key.pool, f"other.{disk_format}" if disk else "other")
    made = volume(platform, other, state="present", size="32M", **disk)
    assert made.kind is None, made.result
    platform.storage.fill(key, 1, 0, PIECE)
    platform.storage.fill(other, 2, 0, PIECE)
    attachments = platform.storage_driver()
    device = (driver.get_instances([NAME])[NAME].disks or [])[0].device or ""
    attachments.detach_volume(NAME, device, 5)
    instead = Disk(volume=other.name, pool=other.pool, device=device)
    attachments.attach_volume(NAME, attachments.complete_attachment(NAME, instead))
    with pytest.raises(SnapshotNotFound):
        driver.revert_resize(NAME)
    assert set(platform.storage.data(other)[:PIECE]) == {2}
    assert set(platform.storage.data(key)[:PIECE]) == {1}
