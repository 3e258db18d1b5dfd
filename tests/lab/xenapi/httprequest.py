# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP request other than an API call, as its handler sees it."""

from __future__ import annotations

import http.server
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from lab.xenapi.call import Call
from lab.xenapi.database import Ref

_BLOCK = 1 << 20
_DISCARDED_AT_MOST = 16 << 20


class HttpRequest:
    """``method``, ``path``, ``query``, ``headers`` (get is case-insensitive), ``rfile``, and ``call``.

    ``call`` has the pool, the session and the task that the client named (``task_id``), or NULL. ``host_number`` tells
    which of the pool's hosts was asked: 0 for the master.
    """

    def __init__(self, connection: http.server.BaseHTTPRequestHandler, host_number: int) -> None:
        url = urlsplit(connection.path)
        self._connection = connection
        self.host_number = host_number
        self.method: str = connection.command
        self.path: str = url.path
        self.target: str = connection.path
        self.query: dict[str, str] = dict(parse_qsl(url.query, keep_blank_values=True))
        self.headers = connection.headers
        self.rfile = connection.rfile
        self.call: Call
        self.responded = False
        self.redirected = False  # another host goes on with the task
        length = self.headers.get("Content-Length")
        # Bytes of the body that have not been read; None: up to the end of the connection.
        self._left: int | None = int(length) if length is not None else None
        if self._left is None and self.method in ("GET", "HEAD"):
            self._left = 0
        self.own_session: Ref | None = None  # made for this request alone, from a password

    def end_session(self) -> None:
        """Log out the session that was made for this request."""
        if self.own_session is not None and self.call.db.exists("session", self.own_session):
            self.call.db.destroy("session", self.own_session)

    def body(self) -> Iterator[bytes]:
        """The request's body in blocks; where its length is not said, up to the end of the connection.

        Raises ConnectionError when it ends before its time.
        """
        while self._left is None or self._left > 0:
            block = self.rfile.read(_BLOCK if self._left is None else min(self._left, _BLOCK))
            if not block:
                break
            if self._left is not None:
                self._left -= len(block)
            yield block
        if self._left:
            raise ConnectionError(f"the body ended {self._left} bytes early")
        self._left = 0

    def read(self, length: int) -> bytes:
        """So much of a body that says itself where it ends. Raises ConnectionError when it ends before that."""
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionError("the body ended early")
        return data

    def redirect(self, address: str) -> None:
        """Send the client to another host, before anything of its body is read."""
        self.redirected = True
        self.respond(302, {"Location": f"https://{address}{self.target}"})

    def discard_body(self) -> None:
        """Read what is left of a body that is not too large, so that its sender gets to see the answer."""
        if self._left is not None and self._left <= _DISCARDED_AT_MOST:
            for _block in self.body():
                pass

    def respond(self, status: int, headers: Mapping[str, str] | None = None, body: Iterable[bytes] = ()) -> None:
        """Send the answer; without a Content-Length among the headers the connection is closed after the body."""
        headers = dict(headers or {})
        self.responded = True
        self._connection.send_response(status)
        # What is left unread of the request would be taken for the next one.
        if "Content-Length" not in headers or self._left != 0:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self._connection.send_header(name, value)  # close: the base class sees it and closes
        self._connection.end_headers()
        for block in body:
            self._connection.wfile.write(block)
