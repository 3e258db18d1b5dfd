# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to a libvirt daemon: opened, guarded and closed."""

from __future__ import annotations

import threading
from concurrent import futures
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Callable, ClassVar
from urllib.parse import unquote

from ...errors import AnyvirtError, HypervisorUnavailable, LibraryMissing, PermissionDenied
from ..base import ComputeDriver
from ..uri import ConnectionOptions
from . import events
from .errors import translate, translated

if TYPE_CHECKING:
    import libvirt

KEEPALIVE_COUNT = 2
KEEPALIVE_INTERVAL_S = 5
"""A daemon that is silent for interval x (count + 1) seconds counts as gone, and so do the calls that wait for it. The
interval is shorter where ``call_timeout_s`` is. A daemon that is alive may take its time for a call, and ends it itself
when a guest's QEMU hangs. Xen's daemon may fall silent while it works, so there ``call_timeout_s`` alone counts."""

_HIDDEN = "***"
_HARMLESS = frozenset(
    (
        *("socket", "mode", "name", "command", "netcat", "proxy", "pkipath", "keyfile", "authfile", "tls_priority"),
        *("no_sanity", "no_verify", "no_tty", "known_hosts", "known_hosts_verify", "sshauth"),
    )
)
"""The parameters of URIs that libvirt knows; none of them is a secret."""


def import_library() -> Any:
    """The module libvirt.

    Raises:
        LibraryMissing: it is not installed here.
    """
    try:
        import libvirt
    except ImportError as error:
        raise LibraryMissing(
            "the Python library libvirt is not installed where the module runs: "
            "install the package python3-libvirt, or libvirt-python with pip"
        ) from error
    return libvirt


class LibvirtBase(ComputeDriver):
    """What all parts of the libvirt driver stand on.

    ``connect`` is the seam at which tests put a connection of theirs: it is given the library and the options and
    returns a virConnect.
    """

    name = "libvirt"
    connect: ClassVar[Callable[[Any, ConnectionOptions], Any]]

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.libvirt: Any = None
        self.most_workers: int | None = None
        self._conn: libvirt.virConnect | None = None
        self._capabilities_xml: str | None = None

    @property
    def conn(self) -> libvirt.virConnect:
        """The open connection."""
        if self._conn is None:
            raise RuntimeError("the driver is not open")
        return self._conn

    @property
    def kind(self) -> str:
        """Which of libvirt's drivers the URI asks for: ``qemu``, ``lxc`` or ``xen``."""
        return self.options.split().scheme.partition("+")[0]

    @property
    def max_workers(self) -> int | None:
        # libvirt's Xen driver (version 9.0) was seen to crash when two domains were started at once.
        return 1 if self.kind == "xen" else self.most_workers

    def open(self) -> None:
        if self._conn is not None:
            return
        self.libvirt = import_library()
        # Without a handler of ours libvirt writes each error to stderr, also those that are expected.
        self.libvirt.registerErrorHandler(lambda _context, _error: None, None)
        events.start(self.libvirt)
        self._conn = self.open_another()

    def open_another(self) -> libvirt.virConnect:
        """A connection beside the driver's own, for a call that lasts: libvirt's client (seen with 9.0) may let calls
        lie that other threads make on the connection on which it waits. ``close_another`` is for when it is over."""
        connection = self._connect_in_time()
        try:
            with translated(self.libvirt, "watch over the connection"):
                connection.setKeepAlive(self._keepalive_interval_s(), KEEPALIVE_COUNT)
        except BaseException:
            self.close_another(connection)
            raise
        return connection

    def close(self) -> None:
        connection, self._conn = self._conn, None
        self._capabilities_xml = None
        if connection is not None:
            self.close_another(connection)

    def close_another(self, connection: libvirt.virConnect) -> None:
        """Close it; fine when it is closed already."""
        # When the daemon is gone, so is the connection.
        with suppress(self.libvirt.libvirtError):
            connection.close()

    def lookup(self, name: str) -> libvirt.virDomain:
        """The domain.

        Raises:
            InstanceNotFound: there is none.
        """
        with self.guard(f"look up instance {name!r}", name):
            return self.conn.lookupByName(name)

    def capabilities_xml(self) -> str:
        """libvirt's description of the host and of what guests it can run, asked for once."""
        if self._capabilities_xml is None:
            with self.guard("read the host's capabilities"):
                self._capabilities_xml = self.conn.getCapabilities()
        return self._capabilities_xml

    def guard(self, what: str, name: str | None = None) -> AbstractContextManager[None]:
        """Within the block libvirt's errors become ours, saying that it cannot do ``what``."""
        return translated(self.libvirt, what, name)

    def _keepalive_interval_s(self) -> int:
        wanted = max(1, int(self.options.call_timeout_s / (KEEPALIVE_COUNT + 1)))
        return wanted if self.kind == "xen" else min(KEEPALIVE_INTERVAL_S, wanted)

    def _connect_in_time(self) -> libvirt.virConnect:
        """Connect in a thread of its own: a frozen daemon accepts the connection and then says nothing, for ever."""
        outcome: futures.Future[Any] = futures.Future()

        def connect() -> None:
            try:
                connection = type(self).connect(self.libvirt, self.options)
            except BaseException as error:
                with suppress(futures.InvalidStateError):
                    outcome.set_exception(error)
                return
            try:
                outcome.set_result(connection)
            except futures.InvalidStateError:  # nobody waits any more
                self.close_another(connection)

        threading.Thread(target=connect, name="anyvirt-connect", daemon=True).start()
        futures.wait([outcome], self.options.connect_timeout_s)
        if outcome.cancel():
            raise HypervisorUnavailable(
                f"the libvirt daemon at {without_secrets(self.options.uri)} did not answer within "
                f"{self.options.connect_timeout_s:g} s"
            )
        try:
            return outcome.result()
        except self.libvirt.libvirtError as error:
            raise connect_error(error, self.options) from None


