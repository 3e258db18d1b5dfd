# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_secgroup from its entry to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import yaml

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.dial import crash_instance, flush_filters
from ansible_collections.anyvirt.compute.plugins.modules import virt_secgroup

RunModule = Callable[..., "dict[str, Any]"]

HTTPS: dict[str, Any] = {"protocol": "tcp", "port": 443}
FROM_WEB: dict[str, Any] = {"protocol": "tcp", "port": 5432, "group": "web"}
WEB: dict[str, Any] = {"name": "web", "rules": [HTTPS]}
DB: dict[str, Any] = {"name": "db", "rules": [FROM_WEB]}


def dial(folder: Path, **orders: Any) -> None:
    (folder / "faults.json").write_text(json.dumps(orders), encoding="utf-8")


def kind(result: dict[str, Any]) -> str | None:
    return result["error"]["kind"] if result.get("failed") else None


def options_of(result: dict[str, Any]) -> list[str]:
    return [problem["option"] for problem in result["error"]["problems"]]


def member(name: str, groups: list[str], *addresses: str) -> dict[str, Any]:
    """An instance that runs and is in groups."""
    return {
        "name": name,
        "memory_mb": 64,
        "state": "running",
        "networks": [{"network": "default", "addresses": list(addresses)}],
        "security_groups": groups,
    }


def done(module: RunModule, **params: Any) -> dict[str, Any]:
    """A task that is foretold in check mode, goes well, and has nothing to do when it is run again."""
    foretold = module(**params, _ansible_check_mode=True, _ansible_diff=True)
    outcome = module(**params, _ansible_diff=True)
    assert kind(outcome) is None, outcome["msg"]
    for part in ("changed", "groups", "provider_rules", "remote_members", "diff", "host", "members"):
        assert foretold.get(part) == outcome.get(part), part
    again = module(**params)
    assert not again["changed"], again
    return outcome


def steps_of(result: dict[str, Any]) -> list[str]:
    return [step for group in result["groups"] for step in group["steps"]]


# -- groups ---------------------------------------------------------------------------------------------------------


def test_made_once_as_foretold(secgroup_module: RunModule) -> None:
    made = done(secgroup_module, **WEB, description="servers")
    assert made["group"] == made["groups"][0]
    assert made["group"]["before"] is None
    assert made["group"]["steps"] == ["create the security group web with 4 rules"]
    assert made["group"]["after"]["description"] == "servers"
    assert made["group"]["after"]["rules"][-2] == {
        "direction": "ingress",
        "protocol": "tcp",
        "port": 443,
        "cidr": "::/0",
    }
    assert made["diff"][0]["before_header"] == "group web"
    assert made["members"] == {}
    assert made["host"].startswith("fake:")


def test_rules_are_changed_by_what_differs(secgroup_module: RunModule) -> None:
    done(secgroup_module, **WEB)
    ssh = {"protocol": "tcp", "port": 22, "cidr": "192.0.2.0/24"}
    added = done(secgroup_module, name="web", rules=[ssh], purge_rules=False)
    assert steps_of(added) == ["change the security group web: add 1 rule"]
    [change] = added["group"]["changes"]
    assert (change["option"], change["old"], change["new"]) == ("rules", [], [{**ssh, "direction": "ingress"}])
    swapped = done(secgroup_module, name="web", rules=[ssh], default_egress=False, description="x")
    assert steps_of(swapped) == ["change the security group web: take away 4 rules, another description"]
    assert len(swapped["group"]["before"]["rules"]) == 5
    assert done(secgroup_module, name="web", rules=[], default_egress=False)["group"]["after"]["rules"] == []


