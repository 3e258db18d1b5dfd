# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations that run at the same time: tasks with progress, busy VMs, force, cancelling, many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import XenAPI

from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import PoolSettings
from lab.xenapi_objects import MIB, NULL, fails, make_disk, make_vdi, make_vm, sr_named, start
from lab.xenapi_states import memory_free, wait_until

_DEAF = "console=hvc0 lab.deaf"


@pytest.fixture(scope="module")
def slow_server():
    """A pool in which things take long enough to be looked at, and that soon gives up on busy VMs."""
    settings = PoolSettings(
        start_s=0.4, shutdown_s=0.4, suspend_s=0.4, resume_s=0.4, migrate_s=0.4, copy_s=0.4, busy_timeout_s=0.1
    )
    with XenApiServer(settings) as server:
        yield server


@pytest.fixture
def slow(slow_server):
    slow_server.reset()
    return _login(slow_server)


def _login(server: XenApiServer) -> Any:
    session = XenAPI.Session(server.url)
    session.login_with_password(server.username, server.password)
    return session.xenapi


def _ended(xenapi: Any, task: str) -> dict[str, Any]:
    wait_until(lambda: xenapi.task.get_status(task) not in ("pending", "cancelling"), "the task does not end")
    return dict(xenapi.task.get_record(task))


def _operations(xenapi: Any, vm: str) -> list[str]:
    return list(xenapi.VM.get_current_operations(vm).values())


def _clean_shutdown_that_waits(xenapi: Any) -> tuple[str, str]:
    """A VM whose guest does not heed, and the task that waits for it."""
    vm = make_vm(xenapi, PV_args=_DEAF)
    start(xenapi, vm)
    task = xenapi.Async.VM.clean_shutdown(vm)
    wait_until(lambda: _operations(xenapi, vm) == ["clean_shutdown"], "the operation does not begin")
    return vm, task


def test_a_task_tells_its_progress(slow):
    vm = make_vm(slow)
    task = slow.Async.VM.start(vm, False, False)
    seen = []

    def growing() -> bool:
        seen.append(slow.task.get_progress(task))
        return len(set(seen)) >= 4

    wait_until(growing, "no progress")
    assert slow.VM.get_current_operations(vm) == {task: "start"}
    assert slow.VM.get_power_state(vm) == "Halted"
    assert slow.VM.get_scheduled_to_be_resident_on(vm) != NULL
    record = _ended(slow, task)
    assert (record["status"], record["progress"]) == ("success", 1.0)
    assert seen == sorted(seen)
    assert slow.VM.get_scheduled_to_be_resident_on(vm) == NULL
    assert slow.VM.get_current_operations(vm) == {}


def test_an_error_is_in_the_task(slow):
    vm = make_vm(slow)
    record = _ended(slow, slow.Async.VM.pause(vm))
    assert record["status"] == "failure"
    assert record["error_info"] == ["VM_BAD_POWER_STATE", vm, "running", "halted"]


def test_a_busy_vm_is_told_after_a_while(slow):
    vm = make_vm(slow)
    task = slow.Async.VM.start(vm, False, False)
    wait_until(lambda: _operations(slow, vm) == ["start"], "the operation does not begin")
    assert "start" not in slow.VM.get_allowed_operations(vm)
    assert fails(slow.VM.start, vm, False, False) == ["OTHER_OPERATION_IN_PROGRESS", "VM", vm, "start", task]
    assert fails(slow.VM.destroy, vm)[0] == "OTHER_OPERATION_IN_PROGRESS"
    assert _ended(slow, task)["status"] == "success"


def test_a_vm_that_is_busy_for_a_moment_is_waited_for(xenapi):
    vm = make_vm(xenapi)
    tasks = [xenapi.Async.VM.snapshot(vm, f"snapshot{number}", []) for number in range(3)]
    tasks.append(xenapi.Async.VM.clone(vm, "clone"))
    assert [_ended(xenapi, task)["status"] for task in tasks] == ["success"] * 4
    assert len(xenapi.VM.get_snapshots(vm)) == 3


