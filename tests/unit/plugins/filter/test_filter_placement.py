# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter: what it refuses, in words that name the option."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from placing import host_facts, instance_facts

from ansible_collections.anyvirt.compute.plugins.filter.placement import FilterModule

placement = FilterModule().filters()["placement"]
HOSTS = {"a": host_facts(instance_facts("w1")), "b": host_facts()}


def test_what_was_registered_is_taken_as_it_is() -> None:
    registered = {name: {"changed": False, "ansible_facts": {"anyvirt": facts}} for name, facts in HOSTS.items()}
    assert placement(registered, drain=["a"]) == placement(HOSTS, drain=["a"])


def test_numbers_may_be_texts() -> None:
    assert placement(HOSTS, max_moves="3", tolerance="12.5", rebalance=True)["complete"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"hosts": []}, "hosts: must be a dictionary, not list"),
        ({"hosts": {}}, "hosts: there is none"),
        ({"hosts": {"a": {"anyvirt": {"host": {}}}}}, "hosts: a: these are not facts of a host: gather the subsets"),
        ({"hosts": {"a": {"host": {"vcpus": 1}, "instances": []}}}, "hosts: a: these are not facts of virt_facts"),
        ({"drained": ["a"]}, "placement: there is no option drained; there are instances, groups"),
        ({"drain": ["a", "c"]}, "drain: c is not among the hosts whose facts are given"),
        ({"drain": {"a": 1}}, "drain: must be a list of names, not dict"),
        ({"strategy": "heap"}, "strategy: must be one of spread, pack, not 'heap'"),
        ({"rebalance": "maybe"}, "rebalance: must be true or false, not 'maybe'"),
        ({"tolerance": -1}, "tolerance: must be a number, 0 or more, not -1"),
        ({"max_moves": 1.5}, "max_moves: must be a whole number, 0 or more, not 1.5"),
        ({"max_moves": True}, "max_moves: must be a whole number, 0 or more, not True"),
        ({"max_moves": float("inf")}, "max_moves: must be a whole number, 0 or more, not inf"),
        ({"tolerance": float("nan")}, "tolerance: must be a number, 0 or more, not nan"),
        ({"pinned": ["w1", {"name": "w2"}]}, r"pinned\[1\]: must be a name, not dict"),
        ({"exclude_hosts": [None]}, r"exclude_hosts\[0\]: must be a name, not None"),
        (
            {"hosts": {"a": host_facts(instance_facts("w1", None, state="shutoff"))}},
            "instances.w1.memory_mb: is needed: a does not tell it",
        ),
        (
            {"hosts": {1: host_facts(), "1": host_facts()}},
            "hosts: 1: is given more than once",
        ),
        (
            {"hosts": {name: {**host_facts(), "security_groups": {"host": "uuid"}} for name in "ab"}},
            r"hosts: b: is the same hypervisor as a \(uuid\): leave one out",
        ),
        ({"explain": "all"}, "explain: must be a whole number"),
        ({"ratios": {"cpu": 1}}, "ratios: there is no option cpu; there are vcpus, memory, disk"),
        ({"ratios": {"vcpus": "many"}}, "ratios.vcpus: must be a number, 0 or more, not 'many'"),
        ({"reserved": [1]}, "reserved: must be a dictionary, not list"),
        ({"overrides": {"b": {"ratio": {}}}}, "overrides.b: there is no option ratio"),
        (
            {"overrides": {"b": {"ratios": {"memory": "x"}}}},
            "overrides.b.ratios.memory: must be a number",
        ),
        ({"load": ["cpu"]}, "load: must be one of vcpus, memory, disk, not 'cpu'"),
        ({"load": []}, "load: is empty"),
        ({"instances": ["w1"]}, r"instances\[0\]: must be a dictionary, not 'w1'"),
        ({"instances": "w1"}, "instances: must be a list of dictionaries, not 'w1'"),
        ({"instances": [{"vcpus": 1}]}, r"instances\[0\].name: must be its name, not None"),
        ({"instances": [{"name": "w1"}, {"name": "w1"}]}, r"instances\[1\]: w1 is given twice"),
        ({"instances": [{"name": "w1", "memory": 5}]}, r"instances\[0\]: there is no option memory"),
        ({"instances": {"w1": {"disk_gb": "big"}}}, "instances.w1.disk_gb: must be a number"),
        ({"instances": {"new": {"vcpus": 1}}}, "instances.new.memory_mb: is needed: no host has this instance"),
        (
            {"instances": {"new": {"vcpus": 1, "memory_mb": 1, "pinned": True}}},
            "instances.new.pinned: no host has this instance, so it cannot stay",
        ),
        ({"groups": {"g": []}}, "groups: must be a list of dictionaries, not dict"),
        ({"groups": [{"name": "g", "members": ["w1"]}]}, "groups.g.policy: must be one of affinity, anti_affinity"),
        ({"groups": [{"policy": "affinity"}]}, "groups.group 1.members: names no instances"),
        (
            {"groups": [{"name": "g", "policy": "affinity", "members": ["w1"], "max_per_host": 2}]},
            "groups.g.max_per_host: is for the policy anti_affinity only",
        ),
        (
            {"groups": [{"name": "g", "policy": "anti_affinity", "members": ["w1"], "max_per_host": 0}]},
            "groups.g.max_per_host: must be a whole number, 1 or more, not 0",
        ),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], complaint: str) -> None:
    hosts = options.get("hosts", HOSTS)
    with pytest.raises(AnsibleFilterError, match=complaint):
        placement(hosts, **{key: value for key, value in options.items() if key != "hosts"})