def test_groups_may_name_each_other_and_themselves(secgroup_module: RunModule) -> None:
    made = done(
        secgroup_module,
        groups=[
            {"name": "a", "rules": [{"group": "b"}]},
            {"name": "b", "rules": [{"group": "a"}, {"group": "b"}]},
            {"name": "c", "rules": [{"group": "b"}]},
        ],
    )
    assert [group["changed"] for group in made["groups"]] == [True] * 3
    refused = secgroup_module(groups=[{"name": "b"}, {"name": "a"}], state="absent")
    assert kind(refused) == "security_group_in_use"
    assert "rules of the groups c name it" in refused["groups"][0]["msg"]
    assert "rules of the groups b name it" in refused["groups"][1]["msg"]
    gone = done(secgroup_module, groups=[{"name": "a"}, {"name": "b"}, {"name": "c"}], state="absent")
    assert steps_of(gone) == [
        "remove the security group a",
        "take the rules about a out of the security group b, which goes too",
        "remove the security group b",
        "remove the security group c",
    ]


def test_a_group_that_is_named_no_more_goes_with_the_same_task(secgroup_module: RunModule) -> None:
    done(secgroup_module, groups=[WEB, DB])
    done(secgroup_module, groups=[{"name": "web", "state": "absent"}, {"name": "db", "rules": []}])


def test_groups_with_instances_stay(secgroup_module: RunModule, instance_module: RunModule) -> None:
    done(secgroup_module, groups=[WEB, DB])
    assert kind(instance_module(**member("db1", ["db"], "10.0.0.5"))) is None
    for check_mode in (True, False):
        refused = secgroup_module(groups=[WEB, DB], state="absent", _ansible_check_mode=check_mode)
        assert kind(refused) == "security_group_in_use"
        assert [group["changed"] for group in refused["groups"]] == [False, False]
        assert "the instances db1" in refused["groups"][1]["msg"]
        assert "the groups db" in refused["groups"][0]["msg"]


def test_unknown_groups_are_refused(secgroup_module: RunModule) -> None:
    assert options_of(secgroup_module(**DB)) == ["rules[0].group"]
    leaving = secgroup_module(groups=[DB, {"name": "web", "state": "absent"}])
    assert options_of(leaving) == ["groups[0].rules[0].group"]
    assert "removed by groups[1]" in leaving["msg"]
    assert kind(secgroup_module(**DB, allow_unknown_groups=True)) is None
    assert not secgroup_module(**DB)["changed"]
    reported = {"host": "other", "members": {"app": ["10.0.0.1"]}}
    done(secgroup_module, name="cache", rules=[{"group": "app"}], members=[reported])
    done(secgroup_module, name="queue", rules=[{"group": "app"}])


def test_one_failure_does_not_hide_the_others(secgroup_module: RunModule, folder: Path) -> None:
    folder.mkdir()
    dial(folder, faults=[{"operation": "security_group_define", "times": 1, "error": "hypervisor_error"}])
    failed = secgroup_module(groups=[WEB, {"name": "other"}])
    assert kind(failed) == "hypervisor_error"
    assert [group["changed"] for group in failed["groups"]] == [False, True]
    assert failed["msg"].startswith("1 of 2 groups failed: web: create the security group web")
    assert [group["after"] is None for group in failed["groups"]] == [True, False]


def test_groups_that_name_each_other_go_wholly_or_not_at_all(secgroup_module: RunModule, folder: Path) -> None:
    groups = [{"name": "a", "rules": [{"group": "b"}]}, {"name": "b", "rules": [{"group": "a"}]}]
    done(secgroup_module, groups=groups)
    dial(folder, faults=[{"operation": "security_group_delete", "skip": 1, "times": 1, "error": "hypervisor_error"}])
    failed = secgroup_module(groups=groups, state="absent")
    assert [group["changed"] for group in failed["groups"]] == [False, False]
    assert failed["error"]["rolled_back"] is True
    assert not secgroup_module(groups=groups)["changed"]


# -- the whole host -------------------------------------------------------------------------------------------------


def test_the_operators_rules_need_no_group(secgroup_module: RunModule) -> None:
    made = done(
        secgroup_module, provider_rules=[{"direction": "egress", "protocol": "tcp", "port": 25, "cidr": "::/0"}]
    )
    assert made["groups"] == []
    assert made["provider_rules"]["before"] == []
    assert made["provider_rules"]["after"] == [
        {"action": "drop", "direction": "egress", "protocol": "tcp", "port": 25, "cidr": "::/0"}
    ]
    assert made["provider_rules"]["steps"] == ["set the operator's rules: 1 rule instead of 0"]
    assert made["diff"][0]["before_header"] == "operator's rules"
    assert done(secgroup_module, provider_rules=[])["changed"]