def open_connection(library: Any, options: ConnectionOptions) -> Any:
    """A virConnect; asks with the user name and password of the options when the daemon wants some."""

    def answer(credentials: list[list[Any]], _data: object) -> int:
        answers = {
            library.VIR_CRED_USERNAME: options.username,
            library.VIR_CRED_AUTHNAME: options.username,
            library.VIR_CRED_PASSPHRASE: options.password,
        }
        for credential in credentials:
            value = answers.get(credential[0])
            if value is None:
                return -1
            credential[4] = value
        return 0

    kinds = [library.VIR_CRED_USERNAME, library.VIR_CRED_AUTHNAME, library.VIR_CRED_PASSPHRASE]
    return library.openAuth(options.uri, [kinds, answer, None], 0)


LibvirtBase.connect = staticmethod(open_connection)


def without_secrets(uri: str) -> str:
    """The URI as messages may show it: no password before the host, and of its parameters only what libvirt knows."""
    address, question_mark, query = uri.partition("?")
    scheme, separator, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    user, at, host = host.rpartition("@")
    shown = [
        parameter if parameter.partition("=")[0] in _HARMLESS else f"{parameter.partition('=')[0]}={_HIDDEN}"
        for parameter in query.partition("#")[0].split("&")
    ]
    return "".join((scheme, separator, user.partition(":")[0], at, host, slash, path, question_mark)) + (
        "&".join(shown) if question_mark else ""
    )


def connect_error(error: libvirt.libvirtError, options: ConnectionOptions) -> AnyvirtError:
    """Permission is the one thing besides absence that can be wrong here, and libvirt gives it the same code."""
    address, text = without_secrets(options.uri), _without_passwords(str(error), options)
    if isinstance(translate(error, "connect"), PermissionDenied) or "permission denied" in text.lower():
        hint = "" if _is_remote(options) else "; become root or a member of the group libvirt"
        return PermissionDenied(f"cannot connect to {address}: permission denied{hint} ({text})")
    return HypervisorUnavailable(f"no libvirt daemon answers at {address}: is it running? ({text})")


def _is_remote(options: ConnectionOptions) -> bool:
    return bool(options.split().netloc)


def _without_passwords(text: str, options: ConnectionOptions) -> str:
    """libvirt's own words may repeat the whole URI."""
    text = text.replace(options.uri, without_secrets(options.uri))
    in_uri = options.split().password or ""
    for password in filter(None, (options.password, in_uri, unquote(in_uri))):
        text = text.replace(password, _HIDDEN)
    return text
