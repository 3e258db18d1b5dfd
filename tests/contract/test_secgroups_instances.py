# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_instance's options about filters: they change while the guest runs, and a second run finds nothing to do."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.firewall import FirewallDriver
from contract import task
from contract.helpers import state_of
from contract.platforms.base import Platform
from contract.secgroup_helpers import OPEN, WHERE
from contract.task import Outcome, nic, run, small

pytestmark = [pytest.mark.on(*WHERE), pytest.mark.slow]

_INTERRUPTS = re.compile(
    r"(force_off|start|reset|reboot|suspend|virDomain(Create|Destroy|Reset|Reboot|Shutdown|ManagedSave)"
    r"|VM\.(start|hard_|clean_|suspend|pool_migrate)).*"
)


@pytest.fixture(autouse=True)
def open_groups(secgroups: FirewallDriver) -> None:
    for name in ("also-open", "open"):
        secgroups.define_security_group(replace(OPEN, name=name))


def params(platform: Platform, **over: Any) -> dict[str, Any]:
    options: dict[str, Any] = {
        "state": "running",
        "security_groups": ["open"],
        "networks": [nic(platform, addresses=["10.77.0.1"])],
    }
    return small(platform, "one", **{**options, **over})


def done(platform: Platform, **over: Any) -> Outcome:
    """A task that is foretold in check mode, goes well, and has nothing to do when it is run again."""
    wanted = params(platform, **over)
    foretold = run(platform, check=True, **wanted)
    assert foretold.kind is None, foretold.result
    assert foretold.calls.writes == []
    outcome = task.done(platform, **wanted)
    assert outcome.steps == foretold.steps
    again = task.done(platform, **wanted)
    assert not again.changed, again.result
    assert again.calls.writes == []
    return outcome


def changed(platform: Platform, **over: Any) -> Outcome:
    """The same, of an instance that runs and goes on running."""
    outcome = done(platform, **over)
    assert outcome.changed
    interruptions = [name for name in outcome.calls.names if _INTERRUPTS.fullmatch(name)]
    assert interruptions == [], outcome.steps
    return outcome


def test_filtered_from_its_first_packet_on(secgroups: FirewallDriver, platform: Platform):
    outcome = done(platform)
    assert outcome.changed
    assert secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() == []
    after = outcome.objects[0]["after"]
    assert after["security_groups"] == ["open"]
    assert after["networks"][0]["addresses"] == ["10.77.0.1"]
    assert state_of(secgroups, "one") == "running"


def test_groups_change_while_it_runs(secgroups: FirewallDriver, platform: Platform):
    done(platform)
    changed(platform, security_groups=["open", "also-open"])
    assert secgroups.get_instances(["one"])["one"].security_groups == ["also-open", "open"]
    assert secgroups.verify_filters() == []
    changed(platform, security_groups=["also-open"])
    assert secgroups.get_group_members() == {"also-open": ("10.77.0.1/32",)}
    assert secgroups.verify_filters() == []
    assert secgroups.get_instances(["one"])["one"].pending == {}


def test_the_order_of_groups_means_nothing(secgroups: FirewallDriver, platform: Platform):
    done(platform, security_groups=["open", "also-open"])
    assert not done(platform, security_groups=["also-open", "open"]).changed


def test_what_is_not_said_stays(secgroups: FirewallDriver, platform: Platform):
    done(platform, project="blue")
    assert not done(platform, security_groups=None, networks=None).changed
    assert done(platform, security_groups=None, networks=None, description="else").changed
    found = secgroups.get_instances(["one"])["one"]
    assert (found.security_groups, found.project) == (["open"], "blue")
    assert [nic.addresses for nic in found.nics or []] == [["10.77.0.1"]]
    assert secgroups.instance_filter_exists("one")


@pytest.mark.on("fake", "libvirt", "xenapi")  # containers wait for their next start: test_libvirt_firewall_wiring
def test_an_instance_that_was_there_is_filtered_from_now_on(secgroups: FirewallDriver, platform: Platform):
    done(platform, security_groups=None, networks=[nic(platform)])
    assert not secgroups.instance_filter_exists("one")
    changed(platform)
    assert secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() == []


