# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP and HTTPS on loopback: XML-RPC calls and the other requests that a host answers."""

from __future__ import annotations

import base64
import contextlib
import http.cookies
import http.server
import logging
import socket
import socketserver
import ssl
import threading
import time
import xmlrpc.client
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from lab.xenapi import wire
from lab.xenapi.call import Call
from lab.xenapi.calls import Made
from lab.xenapi.datamodel import NULL
from lab.xenapi.failures import Failure, HttpFailure
from lab.xenapi.faults import ConnectionDropped
from lab.xenapi.httprequest import HttpRequest
from lab.xenapi.modeltypes import parse_type
from lab.xenapi.registry import HttpHandler, http_handler_for
from lab.xenapi.sessions import check_password, check_session, open_session

if TYPE_CHECKING:
    from lab.xenapi.server import XenApiServer

log = logging.getLogger("lab.xenapi")

_RPC_PATHS = ("/", "/RPC2")
_READING_METHODS = ("GET", "HEAD")
_XML = "<?xml version='1.0'?>"
_STRINGS = parse_type("string set")


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One host's port. Each connection has a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, server: XenApiServer, port: int, context: ssl.SSLContext | None, number: int) -> None:
        super().__init__(("127.0.0.1", port), _Connection)
        self.xen = server
        self.number = number  # of the host in the pool; 0 is the master
        self._context = context
        self._open: set[socket.socket] = set()
        self.watching: set[threading.Thread] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name=f"XenAPI port {self.server_port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def connections(self) -> int:
        """How many there are, without those that only wait for events."""
        return len(self._open) - len(self.watching)

    def close(self) -> None:
        """Take no more connections and end those there are."""
        self._closing = True
        # Wakes the thread that accepts, which closing alone does not.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for a name of the address.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            # Here and not when accepting: a slow handshake holds up nobody else.
            connection = self._context.wrap_socket(request, server_side=True) if self._context else request
            self._open.add(connection)
            try:
                super().finish_request(connection, client_address)
            finally:
                self._open.discard(connection)
                if connection is not request:
                    connection.close()
        except OSError as error:
            log.debug("connection from %s ended: %s", client_address, error)

    def _accept(self) -> None:
        while not self._closing:
            try:
                request, address = self.get_request()
            except OSError as error:
                if not self._closing:
                    log.warning("a connection could not be taken: %s", error)
                    time.sleep(0.1)
                continue
            self.process_request(request, address)


