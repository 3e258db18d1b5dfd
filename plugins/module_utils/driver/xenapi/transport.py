# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to a XenAPI server: connections with time limits, and the errors of the way there."""

from __future__ import annotations

import http.client
import socket
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Callable, cast

from .wire import parse_reply

_HUNG_UP = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How sending finds out that the server listens no more; the last two are of TLS."""

_PIECE_BYTES = 1 << 20

Body = Callable[[], Iterable[bytes]]
"""Begins a request's body, from its first byte each time it is called."""


class TransportError(Exception):
    """The server cannot be talked to.

    Attributes:
        lost: The connection broke, so that another try may fare better.
    """

    def __init__(self, message: str, lost: bool = False) -> None:
        super().__init__(message)
        self.lost = lost


class HttpRefused(Exception):
    """The server answered an HTTP request, and not with success.

    Attributes:
        status: The HTTP status.
        location: Where it says to go instead, if anywhere.
    """

    def __init__(self, status: int, reason: str, location: str | None = None) -> None:
        super().__init__(f"HTTP {status} {reason}".rstrip())
        self.status = status
        self.location = location


class _BodyError(Exception):
    """A request's body cannot be read, which is not the connection's fault."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int
    secure: bool

    @property
    def url(self) -> str:
        """As XenAPI's session wants it."""
        return f"{'https' if self.secure else 'http'}://{self.netloc}/"

    @property
    def uri(self) -> str:
        """As users write it."""
        return f"{'xenapi' if self.secure else 'xenapi+http'}://{self.netloc}"

    @property
    def netloc(self) -> str:
        """Host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def sibling(self, text: str) -> Address:
        """Another host of the same pool, by its address; without a port of its own it has ours."""
        host, port = text, ""
        if text.startswith("["):
            host, _bracket, rest = text[1:].partition("]")
            port = rest.partition(":")[2]
        elif text.count(":") == 1:
            host, _colon, port = text.partition(":")
        return Address(host, int(port) if port.isdecimal() else self.port, self.secure)


@dataclass(frozen=True)
class Limits:
    """Seconds until silence is an error: while connecting, and after a request."""

    connect_s: float
    answer_s: float


class Connection:
    """One connection, kept alive from request to request, for one thread at a time.

    It stands in for the transport of XenAPI's session. Unlike the transport of Python's own XML-RPC it never sends a
    request twice: a call whose answer is lost may have had its effect.
    """

    def __init__(self, address: Address, context: ssl.SSLContext | None, limits: Limits) -> None:
        self.address = address
        self._limits = limits
        if address.secure:
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(
                address.host, address.port, timeout=limits.connect_s, context=context
            )
        else:
            self._http = http.client.HTTPConnection(address.host, address.port, timeout=limits.connect_s)
        self._is_connected = False
        self._aborted = False

    def request(self, _host: str, handler: str, body: bytes, verbose: bool = False) -> tuple[Any, ...]:
        """Carry out one XML-RPC request; how XenAPI's session calls its transport."""
        del verbose
        with self._errors_told():
            response = self._exchange("POST", handler, {"Content-Type": "text/xml"}, body)
            if response.status != http.client.OK:
                raise self._no_xenapi(f"HTTP {response.status} {response.reason}")
            values = parse_reply(response.read())
        if len(values) != 1 or not isinstance(values[0], dict) or "Status" not in values[0]:
            raise self._no_xenapi("an answer without a status")
        if values[0].get("ErrorDescription") == []:
            raise self._no_xenapi("an error without a code")
        return values

    def send(self, method: str, target: str, body: Body | None = None, length: int | None = None) -> bytes:
        """Carry out one HTTP request with a body of any size; the answer's body.

        Raises:
            TransportError: it cannot be talked to.
            HttpRefused: it answers, and not with success.
            OSError: the body cannot be read.
        """
        headers = {} if length is None else {"Content-Length": str(length)}
        try:
            with self._errors_told():
                response = self._exchange(method, target, headers, None if body is None else _pieces(body))
                content = response.read()
        except _BodyError as error:
            raise error.reason from None
        self._require_success(response)
        return content

    def receive(self, target: str) -> Iterator[bytes]:
        """Carry out a GET; the answer's body, piece by piece. The request is made when the first one is asked for.

        Raises:
            TransportError: it cannot be talked to.
            HttpRefused: it answers, and not with success.
        """
        with self._errors_told():
            response = self._exchange("GET", target, {}, None)
        self._require_success(response)
        while True:
            with self._errors_told():
                piece = response.read(_PIECE_BYTES)
            if not piece:
                return
            yield piece

    def _require_success(self, response: http.client.HTTPResponse) -> None:
        if not http.client.OK <= response.status < http.client.MULTIPLE_CHOICES:
            # What is left of the body would be taken for the next request.
            self.close()
            raise HttpRefused(response.status, response.reason, response.getheader("Location"))

    def close(self) -> None:
        """Disconnect; a further request connects anew."""
        self._is_connected = False
        self._http.close()

    def abort(self) -> None:
        """Break the connection for good from another thread: the one that waits for an answer waits no longer."""
        self._aborted = True
        sock = self._http.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None
    ) -> http.client.HTTPResponse:
        self._ensure_connected()
        try:
            if body is None or isinstance(body, bytes) or "Content-Length" in headers:
                self._http.request(method, target, body=body, headers=dict(headers))
            else:
                self._send_open_ended(method, target, headers, body)
        except _HUNG_UP:
            if isinstance(body, bytes):
                raise
            # A server that does not want an upload says so at once and hangs up.
            with suppress(OSError, http.client.HTTPException):
                return self._http.getresponse()
            raise
        return self._http.getresponse()

    def _send_open_ended(self, method: str, target: str, headers: Mapping[str, str], body: Iterable[bytes]) -> None:
        """A body that says by itself where it ends; Python would send one of unknown length in HTTP's own chunks,
        which no XenAPI server takes."""
        self._http.putrequest(method, target)
        for name, value in headers.items():
            self._http.putheader(name, value)
        self._http.endheaders()
        for piece in body:
            self._http.send(piece)

    def _ensure_connected(self) -> None:
        self._check_not_aborted()
        if self._http.sock is not None and self._is_stale(self._http.sock):
            self.close()
        if self._http.sock is None:
            self._is_connected = False
            self._http.connect()
            self._is_connected = True
            self._check_not_aborted()  # which may have come while there was nothing to be broken
            cast("socket.socket", self._http.sock).settimeout(self._limits.answer_s)

    def _check_not_aborted(self) -> None:
        if self._aborted:
            raise TransportError(f"the connection with {self.address.netloc} has ended")

    def _is_stale(self, sock: socket.socket) -> bool:
        """Whether the server has hung up since the last answer: between requests it has nothing else to say."""
        sock.settimeout(0)
        try:
            sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            sock.settimeout(self._limits.answer_s)
            return False
        except OSError:
            pass
        return True

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Errors become ours; after one nobody knows what comes next on this connection, so it ends."""
        server = self.address.netloc
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise TransportError(
                f"the certificate of {server} cannot be trusted ({error.verify_message}): give the file with its "
                "authority's certificates as ca_path, or on a network that you trust wholly set validate_certs to false"
            ) from error
        except ssl.SSLError as error:
            was_connected = self._is_connected
            self.close()
            what = (
                f"the connection with {server} broke"
                if was_connected
                else f"no TLS connection with {server} comes about"
            )
            raise TransportError(f"{what} ({error.reason or error})", lost=was_connected) from error
        except socket.timeout as error:
            limit = self._limits.answer_s if self._is_connected else self._limits.connect_s
            self.close()
            raise TransportError(f"the server at {server} did not answer within {limit:g} s") from error
        except (http.client.HTTPException, OSError) as error:
            was_connected = self._is_connected
            self.close()
            what = f"the connection with {server} broke" if was_connected else f"nobody answers at {server}"
            raise TransportError(f"{what} ({_words(error)})", lost=was_connected) from error
        except ET.ParseError as error:
            self.close()
            raise self._no_xenapi("an answer that is no XML") from error
        except BaseException:
            self.close()
            raise

    def _no_xenapi(self, why: str) -> TransportError:
        return TransportError(f"what listens at {self.address.netloc} is no XenAPI server ({why})")


def tls_context(validate_certs: bool, ca_path: str | None) -> ssl.SSLContext:
    """How servers prove who they are.

    Raises:
        OSError: the file of certificates cannot be read or holds none.
    """
    if validate_certs:
        return ssl.create_default_context(cafile=ca_path)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pieces(body: Body) -> Iterator[bytes]:
    try:
        yield from body()
    except OSError as error:
        raise _BodyError(error) from error


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
