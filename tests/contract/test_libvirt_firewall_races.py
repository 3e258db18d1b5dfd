# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody else does to filters on libvirt at the worst moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewalldriver import (
    LibvirtFirewallDriver,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorUnavailable, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Nic
from contract.platforms.libvirt_qemu import HostedPlatform
from contract.secgroup_helpers import OPEN, PROVIDER, filtered

pytestmark = pytest.mark.on("libvirt")

ENGINES = ("nwfilter", "nftables")


@pytest.fixture(autouse=True)
def open_group(secgroups: LibvirtFirewallDriver) -> Iterator[None]:
    secgroups.define_security_group(OPEN)
    yield
    for name in ("one", "two"):
        secgroups.destroy(name)


class Once:
    """A method after which something else happens, the first time that it is called."""

    def __init__(self, method: Any, then: Any) -> None:
        self.method, self.then = method, then

    def __call__(self, *arguments: Any) -> Any:
        result = self.method(*arguments)
        then, self.then = self.then, lambda: None
        then()
        return result


@pytest.mark.parametrize("engine", ENGINES)
def test_the_operators_rules_change_while_an_instance_is_made(
    secgroups: LibvirtFirewallDriver, platform: HostedPlatform, monkeypatch: pytest.MonkeyPatch, engine: str
):
    filtered(platform, secgroups, "one")
    other = platform.firewall_driver()
    change = Once(secgroups.policy_for, lambda: other.set_provider_rules(PROVIDER))
    monkeypatch.setattr(secgroups, "policy_for", change)
    filtered(platform, secgroups, "two", 2, firewall=engine)
    assert secgroups.get_provider_rules() == PROVIDER
    assert secgroups.verify_filters() == []


@pytest.mark.parametrize("power_on", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_instance_is_made_while_filters_are_repaired(
    secgroups: LibvirtFirewallDriver,
    platform: HostedPlatform,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    power_on: bool,
):
    filtered(platform, secgroups, "one", firewall=engine)
    other = platform.firewall_driver()
    make = Once(
        secgroups.filtered_domains, lambda: filtered(platform, other, "two", 2, firewall=engine, power_on=power_on)
    )
    monkeypatch.setattr(secgroups, "filtered_domains", make)
    secgroups.restore_filters()
    assert secgroups.instance_filter_exists("two")
    assert secgroups.verify_filters() == []


def test_who_starts_an_instance_goes_by_the_groups_of_now(secgroups: LibvirtFirewallDriver, platform: HostedPlatform):
    """Not by those that it read before somebody changed them."""
    filtered(platform, secgroups, "one")
    other = platform.firewall_driver()
    current = other.get_instances(["one"])["one"]
    other.update_instance(current, replace(current, security_groups=[]), {"security_groups"}, set())
    secgroups.power_on("one")
    assert secgroups.verify_filters() == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_instance_that_is_made_while_filters_are_verified_is_no_drift(
    secgroups: LibvirtFirewallDriver, platform: HostedPlatform, monkeypatch: pytest.MonkeyPatch, engine: str
):
    filtered(platform, secgroups, "one", firewall=engine)
    other = platform.firewall_driver()
    make = Once(secgroups.filtered_domains, lambda: filtered(platform, other, "two", 2, firewall=engine))
    monkeypatch.setattr(secgroups, "filtered_domains", make)
    assert secgroups.verify_filters() == []


def test_a_machine_and_a_container_of_one_name_have_filters_of_their_own(
    secgroups: LibvirtFirewallDriver, platform: HostedPlatform
):
    with get_firewall_driver(ConnectionOptions(platform.lab.lxc_uri)) as container:
        macs = [driver.complete_nics("one", [Nic(network="lab")])[0].mac for driver in (secgroups, container)]
    assert len(set(macs)) == 2


def test_an_engine_of_a_later_version_is_none_of_this_one(secgroups: LibvirtFirewallDriver):
    with pytest.raises(Unsupported, match="knows no firewall 'ebpf'"):
        secgroups.engine("ebpf")


@pytest.mark.parametrize(
    ("said", "is_there"),
    [
        ("error from service: rejected send message", True),
        ("no connection driver available for lxc:///system", False),
        ("Failed to connect socket to '/var/run/libvirt/virtlxcd-sock': No such file or directory", False),
    ],
)
def test_the_other_kind_of_instances_cannot_be_seen(
    secgroups: LibvirtFirewallDriver,
    platform: HostedPlatform,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    is_there: bool,
):
    """Whatever is theirs is not taken away as left behind, unless there can be none."""
    connect = LibvirtFirewallDriver.connect

    def refuse(library: Any, options: ConnectionOptions) -> Any:
        if options.uri.startswith("lxc"):
            raise libvirt.libvirtError(said)
        return connect(library, options)

    filtered(platform, secgroups, "one")
    monkeypatch.setattr(LibvirtFirewallDriver, "connect", staticmethod(refuse))
    for operation in (
        secgroups.restore_filters,
        secgroups.verify_filters,
        secgroups.get_group_members,
        lambda: secgroups.security_group_uses(["open"]),
    ):
        with pytest.raises(HypervisorUnavailable) if is_there else nullcontext():
            operation()
