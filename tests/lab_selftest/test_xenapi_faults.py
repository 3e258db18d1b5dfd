# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults and delays that tests dial in, and the counting of calls."""

from __future__ import annotations

import http.client
import threading
import time

import pytest
import XenAPI

from lab.xenapi.faults import Faults

_NOWHERE = "OpaqueRef:00000000-0000-0000-0000-000000000000"


class _Once(XenAPI.xmlrpclib.Transport):
    """The package's transport sends a call a second time when the connection drops; this one does not."""

    def request(self, host, handler, request_body, verbose=False):
        return self.single_request(host, handler, request_body, verbose)


@pytest.fixture
def proxy(xenapi_server):
    return XenAPI.xmlrpclib.ServerProxy(xenapi_server.url, transport=_Once())


def _fails(call, *args):
    with pytest.raises(XenAPI.Failure) as caught:
        call(*args)
    return caught.value.details


def _network(name):
    return {"name_label": name, "name_description": "", "MTU": "1500", "other_config": {}, "tags": []}


def test_a_call_fails_as_often_as_asked(xenapi_server, xenapi):
    xenapi_server.faults.fail("network.create", "DB_UNIQUENESS_CONSTRAINT_VIOLATION", "network", "bridge", "x", times=2)
    for _twice in range(2):
        assert _fails(xenapi.network.create, _network("one"))[0] == "DB_UNIQUENESS_CONSTRAINT_VIOLATION"
    xenapi.network.create(_network("one"))
    assert len(xenapi.network.get_by_name_label("one")) == 1


def test_an_asynchronous_call_fails_in_its_task(xenapi_server, xenapi):
    xenapi_server.faults.fail("network.*")
    task = xenapi.Async.network.create(_network("one"))
    events = getattr(xenapi.event, "from")
    token = events(["pool"], "", 0.0)["token"]
    while xenapi.task.get_status(task) == "pending":
        token = events([f"task/{task}"], token, 1.0)["token"]
    assert xenapi.task.get_error_info(task)[0] == "INTERNAL_ERROR"
    assert xenapi.network.get_by_name_label("one") == []


def test_skipping_and_counting_only_what_writes(xenapi_server, xenapi):
    xenapi_server.faults.fail("*", skip=1, writing_only=True)
    network = xenapi.network.create(_network("one"))
    xenapi.network.get_record(network)
    assert _fails(xenapi.network.set_name_label, network, "two")[0] == "INTERNAL_ERROR"
    xenapi.network.set_name_label(network, "three")
    assert xenapi.network.get_name_label(network) == "three"


def test_a_fault_names_a_code_of_the_table():
    with pytest.raises(ValueError, match="NO_SUCH_CODE"):
        Faults().fail("VM.start", "NO_SUCH_CODE")
    with pytest.raises(ValueError, match="parameters"):
        Faults().fail("VM.start", "HANDLE_INVALID", "VM")


def test_the_connection_drops_before_the_call(xenapi_server, xenapi_session, proxy):
    xenapi_server.faults.drop("network.create", when="before")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        proxy.network.create(xenapi_session._session, _network("one"))
    assert xenapi_session.xenapi.network.get_by_name_label("one") == []


def test_the_connection_drops_after_the_call(xenapi_server, xenapi_session, proxy):
    xenapi_server.faults.drop("network.create", when="after")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        proxy.network.create(xenapi_session._session, _network("one"))
    assert len(xenapi_session.xenapi.network.get_by_name_label("one")) == 1


def test_delay(xenapi_server, xenapi):
    xenapi_server.faults.delay("host.get_all", 0.2, times=1)
    started = time.monotonic()
    xenapi.host.get_all()
    assert time.monotonic() - started >= 0.2
    xenapi_server.faults.clear()


def test_freeze_and_thaw(xenapi_server, xenapi):
    xenapi_server.freeze()
    timer = threading.Timer(0.2, xenapi_server.thaw)
    timer.start()
    started = time.monotonic()
    assert xenapi.host.get_all()
    assert time.monotonic() - started > 0.15
    timer.join()


def test_calls_are_counted_by_name(xenapi_server, xenapi):
    with xenapi_server.calls.recording() as record:
        network = xenapi.network.create(_network("one"))
        xenapi.network.get_record(network)
        xenapi.task.destroy(xenapi.Async.network.destroy(network))
        with pytest.raises(XenAPI.Failure):
            xenapi.VM.start(_NOWHERE, False, False)
    assert [(made.name, made.writes, made.asynchronous) for made in record] == [
        ("network.create", True, False),
        ("network.get_record", False, False),
        ("network.destroy", True, True),
        ("task.destroy", False, False),
        ("VM.start", True, False),
    ]
    xenapi.host.get_all()
    assert len(record) == 5


def test_snapshots_tell_whether_anything_changed(xenapi_server, xenapi):
    before = xenapi_server.snapshot()
    xenapi.task.destroy(xenapi.task.create("a task", ""))
    network = xenapi.network.create(_network("one"))
    changed = xenapi_server.snapshot()
    assert changed != before
    assert changed["network"].keys() - before["network"].keys() == {network}
    xenapi.network.destroy(network)
    assert xenapi_server.snapshot() == before