def test_no_filters_any_more_and_again(secgroups: FirewallDriver, platform: Platform):
    engine = done(platform).objects[0]["after"].get("firewall")
    changed(platform, firewall="none")
    assert not secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() == []
    assert secgroups.get_instances(["one"])["one"].security_groups == ["open"]
    if engine in ("nwfilter", "nftables", "iptables"):
        changed(platform, firewall=engine)
        assert secgroups.instance_filter_exists("one")
        assert secgroups.verify_filters() == []
        if platform.name != "lxc":  # containers wait for their next start
            changed(platform, firewall="none")
    if platform.name != "lxc":
        changed(platform, firewall="default")
        assert secgroups.instance_filter_exists("one")
        assert secgroups.verify_filters() == []


@pytest.mark.on("fake", "libvirt", "lxc")
def test_a_nic_that_is_taken_away_with_the_next_start_is_filtered_until_then(
    secgroups: FirewallDriver, platform: Platform
):
    done(platform, networks=[nic(platform, addresses=["10.77.0.1"]), nic(platform, addresses=["10.77.0.2"])])
    members = secgroups.get_group_members()
    changed(platform, purge_networks=True, apply="next_boot")
    assert secgroups.verify_filters() == []
    secgroups.restore_filters()
    assert secgroups.verify_filters() == []
    assert secgroups.get_group_members() == members
    secgroups.force_off("one")
    secgroups.restore_filters()
    assert secgroups.verify_filters() == []
    done(platform, networks=[nic(platform, addresses=["10.77.0.1"]), nic(platform, addresses=["10.77.0.3"])])
    changed(platform, purge_networks=True, apply="next_boot")
    task.done(platform, name="one", state="absent")
    assert secgroups.verify_filters() == []


def test_other_addresses(secgroups: FirewallDriver, platform: Platform):
    done(platform)
    changed(platform, networks=[nic(platform, addresses=["10.77.0.9", "2001:db8::9"])])
    assert secgroups.get_group_members() == {"open": ("10.77.0.9/32", "2001:db8::9/128")}
    assert secgroups.verify_filters() == []
    secgroups.force_off("one")
    done(platform, state="stopped", networks=[nic(platform, addresses=["10.77.0.10"])])
    assert secgroups.verify_filters() == []


def test_a_project_comes_and_goes(secgroups: FirewallDriver, platform: Platform):
    done(platform)
    changed(platform, project="blue")
    assert "project:blue" in secgroups.get_group_members()
    changed(platform, project="green")
    assert "project:blue" not in secgroups.get_group_members()
    changed(platform, project="")
    assert secgroups.get_instances(["one"])["one"].project is None
    assert secgroups.get_group_members() == {"open": ("10.77.0.1/32",)}
    assert secgroups.verify_filters() == []


def test_traffic_of_its_project(secgroups: FirewallDriver, platform: Platform):
    if not secgroups.supports("group_references"):
        refused = run(platform, **params(platform, project="blue", allow_project_net_traffic=True))
        assert refused.kind in ("unsupported", "invalid_input")
        return
    done(platform, project="blue", allow_project_net_traffic=True)
    assert secgroups.verify_filters() == []
    changed(platform, allow_project_net_traffic=False)
    assert secgroups.verify_filters() == []


@pytest.mark.on("fake", "libvirt", "lxc")
def test_in_no_group(secgroups: FirewallDriver, platform: Platform):
    """It is filtered nevertheless: nothing comes in, everything goes out."""
    done(platform, security_groups=[])
    assert secgroups.instance_filter_exists("one")
    assert secgroups.verify_filters() == []
    changed(platform, security_groups=["open"])
    changed(platform, security_groups=[])
    assert secgroups.instance_filter_exists("one")


def test_a_group_that_does_not_exist(secgroups: FirewallDriver, platform: Platform):
    before = platform.snapshot()
    for check in (True, False):
        refused = run(platform, check=check, **params(platform, security_groups=["open", "opne"]))
        assert refused.kind in ("invalid_input", "security_group_not_found")
        assert "opne" in refused.result["msg"]
    assert platform.snapshot() == before


def test_nothing_stays_of_an_instance_that_is_gone(secgroups: FirewallDriver, platform: Platform):
    done(platform)
    task.done(platform, name="one", state="absent")
    empty = platform.snapshot()
    done(platform, security_groups=["also-open", "open"], project="blue")
    task.done(platform, name="one", state="absent")
    assert platform.snapshot() == empty
    assert secgroups.verify_filters() == []
