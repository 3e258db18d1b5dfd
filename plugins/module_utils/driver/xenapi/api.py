# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to a pool: one login, shared by all threads, and a connection for each call that is under way."""

from __future__ import annotations

import math
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urljoin, urlsplit
from xmlrpc.client import Fault

from ...errors import InvalidInput, LibraryMissing, Problem
from ..uri import ConnectionOptions
from .transport import Address, Body, Connection, HttpRefused, Limits, TransportError, tls_context

HTTPS_PORT, HTTP_PORT = 443, 80
PLAIN = "http"
"""The transport in a URI's scheme that does without TLS: ``xenapi+http``."""

_API_VERSION = "1.0"
_ORIGINATOR = "anyvirt.compute"
_MOST_REDIRECTS = 3
_REFUSED_LOGIN = "SESSION_AUTHENTICATION_FAILED"
_LOST_SESSION = ("SESSION_INVALID", "HOST_IS_SLAVE")
"""After these it takes a new login, and the call has had no effect: the session has expired, or another host has become
the pool's master."""
_UNAUTHORIZED = 401
_LOGOUT_S = 5.0
"""A server that does not take leave for that long is left without."""


def import_library() -> Any:
    """The module XenAPI.

    Raises:
        LibraryMissing: it is not installed here.
    """
    try:
        import XenAPI
    except ImportError as error:
        raise LibraryMissing(
            "the Python library XenAPI is not installed where the module runs: "
            "install the package XenAPI with pip, or python3-xenapi where the distribution has it"
        ) from error
    return XenAPI


def address_of(uri: SplitResult) -> Address:
    """Where the pool's master, or any host of the pool, listens."""
    secure = uri.scheme.partition("+")[2] != PLAIN
    return Address(uri.hostname or "localhost", uri.port or (HTTPS_PORT if secure else HTTP_PORT), secure)


def user_of(options: ConnectionOptions) -> str:
    """Who to log in as; empty when nobody says."""
    return options.username or unquote(options.split().username or "")


class Line:
    """A connection on which calls are made, by one thread at a time."""

    def __init__(self, library: Any, connection: Connection) -> None:
        self.connection = connection
        self._session = library.Session(connection.address.url, transport=connection)

    def call(self, session: str, method: str, params: tuple[Any, ...]) -> Any:
        """Make a call with a session that another line has logged in."""
        self._session._session = session
        return self._session.xenapi_request(method, params)


