# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance's security groups, project and addresses, as options and in comparison."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidInput
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.compare import Comparison, compare
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.creation import asked_for, problems_with_new
from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.options import read_desired

MAC = "52:00:00:00:00:01"
IS = Instance(
    "a",
    memory_mb=64,
    nics=[Nic("lan", mac=MAC, addresses=["10.0.0.5"])],
    firewall="nwfilter",
    security_groups=["db", "web"],
    project="shop",
)


def differing(current: Instance = IS, **params: Any) -> Comparison:
    [wanted] = read_desired({"name": "a", **params}, "hyper")
    return compare(current, wanted, lambda _is_now, _asked: set(), "hyper")


@pytest.mark.parametrize(
    "params",
    [
        {"security_groups": ["web", "db"]},
        {"firewall": "default"},
        {"firewall": "nwfilter", "project": "shop", "allow_project_net_traffic": False},
        {"networks": [{"network": "lan", "addresses": ["10.0.0.5/32"]}]},
        {"networks": [{"network": "lan"}]},
    ],
)
def test_nothing_differs(params: dict[str, Any]):
    found = differing(**params)
    assert (found.changes, found.problems) == ([], [])


@pytest.mark.parametrize(
    ("params", "option", "old", "new"),
    [
        ({"security_groups": []}, "security_groups", ["db", "web"], []),
        ({"security_groups": ["web", "app"]}, "security_groups", ["db", "web"], ["app", "web"]),
        ({"firewall": "none"}, "firewall", "nwfilter", "none"),
        ({"firewall": "iptables"}, "firewall", "nwfilter", "iptables"),
        ({"project": ""}, "project", "shop", ""),
        ({"allow_project_net_traffic": True}, "allow_project_net_traffic", None, True),
        (
            {"networks": [{"network": "lan", "addresses": ["2001:DB8::/64", "10.0.0.6"]}]},
            "networks[0].addresses",
            ["10.0.0.5"],
            ["10.0.0.6", "2001:db8::/64"],
        ),
        ({"networks": [{"network": "lan", "addresses": []}]}, "networks[0].addresses", ["10.0.0.5"], []),
    ],
)
def test_what_differs(params: dict[str, Any], option: str, old: Any, new: Any):
    [change] = differing(**params).changes
    assert (change.option, change.old, change.new) == (option, old, new)


def test_the_default_firewall_is_the_drivers_choice():
    found = differing(Instance("a", firewall="none", security_groups=["web"]), firewall="default")
    assert [(change.option, change.new) for change in found.changes] == [("firewall", "default")]
    assert found.desired.firewall is None
    [wanted] = read_desired({"name": "a", "firewall": "default", "security_groups": []}, "hyper")
    assert asked_for(wanted).firewall is None


@pytest.mark.parametrize(("groups", "changed"), [(None, []), (["web"], ["firewall"])])
def test_what_has_groups_is_filtered_though_its_engine_has_no_name(groups: list[str] | None, changed: list[str]):
    found = differing(Instance("a", security_groups=groups), firewall="none")
    assert [change.option for change in found.changes] == changed


def test_no_guest_feels_that_it_may_use_other_addresses():
    assert differing(networks=[{"network": "lan", "addresses": []}]).unfelt == {"nics"}
    assert not differing(networks=[{"network": "lan", "addresses": [], "model": "e1000"}]).unfelt


@pytest.mark.parametrize(
    ("params", "option"),
    [
        ({"allow_project_net_traffic": True, "project": ""}, "allow_project_net_traffic"),
        ({"firewall": "nftables"}, "firewall"),
        ({"allow_project_net_traffic": True, "project": "x"}, "allow_project_net_traffic"),
    ],
)
def test_what_makes_no_sense_together(params: dict[str, Any], option: str):
    current = IS if "project" in params and not params["project"] else Instance("a")
    assert [problem.option for problem in differing(current, **params).problems] == [option]
    if current is not IS:
        [wanted] = read_desired({"name": "a", "memory_mb": 1, **params}, "hyper")
        assert [problem.option for problem in problems_with_new(wanted)] == [option]


@pytest.mark.parametrize(
    ("params", "option"),
    [
        ({"security_groups": ["a b"]}, "security_groups[0]"),
        ({"security_groups": ["web", "project:x"]}, "security_groups[1]"),
        ({"security_groups": ["web", "web"]}, "security_groups[1]"),
        ({"security_groups": ["-web"]}, "security_groups[0]"),
        ({"firewall": "pf"}, "firewall"),
        ({"project": "a/b"}, "project"),
        ({"networks": [{"network": "lan", "addresses": ["10.0.0.300"]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": ["10.0.0.5/24"]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": [10]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": ["224.0.0.1"]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": ["0.0.0.0"]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": ["fe80::1%a\nb"]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": ["::1"]}]}, "networks[0].addresses[0]"),
        ({"networks": [{"network": "lan", "addresses": ["10.0.0.1", "10.0.0.1/32"]}]}, "networks[0].addresses[1]"),
        ({"networks": [{"network": "lan", "address": "10.0.0.1"}]}, "networks[0].address"),
    ],
)
def test_bad_options(params: dict[str, Any], option: str):
    with pytest.raises(InvalidInput) as caught:
        read_desired({"name": "a", **params}, "hyper")
    assert [problem.option for problem in caught.value.problems] == [option]
