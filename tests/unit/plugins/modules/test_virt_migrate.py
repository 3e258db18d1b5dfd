# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""virt_migrate from its entry to its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

RunModule = Callable[..., "dict[str, Any]"]

WEB1: dict[str, Any] = {
    "name": "web1",
    "memory_mb": 64,
    "disks": [{"size": "1G"}],
    "networks": [{"network": "default", "mac": "52:54:00:00:00:01"}],
    "autostart": True,
    "state": "running",
}


_AT_ONCE = {"method": "forced"}


def dial(folder: Path, **orders: Any) -> None:
    (folder / "faults.json").write_text(json.dumps(orders), encoding="utf-8")


def write_host(folder: Path, host: str, **entries: Any) -> None:
    path = folder / "hosts" / host
    path.mkdir(parents=True, exist_ok=True)
    (path / "host.json").write_text(json.dumps(entries), encoding="utf-8")


def kind(result: dict[str, Any]) -> str | None:
    return result["error"]["kind"] if result.get("failed") else None


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((folder / "hosts").rglob("*")) if path.is_file()}


@pytest.fixture
def on(instance_module: RunModule, folder: Path) -> Callable[[str, str], str | None]:
    """The power state that a host shows of an instance; None where it has none."""

    def state_on(host: str, name: str) -> str | None:
        options = {"uri": f"fake://{folder}?host={host}", "name": name, "state": "absent", "override_lock": True}
        shown = instance_module(**options, _ansible_check_mode=True)
        before = shown["instance"].get("before")
        return before["power_state"] if before else None

    return state_on


