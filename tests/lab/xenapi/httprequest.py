# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP request other than an API call, as its handler sees it."""

from __future__ import annotations

import http.server
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import parse_qsl, urlsplit

from lab.xenapi.call import Call
from lab.xenapi.database import Ref

_BLOCK = 1 << 20


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
        self.query: dict[str, str] = dict(parse_qsl(url.query, keep_blank_values=True))
        self.headers = connection.headers
        self.rfile: BinaryIO = connection.rfile
        self.call: Call
        self.responded = False
        self.own_session: Ref | None = None  # made for this request alone, from a password

    def end_session(self) -> None:
        """Log out the session that was made for this request."""
        if self.own_session is not None and self.call.db.exists("session", self.own_session):
            self.call.db.destroy("session", self.own_session)

    def body(self) -> Iterator[bytes]:
        """The request's body in blocks; where its length is not said, up to the end of the connection.

        Raises ConnectionError when it ends before its time.
        """
        length = self.headers.get("Content-Length")
        left = int(length) if length is not None else None
        while left is None or left > 0:
            block = self.rfile.read(_BLOCK if left is None else min(left, _BLOCK))
            if not block:
                break
            yield block
            if left is not None:
                left -= len(block)
        if left:
            raise ConnectionError(f"the body ended {left} bytes early")

    def respond(self, status: int, headers: Mapping[str, str] | None = None, body: Iterable[bytes] = ()) -> None:
        """Send the answer; without a Content-Length among the headers the connection is closed after the body."""
        headers = dict(headers or {})
        self.responded = True
        self._connection.send_response(status)
        if "Content-Length" not in headers:
            headers["Connection"] = "close"
            self._connection.close_connection = True
        for name, value in headers.items():
            self._connection.send_header(name, value)
        self._connection.end_headers()
        for block in body:
            self._connection.wfile.write(block)
