# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, URIs and who logs in; the connection itself is tested against a server, in tests/contract."""

from __future__ import annotations

import sys

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.uri import ConnectionOptions, get_connection
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.api import (
    Api,
    address_of,
    is_read,
    redirected,
    user_of,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.xenapi.transport import Address
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InvalidUri, LibraryMissing


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("xenapi://pool.example", "https://pool.example:443/"),
        ("xenapi://root@pool.example:8443?host=xen2", "https://pool.example:8443/"),
        ("xenapi+http://127.0.0.1", "http://127.0.0.1:80/"),
        ("xenapi+http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
        ("xenapi://[fd00::1]", "https://[fd00::1]:443/"),
    ],
)
def test_where_a_uri_leads(uri: str, url: str):
    assert address_of(ConnectionOptions(uri).split()).url == url


@pytest.mark.parametrize(
    ("text", "netloc"),
    [
        ("10.0.0.2", "10.0.0.2:8443"),
        ("10.0.0.2:443", "10.0.0.2:443"),
        ("xen2.example", "xen2.example:8443"),
        ("fd00::2", "[fd00::2]:8443"),
        ("[fd00::2]", "[fd00::2]:8443"),
        ("[fd00::2]:443", "[fd00::2]:443"),
    ],
)
def test_where_another_host_is(text: str, netloc: str):
    found = Address("10.0.0.1", 8443, secure=True).sibling(text)
    assert (found.netloc, found.secure) == (netloc, True)


@pytest.mark.parametrize(
    ("location", "netloc", "target"),
    [
        ("https://10.0.0.2/import?vdi=1&session_id=s", "10.0.0.2:443", "/import?vdi=1&session_id=s"),
        ("http://10.0.0.2:80/import", "10.0.0.2:80", "/import"),
        ("/elsewhere?vdi=1", "10.0.0.1:443", "/elsewhere?vdi=1"),
    ],
)
def test_where_a_server_sends_us(location: str, netloc: str, target: str):
    place, asked = redirected(Address("10.0.0.1", 443, secure=True), "/import?vdi=1", location)
    assert (place.netloc, asked) == (netloc, target)
    assert place.secure, "the session is told to nobody without TLS"


@pytest.mark.parametrize(
    ("method", "reads"),
    [
        ("VM.get_all_records", True),
        ("event.from", True),
        ("VM.start", False),
        ("VM.set_memory", False),
        ("Async.VM.get_something", False),
        ("task.destroy", False),
    ],
)
def test_what_can_be_made_twice(method: str, reads: bool):
    assert is_read(method) == reads


@pytest.mark.parametrize(
    ("uri", "username", "user"),
    [
        ("xenapi://h", None, ""),
        ("xenapi://root@h", None, "root"),
        ("xenapi://DOMAIN%5Cadmin@h", None, "DOMAIN\\admin"),
        ("xenapi://root@h", "admin", "admin"),
    ],
)
def test_who_logs_in(uri: str, username: str | None, user: str):
    assert user_of(ConnectionOptions(uri, username=username)) == user


def test_the_library_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "XenAPI", None)
    with pytest.raises(LibraryMissing, match="XenAPI"):
        Api(ConnectionOptions("xenapi://h", username="u", password="p")).open()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("xenapi+ssh://h", "asks for the transport ssh"),
        ("xenapi://", "names no host"),
        ("xenapi:h", "names no host"),
        ("xenapi://h/system", "has a path /system"),
        ("xenapi://h?pool=x", "has a parameter pool"),
        ("xenapi://h#xen2", "has a part #xen2"),
        ("xenapi://h?host=", "has to name one host"),
        ("xenapi://h?host", "has to name one host"),
        ("xenapi://h?host=xen1&host=xen2", "has to name one host"),
        ("xenapi://root:secret@h", "has a password in it"),
    ],
)
def test_uris_that_lead_nowhere(uri: str, message: str):
    with pytest.raises(InvalidUri, match=message):
        get_connection(ConnectionOptions(uri))
