# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One address for a hypervisor: the URI picks the driver and the host at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, urlsplit

from ..errors import InvalidUri, Unsupported

if TYPE_CHECKING:
    from .base import ComputeDriver

ENVIRONMENT = ("ANYVIRT_URI", "LIBVIRT_DEFAULT_URI")
"""Environment variables that give the URI when the task does not, the first set one wins."""

USERNAME_ENVIRONMENT = "ANYVIRT_USERNAME"
PASSWORD_ENVIRONMENT = "ANYVIRT_PASSWORD"  # noqa: S105  (it is the variable's name)
"""Environment variables that say who to log in as when the task does not."""

_EXAMPLES = (
    "fake:///var/tmp/lab, qemu:///system, qemu+ssh://root@host/system, lxc:///system, xen:///system or "
    "xenapi://root@host"
)
_LIBVIRT_SCHEMES = ("qemu", "lxc", "xen")


@dataclass
class ConnectionOptions:
    """How to connect.

    Attributes:
        uri: The address as the user wrote it.
        username, password: For hypervisors that ask; a password is never part of a message.
        validate_certs, ca_path: How TLS certificates are verified.
        connect_timeout_s: Seconds until an unanswered connection is an error.
        call_timeout_s: Seconds until a call that stays unanswered is an error.
    """

    uri: str
    username: str | None = None
    password: str | None = None
    validate_certs: bool = True
    ca_path: str | None = None
    connect_timeout_s: float = 10.0
    call_timeout_s: float = 60.0

    def split(self) -> SplitResult:
        """The URI's parts."""
        return urlsplit(self.uri)

    def query(self) -> dict[str, str]:
        """The parameters behind the question mark."""
        return dict(parse_qsl(self.split().query))


def password_in(uri: str) -> str:
    """The password that someone has written into a URI, which is no place for one; empty when there is none."""
    _scheme, _separator, rest = uri.partition("://")
    user, at, _host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    return user.partition(":")[2] if at else ""


def get_connection(options: ConnectionOptions) -> ComputeDriver:
    """The driver for ``options.uri``, not yet opened: use it as a context manager.

    Only the chosen driver is imported, and it imports its hypervisor's library when it is opened. The imports are
    literal because that is how Ansible finds what to ship with a module.

    Raises:
        InvalidUri, Unsupported: as ``check_uri``.
    """
    kind = check_uri(options)
    if kind == "fake":
        from .fake.driver import FakeDriver

        return FakeDriver(options)
    if kind == "xenapi":
        from .xenapi.driver import XenApiDriver

        return XenApiDriver(options)
    from .libvirt.driver import LibvirtDriver

    return LibvirtDriver(options)


def check_uri(options: ConnectionOptions) -> str:
    """The kind of hypervisor that ``options.uri`` names: the first part of its scheme.

    Raises:
        InvalidUri: it cannot be understood.
        Unsupported: its hypervisor is known and cannot be managed; the message says why.
    """
    uri = options.uri
    if not uri.strip():
        raise InvalidUri(f"uri: it is empty; give one like {_EXAMPLES}")
    if any(ord(character) <= 32 or ord(character) == 127 for character in uri):
        raise InvalidUri("uri: it has a space or control character in it")
    if password_in(uri):
        raise InvalidUri("uri: it has a password in it; give it with the option password, which is kept secret")
    try:
        parts = options.split()
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        raise InvalidUri(f"uri: {uri!r} cannot be understood: {error}") from None
    kind = parts.scheme.partition("+")[0]
    if kind == "uml":
        raise Unsupported(
            "uri: User Mode Linux is not available: libvirt removed its UML driver in version 5.0; "
            "use qemu:///system instead"
        )
    if kind == "xenapi":
        _check_xenapi(options)
    elif kind != "fake" and kind not in _LIBVIRT_SCHEMES:
        raise InvalidUri(f"uri: {uri!r} names no known hypervisor; give one like {_EXAMPLES}")
    return kind


def _check_xenapi(options: ConnectionOptions) -> None:
    parts = options.split()
    transport = parts.scheme.partition("+")[2]
    if transport not in ("", "http"):
        raise InvalidUri(
            f"uri: {options.uri!r} asks for the transport {transport}, and there are only xenapi:// (HTTPS) and "
            "xenapi+http:// (not encrypted)"
        )
    if not parts.hostname:
        raise InvalidUri(f"uri: {options.uri!r} names no host; give one like xenapi://root@host")
    asked = parse_qsl(parts.query, keep_blank_values=True)
    unknown = sorted({name for name, _value in asked} - {"host"})
    if unknown or parts.path not in ("", "/") or parts.fragment:
        what = f"a parameter {unknown[0]}" if unknown else f"a part #{parts.fragment}"
        what = what if parts.path in ("", "/") else f"a path {parts.path}"
        raise InvalidUri(f"uri: {options.uri!r} has {what}, and a pool's URI is no longer than xenapi://HOST?host=NAME")
    if len(asked) > 1 or any(not value for _name, value in asked):
        # Taken for the whole pool, it would start instances anywhere.
        raise InvalidUri(f"uri: {options.uri!r} has to name one host after ?host=; without it, it means the whole pool")
