# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches: what wakes them, and that none is left behind."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import watch as watches
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.errors import NO_SUPPORT, RPC
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import HypervisorUnavailable


class Events:
    """A host that tells of events."""

    def __init__(self, stubs: Any, **answers: Any) -> None:
        self.registered: dict[int, tuple[int, Any]] = {}
        self.number = 0
        self.library = stubs.library
        self.driver = stubs.opened(
            domainEventRegisterAny=self.register, domainEventDeregisterAny=self.registered.pop, **answers
        )
        self.refused: dict[int, Exception] = {}

    def register(self, domain: Any, event: int, callback: Any, data: Any) -> int:
        if event in self.refused:
            raise self.refused[event]
        assert event not in [other for other, unused in self.registered.values()], "callback already tracked"
        self.number += 1
        self.registered[self.number] = (event, callback)
        return self.number

    def happen(self, name: str, domain: Any) -> None:
        for event, callback in list(self.registered.values()):
            if event == getattr(self.library, f"VIR_DOMAIN_EVENT_ID_{name}"):
                callback(self.driver.conn, domain, 0, 0, None)


def waited(watch: watches.DomainWatch, timeout_s: float = 10.0) -> float:
    started = time.monotonic()
    watch.wait(timeout_s)
    return time.monotonic() - started


@pytest.fixture
def slow_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "POLL_S", 5.0)


@pytest.mark.parametrize("event", ["LIFECYCLE", "REBOOT", "AGENT_LIFECYCLE"])
def test_events_wake_it(stubs, slow_poll, event: str):
    events = Events(stubs)
    with events.driver.watch(["web1"]) as watch:
        threading.Timer(0.05, events.happen, (event, stubs.domain("web1"))).start()
        assert 0 < waited(watch) < 2
        assert watch.has_rebooted("web1") is (event == "REBOOT")


def test_an_event_before_the_wait_is_not_missed_and_counts_once(stubs):
    events = Events(stubs)
    with events.driver.watch(["web1"]) as watch:
        events.happen("LIFECYCLE", stubs.domain("web1"))
        assert waited(watch) < 0.1
        assert waited(watch, 0.2) >= 0.19


def test_others_do_not_wake_it(stubs):
    events = Events(stubs)
    with events.driver.watch(["web1"]) as watch:
        events.happen("REBOOT", stubs.domain("web2"))
        assert waited(watch, 0.2) >= 0.19
        assert not watch.has_rebooted("web2")


def test_it_looks_from_time_to_time(stubs):
    with Events(stubs).driver.watch(["web1"]) as watch:
        assert waited(watch, 60.0) < 1.0
        assert waited(watch, -1.0) < 0.1


def test_nothing_is_left_behind(stubs):
    events = Events(stubs)
    with events.driver.watch(["web1"]):
        assert len(events.registered) == 3
    assert not events.registered


def test_watches_share_a_connection(stubs, slow_poll):
    events = Events(stubs)
    with events.driver.watch(["web1"]) as outer:
        with events.driver.watch(["web1", "web2"]) as inner:
            events.happen("LIFECYCLE", stubs.domain("web2"))
            assert waited(inner) < 1
            assert waited(outer, 0.1) >= 0.09
        events.happen("LIFECYCLE", stubs.domain("web1"))
        assert waited(outer) < 1
    assert not events.registered


def test_a_watch_after_connecting_again(stubs):
    events = Events(stubs)
    with events.driver.watch(["web1"]):
        pass
    first = events.driver.conn
    events.driver.close()
    events.driver._conn = stubs.connection()
    with events.driver.watch(["web1"]):
        assert events.driver.conn.called.count("domainEventRegisterAny") == 3
    assert first.called.count("domainEventRegisterAny") == 3


def test_a_hypervisor_without_such_an_event(stubs):
    events = Events(stubs)
    events.refused[stubs.library.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE] = stubs.Error(NO_SUPPORT)
    with events.driver.watch(["web1"]):
        assert len(events.registered) == 2
    assert not events.registered


def test_a_connection_that_dies_while_it_is_entered(stubs):
    events = Events(stubs)
    events.refused[stubs.library.VIR_DOMAIN_EVENT_ID_REBOOT] = stubs.Error(RPC, "gone", 7)
    with pytest.raises(HypervisorUnavailable), events.driver.watch(["web1"]):
        pytest.fail("it was entered")
    assert not events.registered


def test_a_connection_that_dies_meanwhile(stubs):
    driver = stubs.opened(domainEventDeregisterAny=stubs.Error(RPC, "gone", 7))
    with driver.watch(["web1"]) as watch:
        assert waited(watch, 0.05) < 1
