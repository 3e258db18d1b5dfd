# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server on loopback that behaves, or misbehaves, as it is told."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Seen(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]


@dataclass
class File:
    """What the server has at a path.

    Attributes:
        breaks: How many bytes of each of the first answers are sent before the connection is reset.
        says_length: What it says its length is, when that is a lie.
        ranges: It can send a part.
        tags: ETag of each answer, the last one for all further ones.
        drip_s: Pause after each byte.
        statuses: What the first answers are, before it answers properly.
        sends_length: It says how long it is at all.
    """

    data: bytes
    breaks: list[int] = field(default_factory=list)
    says_length: int | None = None
    ranges: bool = True
    tags: list[str] = field(default_factory=lambda: ['"one"'])
    modified: str | None = None
    drip_s: float = 0.0
    statuses: list[int] = field(default_factory=list)
    sends_length: bool = True
    total_in_range: int | None = None


class HostileServer:
    """Serves ``files`` and ``redirects`` by path, over TLS when given a context; keeps what was asked in ``seen``."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._scheme = "http" if context is None else "https"
        self.files: dict[str, File] = {}
        self.redirects: dict[str, str] = {}
        self.handlers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self._server.server_address[1]}{path}"

    def ranges_asked(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.seen]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.seen.append(Seen(request.path, {name.lower(): value for name, value in request.headers.items()}))
        if path in self.handlers:
            self.handlers[path](request)
        elif path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif path in self.files:
            self._send(request, self.files[path])
        else:
            request.send_error(404)
        request.close_connection = True

    def _send(self, request: BaseHTTPRequestHandler, file: File) -> None:
        if file.statuses:
            request.send_error(file.statuses.pop(0))
            return
        tag = file.tags[0] if file.tags else None
        if len(file.tags) > 1:
            file.tags.pop(0)
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        condition = request.headers.get("If-Range")
        start = 0
        if match and file.ranges and condition in (None, tag, file.modified):
            start = int(match[1])
            total = file.total_in_range or len(file.data)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(file.data) - 1}/{total}")
        else:
            request.send_response(200)
        body = file.data[start:]
        if file.sends_length:
            length = file.says_length if file.says_length is not None and not start else len(body)
            request.send_header("Content-Length", str(length))
        if tag is not None:
            request.send_header("ETag", tag)
        if file.modified is not None:
            request.send_header("Last-Modified", file.modified)
        request.send_header("Connection", "close")
        request.end_headers()
        limit = file.breaks.pop(0) if file.breaks else None
        self._body(request, body if limit is None else body[:limit], file.drip_s)
        if limit is not None:
            linger = struct.pack("ii", 1, 0)  # closing resets
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            time.sleep(0.05)  # what was sent arrives before the reset

    @staticmethod
    def _body(request: BaseHTTPRequestHandler, body: bytes, drip_s: float) -> None:
        try:
            if not drip_s:
                request.wfile.write(body)
                request.wfile.flush()
                return
            for byte in body:
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
                time.sleep(drip_s)
        except OSError:
            pass  # the other side has enough

    @contextmanager
    def running(self) -> Iterator[HostileServer]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
