# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to a libvirt daemon: opened, guarded and closed."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, Callable, ClassVar
from urllib.parse import urlsplit, urlunsplit

from ...errors import HypervisorUnavailable, LibraryMissing
from ..base import ComputeDriver
from ..uri import ConnectionOptions
from .errors import translate, translated

if TYPE_CHECKING:
    import libvirt

KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 2
"""A daemon that is silent for interval x (count + 1) seconds counts as gone: the longest that any call can hang. The
interval is shorter where the connection's time limit is."""

_events_lock = threading.Lock()
_events_threads: list[threading.Thread] = []
"""The one thread that runs libvirt's event loop, once it is started."""


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

    def open(self) -> None:
        if self._conn is not None:
            return
        self.libvirt = import_library()
        # Without a handler of ours libvirt writes each error to stderr, also those that are expected.
        self.libvirt.registerErrorHandler(lambda _context, _error: None, None)
        _start_events(self.libvirt)
        connection = self._connect_in_time()
        with translated(self.libvirt, "watch over the connection"):
            connection.setKeepAlive(self._keepalive_interval_s(), KEEPALIVE_COUNT)
        self._conn = connection

    def close(self) -> None:
        connection, self._conn = self._conn, None
        if connection is None:
            return
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
        wanted = int(self.options.call_timeout_s / (KEEPALIVE_COUNT + 1))
        return max(1, min(KEEPALIVE_INTERVAL_S, wanted))

    def _connect_in_time(self) -> libvirt.virConnect:
        """Connect in a thread of its own: a frozen daemon accepts the connection and then says nothing, for ever."""
        result: list[Any] = []

        def connect() -> None:
            try:
                result.append(type(self).connect(self.libvirt, self.options))
            except self.libvirt.libvirtError as error:
                result.append(error)

        thread = threading.Thread(target=connect, name="anyvirt-connect", daemon=True)
        thread.start()
        thread.join(self.options.connect_timeout_s)
        address = without_secrets(self.options.uri)
        if not result:
            raise HypervisorUnavailable(
                f"the libvirt daemon at {address} did not answer within {self.options.connect_timeout_s:g} s"
            )
        if isinstance(result[0], self.libvirt.libvirtError):
            raise _connect_error(result[0], address)
        return result[0]


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
    """The URI as messages may show it: without a password before the host."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    user, _at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))


def _connect_error(error: libvirt.libvirtError, address: str) -> Exception:
    """Permission is the one thing besides absence that can be wrong here, and libvirt gives it the same code."""
    from ...errors import PermissionDenied

    translated_error = translate(error, f"connect to {address}")
    if isinstance(translated_error, PermissionDenied) or "permission denied" in str(error).lower():
        return PermissionDenied(
            f"cannot connect to {address}: permission denied; become root or a member of the group libvirt ({error})"
        )
    return HypervisorUnavailable(f"no libvirt daemon answers at {address}: is it running? ({error})")


def _start_events(library: Any) -> None:
    """Run libvirt's event loop in a thread, once a process; keepalive and events need it before a connection."""
    with _events_lock:
        if not _events_threads:
            library.virEventRegisterDefaultImpl()
            thread = threading.Thread(target=_run_events, args=(library,), name="anyvirt-events", daemon=True)
            thread.start()
            _events_threads.append(thread)


def _run_events(library: Any) -> None:
    while True:
        library.virEventRunDefaultImpl()
