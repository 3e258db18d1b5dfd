# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver is put together from many parts: none may take a name that another has for something else."""

from __future__ import annotations

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.storagedriver import LibvirtStorageDriver


def test_no_two_parts_have_one_name() -> None:
    owners: dict[str, list[str]] = {}
    for part in LibvirtStorageDriver.__mro__:
        if ".driver.libvirt." in part.__module__:
            for name in vars(part):
                if not name.startswith("__"):
                    owners.setdefault(name, []).append(part.__name__)
    shared = {name: parts for name, parts in owners.items() if len(parts) > 1 and not name.startswith("_abc_")}
    assert shared == {}
