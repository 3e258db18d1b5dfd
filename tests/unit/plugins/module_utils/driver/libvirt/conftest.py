# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for libvirt's Python library, so that these tests need neither it nor a daemon."""

from __future__ import annotations

import sys
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import events
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.driver import LibvirtDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions


class StubError(Exception):
    """libvirt.libvirtError."""

    def __init__(self, code: int = 1, text: str = "it does not work", domain: int = 20) -> None:
        super().__init__(text)
        self.code, self.domain = code, domain

    def get_error_code(self) -> int:
        return self.code

    def get_error_domain(self) -> int:
        return self.domain


class StubLibrary:
    """The module ``libvirt``: every constant exists, and has a bit of its own as far as that goes."""

    libvirtError = StubError  # noqa: N815

    def __getattr__(self, name: str) -> int:
        if not name.startswith("VIR_"):
            raise AttributeError(name)
        return zlib.crc32(name.encode())

    def registerErrorHandler(self, handler: Callable[..., None], context: object) -> None:  # noqa: N802
        pass


class Recorder:
    """Answers each call with what was laid out for it, and notes the call.

    An answer may be a value, an exception to raise, a callable to ask, or a list of these to be used up.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in self.answers:
            raise AssertionError(f"an unexpected call: {name}")

        def call(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            answer = self.answers[name]
            if isinstance(answer, Queue):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call

    @property
    def called(self) -> list[str]:
        return [name for name, *arguments in self.calls]


class Queue(list):
    """Answers for one call after the other; the last one stays."""


class Stubs:
    """What tests make their hypervisors of."""

    Error = StubError
    Queue = Queue
    Recorder = Recorder

    def __init__(self) -> None:
        self.library = StubLibrary()

    def domain(self, name: str = "web1", state: int | Queue = 1, **answers: Any) -> Recorder:
        """A virDomain in a virDomainState, or in several one after the other."""
        states = state if isinstance(state, Queue) else Queue([state])
        active = states[0] not in (0, 5, 6)
        ordinary = {
            "name": name,
            "ID": 7 if active else -1,
            "state": Queue([code, 0] for code in states),
            "isActive": int(active),
            "isPersistent": 1,
            "hasManagedSaveImage": 0,
            "XMLDesc": f"<domain><name>{name}</name></domain>",
        }
        return Recorder(**{**ordinary, **answers})

    def connection(self, *domains: Recorder, **answers: Any) -> Recorder:
        """A virConnect to a host with these domains."""
        by_name = {domain.name(): domain for domain in domains}

        def lookup(name: str) -> Recorder:
            if name not in by_name:
                raise StubError(42, f"Domain not found: no domain with matching name '{name}'", 10)
            return by_name[name]

        def list_all(flags: int) -> list[Recorder]:
            active_only = flags == self.library.VIR_CONNECT_LIST_DOMAINS_ACTIVE
            return [domain for domain in domains if domain.isActive() or not active_only]

        ordinary = {
            "lookupByName": lookup,
            "listAllDomains": list_all,
            "setKeepAlive": 0,
            "close": 0,
            "domainEventRegisterAny": 1,
            "domainEventDeregisterAny": 0,
        }
        return Recorder(**{**ordinary, **answers})

    def driver(self, host: Any = None, uri: str = "qemu:///system", **options: Any) -> LibvirtDriver:
        """A driver that connects to ``host``; an exception there is what connecting fails with."""

        class Driver(LibvirtDriver):
            @staticmethod
            def connect(library: Any, options: ConnectionOptions) -> Any:
                if isinstance(host, BaseException):
                    raise host
                return host() if callable(host) and not isinstance(host, Recorder) else host

        return Driver(ConnectionOptions(uri, **options))

    def opened(self, *domains: Recorder, uri: str = "qemu:///system", **answers: Any) -> LibvirtDriver:
        """A driver that is connected to a host with these domains."""
        driver = self.driver(self.connection(*domains, **answers), uri)
        driver.open()
        return driver


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Stubs:
    found = Stubs()
    monkeypatch.setitem(sys.modules, "libvirt", found.library)
    monkeypatch.setattr(events, "_threads", [threading.current_thread()])  # no event loop is needed
    return found
