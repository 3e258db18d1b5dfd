# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in and out, on the master and on a slave."""

from __future__ import annotations

import pytest
import XenAPI


def _fails(call, *args):
    with pytest.raises(XenAPI.Failure) as caught:
        call(*args)
    return caught.value.details


def _raw(url):
    """The calls without the package's own session handling."""
    return XenAPI.Session(url)


def test_wrong_password(xenapi_server):
    session = _raw(xenapi_server.url)
    for user, password in [(xenapi_server.username, "guessed"), ("nobody", xenapi_server.password)]:
        details = _fails(session.login_with_password, user, password)
        assert details == ["SESSION_AUTHENTICATION_FAILED", user, "Authentication failure"]


def test_a_session_that_nobody_opened(xenapi_server):
    session = _raw(xenapi_server.url)
    session._session = "OpaqueRef:made-up"
    # The package reports SESSION_INVALID as a fault when it never logged in itself.
    with pytest.raises(XenAPI.xmlrpclib.Fault) as caught:
        session.xenapi.VM.get_all()
    assert caught.value.faultCode == 401


def test_logout(xenapi_server, xenapi_session):
    ref = xenapi_session._session
    xenapi_session.xenapi.session.logout()
    reply = XenAPI.xmlrpclib.ServerProxy(xenapi_server.url).VM.get_all(ref)
    assert reply == {"Status": "Failure", "ErrorDescription": ["SESSION_INVALID", ref]}


def test_expired_sessions(xenapi_server, xenapi_session):
    ref = xenapi_session._session
    xenapi_server.expire_sessions()
    proxy = XenAPI.xmlrpclib.ServerProxy(xenapi_server.url)
    assert proxy.VM.get_all(ref)["ErrorDescription"] == ["SESSION_INVALID", ref]
    assert proxy.Async.VM.start(ref, "OpaqueRef:x", False, False)["ErrorDescription"] == ["SESSION_INVALID", ref]


def test_what_a_session_says_of_itself(xenapi_server, xenapi_session):
    record = xenapi_session.xenapi.session.get_record(xenapi_session._session)
    assert record["auth_user_name"] == xenapi_server.username
    assert record["is_local_superuser"] is True
    assert record["this_host"] == xenapi_session.xenapi.pool.get_all_records().popitem()[1]["master"]


def test_originator_and_version_may_be_left_out(xenapi_server):
    proxy = XenAPI.xmlrpclib.ServerProxy(xenapi_server.url)
    who = (xenapi_server.username, xenapi_server.password)
    for more in [(), ("1.0",), ("1.0", "tests")]:
        assert proxy.session.login_with_password(*who, *more)["Status"] == "Success"
    reply = proxy.session.login_with_password(who[0])
    assert reply["ErrorDescription"] == [
        "MESSAGE_PARAMETER_COUNT_MISMATCH",
        "session.login_with_password",
        "2",
        "1",
    ]


def test_a_slave_sends_to_the_master(xenapi_server):
    (slave,) = xenapi_server.slave_urls
    details = _fails(_raw(slave).login_with_password, xenapi_server.username, xenapi_server.password)
    assert details[0] == "HOST_IS_SLAVE"
    master = _raw(f"http://{details[1]}")
    master.login_with_password(xenapi_server.username, xenapi_server.password)
    assert len(master.xenapi.host.get_all()) == 2


def test_local_login_on_a_slave(xenapi_server):
    (slave,) = xenapi_server.slave_urls
    session = _raw(slave)
    session.slave_local_login_with_password(xenapi_server.username, xenapi_server.password)
    assert _fails(session.xenapi.host.get_all)[0] == "HOST_IS_SLAVE"
    session.xenapi.session.local_logout()


def test_change_password(xenapi_server, xenapi_session):
    user, old = xenapi_server.username, xenapi_server.password
    change = xenapi_session.xenapi.session.change_password
    assert _fails(change, "guessed", "new")[0] == "SESSION_AUTHENTICATION_FAILED"
    change(old, "new")
    assert _fails(_raw(xenapi_server.url).login_with_password, user, old)[0] == "SESSION_AUTHENTICATION_FAILED"
    _raw(xenapi_server.url).login_with_password(user, "new")
