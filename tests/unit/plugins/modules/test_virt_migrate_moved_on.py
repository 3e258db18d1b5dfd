# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps of an instance that has left, and that was moved on before this was cleared up, is never taken for
the instance; and notes of what is to be started last until it is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions, get_connection
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state

RunModule = Callable[..., "dict[str, Any]"]

HOSTS = ("first", "second", "third")


class Hosts:
    """Three hosts, and an instance on the first."""

    def __init__(self, folder: Path, migrate: RunModule) -> None:
        self._folder = folder
        self._migrate = migrate

    def uri(self, host: str) -> str:
        return f"fake://{self._folder}?host={host}"

    def move(self, source: str, destination: str, **options: Any) -> dict[str, Any]:
        answer = self._migrate(uri=self.uri(source), dest=self.uri(destination), name="web1", **options)
        return {**answer, "kind": answer.get("error", {}).get("kind")}

    def share_storage(self) -> None:
        """From now on there is a pool that all hosts see, named nas."""
        for host in HOSTS:
            settings = {"pools": {"default": {}, "nas": {"shared": True}}}
            (self._folder / "hosts" / host).mkdir(parents=True, exist_ok=True)
            (self._folder / "hosts" / host / "host.json").write_text(json.dumps(settings), encoding="utf-8")

    def faulty(self, fault: dict[str, Any]) -> None:
        (self._folder / "faults.json").write_text(json.dumps({"faults": [fault]}), encoding="utf-8")

    def well(self) -> None:
        (self._folder / "faults.json").unlink()

    def killed(self, source: str, destination: str, fault: dict[str, Any], **options: Any) -> None:
        """A task whose process ends at this fault."""
        assert self.maybe_killed(source, destination, fault, **options)

    def maybe_killed(self, source: str, destination: str, fault: dict[str, Any], **options: Any) -> bool:
        """The same, if it comes to that; whether it did."""
        self.faulty({**fault, "kill": True})
        child = os.fork()
        if child == 0:
            self.move(source, destination, **options)
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        self.well()
        return os.waitstatus_to_exitcode(status) == 137

    def notes(self) -> dict[str, str]:
        """The phase of its migration on each host that has a note."""
        found = {}
        for host in HOSTS:
            with get_connection(ConnectionOptions(self.uri(host))) as driver:
                record = driver.get_instances()["web1"].migration if driver.list_instances() else None
                if record is not None:
                    found[host] = record.phase
        return found

    def states(self) -> dict[str, str]:
        """Its power state on each host that has it."""
        found = {}
        for host in HOSTS:
            with get_connection(ConnectionOptions(self.uri(host))) as driver:
                for info in driver.list_instances_detail():
                    found[host] = power_state.name(info.state)
        return found


@pytest.fixture
def hosts(folder: Path, instance_module: RunModule, migrate_module: RunModule) -> Hosts:
    found = Hosts(folder, migrate_module)
    made = instance_module(uri=found.uri("first"), name="web1", memory_mb=64, disks=[{"size": "1M"}], state="running")
    assert made["changed"]
    return found


@pytest.mark.parametrize("mode", ["live", "cold"])
def test_it_was_moved_on(hosts: Hosts, mode: str) -> None:
    hosts.killed("first", "second", {"operation": "migration_leave", "when": "before"}, mode=mode)
    assert hosts.move("second", "third")["kind"] is None
    assert hosts.move("first", "second")["kind"] == "instance_duplicated"
    assert hosts.move("second", "first")["kind"] == "instance_duplicated"
    assert hosts.states() == {"first": "shutoff", "third": "running"}