def test_what_fails_for_the_host_does_not_hinder_the_groups(secgroup_module: RunModule, folder: Path) -> None:
    folder.mkdir()
    dial(folder, faults=[{"operation": "provider_rules_change", "error": "hypervisor_error", "message": "no"}])
    failed = secgroup_module(**WEB, provider_rules=[{"protocol": "tcp", "port": 25}])
    assert kind(failed) == "hypervisor_error"
    assert failed["msg"] == "operator's rules: set the operator's rules: 2 rules instead of 0: no"
    assert failed["provider_rules"]["error"]["kind"] == "hypervisor_error"
    assert failed["provider_rules"]["after"] == []
    assert failed["group"]["changed"]


def test_what_failed_for_the_host_is_told_as_it_is_now(secgroup_module: RunModule, folder: Path) -> None:
    folder.mkdir()
    members = [{"host": "other", "members": {"web": ["10.0.0.1/32"]}}]
    for when, now in (("before", {}), ("after", {"web": ["10.0.0.1/32"]})):
        dial(folder, faults=[{"operation": "members_change", "error": "hypervisor_error", "when": when}])
        failed = secgroup_module(members=members)
        assert failed["remote_members"]["after"] == {"hosts": {"other": now}, "stale": []}
        assert failed["remote_members"]["changed"] is failed["changed"] is bool(now)


def test_members_go_from_host_to_host(secgroup_module: RunModule, instance_module: RunModule, folder: Path) -> None:
    def on(host: str, **params: Any) -> dict[str, Any]:
        return secgroup_module(uri=f"fake://{folder}?host={host}", **params)

    uri = f"fake://{folder}?host=b"
    for host in "ab":
        on(host, groups=[WEB, DB])
    assert kind(instance_module(uri=uri, **member("web1", ["web"], "10.0.0.5", "10.9.0.0/16"))) is None
    registered = [on(host, groups=[WEB, DB]) for host in "ab"]
    assert [result["members"] for result in registered] == [{}, {"web": ["10.0.0.5/32"]}]
    first = on("a", members=registered)
    assert first["remote_members"]["after"]["hosts"] == {registered[1]["host"]: {"web": ["10.0.0.5/32"]}}
    assert not on("a", members=registered)["changed"]
    assert not on("b", members=registered)["changed"]
    assert not on("a", members=[{}])["changed"]
    forgotten = on("a", members=[], purge_members=True)
    assert forgotten["remote_members"]["after"]["hosts"] == {registered[1]["host"]: {}}


def test_members_that_went_without_us_are_noticed(
    secgroup_module: RunModule, instance_module: RunModule, folder: Path
) -> None:
    done(secgroup_module, groups=[WEB, DB])
    assert kind(instance_module(**member("web1", ["web"], "10.0.0.5"))) is None
    crash_instance(str(folder), "web1")
    found = done(secgroup_module, name="web")
    assert found["remote_members"]["steps"] == ["bring the members of web up to date"]
    assert found["remote_members"]["before"] == {"hosts": {}, "stale": ["web"]}
    assert found["members"] == {}


def test_nothing_is_tried_once_the_hypervisor_is_gone(secgroup_module: RunModule, folder: Path) -> None:
    folder.mkdir()
    dial(folder, faults=[{"operation": "security_group_define", "error": "hypervisor_unavailable", "times": 1}])
    failed = secgroup_module(groups=[WEB, {"name": "other"}])
    assert [group["error"]["kind"] for group in failed["groups"]] == ["hypervisor_unavailable"] * 2
    assert "not tried" in failed["groups"][1]["msg"]


# -- what is really there -------------------------------------------------------------------------------------------


