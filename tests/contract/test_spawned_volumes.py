# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""New instances are not given, to write to, what others are made from."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import VolumeInUse
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from contract.platforms.base import Platform
from contract.storage_helpers import cached, changes_nothing

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")


def test_an_image_as_a_disk(storage: StorageDriver, platform: Platform):
    image = cached(platform, storage)
    disk = Disk(volume=image.name, pool=image.pool)
    wanted = storage.complete(platform.small("user", disks=[disk]))
    with changes_nothing(platform), pytest.raises(VolumeInUse, match=r"disks\[0\].*image of the cache"):
        storage.spawn(wanted, power_on=False)
