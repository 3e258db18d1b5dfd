# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's flags and parameters of a live migration."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from ...model.migration import POST_COPY, SOURCE, TLS, TUNNELLED, MigrationWishes
from ..uri import ConnectionOptions
from .migrationdisks import DiskPlan, is_incremental, live_copies


def is_peer_to_peer(wishes: MigrationWishes) -> bool:
    """Whether the source's daemon talks to the destination's by itself."""
    return wishes.manager == SOURCE or wishes.transport == TUNNELLED


def copy_problems(wishes: MigrationWishes, disks: DiskPlan) -> list[str]:
    """What of the wishes keeps disks from being copied while the guest runs."""
    copies = ", ".join(live_copies(disks))
    if not copies or wishes.transport != TUNNELLED:
        return []
    return [f"transport: tunnelled copies no disks ({copies}) of running guests; use another one, or move it cold"]


def live_flags(library: Any, wishes: MigrationWishes, disks: DiskPlan, kind: str) -> int:
    """The virDomainMigrateFlags.

    The definition is on the destination already and stays on the source until the end, so both are left alone here.
    What libvirt calls unsafe was looked at when the migration was planned, with better means.
    """
    flags = library.VIR_MIGRATE_LIVE
    if is_peer_to_peer(wishes):
        flags |= library.VIR_MIGRATE_PEER2PEER
    if wishes.transport == TUNNELLED:
        flags |= library.VIR_MIGRATE_TUNNELLED
    if kind != "qemu":
        return int(flags)
    wants_post_copy = wishes.post_copy or (wishes.timeout_s is not None and wishes.on_timeout == POST_COPY)
    flags |= library.VIR_MIGRATE_UNSAFE | library.VIR_MIGRATE_ABORT_ON_ERROR
    if live_copies(disks):
        flags |= library.VIR_MIGRATE_NON_SHARED_INC if is_incremental(disks) else library.VIR_MIGRATE_NON_SHARED_DISK
    for wanted, flag in (
        (wishes.transport == TLS, library.VIR_MIGRATE_TLS),
        (wishes.auto_converge, library.VIR_MIGRATE_AUTO_CONVERGE),
        (wishes.compression, library.VIR_MIGRATE_COMPRESSED),
        (wishes.parallel is not None, library.VIR_MIGRATE_PARALLEL),
        (wants_post_copy, library.VIR_MIGRATE_POSTCOPY),
    ):
        if wanted:
            flags |= flag
    return int(flags)


def live_parameters(
    library: Any, wishes: MigrationWishes, disks: DiskPlan, document: str | None, destination: ConnectionOptions
) -> dict[str, Any]:
    """The typed parameters.

    Args:
        document: The running domain as the destination is to have it; None where that has it already.
        destination: How we reach the destination.
    """
    copies = live_copies(disks)
    parameters = {
        library.VIR_MIGRATE_PARAM_DEST_XML: document,
        library.VIR_MIGRATE_PARAM_URI: data_uri(wishes, destination),
        library.VIR_MIGRATE_PARAM_BANDWIDTH: wishes.bandwidth_mib_s,
        library.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS: wishes.parallel,
        library.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: wishes.listen_address,
        library.VIR_MIGRATE_PARAM_MIGRATE_DISKS: copies or None,
        library.VIR_MIGRATE_PARAM_DISKS_PORT: wishes.disks_port if copies else None,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def data_uri(wishes: MigrationWishes, destination: ConnectionOptions) -> str | None:
    """Where the destination is asked to take the data; None where libvirt finds that out, or needs no such place."""
    if wishes.transport == TUNNELLED:
        return None
    called = destination.split() if wishes.peer_uri is None else urlsplit(wishes.peer_uri)  # as the source calls it
    return wishes.migrate_uri or _uri_of_address(called.hostname)


def _uri_of_address(host: str | None) -> str | None:
    """Where the destination takes the data, if we know it by an address; a name may mean something else on the source,
    so there the destination's own name for itself is better."""
    if host is None:
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if address.is_loopback else f"tcp://[{host}]" if address.version == 6 else f"tcp://{host}"