class Api:
    """Calls to the pool of ``options.uri``.

    Safe to be used by any number of threads.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self.library: Any = None
        self.address = address_of(options.split())
        self._context: ssl.SSLContext | None = None
        self._limits = Limits(options.connect_timeout_s, options.call_timeout_s)
        self._lock = threading.Lock()
        """Guards the session and the idle lines."""
        self._login_lock = threading.Lock()
        self._session: str | None = None
        self._refusal: list[str] | None = None
        """What the server said when it did not take the password again."""
        self._idle: list[Line] = []

    # -- session ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Log in, at the pool's master.

        Raises:
            LibraryMissing: XenAPI is not installed.
            InvalidInput: the file of ``ca_path`` is no use.
            XenAPI.Failure, Fault, TransportError: as they come.
        """
        self.library = import_library()
        if self.address.secure:
            self._context = self._tls_context()
        self._session = self._log_in()

    def close(self) -> None:
        """Log out and disconnect; never raises."""
        with self._lock:
            session, self._session = self._session, None
            idle, self._idle = self._idle, []
        for line in idle:
            line.connection.close()
        if session is not None:
            with (
                self._login_line(self.address, min(_LOGOUT_S, self._limits.answer_s)) as connection,
                suppress(Exception),
            ):
                self.library.Session(connection.address.url, transport=connection).session.logout(session)

    @property
    def session(self) -> str:
        """The session's reference, for what is asked by other ways than calls."""
        session = self._session
        if session is None:
            raise RuntimeError("the driver is not open")
        return session

    def _tls_context(self) -> ssl.SSLContext:
        path = self._options.ca_path
        try:
            return tls_context(self._options.validate_certs, path)
        except OSError as error:
            raise InvalidInput([Problem("ca_path", f"no certificates can be read from {path}: {error}")]) from error

    def _log_in(self) -> str:
        """A new session's reference; goes to the master where the answer is to do so."""
        options = self._options
        for last_try in (False, True):
            with self._login_line(self.address) as connection:
                session = self.library.Session(connection.address.url, transport=connection)
                try:
                    session.xenapi_request(
                        "login_with_password",
                        (user_of(options), options.password or "", _API_VERSION, _ORIGINATOR),
                    )
                except self.library.Failure as failure:
                    code, *told = failure.details
                    if code != "HOST_IS_SLAVE" or last_try or not told:
                        raise
                    self.address = self.address.sibling(told[0])
                else:
                    return str(session.handle)
        raise AssertionError("the last try returns or raises")

    def _log_in_again(self, stale: str) -> None:
        """Replace a session that has ended, unless another thread has done so already.

        A password that was refused is not tried again: servers lock accounts after a few wrong ones.
        """
        with self._login_lock:
            if self.session != stale:
                return
            if self._refusal is not None:
                raise self.library.Failure(self._refusal)
            try:
                renewed = self._log_in()
            except self.library.Failure as failure:
                if failure.details[0] == _REFUSED_LOGIN:
                    self._refusal = failure.details
                raise
            with self._lock:
                self._session = renewed

    @contextmanager
    def _login_line(self, address: Address, longest_s: float = math.inf) -> Iterator[Connection]:
        """A connection on which an answer is waited for no longer than for the connection itself."""
        wait_s = min(self._limits.connect_s, longest_s)
        connection = Connection(address, self._context, Limits(wait_s, wait_s))
        try:
            yield connection
        finally:
            connection.close()

    # -- calls ------------------------------------------------------------------------------------------------------

    def call(self, method: str, *params: Any) -> Any:
        """Make a call, e.g. ``call("VM.get_record", ref)``; the session is put in front of the parameters.

        A session that has ended is renewed once. A read whose connection breaks is made once more; nothing else is,
        since it may have had its effect.

        Raises:
            XenAPI.Failure, Fault, TransportError: as they come.
        """
        with self._line() as line:
            return self.call_on(line, method, *params)

    def call_on(self, line: Line, method: str, *params: Any) -> Any:
        """The same, on a line of the caller's own."""
        try:
            return self._call_in_session(line, method, params)
        except TransportError as error:
            if not (error.lost and is_read(method)):
                raise
            return self._call_in_session(line, method, params)

    def new_line(self) -> Line:
        """A line of the caller's own, to be closed by the caller."""
        return Line(self.library, Connection(self.address, self._context, self._limits))

    def _call_in_session(self, line: Line, method: str, params: tuple[Any, ...]) -> Any:
        session = self.session
        try:
            return line.call(session, method, params)
        except Fault as fault:
            if fault.faultCode != _UNAUTHORIZED:
                raise
        except self.library.Failure as failure:
            if failure.details[0] not in _LOST_SESSION:
                raise
        self._log_in_again(session)
        if line.connection.address == self.address:
            return line.call(self.session, method, params)
        with self._line() as other:
            return other.call(self.session, method, params)

    @contextmanager
    def _line(self) -> Iterator[Line]:
        """An idle line, or a new one; it is idle again afterwards."""
        with self._lock:
            line = self._idle.pop() if self._idle else None
        if line is not None and line.connection.address != self.address:
            line.connection.close()
            line = None
        if line is None:
            line = self.new_line()
        try:
            yield line
        finally:
            with self._lock:
                is_open = self._session is not None
                if is_open:
                    self._idle.append(line)
            if not is_open:
                line.connection.close()

    # -- HTTP -------------------------------------------------------------------------------------------------------

    def http_request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None = None,
        length: int | None = None,
        address: str | None = None,
    ) -> bytes:
        """An HTTP request beside the calls, with the session; the answer's body.

        Args:
            method: ``GET`` or ``PUT``.
            path: E.g. ``/import_raw_vdi``.
            query: The parameters, without the session.
            body: Begins the body, which is sent piece by piece; called again where the server sends us elsewhere.
            length: How many bytes the body has.
            address: Another host of the pool than the master, by the address that the pool has for it.

        Raises:
            TransportError: it cannot be talked to.
            HttpRefused: it answers, and not with success.
        """
        session = self.session
        try:
            return self._http_in_session(session, method, path, query, body, length, address)
        except HttpRefused as refused:
            if refused.status != _UNAUTHORIZED:
                raise
        self._log_in_again(session)
        return self._http_in_session(self.session, method, path, query, body, length, address)

    def receive(self, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        """A GET beside the calls, with the session; the answer's body, piece by piece.

        Raises:
            TransportError, HttpRefused: as ``http_request``, from the iterator.
        """
        session = self.session
        pieces = self._receive_in_session(session, path, query)
        try:
            first = next(pieces, b"")
        except HttpRefused as refused:
            if refused.status != _UNAUTHORIZED:
                raise
            self._log_in_again(session)
            pieces = self._receive_in_session(self.session, path, query)
            first = next(pieces, b"")
        if first:
            yield first
            yield from pieces

    def _receive_in_session(self, session: str, path: str, query: Mapping[str, str]) -> Iterator[bytes]:
        place, target = self.address, _target(session, path, query)
        for _redirect in range(_MOST_REDIRECTS):
            connection = Connection(place, self._context, self._limits)
            try:
                yield from connection.receive(target)
                return
            except HttpRefused as refused:
                if not refused.location:
                    raise
                place, target = redirected(place, target, refused.location)
            finally:
                connection.close()
        raise _sent_around(path)

    def _http_in_session(
        self,
        session: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Body | None,
        length: int | None,
        address: str | None,
    ) -> bytes:
        target = _target(session, path, query)
        place = self.address if address is None else self.address.sibling(address)
        for _redirect in range(_MOST_REDIRECTS):
            connection = Connection(place, self._context, self._limits)
            try:
                return connection.send(method, target, body, length)
            except HttpRefused as refused:
                if not refused.location:
                    raise
                place, target = redirected(place, target, refused.location)
            finally:
                connection.close()
        raise _sent_around(path)


def _target(session: str, path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode({'session_id': session, **query})}"


def _sent_around(path: str) -> TransportError:
    return TransportError(f"the servers send each other {path}, and none of them takes it")


def is_read(method: str) -> bool:
    """Whether a call changes nothing, so that it can be made twice."""
    _kind, _dot, message = method.partition(".")
    return message.startswith("get_") or method == "event.from"


def redirected(place: Address, target: str, location: str) -> tuple[Address, str]:
    """Where to go and what to ask for there."""
    parts = urlsplit(urljoin(place.url + target.lstrip("/"), location))
    # A server that has us leave TLS for its sibling would have us tell the session to the whole network.
    moved = place.sibling(parts.netloc.rpartition("@")[2]) if parts.netloc else place
    return moved, parts.path + (f"?{parts.query}" if parts.query else "")
