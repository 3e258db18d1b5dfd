# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plans say about small clusters, looked at one by one."""

from __future__ import annotations

from typing import Any

import pytest
from placing import host_facts, instance_facts

from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.answer import place
from ansible_collections.anyvirt.compute.plugins.plugin_utils.placement.reading import BadInput

GUEST = instance_facts
OUT = {"id": "1", "direction": "outgoing", "phase": "moving"}
IN = {"id": "1", "direction": "incoming", "phase": "moving"}


def ways(answer: dict[str, Any]) -> list[str]:
    return [f"{move['instance']} {move['source']} {move['destination']}" for move in answer["moves"]]


class TestDrain:
    def test_spread_fills_the_emptiest(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 4096), GUEST("w2", 2048), GUEST("w3", 1024)),
            "b": host_facts(),
            "c": host_facts(GUEST("other", 3000)),
        }
        answer = place(hosts, {"drain": ["a"]})
        assert ways(answer) == ["w1 a b", "w3 a b", "w2 a c"]
        assert answer["complete"]
        assert answer["waves"] == 1
        assert answer["hosts"]["a"]["after"]["instances"] == 0
        assert answer["routes"] == [
            {"wave": 1, "source": "a", "destination": "b", "instances": ["w1", "w3"]},
            {"wave": 1, "source": "a", "destination": "c", "instances": ["w2"]},
        ]
        assert answer["summary"] == ["w1: a -> b", "w3: a -> b", "w2: a -> c"]

    def test_pack_fills_the_fullest_that_has_room(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 4096), GUEST("w2", 2048)),
            "b": host_facts(),
            "c": host_facts(GUEST("other", 12 * 1024)),
        }
        assert ways(place(hosts, {"drain": ["a"], "strategy": "pack"})) == ["w2 a b", "w1 a c"]

    def test_nothing_else_moves(self) -> None:
        hosts = {"a": host_facts(GUEST("w1")), "b": host_facts(*(GUEST(f"b{n}") for n in range(14))), "c": host_facts()}
        assert ways(place(hosts, {"drain": ["a"]})) == ["w1 a c"]

    def test_a_drained_host_stays_empty(self) -> None:
        hosts = {"a": host_facts(), "b": host_facts(GUEST("w1"))}
        assert place(hosts, {"drain": ["a"]})["moves"] == []

    def test_no_room_is_explained_for_each_host(self) -> None:
        hosts = {
            "a": host_facts(GUEST("db1", 8192, 4)),
            "b": host_facts(GUEST("b1", 12 * 1024)),
            "c": host_facts(GUEST("db2", 512)),
            "d": host_facts(),
            "e": host_facts(version="0.9"),
            "f": host_facts(driver="libvirt"),
        }
        options = {
            "drain": ["a"],
            "exclude_hosts": ["d"],
            "groups": [{"name": "databases", "policy": "anti_affinity", "members": ["db*"]}],
        }
        answer = place(hosts, options)
        (stay,) = answer["stays"]
        assert not answer["complete"]
        assert not stay["by_wish"]
        assert stay["hosts"] == {
            "a": "is to be empty",
            "b": "memory: needs 8192 MiB, 4096 MiB left",
            "c": "has db2 of the anti-affinity group databases",
            "d": "is excluded",
            "e": "its hypervisor 0.9 is older than 1.0, where it runs now",
            "f": "is of another kind (libvirt libvirt x86_64)",
        }
        assert stay["why"] == (
            "none of 3 hosts takes it: 1 with too little memory (8192 MiB needed), "
            "1 with others of the anti-affinity group databases, 1 with an older hypervisor"
        )
        assert answer["summary"] == [f"db1: stays on a: {stay['why']}"]

    def test_processors_are_too_few(self) -> None:
        (stay,) = place({"a": host_facts(GUEST("w1", vcpus=65)), "b": host_facts()}, {"drain": ["a"]})["stays"]
        assert stay["why"] == "b does not take it: 1 with too few vcpus (65 needed, at most 64 left)"

    def test_of_many_hosts_the_nearest_are_named(self) -> None:
        hosts = {f"b{n}": host_facts(GUEST(f"g{n}", 16384 - n * 100)) for n in range(10)}
        hosts["a"] = host_facts(GUEST("large", 4096))
        (stay,) = place(hosts, {"drain": ["a"], "explain": 2})["stays"]
        assert list(stay["hosts"]) == ["b8", "b9"]
        assert stay["why"].startswith("none of 10 hosts takes it: 10 with too little memory")

    def test_disabled_hosts_take_none(self) -> None:
        """They keep what they have."""
        hosts = {"a": host_facts(GUEST("w1")), "b": host_facts(GUEST("w2"))}
        hosts["b"]["host"]["enabled"] = False
        answer = place(hosts, {"drain": ["a"], "rebalance": True})
        (stay,) = answer["stays"]
        assert (stay["instance"], stay["hosts"]["b"]) == ("w1", "is disabled")
        assert answer["moves"] == []

    def test_xenserver_is_sold_under_several_names(self) -> None:
        hosts = {"a": host_facts(GUEST("w1"), driver="xenapi"), "b": host_facts(driver="xenapi")}
        hosts["a"]["host"]["hypervisor_type"] = "Citrix Hypervisor"
        hosts["b"]["host"]["hypervisor_type"] = "XenServer"
        assert ways(place(hosts, {"drain": ["a"]})) == ["w1 a b"]

    def test_zeros_at_the_end_make_no_other_version(self) -> None:
        hosts = {"a": host_facts(GUEST("w1"), version="1.2.0"), "b": host_facts(version="1.2")}
        assert ways(place(hosts, {"drain": ["a"]})) == ["w1 a b"]
        hosts["b"]["host"]["hypervisor_version"] = "1.1.9-rc3"
        assert ways(place(hosts, {"drain": ["a"]})) == []

    def test_off_instances_go_to_older_hypervisors(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", state="shutoff"), GUEST("w2")), "b": host_facts(version="0.9")}
        answer = place(hosts, {"drain": ["a"]})
        assert ways(answer) == ["w1 a b"]

    @pytest.mark.parametrize(
        ("config", "why"),
        [
            ({"locked": True}, "is locked"),
            ({"unfinished": True}, "was not made completely: virt_instance makes it anew, or removes it"),
            ({"resize": {"id": "1"}}, "has been resized, and that is neither confirmed nor reverted yet"),
            ({"disks": {"elsewhere": 1}}, "its pool elsewhere is not active"),
        ],
    )
    def test_some_stay_whatever_room_there_is(self, config: dict[str, Any], why: str) -> None:
        hosts = {"a": host_facts(GUEST("w1", **config)), "b": host_facts()}
        answer = place(hosts, {"drain": ["a"]})
        (stay,) = answer["stays"]
        assert (stay["why"], stay["by_wish"], answer["moves"]) == (why, True, [])

    def test_one_that_is_suspended_stays(self) -> None:
        """No hypervisor here moves saved memory, and virt_migrate would refuse those that go with it too."""
        hosts = {"a": host_facts(GUEST("w1", state="suspended"), GUEST("w2")), "b": host_facts()}
        answer = place(hosts, {"drain": ["a"]})
        assert ways(answer) == ["w2 a b"]
        assert [(stay["why"], stay["by_wish"]) for stay in answer["stays"]] == [
            ("is suspended: resume it, or power it off", True)
        ]

    def test_a_lock_can_be_overridden(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", locked=True)), "b": host_facts()}
        assert ways(place(hosts, {"drain": ["a"], "override_lock": True})) == ["w1 a b"]

    def test_pinned_by_pattern(self) -> None:
        hosts = {"a": host_facts(GUEST("w1"), GUEST("db1")), "b": host_facts()}
        answer = place(hosts, {"drain": ["a"], "pinned": ["d*"]})
        assert ways(answer) == ["w1 a b"]
        assert [stay["why"] for stay in answer["stays"]] == ["is pinned"]

    def test_what_travels_anyway_makes_room(self) -> None:
        """The 6 and the 5 do not fit beside each other on b; c has room for 5 only."""
        hosts = {
            "a": host_facts(GUEST("big", 6 * 1024), GUEST("mid", 5 * 1024), GUEST("low", 5 * 1024)),
            "b": host_facts(GUEST("b", 5 * 1024)),
            "c": host_facts(GUEST("c", 11 * 1024)),
        }
        answer = place(hosts, {"drain": ["a"]})
        assert answer["complete"]
        assert len(answer["moves"]) == 3


class TestMigrationsUnderWay:
    def test_it_goes_to_where_it_was_going(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 4096, migration=OUT)),
            "b": host_facts(),
            "c": host_facts(GUEST("other", 4096), GUEST("w1", 4096, state="shutoff", migration=IN)),
        }
        answer = place(hosts, {"drain": ["a"]})
        assert ways(answer) == ["w1 a c"]
        assert answer["hosts"]["c"]["after"]["memory_mb"] == 8192

    def test_elsewhere_it_is_finished_when_rebalancing(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 12 * 1024, migration=OUT), GUEST("w2", 1024)),
            "b": host_facts(GUEST("w1", 12 * 1024, state="shutoff", migration=IN)),
            "c": host_facts(),
        }
        assert place(hosts, {})["moves"] == []
        assert ways(place(hosts, {"rebalance": True, "tolerance": 100})) == ["w1 a b"]

    def test_what_is_there_already_is_no_lack_of_room(self) -> None:
        """Its volume was made before the migration was cut short, and the pool has no room for another one."""
        hosts = {
            "a": host_facts(GUEST("w1", migration=OUT, disks={"p": 60}), pools={"p": 100}),
            "b": host_facts(GUEST("w1", state="shutoff", migration=IN, disks={"p": 60}), pools={"p": 100}),
        }
        assert ways(place(hosts, {"drain": ["a"]})) == ["w1 a b"]

    def test_its_record_says_where_it_goes_before_anything_is_there(self) -> None:
        hosts = {name: host_facts() for name in "abc"}
        hosts["a"] = host_facts(GUEST("w1", migration={**OUT, "peer": "host c"}), GUEST("w2"))
        hosts["b"] = host_facts(GUEST("w3", migration={**OUT, "id": "2", "peer": "host d"}))
        for name, facts in hosts.items():
            facts["security_groups"] = {"host": f"host {name}", "members": {}}
        answer = place(hosts, {"drain": ["a", "b"]})
        assert ways(answer) == ["w1 a c", "w2 a c"]
        assert answer["summary"][-1] == "w3: stays on b: is on its way to host d, which is not among these hosts"

    @pytest.mark.parametrize("drain", [["a", "b"], ["b"]])
    def test_one_that_goes_where_nobody_may_stay_keeps_nobody_else(self, drain: list[str]) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", migration=OUT)),
            "b": host_facts(GUEST("w1", state="shutoff", migration=IN), GUEST("w2")),
            "c": host_facts(),
        }
        answer = place(hosts, {"drain": drain})
        assert ways(answer) == ["w2 b c"]
        (stay,) = answer["stays"]
        assert stay["by_wish"]
        assert stay["why"].startswith("is on its way to b, which is to be empty: run virt_migrate for it")

    def test_one_that_comes_from_elsewhere_takes_room_and_stays(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 12 * 1024, migration=IN)), "b": host_facts()}
        answer = place(hosts, {"drain": ["a"]})
        assert [stay["why"] for stay in answer["stays"]] == ["is on its way here from a host that is not among these"]

    def test_one_that_has_left_does_not_count(self) -> None:
        gone = {**OUT, "phase": "departed"}
        hosts = {
            "a": host_facts(GUEST("w1", 8192, state="shutoff", migration=gone)),
            "b": host_facts(GUEST("w1", 8192)),
        }
        answer = place(hosts, {"drain": ["a"]})
        assert (answer["moves"], answer["stays"]) == ([], [])
        assert answer["hosts"]["a"]["before"]["memory_mb"] == 0