class _Connection(http.server.BaseHTTPRequestHandler):
    """Reads requests from one connection and answers them."""

    protocol_version = "HTTP/1.1"
    server_version = "XenAPI-lab"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Listener

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        if path in _RPC_PATHS:
            self._guarded(self._answer_call)
        else:
            self._guarded(self._answer_request)

    def do_GET(self) -> None:
        self._guarded(self._answer_request)

    def do_HEAD(self) -> None:
        self._guarded(self._answer_request)

    def do_PUT(self) -> None:
        self._guarded(self._answer_request)

    def handle_expect_100(self) -> bool:
        self.send_response_only(http.HTTPStatus.CONTINUE)
        self.end_headers()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name is the base class's
        log.debug("%s: %s", self.address_string(), format % args)

    def _guarded(self, answer: Any) -> None:
        try:
            self.server.xen.wait_until_thawed()
            answer()
            self.wfile.flush()
        except ConnectionDropped:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    # -- XML-RPC -------------------------------------------------------------------------------------------------------

    def _answer_call(self) -> None:
        length = self.headers.get("Content-Length")
        if length is None:
            self.send_error(http.HTTPStatus.LENGTH_REQUIRED)
            return
        try:
            params, name = xmlrpc.client.loads(self.rfile.read(int(length)))
        except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, IndexError) as error:
            self._send_xml(xmlrpc.client.dumps(xmlrpc.client.Fault(1, f"this is no XML-RPC call: {error}")))
            return
        if name == "event.from":
            self.server.watching.add(threading.current_thread())
        try:
            value = self.server.xen.carry_out(name or "", params, slave=self.server.number > 0)
            members = {"Status": wire.string("Success"), "Value": value}
        except Failure as failure:
            details = wire.encode(_STRINGS, failure.details)
            members = {"Status": wire.string("Failure"), "ErrorDescription": details}
        finally:
            self.server.watching.discard(threading.current_thread())
        reply = wire.struct(members.items())
        self._send_xml(f"{_XML}<methodResponse><params><param>{reply}</param></params></methodResponse>")

    def _send_xml(self, text: str) -> None:
        body = text.encode()
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # -- other requests ------------------------------------------------------------------------------------------------

    def _answer_request(self) -> None:
        request = HttpRequest(self, self.server.number)
        handler = http_handler_for(request.method, request.path)
        if handler is None:
            self._refuse(request, http.HTTPStatus.NOT_FOUND, [request.path])
            return
        writing = request.method not in _READING_METHODS
        name = f"http:{request.path}"
        self.server.xen.calls.made(Made(name, writing, asynchronous=False))
        hit = self.server.xen.faults.hit(name, writing=writing)
        if hit.dropped_before:
            raise ConnectionDropped
        try:
            request.call = self._logged_in(request)
        except Failure as failure:
            self._refuse(request, http.HTTPStatus.UNAUTHORIZED, failure.details)
            return
        try:
            self._handle(request, handler, hit.seconds, hit.failure)
        finally:
            request.end_session()
        if hit.dropped_after:
            raise ConnectionDropped

    def _handle(self, request: HttpRequest, handler: HttpHandler, seconds: float, failure: Failure | None) -> None:
        """Run the handler and let the task that the client named end as it did."""
        call = request.call
        failed: Failure | None = None
        try:
            if seconds:
                call.sleep(seconds)
            if failure:
                raise failure
            handler(request)
        except Failure as raised:
            failed = raised
        except OSError as error:
            # The client went away in the middle.
            self.close_connection = True
            failed = Failure("INTERNAL_ERROR", str(error))
        except Exception as error:
            log.exception("%s %s failed", request.method, request.path)
            failed = Failure("INTERNAL_ERROR", repr(error))
        if call.task != NULL and not request.redirected:
            if failed:
                call.pool.tasks.fail(call.task, failed)
            else:
                call.pool.tasks.complete(call.task, "")
        if failed and not request.responded:
            status = failed.status if isinstance(failed, HttpFailure) else http.HTTPStatus.INTERNAL_SERVER_ERROR
            self._refuse(request, http.HTTPStatus(status), failed.details)

    def _logged_in(self, request: HttpRequest) -> Call:
        """The call of a client that shows a session (in the query or a cookie) or a password; else SESSION_INVALID."""
        pool = self.server.xen.pool
        task = request.query.get("task_id", NULL)
        cancelled = pool.tasks.watch(task) if pool.db.exists("task", task) else None
        task = task if cancelled else NULL
        scheme, _space, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            user, _colon, password = base64.b64decode(credentials).decode().partition(":")
            check_password(pool, user, password)
            request.own_session = open_session(pool, user, "")
            return Call(pool, request.own_session, task, cancelled)
        cookie = http.cookies.SimpleCookie(self.headers.get("Cookie", "")).get("session_id")
        session = request.query.get("session_id") or (cookie.value if cookie else NULL)
        check_session(pool, session)
        return Call(pool, session, task, cancelled)

    @staticmethod
    def _refuse(request: HttpRequest, status: http.HTTPStatus, why: list[str]) -> None:
        request.discard_body()
        body = (" ".join(why) + "\n").encode()
        headers = {"Content-Type": "text/plain", "Content-Length": str(len(body))}
        if status is http.HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="XenAPI"'
        request.respond(status, headers, [body])
