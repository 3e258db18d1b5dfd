# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's errors in our words: the one place that knows its error codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import (
    AlreadyExists,
    AnyvirtError,
    HypervisorError,
    HypervisorUnavailable,
    IncompatibleCpu,
    InstanceNotFound,
    InsufficientCapacity,
    InvalidPowerState,
    NetworkNotFound,
    PermissionDenied,
    PoolNotFound,
    Unsupported,
    VolumeNotFound,
)

if TYPE_CHECKING:
    import libvirt

# virErrorNumber; the numbers are part of libvirt's ABI (include/libvirt/virterror.h).
INTERNAL_ERROR = 1
NO_MEMORY = 2
NO_SUPPORT = 3
NO_CONNECT = 5
INVALID_CONN = 6
INVALID_ARG = 8
OPERATION_FAILED = 9
DOM_EXIST = 28
OPERATION_DENIED = 29
SYSTEM_ERROR = 38
RPC = 39
GNUTLS_ERROR = 40
NO_DOMAIN = 42
NO_NETWORK = 43
AUTH_FAILED = 45
NO_STORAGE_POOL = 49
NO_STORAGE_VOL = 50
OPERATION_INVALID = 55
NO_NWFILTER = 62
NO_SECRET = 66
CONFIG_UNSUPPORTED = 67
ARGUMENT_UNSUPPORTED = 74
STORAGE_POOL_BUILT = 76
OPERATION_ABORTED = 78
AUTH_CANCELLED = 79
NO_DOMAIN_METADATA = 80
OPERATION_UNSUPPORTED = 84
SSH = 85
AGENT_UNRESPONSIVE = 86
ACCESS_DENIED = 88
STORAGE_VOL_EXIST = 90
CPU_INCOMPATIBLE = 91
AUTH_UNAVAILABLE = 94
LIBSSH = 98
DEVICE_MISSING = 99
NO_NWFILTER_BINDING = 101

# virErrorDomain: which part of libvirt complains.
FROM_RPC = 7
"""The way to the daemon, not what the daemon says."""
FROM_STORAGE = 18
FROM_NETWORK = 19

_GONE = (NO_CONNECT, INVALID_CONN, RPC, GNUTLS_ERROR, SSH, LIBSSH)
_DENIED = (OPERATION_DENIED, AUTH_FAILED, AUTH_CANCELLED, AUTH_UNAVAILABLE, ACCESS_DENIED)
_UNSUPPORTED = (NO_SUPPORT, CONFIG_UNSUPPORTED, ARGUMENT_UNSUPPORTED, OPERATION_UNSUPPORTED)
_BY_CODE: dict[int, type[AnyvirtError]] = {
    NO_NETWORK: NetworkNotFound,
    NO_STORAGE_POOL: PoolNotFound,
    NO_STORAGE_VOL: VolumeNotFound,
    DOM_EXIST: AlreadyExists,
    STORAGE_VOL_EXIST: AlreadyExists,
    STORAGE_POOL_BUILT: AlreadyExists,
    OPERATION_INVALID: InvalidPowerState,
    NO_MEMORY: InsufficientCapacity,
    CPU_INCOMPATIBLE: IncompatibleCpu,
    **dict.fromkeys(_GONE, HypervisorUnavailable),
    **dict.fromkeys(_DENIED, PermissionDenied),
    **dict.fromkeys(_UNSUPPORTED, Unsupported),
}
_INVALID_BY_DOMAIN: dict[int, type[AnyvirtError]] = {FROM_STORAGE: PoolNotFound, FROM_NETWORK: NetworkNotFound}
"""Whose operation is invalid when it is no instance's."""
_INACTIVE = "is not active"
_TAKEN = "already exists with uuid"
_IN_THE_WAY = "already exists"
"""How libvirt says that a file is in the way of a volume that it has not heard of yet."""
_NO_ROOM = (
    "cannot allocate memory",
    "no space left",
    "not enough free space",
    "insufficient free space",
    "enospc",
    "insufficient memory",
)


def code_of(error: libvirt.libvirtError) -> int:
    """The virErrorNumber; 0 for an error that libvirt's Python layer made up."""
    return error.get_error_code() or 0


def is_busy(error: libvirt.libvirtError) -> bool:
    """Whether a pool cannot be looked through anew because one of its volumes is being read or written."""
    return "asynchronous jobs running" in str(error)


def translate(error: libvirt.libvirtError, what: str, name: str | None = None) -> AnyvirtError:
    """Our error for libvirt's.

    Args:
        what: What was tried, to be read after "cannot".
        name: The instance that it was tried on.
    """
    code, text = code_of(error), str(error)
    if code == NO_DOMAIN and name is not None:
        return InstanceNotFound(name)
    message = f"cannot {what}: {text}"
    if any(sign in text.lower() for sign in _NO_ROOM):
        return InsufficientCapacity(message)
    domain = error.get_error_domain()
    if domain == FROM_RPC and code in (INTERNAL_ERROR, SYSTEM_ERROR):
        # A connection that broke during a call is reported as an internal error: "client socket is closed".
        return HypervisorUnavailable(message)
    if (code == OPERATION_FAILED and _TAKEN in text) or (domain == FROM_STORAGE and _IN_THE_WAY in text):
        return AlreadyExists(message)
    if code == OPERATION_INVALID and domain in _INVALID_BY_DOMAIN:
        return (_INVALID_BY_DOMAIN[domain] if _INACTIVE in text else HypervisorError)(message)
    return _BY_CODE.get(code, HypervisorError)(message)


@contextmanager
def translated(library: object, what: str, name: str | None = None) -> Iterator[None]:
    """Within the block, libvirt's errors become ours."""
    try:
        yield
    except library.libvirtError as error:  # type: ignore[attr-defined]
        raise translate(error, what, name) from error
