# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP and HTTPS: connections, framing, certificates, and how the server stops."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import xmlrpc.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import XenAPI

from lab.xenapi import registry
from lab.xenapi.failures import Failure
from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import PoolSettings

_TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def connection(xenapi_server):
    client = http.client.HTTPConnection(urlsplit(xenapi_server.url).netloc, timeout=10)
    yield client
    client.close()


@pytest.fixture
def handler(monkeypatch):
    """A handler for the time of one test; what it is asked goes to the list."""
    monkeypatch.setattr(registry, "_http_handlers", {})
    asked = []

    @registry.http_handler("PUT", "/swallow")
    def swallow(request):
        asked.append((request.query, b"".join(request.body())))
        if asked[-1][1] == b"bad":
            raise Failure("OPERATION_NOT_ALLOWED", "it is bad")
        request.respond(200, {"Content-Length": "4"}, [b"good"])

    return asked


def _call(connection, session, name="host.get_all", headers=None):
    connection.request("POST", "/", xmlrpc.client.dumps((session,), name), headers or {})
    response = connection.getresponse()
    return response.status, xmlrpc.client.loads(response.read())[0][0]


def test_one_connection_takes_many_calls(xenapi_session, connection):
    session = xenapi_session._session
    sockets = set()
    for _number in range(3):
        assert _call(connection, session)[1]["Status"] == "Success"
        sockets.add(connection.sock)
    assert len(sockets) == 1


def test_expect_continue(xenapi_session, connection):
    body = xmlrpc.client.dumps((xenapi_session._session,), "host.get_all").encode()
    connection.putrequest("POST", "/RPC2")
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.send(body)
    assert connection.getresponse().status == 200


def test_what_is_no_call(connection):
    connection.request("POST", "/", b"<no xml")
    with pytest.raises(xmlrpc.client.Fault):
        xmlrpc.client.loads(connection.getresponse().read())


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("PUT", "/nothing"), ("POST", "/elsewhere")])
def test_unknown_paths(connection, method, path):
    connection.request(method, path, b"")
    assert connection.getresponse().status == 404


def test_handlers_want_a_session(xenapi_session, connection, handler):
    connection.request("PUT", "/swallow", b"some")
    response = connection.getresponse()
    assert response.status == 401
    assert b"SESSION_INVALID" in response.read()
    assert handler == []
    for query, headers in [
        (f"?session_id={xenapi_session._session}", {}),
        ("", {"Cookie": f"session_id={xenapi_session._session}"}),
        ("", {"Authorization": "Basic " + base64.b64encode(b"root:lab-secret").decode()}),
    ]:
        connection.request("PUT", f"/swallow{query}", b"some", headers)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"good")
    assert [body for _query, body in handler] == [b"some"] * 3
    connection.request("PUT", "/swallow", b"", {"Authorization": "Basic " + base64.b64encode(b"root:x").decode()})
    assert connection.getresponse().status == 401


@pytest.mark.parametrize(("body", "status", "ended"), [(b"fine", 200, "success"), (b"bad", 500, "failure")])
def test_a_transfer_reports_to_its_task(xenapi_session, connection, handler, body, status, ended):
    xenapi = xenapi_session.xenapi
    task = xenapi.task.create("transfer", "")
    connection.request("PUT", f"/swallow?session_id={xenapi_session._session}&task_id={task}", body)
    assert connection.getresponse().status == status
    record = xenapi.task.get_record(task)
    if record["status"] == "pending":
        events = getattr(xenapi.event, "from")
        events([f"task/{task}"], events([], "", 0.0)["token"], 1.0)
        record = xenapi.task.get_record(task)
    assert record["status"] == ended
    assert record["error_info"] == ([] if ended == "success" else ["OPERATION_NOT_ALLOWED", "it is bad"])


def test_handlers_are_counted_and_have_faults(xenapi_server, xenapi_session, connection, handler):
    path = f"/swallow?session_id={xenapi_session._session}"
    xenapi_server.faults.drop("http:/swallow", when="before")
    with xenapi_server.calls.recording() as record:
        connection.request("PUT", path, b"some")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            connection.getresponse()
    assert [(made.name, made.writes) for made in record] == [("http:/swallow", True)]
    assert handler == []


def test_tls():
    with XenApiServer(PoolSettings(), tls=True) as server:
        assert server.uri.startswith("xenapi://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(server.ca_file))
        with pytest.raises(OSError, match="certificate verify failed"):
            XenAPI.Session(server.url).login_with_password(server.username, server.password)
        for name in ("127.0.0.1", "localhost"):
            url = server.url.replace("127.0.0.1", name)
            proxy: Any = xmlrpc.client.ServerProxy(url, context=trusting)
            assert proxy.session.login_with_password(server.username, server.password)["Status"] == "Success"


def test_a_silent_client_does_not_hold_up_the_handshakes_of_others():
    with XenApiServer(PoolSettings(), tls=True) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)):
            session = XenAPI.Session(server.url, ignore_ssl=True)
            session.login_with_password(server.username, server.password)


def test_gone_and_back():
    with XenApiServer(PoolSettings()) as server:
        session = XenAPI.Session(server.url)
        session.login_with_password(server.username, server.password)
        server.stop_listening()
        with pytest.raises((OSError, http.client.HTTPException)):
            session.xenapi.host.get_all()
        server.listen_again()
        assert session.xenapi.host.get_all()
        server.stop_listening()
        server.reset()
        XenAPI.Session(server.url).login_with_password(server.username, server.password)


def test_reset_starts_anew(xenapi_server, xenapi_session):
    fresh = len(xenapi_session.xenapi.VM.get_all())
    xenapi_server.db.create("VM", name_label="one")
    xenapi_server.reset()
    assert not xenapi_server.db.exists("session", xenapi_session._session)
    assert len(xenapi_server.db.refs("VM")) == fresh


def test_by_hand():
    command = [sys.executable, "-m", "lab.xenapi", "--hosts", "1", "--vms", "3", "--user", "admin"]
    environment = {**os.environ, "PYTHONPATH": str(_TESTS)}
    with subprocess.Popen(command, cwd=_TESTS, env=environment, stdout=subprocess.PIPE, text=True) as process:
        said = dict(iter(lambda: tuple(process.stdout.readline().split(None, 1)), ("Ctrl-C", "ends it.\n")))
        url = said["uri"].strip().replace("xenapi+http", "http")
        session = XenAPI.Session(url)
        session.login_with_password(said["username"].strip(), said["password"].strip())
        assert len(session.xenapi.host.get_all()) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
