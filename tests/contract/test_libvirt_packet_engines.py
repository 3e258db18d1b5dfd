# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances whose filters are the host's own packet filters, through the driver: there as long as these, seen when they
are missing, and put back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AlreadyExists
from contract.platforms.base import Platform
from contract.secgroup_helpers import ELSEWHERE, OPEN, PROVIDER, RICH, RICH_NAME, WEB, filtered, own_nic
from lab.packets.network import Network

pytestmark = pytest.mark.on("libvirt", "lxc")

SEE = {
    "nftables": (("nft", "list", "ruleset"),),
    "iptables": (("iptables-save",), ("ebtables-save",), ("ipset", "save")),
}
OURS = {"nftables": "table bridge anyvirt", "iptables": "anyvirt-forward"}
LOSE = {"nftables": ("nft", "flush", "table", "bridge", "anyvirt"), "iptables": ("iptables", "-t", "security", "-F")}


@pytest.fixture(params=sorted(SEE))
def engine(request: pytest.FixtureRequest, secgroups: FirewallDriver) -> str:
    secgroups.define_security_group(OPEN)
    name: str = request.param
    return name


def is_enforced(engine: str, *words: str) -> bool:
    """Whether the kernel has rules of ours with all these words."""
    seen = "".join(Runner().run(command) for command in SEE[engine])
    return OURS[engine] in seen and all(word in seen for word in words)


def test_from_the_first_moment_to_the_last(secgroups: FirewallDriver, platform: Platform, engine: str):
    filtered(platform, secgroups, "one", firewall=engine, power_on=True)
    assert secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() == []
    (mac,) = (nic.mac for nic in secgroups.get_instances(["one"])["one"].nics or [])
    assert mac is not None
    assert is_enforced(engine, f"av{mac.replace(':', '')}")
    secgroups.force_off("one")
    secgroups.power_on("one")
    assert secgroups.verify_filters() == []
    secgroups.destroy("one")
    assert not is_enforced(engine)
    assert secgroups.verify_filters() == []


def test_all_changes_reach_it(secgroups: FirewallDriver, platform: Platform, engine: str):
    for group in (WEB, RICH):
        secgroups.define_security_group(group)
    nics = [own_nic(platform, 1)]
    filtered(platform, secgroups, "one", firewall=engine, nics=nics, security_groups=[RICH_NAME], power_on=True)
    secgroups.set_remote_members(ELSEWHERE)
    assert is_enforced(engine, "192.0.2.10", "2001:db8::10")
    secgroups.set_provider_rules(PROVIDER)
    assert is_enforced(engine, "203.0.113.0/24")
    secgroups.define_security_group(replace(RICH, rules=RICH.rules[:2]))
    assert secgroups.verify_filters() == []
    current = secgroups.get_instances(["one"])["one"]
    desired = replace(current, security_groups=["open", "web"])
    secgroups.update_instance(current, desired, {"security_groups"}, {"security_groups"})
    assert secgroups.verify_filters() == []
    assert secgroups.instance_filter_exists("one")
    secgroups.delete_security_group(RICH_NAME)
    assert secgroups.verify_filters() == []


def test_what_somebody_took_away_is_put_back(secgroups: FirewallDriver, platform: Platform, engine: str):
    filtered(platform, secgroups, "one", firewall=engine, power_on=True)
    Runner().run(LOSE[engine])
    assert not secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() != []
    secgroups.restore_filters()
    assert secgroups.verify_filters() == []
    assert secgroups.instance_filter_exists("one")


def test_filters_in_the_wrong_network_namespace_are_no_filters(
    secgroups: FirewallDriver, platform: Platform, engine: str, monkeypatch: pytest.MonkeyPatch
):
    """As of a module in a container that is given libvirt's socket only."""
    filtered(platform, secgroups, "one", firewall=engine, power_on=True)
    with closing(Network.new()) as network:
        monkeypatch.setattr(Runner, "prefix", network.prefix)
        secgroups.restore_filters()
        (drift,) = secgroups.verify_filters()
        assert (drift.instance, drift.subject.partition(" ")[0]) == ("one", "port")
        assert "network namespace" in drift.problem
        assert not secgroups.instance_filter_exists("one")


def test_from_one_engine_to_another(secgroups: FirewallDriver, platform: Platform, engine: str):
    (other,) = SEE.keys() - {engine}
    current = filtered(platform, secgroups, "one", firewall=other, power_on=True)
    undo = secgroups.update_instance(current, replace(current, firewall=engine), {"firewall"}, {"firewall"})
    assert is_enforced(engine)
    assert not is_enforced(other)
    assert secgroups.verify_filters() == []
    undo()
    assert is_enforced(other)
    assert not is_enforced(engine)
    assert secgroups.verify_filters() == []
    assert secgroups.instance_filter_exists("one")


def test_a_mac_address_has_one_owner(secgroups: FirewallDriver, platform: Platform, engine: str):
    """Filters are found by it: a second owner would replace those of the first, and take them away when it goes."""
    filtered(platform, secgroups, "one", firewall=engine)
    filtered(platform, secgroups, "two", firewall=engine)
    (first,) = secgroups.get_instances(["one"])["one"].nics or []
    current = secgroups.get_instances(["two"])["two"]
    desired = replace(current, nics=[*(current.nics or []), first])
    with pytest.raises(AlreadyExists, match="one"):
        secgroups.update_instance(current, desired, {"nics"}, set())
    secgroups.destroy("two")
    assert secgroups.verify_filters() == []
    assert secgroups.instance_filter_exists("one")
