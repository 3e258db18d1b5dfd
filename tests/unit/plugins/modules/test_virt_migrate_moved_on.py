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

    def faulty(self, fault: dict[str, Any]) -> None:
        (self._folder / "faults.json").write_text(json.dumps({"faults": [fault]}), encoding="utf-8")

    def well(self) -> None:
        (self._folder / "faults.json").unlink()

    def killed(self, source: str, destination: str, fault: dict[str, Any], **options: Any) -> None:
        """A task whose process ends at this fault."""
        self.faulty({**fault, "kill": True})
        child = os.fork()
        if child == 0:
            self.move(source, destination, **options)
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 137
        self.well()

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


@pytest.mark.parametrize("operation", ["migration_begin", "migration_discard"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_was_stopped_is_not_left_off(hosts: Hosts, operation: str, when: str) -> None:
    hosts.killed("first", "second", {"operation": "migration_accept", "when": "after"}, mode="cold")
    hosts.faulty({"operation": operation, "when": when, "host": "first", "error": "hypervisor_error", "times": 1})
    assert hosts.move("first", "second", mode="cold")["kind"] == "hypervisor_error"
    hosts.well()
    assert hosts.move("first", "second", mode="cold")["kind"] is None
    assert hosts.states() == {"second": "running"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_that_never_left_is_started_before_that_is_forgotten(hosts: Hosts, when: str) -> None:
    hosts.killed("first", "second", {"operation": "migration_accept", "when": "after"}, mode="cold")
    hosts.killed("second", "first", {"operation": "start", "when": when})
    assert hosts.move("second", "first")["kind"] is None
    assert hosts.states() == {"first": "running"}


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


def test_two_tasks_at_once_leave_one_that_runs(hosts: Hosts, folder: Path) -> None:
    """The second takes over while the first waits for the guest to shut down."""
    (folder / "faults.json").write_text(json.dumps({"guests": {"web1": {"shutdown_s": 1}}}), encoding="utf-8")
    first = os.fork()
    if first == 0:
        hosts.move("first", "second", mode="cold")
        os._exit(0)
    record = folder / "hosts" / "first" / "instances" / "web1.json"
    deadline_s = time.monotonic() + 20
    while "outgoing" not in record.read_text(encoding="utf-8") and time.monotonic() < deadline_s:
        time.sleep(0.02)
    time.sleep(0.5)
    second = hosts.move("first", "second", mode="cold")
    os.waitpid(first, 0)
    assert second["kind"] in (None, "already_exists", "migration_failed"), second
    assert list(hosts.states().values()).count("running") == 1, hosts.states()
