# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connecting: in bounded time, with the right complaint, and without telling secrets."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.capabilities import FEATURES
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt import connection
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.capabilities import CAPABILITIES
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorUnavailable,
    InstanceNotFound,
    LibraryMissing,
    PermissionDenied,
)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu+unix:///system?socket=/run/a@b", "qemu+unix:///system?socket=/run/a@b"),
        (
            "qemu+ssh://root@host:22/system?keyfile=/k&no_verify=1",
            "qemu+ssh://root@host:22/system?keyfile=/k&no_verify=1",
        ),
        ("qemu+tcp://me:s3cret@host/system", "qemu+tcp://me@host/system"),
        ("qemu+tcp://me:s3@cret@host/system", "qemu+tcp://me@host/system"),
        ("xen+tls://[::1]:16514/?password=s3cret&socket=/s", "xen+tls://[::1]:16514/?password=***&socket=/s"),
        ("lxc:///?token", "lxc:///?token=***"),
    ],
)
def test_uris_without_secrets(uri: str, shown: str):
    assert connection.without_secrets(uri) == shown


@pytest.mark.parametrize(
    ("uri", "password"),
    [
        ("qemu+tcp://me:s3cret@host/system", None),
        ("qemu+tcp://host/system?password=s3cret", None),
        ("qemu+tcp://me:s%33cret@host/system", None),
        ("qemu+tcp://host/system", "s3cret"),
    ],
)
def test_messages_without_secrets(stubs, uri: str, password: str | None):
    failure = stubs.Error(38, f"cannot use {uri}, nor s3cret", 7)
    if password is None and "?" in uri:
        failure = stubs.Error(38, f"cannot use {uri}", 7)
    with pytest.raises(HypervisorUnavailable) as caught:
        stubs.driver(failure, uri, password=password).open()
    assert "s3cret" not in str(caught.value)
    assert "s%33cret" not in str(caught.value)
    assert "host/system" in str(caught.value)


def test_the_library_is_missing(stubs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    driver = stubs.driver()
    with pytest.raises(LibraryMissing, match="python3-libvirt"):
        driver.open()
    assert "python3-libvirt" in driver.verify()[0]
    driver.close()


def test_nobody_answers(stubs):
    driver = stubs.driver(stubs.Error(38, "Failed to connect socket to '/run/x': No such file or directory", 7))
    with pytest.raises(HypervisorUnavailable, match="qemu:///system") as caught:
        driver.open()
    assert "No such file" in str(caught.value)
    assert driver.verify() == [str(caught.value)]


@pytest.mark.parametrize("code", [38, 45])
@pytest.mark.parametrize("uri", ["qemu:///system", "qemu+ssh://host/system"])
def test_permission_denied(stubs, code: int, uri: str):
    with pytest.raises(PermissionDenied) as caught:
        stubs.driver(stubs.Error(code, "Failed to connect socket: Permission denied", 7), uri).open()
    assert ("group libvirt" in str(caught.value)) is (uri == "qemu:///system")


def test_silence_is_given_up_and_closed_later(stubs):
    late, go_on = stubs.connection(), threading.Event()

    def connect():
        go_on.wait(10)
        return late

    driver = stubs.driver(connect, connect_timeout_s=0.1)
    with pytest.raises(HypervisorUnavailable, match=r"did not answer within 0\.1 s"):
        driver.open()
    go_on.set()
    deadline = time.monotonic() + 10
    while "close" not in late.called:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_mistakes_in_connecting_are_not_hidden(stubs):
    with pytest.raises(ZeroDivisionError):
        stubs.driver(ZeroDivisionError()).open()


def test_a_connection_that_cannot_be_watched_is_closed(stubs):
    host = stubs.connection(setKeepAlive=stubs.Error(39, "gone", 7))
    with pytest.raises(HypervisorUnavailable):
        stubs.driver(host).open()
    assert host.called[-1] == "close"


@pytest.mark.parametrize(
    ("uri", "limit_s", "interval_s"),
    [
        ("qemu:///system", 60.0, 5),
        ("qemu:///system", 15.0, 5),
        ("lxc:///", 6.0, 2),
        ("qemu:///system", 0.5, 1),
        ("xen:///system", 60.0, 20),
        ("xen:///system", 6.0, 2),
    ],
)
def test_the_time_limit_is_kept_by_keepalive(stubs, uri: str, limit_s: float, interval_s: int):
    host = stubs.connection()
    stubs.driver(host, uri, call_timeout_s=limit_s).open()
    assert ("setKeepAlive", interval_s, connection.KEEPALIVE_COUNT) in host.calls


def test_opening_and_closing_twice(stubs):
    host = stubs.connection(close=stubs.Error(38, "gone", 7))
    driver = stubs.driver(host)
    driver.close()
    driver.open()
    driver.open()
    driver.close()
    driver.close()
    assert host.called == ["setKeepAlive", "close"]
    with pytest.raises(RuntimeError):
        driver.list_instances()


def test_credentials_are_given_when_asked_for(stubs):
    library, asked = stubs.library, []

    def open_auth(uri, auth, flags):
        answer, data = auth[1:]
        known = [[library.VIR_CRED_AUTHNAME, "", "", None, None], [library.VIR_CRED_PASSPHRASE, "", "", None, None]]
        asked.append((uri, answer(known, data), [credential[4] for credential in known]))
        asked.append(answer([[library.VIR_CRED_REALM, "", "", None, None]], data))

    library.openAuth = open_auth
    options = ConnectionOptions("qemu+tcp://host/system", username="me", password="s3cret")
    connection.open_connection(library, options)
    assert asked == [(options.uri, 0, ["me", "s3cret"]), -1]


def test_no_such_instance(stubs):
    with pytest.raises(InstanceNotFound, match="ghost"):
        stubs.opened().lookup("ghost")


def test_capabilities_are_asked_for_once(stubs):
    driver = stubs.opened(getCapabilities="<capabilities/>")
    assert driver.capabilities_xml() == driver.capabilities_xml() == "<capabilities/>"
    assert driver.conn.called.count("getCapabilities") == 1


@pytest.mark.parametrize("kind", CAPABILITIES)
def test_what_does_not_work_says_what_to_do(stubs, kind: str):
    assert stubs.driver(uri=f"{kind}+ssh://host/system").capabilities is CAPABILITIES[kind]
    assert set(CAPABILITIES[kind]) == set(FEATURES)
    for feature, support in CAPABILITIES[kind].items():
        assert support.works or support.note, feature
