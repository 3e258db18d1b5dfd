# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor that filters nothing says so, whatever it is asked about security groups, before it is even reached."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidUri, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import SecurityGroup

ASKED: dict[str, tuple[Any, ...]] = {
    "get_security_groups": (),
    "check_security_group": (SecurityGroup("web"),),
    "define_security_group": (SecurityGroup("web"),),
    "delete_security_group": ("web",),
    "security_group_uses": (["web"],),
    "get_provider_rules": (),
    "set_provider_rules": ((),),
    "get_remote_members": (),
    "set_remote_members": ({},),
    "stale_group_members": (),
    "refresh_security_group_members": (),
    "instance_filter_exists": ("web1",),
    "verify_filters": (),
    "restore_filters": (),
}


def test_all_of_the_contract_is_asked():
    assert set(ASKED) == {name for name in vars(FirewallDriver) if not name.startswith("_")}


@pytest.mark.parametrize("method", ASKED)
def test_refused(method: str):
    driver = get_firewall_driver(ConnectionOptions("xen:///system"))
    with pytest.raises(Unsupported, match="libvirt driver does not support"):
        getattr(driver, method)(*ASKED[method])


def test_instances_that_want_filters_are_refused():
    driver = get_firewall_driver(ConnectionOptions("xen:///system"))
    wanted = Instance("web1", memory_mb=64, vcpus=1, security_groups=["web"])
    assert [problem.option for problem in driver.check_parameter_syntax(wanted)] == ["security_groups"]
    assert driver.check_parameter_syntax(Instance("web1", memory_mb=64, vcpus=1, firewall="none")) == []


def test_an_address_of_no_hypervisor():
    with pytest.raises(InvalidUri):
        get_firewall_driver(ConnectionOptions("http://example.org/"))
