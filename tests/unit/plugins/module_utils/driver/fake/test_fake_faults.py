# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failing and dying at every operation: undone to the last byte, or mended by the next run."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import driver as driver_module
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.driver import FakeDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.faults import KILLED_EXIT_CODE, Fault, Guest
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.operations import OPERATIONS
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    HypervisorUnavailable,
    InsufficientCapacity,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model import power_state

DOCUMENTATION = Path(__file__).parents[6] / "docs" / "fake.md"

SPAWN = ["define", "volume_create", "volume_create", "volume_create", "start", "finish"]
DESTROY = ["info", "force_off", "undefine", "volume_delete", "volume_delete", "volume_delete"]


def in_child(root: str, work) -> int:
    """Run ``work(driver)`` in a process of its own; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            with FakeDriver(ConnectionOptions(dial.uri(root))) as driver:
                work(driver)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def spawn_again(driver: FakeDriver, instance) -> None:
    """What a second run does about what a killed one left."""
    found = driver.get_instances([instance.name]).get(instance.name)
    if found is not None and not found.unfinished:
        return
    if found is not None or driver.find_remains([instance.name]):
        driver.destroy(instance.name)
    driver.spawn(instance)


def test_every_operation_is_declared_and_passes_the_gate_as_what_it_is():
    sources = Path(driver_module.__file__).parent.glob("*.py")
    text = "\n".join(source.read_text() for source in sources)
    reads = set(re.findall(r'self\._read\("(\w+)"', text))
    writes = set(re.findall(r'self\._write\("(\w+)"', text))
    steps = "_step|carry_piece|_receive|_change_pool|_change_volume|_change_declared"
    others = set(re.findall(rf'(?:{steps})\("(\w+)"', text))
    assert reads <= {name for name, operation in OPERATIONS.items() if not operation.writes}
    assert writes <= {name for name, operation in OPERATIONS.items() if operation.writes}
    assert reads | writes | others == set(OPERATIONS)


def test_what_a_spawn_and_a_destroy_call(driver, make):
    driver.spawn(make())
    driver.destroy("web1")
    assert driver.calls == SPAWN + DESTROY


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(len(SPAWN)))
def test_a_spawn_that_fails_anywhere_leaves_no_trace(driver, root, make, files, number, when):
    driver.spawn(make("other"))
    before = files()
    order = {"operation": "*", "instance": "web1", "error": "hypervisor_error", "skip": number, "times": 1}
    dial.write_faults(root, faults=[{**order, "when": when}])
    with pytest.raises(HypervisorError, match=SPAWN[number]) as caught:
        driver.spawn(make())
    assert files() == before
    assert caught.value.not_undone == []
    assert caught.value.rolled_back is (None if (number, when) == (0, "before") else True)


def test_an_undo_that_fails_is_told(driver, root, make):
    orders = [{"operation": "start", "error": "insufficient_capacity"}, {"operation": "undefine", "error": "timeout"}]
    dial.write_faults(root, faults=orders)
    with pytest.raises(InsufficientCapacity) as caught:
        driver.spawn(make())
    assert caught.value.rolled_back is False
    assert len(caught.value.not_undone) == 1
    assert "remove the instance's record" in caught.value.not_undone[0]
    assert driver.get_instances()["web1"].unfinished


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(len(SPAWN)))
def test_a_spawn_killed_anywhere_is_mended_by_the_next_run(driver, root, make, number, when):
    order = {"operation": "*", "kill": True, "skip": number, "times": 1, "when": when}
    dial.write_faults(root, faults=[order])
    assert in_child(root, lambda child: child.spawn(make(pool="mine", pool_path="/srv/mine"))) == KILLED_EXIT_CODE
    dial.write_faults(root)
    spawn_again(driver, make())
    assert driver.get_info("web1").state == power_state.RUNNING
    assert not driver.get_instances()["web1"].unfinished
    driver.destroy("web1")
    assert driver.verify() == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(len(DESTROY)))
def test_a_destroy_killed_anywhere_is_finished_by_the_next_one(driver, root, make, files, number, when):
    driver.spawn(make())
    dial.write_faults(root, faults=[{"operation": "*", "kill": True, "skip": number, "times": 1, "when": when}])
    assert in_child(root, lambda child: child.destroy("web1")) == KILLED_EXIT_CODE
    dial.write_faults(root)
    left = bool(files())
    assert left == bool(driver.list_instances() or driver.find_remains(["web1"]))
    driver.destroy("web1")
    assert files() == {}
    assert driver.find_remains(["web1"]) == set()


def test_a_destroy_that_fails_half_way_says_what_is_gone(driver, root, make, files):
    driver.spawn(make())
    dial.write_faults(root, faults=[{"operation": "volume_delete", "error": "hypervisor_error", "skip": 1, "times": 1}])
    with pytest.raises(HypervisorError) as caught:
        driver.destroy("web1")
    assert caught.value.rolled_back is False
    assert any("instance web1" in what for what in caught.value.not_undone)
    assert driver.find_remains(["web1", "other"]) == {"web1"}
    assert driver.destroy("web1") == ["volume default/web1-vda.qcow2", "volume default/web1-vdb.qcow2"][-2:]
    assert files() == {}


def test_fifty_runs_killed_at_random_moments(driver, root, make):
    dice = random.Random(11)
    instances = [make(f"vm{number}") for number in range(6)]

    def run(child: FakeDriver) -> None:
        for instance in instances:
            spawn_again(child, instance)
        for instance in instances[::2]:
            child.destroy(instance.name)

    for _turn in range(50):
        pid = os.fork()
        if pid == 0:
            try:
                with FakeDriver(ConnectionOptions(dial.uri(root))) as child:
                    run(child)
            finally:
                os._exit(0)
        time.sleep(dice.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert driver.verify() == []
    run(driver)
    assert driver.list_instances() == ["vm1", "vm3", "vm5"]
    assert driver.find_remains([instance.name for instance in instances]) == set()
    assert all(info.state == power_state.RUNNING for info in driver.list_instances_detail())
    assert driver.get_host_stats().memory_mb_used == 512 + 3 * 256


def test_a_fault_counts_over_processes_and_anew_with_a_new_file(driver, root, make):
    driver.spawn(make())
    order = {"operation": "pause", "instance": "web*", "error": "permission_denied", "skip": 1, "times": 1}
    for _turn in range(2):
        dial.write_faults(root, faults=[order])
        assert [in_child(root, lambda child: child.pause("web1")) for _turn in range(3)] == [0, 1, 0]


def test_a_delay_waits_and_one_beyond_patience_is_an_error(root, make):
    with FakeDriver(ConnectionOptions(dial.uri(root), call_timeout_s=0.2)) as driver:
        dial.write_faults(root, faults=[{"operation": "list", "delay_s": 0.1}])
        begin = time.monotonic()
        driver.list_instances()
        assert time.monotonic() - begin >= 0.1
        dial.write_faults(root, faults=[{"operation": "list", "delay_s": 100}])
        with pytest.raises(HypervisorUnavailable, match="did not answer list within"):
            driver.list_instances()
        assert time.monotonic() - begin < 10


def test_the_log_of_calls(driver, root, make):
    dial.write_faults(root, log_calls=True)
    driver.list_instances()
    driver.spawn(make(), power_on=False)
    lines = Path(root, "calls.log").read_text().splitlines()
    assert len(lines) == 6
    assert '"operation": "list"' in lines[0]
    assert '"writes": false' in lines[0]
    assert '"instance": "web1"' in lines[1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be used"),
        ("[]", "has to be a mapping"),
        ('{"fault": []}', "no entry 'fault'"),
        ('{"faults": {}}', "faults has to be a list"),
        ('{"faults": [{"operation": "explode"}]}', "'explode' fits no operation"),
        ('{"faults": [{"error": "bad_luck"}]}', "no kind 'bad_luck'"),
        ('{"faults": [{"times": -1}]}', r"faults\[0\].times has to be a whole number"),
        ('{"faults": [{"when": "later"}]}', r"faults\[0\].when has to be before or after"),
        ('{"guests": {"web1": {"boot_s": "long"}}}', "guests.web1.boot_s has to be a number"),
        ('{"guests": {"web1": {"agent": "yes"}}}', "guests.web1.agent has to be true or false"),
    ],
)
def test_orders_that_make_no_sense_are_refused_in_words(root, content, complaint):
    os.makedirs(root)
    Path(root, "faults.json").write_text(content)
    driver = FakeDriver(ConnectionOptions(dial.uri(root)))
    with pytest.raises(HypervisorError, match=complaint):
        driver.open()
    [problem] = driver.verify()
    assert re.search(complaint, problem)


@pytest.mark.skipif(not DOCUMENTATION.exists(), reason="the documentation is not part of this copy")
def test_the_documentation_names_every_operation_and_every_entry():
    text = DOCUMENTATION.read_text()
    rows = {
        f"| `{name}` | {operation.meaning}{'' if operation.writes else ' (reads)'} |"
        for name, operation in OPERATIONS.items()
    }
    assert rows <= set(text.splitlines())
    for entry in (*Fault._fields, *Guest._fields):
        assert f"`{entry}`" in text