def test_drift_is_told_and_repaired(secgroup_module: RunModule, instance_module: RunModule, folder: Path) -> None:
    done(secgroup_module, groups=[WEB, {"name": "other"}])
    assert kind(instance_module(**member("web1", ["web"], "10.0.0.5"))) is None
    assert not secgroup_module(state="verified")["changed"]
    flush_filters(str(folder))
    for params in ({}, {"name": "web"}, {"groups": [{"name": "web"}, {"name": "none"}]}):
        found = secgroup_module(**params, state="verified")
        assert "port" in found["msg"]
        assert {drift["instance"] for drift in found["drift"]} == {None, "web1"}
        assert ("group other" in {drift["subject"] for drift in found["drift"]}) is not bool(params)
    assert kind(found) == "security_group_not_found"
    assert kind(secgroup_module(state="verified")) == "filter_drift"
    foretold = secgroup_module(state="verified", repair=True, _ansible_check_mode=True)
    repaired = secgroup_module(state="verified", repair=True)
    assert foretold["changed"]
    assert foretold["drift"] == repaired["drift"]
    assert repaired["repaired"]
    assert not secgroup_module(state="verified", repair=True)["changed"]
    assert kind(secgroup_module(state="verified")) is None


def test_a_group_is_verified_with_the_projects_of_its_instances(
    secgroup_module: RunModule, instance_module: RunModule, folder: Path
) -> None:
    done(secgroup_module, groups=[WEB, {"name": "other"}])
    web1 = {**member("web1", ["web"], "10.0.0.5"), "project": "shop", "allow_project_net_traffic": True}
    assert kind(instance_module(**web1)) is None
    assert kind(instance_module(**member("shop1", [], "10.0.0.6"), project="shop")) is None
    crash_instance(str(folder), "shop1")
    assert "group project:shop" in secgroup_module(name="web", state="verified")["msg"]
    assert kind(secgroup_module(name="other", state="verified")) is None


# -- the module -----------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once(secgroup_module: RunModule) -> None:
    wrong = secgroup_module(
        groups=[
            {"name": "a:b", "rules": [{"protocol": "tcp", "port": "70000"}]},
            {"name": "c", "rules": [{"icmp_type": 1}]},
        ],
        provider_rules=[{"cidr": "10.0.0.1/8"}],
    )
    assert options_of(wrong) == [
        "groups[0].name",
        "groups[0].rules[0].port",
        "groups[1].rules[0].icmp_type",
        "provider_rules[0].cidr",
    ]
    assert "there is no option provider_rules.group" in secgroup_module(provider_rules=[{"group": "web"}])["msg"]
    assert options_of(secgroup_module()) == [""]


def test_documentation_and_options_agree() -> None:
    documented = yaml.safe_load(virt_secgroup.DOCUMENTATION)["options"]
    assert set(documented) == set(virt_secgroup.ARGUMENT_SPEC)
    entries = documented["groups"]["suboptions"]
    assert set(entries) == set(virt_secgroup.GROUP_OPTIONS) | {"name"}
    assert entries["state"]["choices"] == virt_secgroup.GROUP_OPTIONS["state"]["choices"]
    assert set(documented["rules"]["suboptions"]) == {*virt_secgroup.MATCH_OPTIONS, "group"}
    assert set(documented["provider_rules"]["suboptions"]) == {*virt_secgroup.MATCH_OPTIONS, "action"}


def test_what_ansible_itself_finds_wrong_is_told_by_place(secgroup_module: RunModule) -> None:
    rules = [{"protocol": "icmp", "icmp_type": "echo"}, {"direction": "in"}, {"port": [1]}]
    assert options_of(secgroup_module(name="web", rules=rules))[:2] == ["rules[0].icmp_type", "rules[1].direction"]
    for params in ({"rules": "tcp"}, {"groups": "web"}, {"members": "web"}, {"purge_rules": "perhaps"}):
        wrong = secgroup_module(**({} if "groups" in params else {"name": "web"}), **params)
        assert kind(wrong) == "invalid_input"