def test_clones_and_copies_run_together(slow):
    vm = make_vm(slow)
    tasks = [slow.Async.VM.clone(vm, "clone"), slow.Async.VM.copy(vm, "copy", NULL)]
    wait_until(lambda: sorted(_operations(slow, vm)) == ["clone", "copy"], "they do not run together")
    assert [_ended(slow, task)["status"] for task in tasks] == ["success"] * 2


@pytest.mark.parametrize(("force", "state"), [("hard_shutdown", "Halted"), ("hard_reboot", "Running")])
def test_force_ends_what_waits_for_the_guest(xenapi, force, state):
    vm, task = _clean_shutdown_that_waits(xenapi)
    assert {"hard_shutdown", "hard_reboot"} <= set(xenapi.VM.get_allowed_operations(vm))
    getattr(xenapi.VM, force)(vm)
    assert xenapi.VM.get_power_state(vm) == state
    record = _ended(xenapi, task)
    assert record["status"] == "cancelled"
    assert xenapi.VM.get_power_state(vm) == state
    assert xenapi.VM.get_current_operations(vm) == {}


def test_a_shutdown_can_be_cancelled(xenapi):
    vm, task = _clean_shutdown_that_waits(xenapi)
    xenapi.task.cancel(task)
    assert _ended(xenapi, task)["status"] == "cancelled"
    assert xenapi.VM.get_power_state(vm) == "Running"
    assert _operations(xenapi, vm) == []


def test_a_guest_that_crashes_has_shut_down_too(xenapi, xenapi_server):
    vm, task = _clean_shutdown_that_waits(xenapi)
    xenapi.VM.set_actions_after_crash(vm, "destroy")
    xenapi_server.crash("vm1")
    assert _ended(xenapi, task)["status"] == "success"
    assert xenapi.VM.get_power_state(vm) == "Halted"


def test_a_guest_that_crashes_cannot_be_suspended_any_more(slow, slow_server):
    vm = make_vm(slow)
    start(slow, vm)
    task = slow.Async.VM.suspend(vm)
    wait_until(lambda: _operations(slow, vm) == ["suspend"], "the operation does not begin")
    slow_server.crash("vm1")
    assert _ended(slow, task)["error_info"] == ["VM_CRASHED", vm]
    assert slow.VM.get_power_state(vm) == "Running", "it is started anew"


@pytest.mark.parametrize("operation", ["start", "suspend", "resume", "pool_migrate"])
def test_a_cancelled_operation_leaves_nothing_behind(slow, slow_server, operation):
    vm = make_vm(slow)
    arguments: dict[str, Callable[[], tuple[Any, ...]]] = {
        "start": lambda: (False, False),
        "suspend": tuple,
        "resume": lambda: (False, False),
        "pool_migrate": lambda: (next(h for h in slow.host.get_all() if h != slow.VM.get_resident_on(vm)), {}),
    }
    if operation != "start":
        start(slow, vm)
    if operation == "resume":
        slow.VM.suspend(vm)
    before = slow_server.snapshot()
    task = getattr(slow.Async.VM, operation)(vm, *arguments[operation]())
    wait_until(lambda: _operations(slow, vm) == [operation], "the operation does not begin")
    slow.task.cancel(task)
    assert _ended(slow, task)["status"] == "cancelled"
    assert slow_server.snapshot() == before


def test_force_during_a_suspend(slow):
    vm = make_vm(slow)
    start(slow, vm)
    task = slow.Async.VM.suspend(vm)
    wait_until(lambda: _operations(slow, vm) == ["suspend"], "the operation does not begin")
    slow.VM.hard_shutdown(vm)
    assert _ended(slow, task)["status"] == "cancelled"
    assert slow.VM.get_power_state(vm) == "Halted"
    assert slow.VM.get_suspend_VDI(vm) == NULL
    assert "Suspend image" not in [record["name_label"] for record in slow.VDI.get_all_records().values()]


