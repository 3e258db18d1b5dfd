# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the source reaches the destination, as far as that can be told before anything is moved.

What one host sees of another only that host can tell, and libvirt has no call for it; so this looks where the module
runs on the source itself. No port is asked on which another migration may wait for its data: QEMU takes whoever comes
first for the source.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...model.migration import TUNNELLED, MigrationWishes
from ..uri import ConnectionOptions
from .migrationparameters import data_uri, is_peer_to_peer

_CONFIG = Path("/etc/libvirt/qemu.conf")
_SETTING = re.compile(r"^[ \t]*(migration_host|migration_port_max)[ \t]*=[ \t]*\"?([^\"\s#]+)", re.MULTILINE)
_LAST_PORT = 49215
"""The end of the range that libvirt's drivers of QEMU and Xen take ports from, beginning with 49152. Theirs are given
out from the beginning, so that at the end nobody waits."""
_DAEMON_PORTS = {"tls": 16514, "tcp": 16509}
"""SSH is not asked: its settings may take it another way."""
_ANSWER_S = 3.0


class Way(NamedTuple):
    """Somewhere the source has to get to.

    Attributes:
        option: The option that says where that is.
        host: A name or an address.
        port: None where it must not be asked.
        use: Who listens there.
    """

    option: str
    host: str
    port: int | None
    use: str


def is_certainly_here(options: ConnectionOptions) -> bool:
    """Whether what this code reaches is what the hypervisor's host reaches: the URI is that of the host's own daemon. A
    socket file that is named may be forwarded from elsewhere."""
    return not options.split().hostname and "socket" not in options.query()


def reach_problems(
    source: ConnectionOptions,
    destination: ConnectionOptions,
    own_name: str,
    wishes: MigrationWishes,
    config: Path = _CONFIG,
) -> list[str]:
    """Why the source would not get to the destination with a live migration; nothing where that cannot be told.

    Args:
        own_name: What the destination calls itself, and what libvirt takes where nothing says more.
        config: libvirt's settings on this host; those of the destination are taken to be the same.
    """
    if is_peer_to_peer(wishes) and wishes.peer_uri is None and not destination.split().hostname:
        here = "which is an address of this machine only; say with peer_uri how it can"
        return [f"manager: the source cannot reach the destination at {destination.uri}, {here}"]
    is_here = is_certainly_here(source)
    settings = _settings(config) if is_here else {}
    uri = data_uri(wishes, destination)
    takes_own_name = uri is None and wishes.transport != TUNNELLED and "migration_host" not in settings
    if takes_own_name and own_name.startswith("localhost"):
        advice = "give it another name, or say with migrate_uri where it takes the data"
        return [f"the destination calls itself {own_name!r}, where the source would not find it; {advice}"]
    if not is_here:
        return []
    ways = [_daemon(destination, wishes)] if is_peer_to_peer(wishes) else []
    if takes_own_name:
        ways.append(Way("migrate_uri", own_name, _last_port(settings), "its hypervisor takes memory and disks"))
    elif uri is not None:
        ways.append(_data(uri, settings))
    return [problem for problem in (_problem(way) for way in ways if way is not None) if problem is not None]


def _daemon(destination: ConnectionOptions, wishes: MigrationWishes) -> Way | None:
    option, uri = ("dest", destination.uri) if wishes.peer_uri is None else ("peer_uri", wishes.peer_uri)
    parts = urlsplit(uri)
    port = _DAEMON_PORTS.get(parts.scheme.partition("+")[2] or "tls")
    if port is None or not parts.hostname:
        return None
    return Way(option, parts.hostname, parts.port or port, "its libvirt listens")


def _data(uri: str, settings: Mapping[str, str]) -> Way | None:
    parts = urlsplit(uri)
    if parts.scheme != "tcp" or not parts.hostname:  # RDMA, and sockets that somebody else forwards
        return None
    port = _last_port(settings) if parts.port is None else None
    return Way("migrate_uri", parts.hostname, port, "its hypervisor takes memory and disks")


def _problem(way: Way) -> str | None:
    try:
        found = socket.getaddrinfo(way.host, way.port or 0, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"{way.option}: the source cannot look up {way.host!r}, where {way.use}: {error.strerror}"
    if way.port is None:
        return None
    reason = ""
    for family, _kind, _protocol, _name, address in found:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(_ANSWER_S)
                connection.connect(address)
        except ConnectionRefusedError:
            return None  # nobody is there yet, and the host says so
        except OSError as error:
            reason = error.strerror or "no answer"
        else:
            return None
    return (
        f"{way.option}: the source does not reach port {way.port} of {way.host}, where {way.use}: {reason}; let it "
        "through the firewalls between them"
    )


def _last_port(settings: Mapping[str, str]) -> int:
    with suppress(ValueError):
        return int(settings["migration_port_max"]) if "migration_port_max" in settings else _LAST_PORT
    return _LAST_PORT


def _settings(config: Path) -> dict[str, Any]:
    try:
        return dict(_SETTING.findall(config.read_text(encoding="utf-8", errors="replace")))
    except OSError:  # no QEMU here, or not readable
        return {}