class TestGroups:
    @staticmethod
    def group(policy: str, *members: str, **more: Any) -> dict[str, Any]:
        return {"name": "g", "policy": policy, "members": list(members), **more}

    def test_together_they_go(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 6000), GUEST("w2", 6000)),
            "b": host_facts(GUEST("b", 8000)),
            "c": host_facts(GUEST("c", 1000)),
            "d": host_facts(GUEST("d", 8000)),
        }
        answer = place(hosts, {"drain": ["a"], "groups": [self.group("affinity", "w1", "w2")]})
        assert ways(answer) == ["w1 a c", "w2 a c"]

    def test_together_they_stay(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 6000), GUEST("w2", 6000)), "b": host_facts(GUEST("b", 8000))}
        answer = place(hosts, {"drain": ["a"], "groups": [self.group("affinity", "w*")]})
        assert answer["moves"] == []
        assert [stay["instance"] for stay in answer["stays"]] == ["w1", "w2"]
        assert answer["stays"][0]["why"].startswith("together with the others of w1, w2: b does not take it")

    def test_it_goes_to_its_friends(self) -> None:
        hosts = {"a": host_facts(GUEST("w1")), "b": host_facts(GUEST("w2", 8000)), "c": host_facts()}
        answer = place(hosts, {"drain": ["a"], "groups": [self.group("affinity", "w1", "w2")]})
        assert ways(answer) == ["w1 a b"]

    def test_room_that_friends_leave_is_for_those_who_found_none(self) -> None:
        hosts = {
            "a": host_facts(GUEST("new", 14000, state="shutoff"), GUEST("w1", 500)),
            "b": host_facts(GUEST("w2", 4000)),
            "c": host_facts(memory_mb=5512),
        }
        wanted = {"new": {"hosts": ["b"]}, "w1": {"hosts": ["c"]}, "w2": {"hosts": ["c"]}}
        groups = [self.group("affinity", "w1", "w2")]
        assert place(hosts, {"drain": ["a"], "groups": groups, "instances": wanted})["complete"]

    def test_its_friends_come_along_where_there_is_room_for_all(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 4000)),
            "b": host_facts(GUEST("w2", 8000), GUEST("b", 8000)),
            "c": host_facts(GUEST("c", 4000)),
        }
        answer = place(hosts, {"drain": ["a"], "groups": [self.group("affinity", "w1", "w2")]})
        assert ways(answer) == ["w1 a c", "w2 b c"]

    def test_it_stays_with_one_that_is_pinned(self) -> None:
        hosts = {"a": host_facts(GUEST("w1"), GUEST("w2")), "b": host_facts()}
        answer = place(hosts, {"drain": ["a"], "pinned": ["w2"], "groups": [self.group("affinity", "w1", "w2")]})
        assert answer["moves"] == []
        assert [(stay["why"], stay["by_wish"]) for stay in answer["stays"]] == [
            ("has to be with w2, which stays", True),
            ("is pinned", True),
        ]

    def test_room_is_lacking_where_one_that_is_pinned_is_elsewhere(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 9000)), "b": host_facts(GUEST("w2", 8000)), "c": host_facts()}
        options = {"drain": ["a"], "pinned": ["w2"], "groups": [self.group("affinity", "w1", "w2")]}
        (stay,) = place(hosts, options)["stays"]
        assert not stay["by_wish"]
        assert stay["why"].startswith("has to be with w2, which stays: b does not take it: 1 with too little memory")

    def test_soft_affinity_is_preferred_to_the_load(self) -> None:
        hosts = {"a": host_facts(GUEST("w1")), "b": host_facts(GUEST("w2", 8000)), "c": host_facts()}
        options = {"drain": ["a"], "groups": [self.group("affinity", "w1", "w2", hard=False)]}
        assert ways(place(hosts, options)) == ["w1 a b"]

    def test_soft_affinity_gives_way_to_room(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 9000)), "b": host_facts(GUEST("w2", 8000)), "c": host_facts()}
        options = {"drain": ["a"], "groups": [self.group("affinity", "w1", "w2", hard=False)]}
        assert ways(place(hosts, options)) == ["w1 a c"]

    def test_soft_anti_affinity(self) -> None:
        hosts = {"a": host_facts(GUEST("w1")), "b": host_facts(GUEST("b", 8000)), "c": host_facts(GUEST("w2"))}
        options = {"drain": ["a"], "groups": [self.group("anti_affinity", "w*", hard=False)]}
        assert ways(place(hosts, options)) == ["w1 a b"]
        hosts["b"] = host_facts(GUEST("b", 16384))
        assert ways(place(hosts, options)) == ["w1 a c"]

    def test_so_many_on_one_host(self) -> None:
        hosts = {"a": host_facts(*(GUEST(f"w{n}") for n in range(5))), "b": host_facts(), "c": host_facts()}
        options = {"drain": ["a"], "groups": [self.group("anti_affinity", "w*", max_per_host=2)]}
        answer = place(hosts, options)
        assert len(answer["moves"]) == 4
        assert len(answer["stays"]) == 1

    def test_contradictions_are_refused(self) -> None:
        hosts = {"a": host_facts(GUEST("w1"), GUEST("w2"))}
        groups = [self.group("affinity", "w1", "w2"), self.group("anti_affinity", "w*")]
        with pytest.raises(BadInput, match="w1, w2 have to be together, but the anti-affinity group g allows 1"):
            place(hosts, {"groups": groups})

    def test_a_member_that_nobody_knows_is_a_warning(self) -> None:
        answer = place({"a": host_facts()}, {"groups": [self.group("affinity", "web7", "db*")]})
        assert answer["warnings"] == [
            "groups.g.members: web7 fits no instance",
            "groups.g.members: db* fits no instance",
        ]

    def test_two_of_one_name_never_meet(self) -> None:
        hosts = {"a": host_facts(GUEST("w1")), "b": host_facts(GUEST("w1"))}
        (stay,) = place(hosts, {"drain": ["a"]})["stays"]
        assert stay["hosts"]["b"] == "has w1 of the same name"


