# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: what an asynchronous call leaves behind."""

from __future__ import annotations

import time

import pytest
import XenAPI

_NOWHERE = "OpaqueRef:00000000-0000-0000-0000-000000000000"


def _ended(xenapi, task):
    """The task's record once it has ended, waited for as a client should: with events."""
    token = ""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = getattr(xenapi.event, "from")([f"task/{task}"], token, 5.0)
        token = answer["token"]
        for event in answer["events"]:
            if event["snapshot"]["status"] not in ("pending", "cancelling"):
                return event["snapshot"]
    raise AssertionError(f"{task} has not ended")


def test_a_result_is_in_the_task(xenapi):
    record = _ended(xenapi, xenapi.Async.network.create(_network("made")))
    assert record["status"] == "success"
    assert record["name_label"] == "Async.network.create"
    (network,) = xenapi.network.get_by_name_label("made")
    assert record["result"] == f"<value>{network}</value>"
    assert record["progress"] == 1.0
    assert record["error_info"] == []
    assert str(record["finished"]) >= str(record["created"])


def test_a_bad_object_fails_in_the_task(xenapi):
    record = _ended(xenapi, xenapi.Async.VM.start(_NOWHERE, False, False))
    assert record["status"] == "failure"
    assert record["error_info"] == ["HANDLE_INVALID", "VM", _NOWHERE]
    assert record["result"] == ""


def test_getters_and_unknown_messages_have_no_task(xenapi):
    for call in (xenapi.Async.VM.get_record, xenapi.Async.VM.no_such_message, xenapi.Async.event.register):
        with pytest.raises(XenAPI.Failure) as caught:
            call(_NOWHERE)
        assert caught.value.details[0] == "MESSAGE_METHOD_UNKNOWN"
        assert caught.value.details[1].startswith("Async.")
    assert xenapi.task.get_all() == []


def test_arguments_of_the_wrong_type_have_no_task(xenapi):
    with pytest.raises(XenAPI.Failure) as caught:
        xenapi.Async.VM.start(_NOWHERE, "yes", False)
    assert caught.value.details[0] == "INTERNAL_ERROR"
    assert xenapi.task.get_all() == []


def test_a_task_that_never_ends_can_be_cancelled(xenapi_server, xenapi):
    xenapi_server.faults.hang_task("network.create")
    task = xenapi.Async.network.create(_network("never made"))
    record = xenapi.task.get_record(task)
    assert (record["status"], record["allowed_operations"]) == ("pending", ["cancel", "destroy"])
    xenapi.task.cancel(task)
    assert _ended(xenapi, task)["status"] == "cancelled"
    assert xenapi.network.get_by_name_label("never made") == []
    xenapi.task.cancel(task)


def test_a_destroyed_task_is_gone_and_its_work_goes_on(xenapi_server, xenapi):
    xenapi_server.faults.delay("network.create", 0.1)
    task = xenapi.Async.network.create(_network("made all the same"))
    xenapi.task.destroy(task)
    with pytest.raises(XenAPI.Failure) as caught:
        xenapi.task.get_status(task)
    assert caught.value.details == ["HANDLE_INVALID", "task", task]
    token = getattr(xenapi.event, "from")(["pool"], "", 0.0)["token"]
    getattr(xenapi.event, "from")(["network"], token, 5.0)
    assert xenapi.network.get_by_name_label("made all the same")


def test_tasks_that_clients_make(xenapi):
    task = xenapi.task.create("import", "of a disk")
    assert xenapi.task.get_by_name_label("import") == [task]
    xenapi.task.set_progress(task, 0.5)
    assert xenapi.task.get_progress(task) == 0.5
    with pytest.raises(XenAPI.Failure) as caught:
        xenapi.task.cancel(task)
    assert caught.value.details[0] == "OPERATION_NOT_ALLOWED"
    xenapi.task.set_status(task, "success")
    assert xenapi.task.get_status(task) == "success"
    xenapi.task.destroy(task)


def test_stopping_the_pool_ends_what_runs(xenapi_server, xenapi):
    xenapi_server.faults.hang_task("network.create")
    pool = xenapi_server.pool
    task = xenapi.Async.network.create(_network("never made"))
    xenapi_server.reset()
    with pool.db.changed:
        assert pool.db.changed.wait_for(lambda: pool.db.get("task", task, "status") == "cancelled", 5)


def _network(name):
    return {"name_label": name, "name_description": "", "MTU": "1500", "other_config": {}, "tags": []}
