# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is particular about filters on libvirt: connections from afar, other people's filters, containers that run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewalluri import get_firewall_driver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewalldriver import (
    LibvirtFirewallDriver,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidInput, Unsupported
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Nic
from contract.platforms.libvirt_qemu import HostedPlatform
from contract.secgroup_helpers import ELSEWHERE, OPEN, PROVIDER, WEB, filtered, own_nic, wanted

pytestmark = pytest.mark.on("libvirt", "lxc")

INTERFACE = "<interface type='{}'><mac address='52:54:00:77:00:05'/><source {}/>{}</interface>"


@pytest.fixture(autouse=True)
def open_group(secgroups: FirewallDriver) -> None:
    secgroups.define_security_group(OPEN)


@contextmanager
def from_afar(platform: HostedPlatform) -> Iterator[LibvirtFirewallDriver]:
    uri = platform.lab.tcp_uri if platform.name == "libvirt" else platform.lab.lxc_tcp_uri
    with get_firewall_driver(ConnectionOptions(uri)) as driver:
        assert isinstance(driver, LibvirtFirewallDriver)
        yield driver


CHANGES: dict[str, Callable[[FirewallDriver], Any]] = {
    "power_on": lambda driver: driver.power_on("one"),
    "destroy": lambda driver: driver.destroy("one"),
    "groups": lambda driver: change(driver, security_groups=[]),
    "firewall": lambda driver: change(driver, firewall="none"),
    "define": lambda driver: driver.define_security_group(replace(OPEN, description="other")),
    "provider": lambda driver: driver.set_provider_rules(PROVIDER),
    "members": lambda driver: driver.set_remote_members(ELSEWHERE),
    "restore": lambda driver: driver.restore_filters(),
}


def change(driver: FirewallDriver, **over: Any) -> None:
    current = driver.get_instances(["one"])["one"]
    desired = replace(current, **over)
    driver.update_instance(current, desired, set(over), driver.live_options(current, desired, over))


def test_engines_of_the_host_are_not_changed_from_afar(secgroups: FirewallDriver, platform: HostedPlatform):
    filtered(platform, secgroups, "one", firewall="nftables")
    before = platform.snapshot()
    with from_afar(platform) as driver:
        for name, try_it in CHANGES.items():
            with pytest.raises(Unsupported, match=r"nftables.*delegate_to"):
                try_it(driver)
            assert platform.snapshot() == before, name
        two = driver.complete(wanted(platform, "two", 2, firewall="iptables"))
        assert "delegate_to" in str(driver.validate_parameters([two])["two"])
        with pytest.raises(Unsupported, match=r"iptables.*delegate_to"):
            driver.spawn(two)
        assert driver.get_security_groups() == {"open": OPEN}
    secgroups.destroy("one")
    with from_afar(platform) as driver:
        driver.define_security_group(WEB)
        filtered(platform, driver, "one", security_groups=["web"])
        driver.destroy("one")


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        (INTERFACE.format("direct", "dev='lo' mode='bridge'", ""), "type direct"),
        ("<interface type='ethernet'><mac address='52:54:00:77:00:05'/></interface>", "type ethernet"),
        (INTERFACE.format("bridge", "bridge='br9'", "<virtualport type='openvswitch'/>"), "virtualport"),
        (INTERFACE.format("network", "network='lab'", "<filterref filter='clean-traffic'/>"), "clean-traffic"),
    ],
)
def test_interfaces_that_cannot_be_filtered(
    secgroups: FirewallDriver, platform: HostedPlatform, interface: str, said: str
):
    instance = wanted(platform, "one")
    instance.hypervisor["xml"] = [*instance.hypervisor.get("xml", ()), interface]
    before = platform.snapshot()
    with pytest.raises(InvalidInput, match=rf"nics\[1\].*{said}"):
        secgroups.spawn(secgroups.complete(instance), power_on=False)
    assert platform.snapshot() == before


def test_a_network_without_a_bridge_cannot_be_filtered(secgroups: FirewallDriver, platform: HostedPlatform):
    xml = "<network><name>{}</name><forward mode='bridge'>{}</forward>{}</network>"
    networks = {
        "direct": xml.format("direct", "<interface dev='lo'/>", ""),
        "switch": xml.format("switch", "", "<bridge name='ovs9'/><virtualport type='openvswitch'/>"),
    }
    with platform.connection() as connection:
        made = [connection.networkDefineXML(text) for text in networks.values()]
        try:
            for engine in ("nwfilter", "nftables"):
                for name in networks:
                    instance = wanted(platform, "one", firewall=engine, nics=[own_nic(platform, 1), Nic(network=name)])
                    with pytest.raises(InvalidInput, match=rf"nics\[1\].*network {name}"):
                        secgroups.spawn(secgroups.complete(instance), power_on=False)
        finally:
            for network in made:
                network.undefine()


def test_who_is_not_filtered_costs_nothing_more(secgroups: FirewallDriver, platform: HostedPlatform):
    plain = secgroups.complete(platform.small("one", nics=[platform.nic()]))
    with platform.calls.recording() as calls:
        secgroups.spawn(plain, power_on=False)
        secgroups.destroy("one")
    assert not [call for call in calls.names if "NWFilter" in call or "Lease" in call]


def test_one_engine_after_the_other(secgroups: FirewallDriver, platform: HostedPlatform):
    """Each leaves nothing behind, and says when it has nothing to do any more."""
    filtered(platform, secgroups, "one")
    before = platform.snapshot()
    for engine in ("nftables", "iptables", "nwfilter"):
        change(secgroups, firewall=engine)
        assert secgroups.verify_filters() == []
        assert secgroups.instance_filter_exists("one")
    assert platform.snapshot() == before


@pytest.mark.on("lxc")
def test_a_container_that_runs_waits_for_its_first_filters(secgroups: FirewallDriver, platform: HostedPlatform):
    secgroups.spawn(secgroups.complete(platform.small("one", nics=[Nic(network=platform.network)])))
    current = secgroups.get_instances(["one"])["one"]
    desired = replace(current, security_groups=["open"], nics=[replace(current.nics[0], **addressed(platform))])
    assert secgroups.live_options(current, desired, {"security_groups", "nics"}) == {"nics"}
    secgroups.update_instance(current, desired, {"security_groups", "nics"}, {"nics"})
    current = secgroups.get_instances(["one"])["one"]
    assert current.pending["firewall"] == ("none", "nwfilter")
    assert not secgroups.instance_filter_exists("one")
    secgroups.force_off("one")
    secgroups.power_on("one")
    assert "firewall" not in secgroups.get_instances(["one"])["one"].pending
    assert secgroups.instance_filter_exists("one")
    change(secgroups, firewall="none")
    assert secgroups.verify_filters() == []


def addressed(platform: HostedPlatform) -> dict[str, Any]:
    return {"addresses": own_nic(platform, 7).addresses}