class TestRoom:
    def test_ratios_and_what_is_reserved(self) -> None:
        hosts = {"a": host_facts(vcpus=10, memory_mb=10_000, others_mb=600, pools={"default": 100, "other": 50})}
        options = {
            "ratios": {"vcpus": 2.5, "memory": 1.5, "disk": 0.5},
            "reserved": {"vcpus": 2, "memory_mb": 512},
            "instances": {"new": {"memory_mb": 1, "vcpus": 1, "disk_gb": 1}},
        }
        capacity = place(hosts, options)["hosts"]["a"]["capacity"]
        assert capacity == {"vcpus": 20, "memory_mb": 14_100, "disk_gb": 75.0}

    def test_overrides_are_for_some_hosts(self) -> None:
        hosts = {"a1": host_facts(vcpus=1), "b1": host_facts(vcpus=1)}
        answer = place(hosts, {"ratios": {"vcpus": 2}, "overrides": {"b*": {"ratios": {"vcpus": 8}}}})
        assert {name: host["capacity"]["vcpus"] for name, host in answer["hosts"].items()} == {"a1": 2, "b1": 8}

    def test_disks_need_a_pool_of_that_name(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", disks={"fast": 20}), pools={"fast": 100}),
            "b": host_facts(pools={"slow": 100}),
            "c": host_facts(pools={"fast": 10}),
        }
        (stay,) = place(hosts, {"drain": ["a"]})["stays"]
        assert stay["hosts"]["b"] == "disk in fast: needs 20480 MiB, 0 MiB left"
        assert ways(place(hosts, {"drain": ["a"], "shared_pools": ["f*"]})) == ["w1 a b"]

    def test_each_instance_takes_more_than_its_own_memory(self) -> None:
        """On hosts where that is in use already it is not taken for something else's."""
        hosts = {
            "a": host_facts(*(GUEST(f"w{number}", 4096) for number in range(4))),
            "b": host_facts(others_mb=1000),
            "c": host_facts(*(GUEST(f"c{number}", 100) for number in range(6)), others_mb=600),
        }
        answer = place(hosts, {"drain": ["a"], "exclude_hosts": ["c"], "overhead_mb": 100})
        assert len(answer["moves"]) == 3
        assert answer["hosts"]["b"]["after"]["memory_mb"] == 3 * 4196
        assert answer["hosts"]["c"]["capacity"]["memory_mb"] == 16384

    def test_what_some_take_in_a_pool_is_no_room_in_whatever_pool(self) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", disks={"p": 60}), GUEST("w2", disks={"p": 60}), pools={"p": 500}),
            "b": host_facts(pools={"p": 100}),
        }
        answer = place(hosts, {"drain": ["a"], "instances": {"w1": {"disk_gb": 60}}})
        assert len(answer["moves"]) == len(answer["stays"]) == 1

    def test_instances_that_are_off_count_unless_told_otherwise(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 8192)), "b": host_facts(GUEST("off", 12 * 1024, state="shutoff"))}
        assert not place(hosts, {"drain": ["a"]})["complete"]
        assert place(hosts, {"drain": ["a"], "count_stopped": False})["complete"]

    @pytest.mark.parametrize(
        ("more", "memory_mb"),
        [
            ({"max_memory_mb": 2048, "config": {"memory_mb": 1024}}, 1024),
            ({"max_memory_mb": 2048, "config": {"memory_mb": None}}, 2048),
            ({"max_memory_mb": 2048}, 2048),
        ],
    )
    def test_instances_that_are_off_take_what_they_are_started_with(self, more: dict[str, Any], memory_mb: int) -> None:
        """Hypervisors say that they have no memory now; without the subset config there is only what they may have."""
        off = {"name": "off", "state": "shutoff", "memory_mb": 0, "vcpus": 1, **more}
        answer = place({"a": host_facts(off), "b": host_facts()}, {"drain": ["a"]})
        assert [move["memory_mb"] for move in answer["moves"]] == [memory_mb]
        assert answer["hosts"]["a"]["before"]["memory_mb"] == memory_mb

    def test_only_given_sizes_count_where_they_are_given(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 1024)), "b": host_facts()}
        (stay,) = place(hosts, {"drain": ["a"], "instances": [{"name": "w1", "memory_mb": 20_000}]})["stays"]
        assert stay["hosts"]["b"] == "memory: needs 20000 MiB, 16384 MiB left"

    def test_a_host_that_is_too_full_keeps_what_it_has(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 20_000)), "b": host_facts(memory_mb=64 * 1024)}
        assert place(hosts, {})["moves"] == []