def test_hypervisors_of_different_kinds_may_share_a_machine() -> None:
    hosts = {name: {**host_facts(driver=name), "security_groups": {"host": "uuid"}} for name in ("fake", "libvirt")}
    assert placement(hosts)["complete"]


def test_a_text_is_names_with_commas() -> None:
    answer = placement({**HOSTS, "c": host_facts()}, drain="a,", exclude_hosts="b, c", pinned="db1,w7")
    assert answer["stays"][0]["why"] == "no host takes instances"
    assert answer["warnings"] == ["pinned: db1 fits no instance", "pinned: w7 fits no instance"]


def test_names_may_look_like_numbers_or_patterns() -> None:
    hosts = {1: host_facts(instance_facts("101"), instance_facts("web[1]"), instance_facts("web1")), 2: host_facts()}
    answer = placement(hosts, drain=[1], instances={101: {"memory_mb": 2048}}, pinned=["web[1]"])
    assert {move["instance"]: move["memory_mb"] for move in answer["moves"]} == {"101": 2048}
    assert {stay["instance"] for stay in answer["stays"]} == {"web1", "web[1]"}


def test_an_instance_whose_size_nobody_tells_has_the_one_that_is_given() -> None:
    hosts = {"a": host_facts(instance_facts("w1", None, state="shutoff")), "b": host_facts()}
    answer = placement(hosts, drain=["a"], instances={"w1": {"memory_mb": 2048}})
    assert answer["hosts"]["b"]["after"]["memory_mb"] == 2048


def test_a_wrong_policy_is_all_that_is_complained_of() -> None:
    with pytest.raises(AnsibleFilterError, match=r"not 'anti-affinity'$"):
        placement(HOSTS, groups=[{"name": "g", "policy": "anti-affinity", "members": ["w1"], "max_per_host": 2}])


def test_hosts_that_nobody_knows_are_warnings() -> None:
    options = {"exclude_hosts": ["c"], "overrides": {"d*": {}}}
    options["instances"] = {"w1": {"hosts": ["b", "e"], "refused": {"f": "x"}}}
    assert placement(HOSTS, **options)["warnings"] == [
        f"{option}: {host} is not among the hosts whose facts are given"
        for option, host in (
            ("exclude_hosts", "c"),
            ("overrides", "d*"),
            ("instances.w1.hosts", "e"),
            ("instances.w1.refused", "f"),
        )
    ]


def test_a_host_that_may_give_nothing_takes_nothing() -> None:
    none = {"ratios": {"vcpus": 0, "memory": 0, "disk": 0}}
    answer = placement(HOSTS, drain=["a"], rebalance=True, **none)
    assert [stay["instance"] for stay in answer["stays"]] == ["w1"]
    assert answer["hosts"]["a"]["before"]["load"] is None


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        placement({"a": {}}, strategy="heap", drain=5)
    assert str(refused.value).count(": ") >= 4