@pytest.mark.parametrize("mode", ["live", "cold"])
def test_it_was_removed(hosts: Hosts, instance_module: RunModule, mode: str) -> None:
    hosts.killed("first", "second", {"operation": "migration_leave", "when": "before"}, mode=mode)
    assert instance_module(uri=hosts.uri("second"), name="web1", state="absent")["changed"]
    refused = hosts.move("first", "second")
    assert refused["kind"] == "instance_duplicated"
    assert "state: aborted" in refused["msg"]
    assert hosts.move("first", "second", state="aborted", _ansible_check_mode=True)["changed"]
    assert hosts.move("first", "second", state="aborted")["kind"] is None
    assert hosts.states() == {"first": "shutoff"}
    assert hosts.move("first", "second")["kind"] is None
    assert hosts.states() == {"second": "shutoff"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_was_stopped_is_not_left_off(hosts: Hosts, when: str) -> None:
    hosts.killed("first", "second", {"operation": "migration_accept", "when": "after"}, mode="cold")
    fault = {"operation": "migration_begin", "when": when, "host": "first", "error": "hypervisor_error", "times": 1}
    hosts.faulty(fault)
    failed = hosts.move("first", "second", mode="cold")
    assert (failed["kind"], failed["error"]["not_undone"]) == ("hypervisor_error", [])
    hosts.well()
    assert hosts.states() == {"first": "running"}
    assert hosts.notes() == {}
    assert hosts.move("first", "second", mode="cold")["kind"] is None
    assert hosts.states() == {"second": "running"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_never_left_is_started_before_that_is_forgotten(hosts: Hosts, when: str) -> None:
    hosts.killed("first", "second", {"operation": "migration_accept", "when": "after"}, mode="cold")
    hosts.killed("second", "first", {"operation": "start", "when": when})
    assert hosts.move("second", "first")["kind"] is None
    assert hosts.states() == {"first": "running"}


@pytest.mark.parametrize("operation", ["migration_begin", "migration_discard", "migration_accept"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("skip", [0, 1])
def test_one_that_was_stopped_is_not_forgotten(hosts: Hosts, operation: str, when: str, skip: int) -> None:
    """Wherever the second run is killed, the third one knows that it is to be started."""
    hosts.killed("first", "second", {"operation": "migration_accept", "when": "after"}, mode="cold")
    fault = {"operation": operation, "when": when, "skip": skip}
    if hosts.maybe_killed("first", "second", fault, mode="cold"):
        assert hosts.move("first", "second", mode="cold")["kind"] is None
    assert hosts.states() == {"second": "running"}


def test_check_mode_tells_what_the_definition_in_the_way_has_nothing_to_do_with(
    hosts: Hosts, instance_module: RunModule
) -> None:
    assert hosts.move("first", "second", undefine_source=False)["kind"] is None
    assert instance_module(uri=hosts.uri("second"), name="web1", state="stopped", shutdown={"method": "forced"})
    foretold = hosts.move("second", "first", mode="live", _ansible_check_mode=True)
    done = hosts.move("second", "first", mode="live")
    assert foretold["kind"] == done["kind"] == "migration_impossible"
    assert foretold["instance"]["problems"] == done["instance"]["problems"]


def test_names_that_are_excluded_and_not_there_are_told(hosts: Hosts, migrate_module: RunModule) -> None:
    task = {"uri": hosts.uri("first"), "dest": hosts.uri("second"), "all": True, "exclude": ["web1", "wbe2"]}
    answer = migrate_module(**task)
    assert answer["instances"] == []
    assert "exclude: the source has no instance named 'wbe2'" in str(answer["warnings"])


def test_two_tasks_at_once_leave_one_that_runs(hosts: Hosts, folder: Path, tmp_path: Path) -> None:
    """The second takes over while the first waits for the guest to shut down; the first leaves it all to that."""
    answer = tmp_path / "answer.json"
    (folder / "faults.json").write_text(json.dumps({"guests": {"web1": {"shutdown_s": 1}}}), encoding="utf-8")
    first = os.fork()
    if first == 0:
        answer.write_text(json.dumps(hosts.move("first", "second", mode="cold")), encoding="utf-8")
        os._exit(0)
    record = folder / "hosts" / "first" / "instances" / "web1.json"
    deadline_s = time.monotonic() + 20
    while "outgoing" not in record.read_text(encoding="utf-8") and time.monotonic() < deadline_s:
        time.sleep(0.02)
    time.sleep(0.5)
    second = hosts.move("first", "second", mode="cold")
    os.waitpid(first, 0)
    beaten = json.loads(answer.read_text(encoding="utf-8"))
    assert {beaten["kind"], second["kind"]} == {None, "instance_migrating"}, (beaten, second)
    assert not beaten.get("error", {}).get("not_undone")
    assert not second.get("error", {}).get("not_undone")
    assert list(hosts.states().values()).count("running") == 1, hosts.states()


# -- a definition that was kept ---------------------------------------------------------------------------------------


def test_what_cannot_come_back_loses_nothing(hosts: Hosts) -> None:
    assert hosts.move("first", "second", undefine_source=False)["kind"] is None
    refused = hosts.move("second", "first")
    assert (refused["kind"], refused["instance"]["changed"]) == ("migration_impossible", False)
    assert refused["instance"]["problems"] == [
        "disk vda: there is a volume default/web1-vda.qcow2 on the destination already"
    ]
    assert hosts.notes() == {"first": "departed"}
    assert hosts.states() == {"first": "shutoff", "second": "running"}


@pytest.mark.parametrize("mode", ["live", "cold"])
def test_what_fails_to_come_back_says_what_is_gone(hosts: Hosts, instance_module: RunModule, mode: str) -> None:
    uri = hosts.uri("first")
    instance_module(uri=uri, name="web1", state="absent")
    hosts.share_storage()
    disks = [{"size": "1M", "pool": "nas"}]
    assert instance_module(uri=uri, name="web1", memory_mb=64, disks=disks, state="running")["changed"]
    assert hosts.move("first", "second", undefine_source=False)["kind"] is None
    hosts.faulty({"operation": "migration_accept", "error": "hypervisor_error"})
    failed = hosts.move("second", "first", mode=mode)
    hosts.well()
    assert (failed["kind"], failed["instance"]["changed"]) == ("hypervisor_error", True)
    [told] = failed["error"]["not_undone"]
    assert told.startswith("undo: remove what web1 left on the destination when it was moved from there")
    assert hosts.states() == {"second": "running"}
    assert hosts.notes() == {}
    assert hosts.move("second", "first", mode=mode)["kind"] is None
    assert hosts.states() == {"first": "running"}


@pytest.mark.parametrize("way", [("first", "second"), ("second", "first")])
def test_a_namesake_is_not_what_has_departed(hosts: Hosts, instance_module: RunModule, way: tuple[str, str]) -> None:
    assert hosts.move("first", "second", undefine_source=False)["kind"] is None
    assert hosts.move("second", "third")["kind"] is None
    nic = {"network": "default", "mac": "52:54:00:00:00:99"}
    assert instance_module(uri=hosts.uri("second"), name="web1", memory_mb=64, networks=[nic], state="running")
    refused = hosts.move(*way)
    assert refused["kind"] == "already_exists"
    assert "state: absent and delete_volumes: none" in refused["msg"]
    assert hosts.notes() == {"first": "departed"}
    assert hosts.states() == {"first": "shutoff", "second": "running", "third": "running"}


def test_what_was_moved_on_is_not_told_to_be_where_it_went_first(hosts: Hosts, instance_module: RunModule) -> None:
    assert hosts.move("first", "second", undefine_source=False)["kind"] is None
    assert hosts.move("second", "third")["kind"] is None
    refused = hosts.move("first", "second")
    assert refused["kind"] == "instance_migrating"
    assert "was moved to" in refused["msg"]
    assert "lives on fake" not in refused["msg"]
    started = instance_module(uri=hosts.uri("first"), name="web1", state="running")
    assert "was moved to" in started["msg"]


# -- what is in the way of two tasks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["live", "cold"])
def test_an_accept_whose_answer_is_lost_leaves_nothing(hosts: Hosts, mode: str) -> None:
    hosts.faulty({"operation": "migration_accept", "when": "after", "error": "hypervisor_unavailable"})
    failed = hosts.move("first", "second", mode=mode)
    hosts.well()
    assert (failed["kind"], failed["error"]["not_undone"]) == ("hypervisor_unavailable", [])
    assert hosts.states() == {"first": "running"}
    assert hosts.move("first", "third")["kind"] is None
    assert hosts.states() == {"third": "running"}


def test_an_accept_of_which_nobody_can_tell(hosts: Hosts, folder: Path) -> None:
    lost = {"operation": "migration_accept", "when": "after", "error": "hypervisor_unavailable"}
    gone = {"operation": "migrations", "host": "second", "error": "hypervisor_unavailable"}
    (folder / "faults.json").write_text(json.dumps({"faults": [lost, gone]}), encoding="utf-8")
    failed = hosts.move("first", "second")
    hosts.well()
    assert failed["kind"] == "hypervisor_unavailable"
    assert "before it is moved to another host" in str(failed["instance"]["warnings"])
    assert hosts.states() == {"first": "running", "second": "shutoff"}
    assert hosts.move("first", "second")["kind"] is None
    assert hosts.states() == {"second": "running"}


def test_a_guest_that_ended_by_itself_meanwhile_is_given_back(hosts: Hosts, instance_module: RunModule) -> None:
    """Nothing tells it from one that has arrived and was moved on, so people say what is right."""
    hosts.killed("first", "second", {"operation": "migration_begin", "when": "after"}, mode="live")
    with get_connection(ConnectionOptions(hosts.uri("first"))) as driver:
        driver.force_off("web1")
    refused = hosts.move("first", "second")
    assert refused["kind"] == "instance_duplicated"
    assert "its guest may have ended by itself" in refused["msg"]
    assert hosts.move("first", "second", state="aborted")["kind"] is None
    assert (hosts.states(), hosts.notes()) == ({"first": "shutoff"}, {})
    assert instance_module(uri=hosts.uri("first"), name="web1", state="running")["changed"]
