# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers are put together from mixins: a name that two of them use means one of them gets the other's."""

from __future__ import annotations

from collections import defaultdict

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.firewalldriver import FakeFirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.migrationdriver import FakeMigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.storagedriver import FakeStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewalldriver import LibvirtFirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.migrationdriver import (
    LibvirtMigrationDriver,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.storagedriver import LibvirtStorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migration import MigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.firewalldriver import XenApiFirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.migrationdriver import XenApiMigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.storagedriver import XenApiStorageDriver

STORAGE = (FakeStorageDriver, LibvirtStorageDriver, XenApiStorageDriver)
FIREWALL = (FakeFirewallDriver, LibvirtFirewallDriver, XenApiFirewallDriver)
MIGRATION = (FakeMigrationDriver, LibvirtMigrationDriver, XenApiMigrationDriver)


@pytest.mark.parametrize("driver", [*STORAGE, *FIREWALL, *MIGRATION])
def test_no_name_is_used_twice(driver):
    package = driver.__module__.rpartition(".")[0] + "."
    users = defaultdict(list)
    for part in driver.__mro__:
        if part.__module__.startswith(package):
            for name in vars(part):
                if not name.startswith("__") and name != "_abc_impl":
                    users[name].append(part.__name__)
    assert {name: parts for name, parts in users.items() if len(parts) > 1} == {}


@pytest.mark.parametrize(
    ("driver", "contract"),
    [
        *((driver, StorageDriver) for driver in (*STORAGE, *MIGRATION)),
        *((driver, FirewallDriver) for driver in (*FIREWALL, *MIGRATION)),
        *((driver, MigrationDriver) for driver in MIGRATION),
    ],
)
def test_the_driver_comes_before_the_refusals(driver, contract):
    """What a mixin implements must not be hidden by the contract's own refusal."""
    for name in vars(contract):
        if not name.startswith("_"):
            implementing = [part for part in driver.__mro__ if name in vars(part)]
            assert implementing[0] is not contract or len(implementing) == 1, name