class TestNew:
    def test_new_ones_find_hosts(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 8192)), "b": host_facts()}
        options = {"instances": {"db1": {"memory_mb": 1024, "vcpus": 1}, "db2": {"memory_mb": 512, "vcpus": 1}}}
        answer = place(hosts, options)
        assert [(entry["instance"], entry["source"], entry["destination"]) for entry in answer["new"]] == [
            ("db1", None, "b"),
            ("db2", None, "b"),
        ]
        assert answer["moves"] == []

    def test_none_are_new_where_none_are_wanted(self) -> None:
        hosts = {"a": host_facts(GUEST("101")), "b": host_facts()}
        entries = [{"name": 101, "refused": {"b": "no bridge"}}, {"name": "gone", "pinned": True}]
        answer = place(hosts, {"drain": ["a"], "instances": entries, "new": False})
        assert answer["stays"][0]["hosts"]["b"] == "no bridge"
        assert (answer["new"], answer["warnings"]) == ([], ["instances.gone: no host has this instance"])

    def test_only_some_hosts_may_have_it(self) -> None:
        hosts = {"a": host_facts(), "b": host_facts(GUEST("w1")), "c1": host_facts(driver="libvirt")}
        wanted = {"memory_mb": 1024, "vcpus": 1, "hosts": ["b", "c*"], "refused": {"c1": "no such network"}}
        answer = place(hosts, {"instances": {"new": wanted}})
        assert answer["new"][0]["destination"] == "b"