def test_moved_once_as_foretold(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    before = files(folder)
    foretold = migrate_module(name="web1", _ansible_check_mode=True)
    assert files(folder) == before
    moved = migrate_module(name="web1", _ansible_diff=True)
    after = files(folder)
    again = migrate_module(name="web1")
    assert files(folder) == after
    assert [foretold["changed"], moved["changed"], again["changed"]] == [True, True, False]
    assert foretold["instance"]["steps"] == moved["instance"]["steps"]
    assert moved["instance"]["steps"] == [
        "note on the source that web1 is being moved",
        "prepare web1 on the destination",
        "move web1 live, and copy vda (1G) to default/web1-vda.qcow2",
        "make web1 an ordinary instance of the destination",
        "remove what web1 left on the source",
    ]
    assert again["instance"]["steps"] == []
    result = moved["instance"]
    assert result["from"] == f"fake://{folder}"
    assert result["to"] == again["instance"]["from"] == f"fake://{folder}?host=second"
    assert result["mode"] == "live"
    assert result["disks"][0]["how"] == "copy"
    assert result["downtime_ms"] <= result["total_ms"]
    assert result["bytes"] == result["memory_bytes"] + result["disk_bytes"]
    assert {**result["before"], "host": result["to"]} == result["after"]
    assert result["after"] == foretold["instance"]["after"]
    assert moved["diff"][0]["before"] != moved["diff"][0]["after"]
    assert (on("fake1", "web1"), on("second", "web1")) == (None, "running")


def test_cold_with_a_new_size(
    instance_module: RunModule, migrate_module: RunModule, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    options = {"name": "web1", "mode": "cold", "resize": {"memory_mb": 128, "root_gb": 2}}
    foretold = migrate_module(**options, _ansible_check_mode=True)
    assert on("fake1", "web1") == "running"
    moved = migrate_module(**options)["instance"]
    assert foretold["instance"]["steps"] == moved["steps"]
    assert foretold["instance"]["after"] == moved["after"]
    assert moved["steps"] == [
        "note on the source that web1 is being moved",
        "stop web1 by acpi, within 120 s",
        "prepare web1 on the destination",
        "move web1 cold, and copy vda (1G) to default/web1-vda.qcow2",
        "resize web1 on the destination: memory_mb 128, max_memory_mb 128, root_gb 2G",
        "start web1 on the destination",
        "make web1 an ordinary instance of the destination",
        "remove what web1 left on the source",
    ]
    assert moved["after"]["memory_mb"] == 128
    assert moved["after"]["disks"][0]["size_bytes"] == 2 << 30
    assert moved["after"]["autostart"] is True
    assert moved["downtime_ms"] >= 0
    assert (on("fake1", "web1"), on("second", "web1")) == (None, "running")


def test_what_is_off_goes_cold_and_stays_off(
    instance_module: RunModule, migrate_module: RunModule, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**{**WEB1, "state": "present"})
    moved = migrate_module(name="web1")["instance"]
    assert moved["mode"] == "cold"
    assert "downtime_ms" not in moved
    assert on("second", "web1") == "shutoff"


@pytest.mark.parametrize(("mode", "shutdown"), [("live", None), ("cold", None), ("cold", _AT_ONCE)])
def test_a_paused_one_stays_paused(
    instance_module: RunModule,
    migrate_module: RunModule,
    on: Callable[[str, str], str | None],
    mode: str,
    shutdown: dict[str, Any] | None,
) -> None:
    instance_module(**{**WEB1, "state": "paused"})
    moved = migrate_module(name="web1", mode=mode, shutdown=shutdown)
    assert moved["changed"], moved
    assert (on("fake1", "web1"), on("second", "web1")) == (None, "paused")


def test_a_paused_one_that_ran_to_be_stopped_is_paused_again(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**{**WEB1, "state": "paused"})
    dial(folder, guests={"web1": {"ignores_acpi": True}})
    failed = migrate_module(name="web1", mode="cold", shutdown={"timeout": 0.2})
    assert kind(failed) == "timeout"
    assert failed["error"]["not_undone"] == []
    assert (on("fake1", "web1"), on("second", "web1")) == ("paused", None)


def test_all_problems_of_all_are_told_at_once(
    instance_module: RunModule, migrate_module: RunModule, folder: Path
) -> None:
    instance_module(**WEB1)
    instance_module(name="big", memory_mb=512, disks=[{"size": "1G"}], state="running", locked=True)
    instance_module(name="locked", memory_mb=64, locked=True)
    write_host(folder, "second", memory_mb=640, pools={"other": {"size": "10G"}})
    before = files(folder)
    everything = {"instances": ["web1", "big", "locked", "nobody"]}
    for how in ({"_ansible_check_mode": True}, {"verify_only": True}):
        found = migrate_module(**everything, **how)
        assert found["failed"]
        assert not found["changed"]
        assert files(folder) == before
        web1, big, *_others = found["instances"]
        assert [problem for problem in web1["problems"] if "pool 'default'" in problem]
        assert [problem for problem in big["problems"] if "memory" in problem]
        assert [problem for problem in big["problems"] if "pool 'default'" in problem]
        assert [problem for problem in big["problems"] if "override_lock" in problem]
        kinds = [item["error"]["kind"] for item in found["instances"]]
        assert kinds == ["migration_impossible", "migration_impossible", "instance_locked", "instance_not_found"]
        assert "4 of 4 instances failed" in found["msg"]


def test_those_without_problems_go(
    instance_module: RunModule, migrate_module: RunModule, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    instance_module(name="stays", memory_mb=64, state="running")
    instance_module(name="locked", memory_mb=64, state="running", locked=True)
    instance_module(name="web2", memory_mb=64, state="running")
    drained = migrate_module(all=True, exclude=["stays"], workers=2)
    assert drained["failed"]
    assert drained["changed"]
    assert {item["name"]: item["changed"] for item in drained["instances"]} == {
        "locked": False,
        "web1": True,
        "web2": True,
    }
    assert kind(drained) == "instance_locked"
    assert [on("second", name) for name in ("web1", "web2", "locked", "stays")] == ["running", "running", None, None]
    again = migrate_module(all=True, exclude=["stays"], override_lock=True)
    assert [item["name"] for item in again["instances"]] == ["locked"]
    assert not migrate_module(all=True, exclude=["stays"])["changed"]
    assert migrate_module(all=True, exclude=["stays"])["instances"] == []


def test_many_are_looked_at_as_one_is(instance_module: RunModule, migrate_module: RunModule, folder: Path) -> None:
    calls = []
    for count in (1, 12):
        names = [f"web{number}" for number in range(count)]
        instance_module(instances=[{"name": name, "memory_mb": 64} for name in names])
        dial(folder, log_calls=True)
        assert len(migrate_module(all=True, _ansible_check_mode=True)["instances"]) == count
        dial(folder)
        log = folder / "calls.log"
        calls.append([json.loads(line)["operation"] for line in log.read_text().splitlines()])
        log.unlink()
    assert calls[0] == calls[1]


def test_a_failure_before_arrival_is_taken_back(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    write_host(folder, "fake1", migration_mib_s=500)
    dial(folder, guests={"web1": {"migration_fails_at": 50}})
    failed = migrate_module(name="web1")
    assert kind(failed) == "migration_failed"
    assert failed["error"]["rolled_back"] is True
    assert failed["error"]["step"].startswith("move web1 live")
    assert not failed["changed"]
    assert (on("fake1", "web1"), on("second", "web1")) == ("running", None)
    dial(folder, faults=[{"operation": "start", "host": "second", "error": "insufficient_capacity"}])
    failed = migrate_module(name="web1", mode="cold")
    assert kind(failed) == "insufficient_capacity"
    assert failed["error"]["rolled_back"] is True
    assert (on("fake1", "web1"), on("second", "web1")) == ("running", None)
    dial(folder)
    assert migrate_module(name="web1")["changed"]


def test_a_failure_after_arrival_is_mended_by_the_next_run(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    dial(folder, faults=[{"operation": "migration_leave", "error": "hypervisor_error"}])
    failed = migrate_module(name="web1")
    assert kind(failed) == "hypervisor_error"
    assert failed["changed"]
    assert failed["error"]["rolled_back"] is False
    assert on("second", "web1") == "running"
    dial(folder)
    assert migrate_module(name="web1", state="status")["instance"]["status"]["phase"] == "arrived"
    assert kind(migrate_module(name="web1", state="aborted")) == "instance_migrating"
    mended = migrate_module(name="web1")
    assert mended["instance"]["steps"] == ["remove what web1 left on the source"]
    assert (on("fake1", "web1"), on("second", "web1")) == (None, "running")


def test_a_guest_that_does_not_stop_stays(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    dial(folder, guests={"web1": {"ignores_acpi": True}})
    failed = migrate_module(name="web1", mode="cold", shutdown={"timeout": 0.5})
    assert kind(failed) == "timeout"
    assert "after 0.5 s" in failed["msg"]
    assert (on("fake1", "web1"), on("second", "web1")) == ("running", None)
    forced = {"timeout": 0.5, "force_after_timeout": True}
    assert migrate_module(name="web1", mode="cold", shutdown=forced)["changed"]
    assert on("second", "web1") == "running"


def test_what_cannot_go_on_after_it_was_cut_short_is_given_back(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    dial(folder, faults=[{"operation": name, "error": "hypervisor_unavailable"} for name in _FROM_NOW_ON])
    assert migrate_module(name="web1", mode="cold")["error"]["not_undone"]
    dial(folder)
    write_host(folder, "second", pools={"other": {"size": "10G"}})
    failed = migrate_module(name="web1")
    assert kind(failed) == "migration_impossible"
    assert (on("fake1", "web1"), on("second", "web1")) == ("running", None)


def test_nothing_is_taken_back_while_nobody_can_tell_where_it_is(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    instance_module(name="web2", memory_mb=64, state="running")
    gone = {"error": "hypervisor_unavailable"}
    silent = {"operation": "migrations", "host": "fake1", "skip": 1, **gone}
    dial(folder, faults=[{"operation": "migration_switch", "instance": "web1", **gone}, silent])
    failed = migrate_module(instances=["web1", "web2"])
    assert kind(failed) == "hypervisor_unavailable"
    assert "nothing was taken back" in failed["msg"]
    assert failed["instances"][0]["error"]["rolled_back"] is False
    assert "not tried" in failed["instances"][1]["msg"]
    dial(folder)
    assert migrate_module(name="web1", state="status")["instance"]["status"]["phase"] == "cut_short"
    assert migrate_module(instances=["web1", "web2"])["changed"]
    assert [on("second", name) for name in ("web1", "web2")] == ["running", "running"]


def test_an_answer_that_is_lost_is_no_failure(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    lost = {"operation": "start", "host": "second", "when": "after", "error": "hypervisor_unavailable"}
    dial(folder, faults=[lost])
    moved = migrate_module(name="web1", mode="cold")
    assert not moved.get("failed"), moved["msg"]
    assert "although this went wrong" in moved["instance"]["warnings"][0]
    assert (on("fake1", "web1"), on("second", "web1")) == (None, "running")


def test_a_destination_that_is_gone_stops_the_rest(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    for name in ("a", "b", "c"):
        instance_module(name=name, memory_mb=64, state="running")
    gone = {"operation": "migration_accept", "instance": "b", "error": "hypervisor_unavailable"}
    dial(folder, faults=[gone])
    result = migrate_module(all=True)
    assert [item.get("error", {}).get("kind") for item in result["instances"]] == [
        None,
        *["hypervisor_unavailable"] * 2,
    ]
    assert "not tried" in result["instances"][2]["msg"]
    assert [on("fake1", name) for name in ("a", "b", "c")] == [None, "running", "running"]


def test_timeout_and_what_then(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    write_host(folder, "fake1", migration_mib_s=100)
    dial(folder, guests={"web1": {"dirty_mib_s": 1000}})
    failed = migrate_module(name="web1", timeout_s=0.8)
    assert kind(failed) == "timeout"
    assert failed["error"]["last_seen"]
    assert on("fake1", "web1") == "running"
    assert on("second", "web1") is None
    moved = migrate_module(name="web1", timeout_s=0.8, on_timeout="post_copy", post_copy=True)
    assert moved["instance"]["post_copy"] is True
    assert on("second", "web1") == "running"


def test_the_definition_can_stay_and_go_later(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    kept = migrate_module(name="web1", undefine_source=False)
    assert kept["instance"]["steps"][-1] == "keep the definition of web1 on the source"
    assert kind(instance_module(name="web1", state="running")) == "instance_migrating"
    before = files(folder)
    assert not migrate_module(name="web1", undefine_source=False)["changed"]
    assert files(folder) == before
    assert migrate_module(name="web1")["instance"]["steps"] == ["remove what web1 left on the source"]
    assert not migrate_module(name="web1")["changed"]


def test_there_and_back_again(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    for host in ("fake1", "second"):
        write_host(folder, host, pools={"default": {}, "nas": {"shared": True}})
    seeded = {
        "disks": [{"size": "1G", "pool": "nas"}],
        "cloud_init": {"user_data": "#cloud-config\n"},
        "pool": "default",
    }
    made = instance_module(**{**WEB1, **seeded})
    assert not made.get("failed"), made["msg"]
    here, there = f"fake://{folder}", f"fake://{folder}?host=second"
    migrate_module(name="web1", undefine_source=False)
    foretold = migrate_module(name="web1", uri=there, dest=here, _ansible_check_mode=True)
    back = migrate_module(name="web1", uri=there, dest=here)
    assert not back.get("failed"), back["msg"]
    assert foretold["instance"]["steps"] == back["instance"]["steps"]
    assert back["instance"]["steps"][:3] == [
        "note on the source that web1 is being moved",
        "remove what web1 left on the destination when it was moved from there",
        "prepare web1 on the destination",
    ]
    assert (on("fake1", "web1"), on("second", "web1")) == ("running", None)


def test_members_of_groups_are_known_on_both_hosts(
    instance_module: RunModule, migrate_module: RunModule, secgroup_module: RunModule, folder: Path
) -> None:
    rules = [{"protocol": "tcp", "port": "80", "group": "app"}]
    secgroup_module(groups=[{"name": "app"}, {"name": "web", "rules": rules}])
    for number, name in enumerate(("app1", "app2")):
        addresses = {"network": "default", "mac": f"52:54:00:00:01:0{number}", "addresses": [f"10.0.0.{number + 5}"]}
        instance_module(name=name, memory_mb=64, networks=[addresses], security_groups=["app"], state="running")
    instance_module(**WEB1, security_groups=["web"])
    dial(folder, log_calls=True)
    moved = migrate_module(instances=["app1", "app2"])
    assert moved["changed"]
    told = [json.loads(line) for line in (folder / "calls.log").read_text().splitlines() if "members_change" in line]
    assert [call["host"] for call in told] == ["fake1", "second"] * 2, "before and after, for all of them at once"
    dial(folder)
    there = secgroup_module(uri=f"fake://{folder}?host=second", members=[], _ansible_check_mode=True)
    known = secgroup_module(members=[{key: there[key] for key in ("host", "members")}], _ansible_check_mode=True)
    assert list(known["members"]) == ["web"]
    assert there["members"] == {"app": ["10.0.0.5/32", "10.0.0.6/32"]}
    assert not known["changed"], known
    assert not there["changed"], there


def test_status_and_abort_of_what_was_cut_short(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    assert migrate_module(name="web1", state="status")["instance"]["status"]["phase"] == "none"
    assert not migrate_module(name="web1", state="aborted")["changed"]
    dial(folder, faults=[{"operation": operation, "error": "hypervisor_unavailable"} for operation in _FROM_NOW_ON])
    failed = migrate_module(name="web1", mode="cold")
    assert failed["error"]["not_undone"]
    dial(folder)
    status = migrate_module(name="web1", state="status")["instance"]["status"]
    assert (status["phase"], status["record"]["mode"]) == ("cut_short", "cold")
    aborted = migrate_module(name="web1", state="aborted")
    assert aborted["changed"]
    assert (on("fake1", "web1"), on("second", "web1")) == ("running", None)
    assert migrate_module(name="web1", state="status")["instance"]["status"]["phase"] == "none"


def test_a_destination_that_never_comes_back(
    instance_module: RunModule, migrate_module: RunModule, folder: Path, on: Callable[[str, str], str | None]
) -> None:
    instance_module(**WEB1)
    gone = {"host": "second", "error": "hypervisor_unavailable"}
    dial(folder, faults=[{"operation": "migration_accept", **gone}, {"operation": "migration_discard", **HERE}])
    assert migrate_module(name="web1")["error"]["not_undone"]
    dial(folder)
    silent = {"name": "web1", "dest": f"fake://{folder}/faults.json/is-no-folder"}
    assert kind(migrate_module(**silent)) == "hypervisor_unavailable"
    assert migrate_module(**silent, state="status")["instance"]["status"]["phase"] == "cut_short"
    assert migrate_module(**silent, state="aborted")["changed"]
    assert migrate_module(**silent, state="status")["instance"]["status"]["phase"] == "none"
    assert on("fake1", "web1") == "running"


@pytest.mark.parametrize("asked", ["*", "info", "migrations", "migration_discard"])
def test_a_destination_that_goes_away_while_it_is_asked(
    instance_module: RunModule,
    migrate_module: RunModule,
    folder: Path,
    asked: str,
) -> None:
    instance_module(**WEB1)
    dial(folder, faults=[{"operation": "migration_discard", "error": "hypervisor_unavailable"}, _FAILS_TO_START])
    assert migrate_module(name="web1")["error"]["not_undone"]
    goes_away = {"operation": asked, "host": "second", "error": "hypervisor_unavailable"}
    dial(folder, faults=[goes_away])
    for selection in ({"name": "web1"}, {"all": True}):
        [one] = migrate_module(**selection, state="status")["instances"]
        assert one["status"]["phase"] == "cut_short"
    assert migrate_module(name="web1", state="aborted")["changed"]
    assert migrate_module(name="web1", state="status")["instance"]["status"]["phase"] in ("none", "cut_short")
    assert instance_module(name="web1", state="running", _ansible_check_mode=True)["changed"] is False


_FAILS_TO_START = {"operation": "migration_start", "error": "migration_failed"}
HERE = {"host": "fake1", "error": "hypervisor_unavailable"}
_FROM_NOW_ON = ("migration_start", "migration_discard", "start")
