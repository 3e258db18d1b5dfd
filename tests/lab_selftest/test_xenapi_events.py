# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""event.from: what changed since a token."""

from __future__ import annotations

import threading
import time

import pytest
import XenAPI


class Events:
    """A client's place in the stream of events."""

    def __init__(self, xenapi, *classes):
        self._from = getattr(xenapi.event, "from")
        self._classes = list(classes)
        self.token = ""
        self.counts = {}

    def get(self, timeout=0.0):
        answer = self._from(self._classes, self.token, timeout)
        self.token, self.counts = answer["token"], answer["valid_ref_counts"]
        return answer["events"]

    def brief(self, timeout=0.0):
        return [(event["class"], event["operation"], event["ref"]) for event in self.get(timeout)]


def test_the_empty_token_lists_everything(xenapi):
    events = Events(xenapi, "host", "sr")
    got = events.get()
    assert {event["operation"] for event in got} == {"add"}
    for cls, name in (("host", "host"), ("sr", "SR")):
        snapshots = {event["ref"]: event["snapshot"] for event in got if event["class"] == cls}
        assert snapshots == getattr(xenapi, name).get_all_records()
        assert events.counts[cls] == len(snapshots)
    assert events.brief() == []


def test_add_mod_and_del(xenapi_server, xenapi):
    events = Events(xenapi, "vm")
    events.get()
    vm = xenapi_server.db.create("VM", name_label="one")
    xenapi.VM.set_name_label(vm, "two")
    (event,) = events.get()
    assert (event["class"], event["operation"], event["ref"]) == ("vm", "add", vm)
    assert event["snapshot"] == xenapi.VM.get_record(vm)
    xenapi.VM.set_name_label(vm, "three")
    xenapi.VM.add_to_other_config(vm, "key", "value")
    (event,) = events.get()
    assert (event["operation"], event["snapshot"]["name_label"]) == ("mod", "three")
    assert event["snapshot"]["other_config"] == {"key": "value"}
    before = events.counts["vm"]
    xenapi_server.db.destroy("VM", vm)
    (event,) = events.get()
    assert (event["operation"], event["ref"], event["snapshot"]["name_label"]) == ("del", vm, "three")
    assert events.counts["vm"] == before - 1


def test_what_came_and_went_between_two_looks_was_never_there(xenapi_server, xenapi):
    events = Events(xenapi, "vm")
    events.get()
    xenapi_server.db.destroy("VM", xenapi_server.db.create("VM"))
    assert events.brief() == []


def test_writing_what_is_there_already_is_no_event(xenapi_server, xenapi):
    vm = xenapi_server.db.create("VM", name_label="same")
    events = Events(xenapi, "vm")
    events.get()
    xenapi.VM.set_name_label(vm, "same")
    assert events.brief() == []


def test_one_object_and_everything(xenapi_server, xenapi):
    one, two = (xenapi_server.db.create("VM", name_label=name) for name in ("one", "two"))
    of_one, everything = Events(xenapi, f"vm/{one}"), Events(xenapi, "*")
    assert of_one.brief() == [("vm", "add", one)]
    assert "session" not in {cls for cls, _operation, _ref in everything.brief()}
    xenapi.VM.set_name_label(two, "renamed")
    xenapi.VM.set_name_label(one, "renamed")
    assert of_one.brief() == [("vm", "mod", one)]
    assert everything.brief() == [("vm", "mod", two), ("vm", "mod", one)]


def test_both_sides_of_a_reference_change(xenapi_server, xenapi):
    vm = xenapi_server.db.create("VM")
    events = Events(xenapi, "vm", "vbd")
    events.get()
    vbd = xenapi_server.db.create("VBD", VM=vm)
    assert sorted(events.brief()) == [("vbd", "add", vbd), ("vm", "mod", vm)]


def test_waiting_ends_with_the_first_event(xenapi_server, xenapi):
    vm = xenapi_server.db.create("VM", name_label="one")
    events = Events(xenapi, "vm")
    events.get()
    started = time.monotonic()
    timer = threading.Timer(0.2, xenapi_server.db.set, ("VM", vm), {"name_label": "two"})
    timer.start()
    assert events.brief(30.0) == [("vm", "mod", vm)]
    assert 0.1 < time.monotonic() - started < 5
    timer.join()


def test_waiting_in_vain_ends_at_its_time(xenapi_server, xenapi):
    events = Events(xenapi, "vm")
    events.get()
    started = time.monotonic()
    timer = threading.Timer(0.05, xenapi_server.db.create, ("SR",))
    timer.start()
    assert events.brief(0.3) == []
    assert 0.25 < time.monotonic() - started < 5
    timer.join()


def test_waiting_ends_with_the_session(xenapi_server, xenapi_session):
    events = Events(xenapi_session.xenapi, "vm")
    events.get()
    timer = threading.Timer(0.1, xenapi_server.expire_sessions)
    timer.start()
    # Not through the package, which would log in again.
    proxy = XenAPI.xmlrpclib.ServerProxy(xenapi_server.url)
    reply = getattr(proxy.event, "from")(xenapi_session._session, ["vm"], events.token, 30.0)
    assert reply["ErrorDescription"] == ["SESSION_INVALID", xenapi_session._session]
    timer.join()


@pytest.mark.parametrize("token", ["x", "1,2", "00000000000000000001", " "])
def test_a_malformed_token(xenapi, token):
    with pytest.raises(XenAPI.Failure) as caught:
        getattr(xenapi.event, "from")(["vm"], token, 0.0)
    assert caught.value.details == ["EVENT_FROM_TOKEN_PARSE_FAILURE", token]


def test_the_timeout_is_a_float(xenapi):
    with pytest.raises(XenAPI.Failure) as caught:
        getattr(xenapi.event, "from")(["vm"], "", 1)
    assert caught.value.details[0] == "INTERNAL_ERROR"


def test_events_lost(xenapi_server, xenapi, monkeypatch):
    monkeypatch.setattr("lab.xenapi.database._DELETIONS_KEPT", 2)
    events = Events(xenapi, "vm")
    vms = [xenapi_server.db.create("VM") for _number in range(4)]
    events.get()
    for vm in vms:
        xenapi_server.db.destroy("VM", vm)
    with pytest.raises(XenAPI.Failure) as caught:
        events.get()
    assert caught.value.details == ["EVENTS_LOST"]


def test_the_older_way(xenapi_server, xenapi):
    with pytest.raises(XenAPI.Failure) as caught:
        xenapi.event.next()
    assert caught.value.details[0] == "SESSION_NOT_REGISTERED"
    xenapi.event.register(["vm"])
    vm = xenapi_server.db.create("VM")
    assert [(event["class"], event["operation"], event["ref"]) for event in xenapi.event.next()] == [("vm", "add", vm)]
    xenapi.event.unregister(["vm"])
    with pytest.raises(XenAPI.Failure):
        xenapi.event.next()


def test_inject(xenapi_server, xenapi):
    vm = xenapi_server.db.create("VM")
    events = Events(xenapi, "vm")
    events.get()
    token = xenapi.event.inject("vm", vm)
    assert events.brief() == [("vm", "mod", vm)]
    assert events.token >= token