class TestRebalance:
    def test_few_moves_even_out_the_load(self) -> None:
        hosts = {"a": host_facts(*(GUEST(f"w{n}", 2048) for n in range(6))), "b": host_facts()}
        answer = place(hosts, {"rebalance": True})
        assert len(answer["moves"]) == 3
        assert answer["hosts"]["a"]["after"]["load"] == answer["hosts"]["b"]["after"]["load"]

    def test_no_more_than_allowed(self) -> None:
        hosts = {"a": host_facts(*(GUEST(f"w{n}", 2048) for n in range(6))), "b": host_facts()}
        assert len(place(hosts, {"rebalance": True, "max_moves": 1})["moves"]) == 1

    def test_within_the_tolerance_nothing_moves(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 1500), GUEST("w2", 500)), "b": host_facts(GUEST("w3", 500))}
        assert place(hosts, {"rebalance": True})["moves"] == []
        assert place(hosts, {"rebalance": True, "tolerance": 1})["moves"] != []

    def test_pack_empties_hosts(self) -> None:
        hosts = {name: host_facts(GUEST(f"{name}1", 4096)) for name in "abcd"}
        answer = place(hosts, {"rebalance": True, "strategy": "pack"})
        assert sorted(host["after"]["instances"] for host in answer["hosts"].values()) == [0, 0, 0, 4]

    def test_pack_moves_all_of_a_host_or_none(self) -> None:
        hosts = {
            "a": host_facts(GUEST("a1", 4096), GUEST("a2", 6000)),
            "b": host_facts(GUEST("b1", 12 * 1024)),
        }
        assert place(hosts, {"rebalance": True, "strategy": "pack"})["moves"] == []

    def test_broken_rules_are_mended_first(self) -> None:
        hosts = {"a": host_facts(GUEST("w1", 512), GUEST("w2", 1024)), "b": host_facts(GUEST("b", 1024))}
        groups = [{"name": "web", "policy": "anti_affinity", "members": ["w*"]}]
        assert ways(place(hosts, {"rebalance": True, "tolerance": 100, "groups": groups})) == ["w1 a b"]

    @pytest.mark.parametrize("strategy", ["spread", "pack"])
    def test_a_host_that_is_too_full_is_relieved(self, strategy: str) -> None:
        hosts = {
            "a": host_facts(GUEST("w1", 12_000), GUEST("w2", 6000), GUEST("w3", 9000)),
            "b": host_facts(GUEST("b", 9000)),
            "c": host_facts(GUEST("c", 9000)),
        }
        answer = place(hosts, {"rebalance": True, "tolerance": 100, "strategy": strategy})
        assert answer["moves"]
        assert answer["hosts"]["a"]["after"]["memory_mb"] < 27_000

    def test_a_swap_takes_waves(self) -> None:
        """w2 has to wait until w1 has gone."""
        hosts = {
            "a": host_facts(GUEST("w1", 10_000)),
            "b": host_facts(GUEST("w2", 9000)),
            "c": host_facts(memory_mb=10_512),
        }
        wanted = {"w1": {"hosts": ["c"]}, "w2": {"hosts": ["a"]}}
        answer = place(hosts, {"rebalance": True, "tolerance": 100, "instances": wanted})
        assert [(move["instance"], move["wave"]) for move in answer["moves"]] == [("w1", 1), ("w2", 2)]