def test_memory_is_kept_for_what_is_about_to_start(slow):
    memory = str(10 * 1024 * MIB)
    fields = ("memory_static_min", "memory_dynamic_min", "memory_dynamic_max", "memory_static_max")
    vms = [make_vm(slow, f"vm{number}", **dict.fromkeys(fields, memory)) for number in range(3)]
    tasks = [slow.Async.VM.start(vm, False, False) for vm in vms]
    ended = [_ended(slow, task) for task in tasks]
    assert sorted(record["status"] for record in ended) == ["failure", "success", "success"]
    assert [record["error_info"] for record in ended if record["error_info"]] == [["NO_HOSTS_AVAILABLE"]]


def test_one_of_two_that_race_for_a_disk_starts(slow):
    vdi = make_vdi(slow, sr_named(slow, "shared"))
    vms = [make_vm(slow, name) for name in ("first", "second")]
    for vm in vms:
        make_disk(slow, vm, vdi)
    ended = [_ended(slow, task) for task in [slow.Async.VM.start(vm, False, False) for vm in vms]]
    assert sorted(record["status"] for record in ended) == ["failure", "success"]
    assert next(record["error_info"][0] for record in ended if record["error_info"]) == "VDI_IN_USE"
    assert sorted(slow.VM.get_power_state(vm) for vm in vms) == ["Halted", "Running"]


def test_many_clients_on_one_vm(xenapi, xenapi_server):
    """Whatever order they come in, every call ends as the rules say, and the books are right afterwards."""
    vm = make_vm(xenapi)
    free = [memory_free(xenapi, host) for host in xenapi.host.get_all()]
    expected = {"VM_BAD_POWER_STATE", "OTHER_OPERATION_IN_PROGRESS", "TASK_CANCELLED"}
    unexpected: list[Any] = []

    def work(number: int) -> None:
        client = _login(xenapi_server)
        calls: list[Callable[[], Any]] = [
            lambda: client.VM.start(vm, False, False),
            lambda: client.VM.clean_shutdown(vm),
            lambda: client.VM.hard_shutdown(vm),
            lambda: client.VM.suspend(vm),
            lambda: client.VM.resume(vm, False, False),
            lambda: client.VM.clean_reboot(vm),
        ]
        for turn in range(6):
            try:
                calls[(number + turn) % len(calls)]()
            except XenAPI.Failure as failure:
                if failure.details[0] not in expected:
                    unexpected.append(failure.details)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unexpected == []
    if xenapi.VM.get_power_state(vm) != "Halted":
        xenapi.VM.hard_shutdown(vm)
    record = xenapi.VM.get_record(vm)
    assert (record["domid"], record["resident_on"], record["current_operations"]) == ("-1", NULL, {})
    assert record["scheduled_to_be_resident_on"] == record["suspend_VDI"] == NULL
    assert [memory_free(xenapi, host) for host in xenapi.host.get_all()] == free
    assert xenapi.console.get_all() == xenapi.VM_guest_metrics.get_all() == []
    assert "Suspend image" not in [vdi["name_label"] for vdi in xenapi.VDI.get_all_records().values()]


def test_many_vms_at_once(xenapi):
    vms = [make_vm(xenapi, f"vm{number}") for number in range(40)]
    tasks = [xenapi.Async.VM.start(vm, False, False) for vm in vms]
    assert {_ended(xenapi, task)["status"] for task in tasks} == {"success"}
    records = [xenapi.VM.get_record(vm) for vm in vms]
    assert {record["power_state"] for record in records} == {"Running"}
    assert len({record["domid"] for record in records}) == 40
    assert {record["resident_on"] for record in records} == set(xenapi.host.get_all())
