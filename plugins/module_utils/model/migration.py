# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving an instance from one host to another: what is wanted, what is known of one that is under way, what came of it.

The words are Nova's and Ganeti's: a *live* migration moves the running guest, a *cold* one stops it, moves it and
starts it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

LIVE = "live"
COLD = "cold"
AUTO = "auto"
MODES = (LIVE, COLD, AUTO)

SHARED = "shared"
COPY = "copy"
STORAGE = (AUTO, SHARED, COPY)

ABORT = "abort"
PAUSE = "pause"
POST_COPY = "post_copy"
CONTINUE = "continue"
ON_TIMEOUT = (ABORT, PAUSE, POST_COPY, CONTINUE)

NATIVE = "native"
TLS = "tls"
TUNNELLED = "tunnelled"
TRANSPORTS = (NATIVE, TLS, TUNNELLED)

CLIENT = "client"
SOURCE = "source"
MANAGERS = (CLIENT, SOURCE)

OUTGOING = "outgoing"
INCOMING = "incoming"

MOVING = "moving"
MOVED = "moved"
DEPARTED = "departed"


@dataclass(frozen=True)
class MigrationWishes:
    """How instances are to be moved.

    Attributes:
        mode: ``live``, ``cold``, or ``auto``: live where the instance is active and its hypervisor can, else cold.
        storage: ``shared`` leaves all disks where they are, ``copy`` copies those that are written to, ``auto`` finds
            out for each disk whether the destination sees it.
        pools: Where copied volumes go: name of a pool on the source -> name of one on the destination; a pool that is
            not mentioned keeps its name.
        networks: The same of networks and bridges.
        bandwidth_mib_s: At most so many MiB a second for each instance; None: no limit of ours.
        parallel: Connections that carry the memory; None: what the hypervisor does by itself.
        auto_converge: Slow down a guest that changes its memory faster than it can be sent.
        post_copy: Prepare so that the migration can be switched to post-copy.
        compression: Compress the memory.
        max_downtime_ms: How long the guest may stand still at the end; None: the hypervisor's own.
        timeout_s: When ``on_timeout`` is done about one that is still going on; None: never.
        on_timeout: ``abort``, ``pause`` the guest so that it ends soon, ``post_copy``, or ``continue`` (say so).
        transport: ``native``: hypervisor to hypervisor, not encrypted; ``tls``: the same, encrypted; ``tunnelled``:
            through the management connection, managed by ``source``.
        manager: Who drives it: ``client``, which is this module, or ``source``, where the source's daemon talks to the
            destination's (libvirt's peer-to-peer) and goes on when the module is gone.
        peer_uri: With manager ``source``: the destination's address as the source sees it; None: the same.
        migrate_uri: Where the destination takes the data, e.g. ``tcp://10.0.0.2``; None: derived.
        listen_address: What the destination listens on; None: what the hypervisor does by itself.
        disks_port: The TCP port for copied disks; None: any.
        persist: The instance is defined on the destination for good.
        undefine_source: It is no more defined on the source afterwards.
        delete_volumes: Of the volumes that were copied, which the source deletes afterwards: ``own``, ``all``,
            ``none``.
    """

    mode: str = AUTO
    storage: str = AUTO
    pools: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    bandwidth_mib_s: int | None = None
    parallel: int | None = None
    auto_converge: bool = False
    post_copy: bool = False
    compression: bool = False
    max_downtime_ms: int | None = None
    timeout_s: float | None = None
    on_timeout: str = ABORT
    transport: str = NATIVE
    manager: str = CLIENT
    peer_uri: str | None = None
    migrate_uri: str | None = None
    listen_address: str | None = None
    disks_port: int | None = None
    persist: bool = True
    undefine_source: bool = True
    delete_volumes: str = "own"


@dataclass(frozen=True)
class MigrationRecord:
    """What a host keeps with an instance that is being moved, so that whoever comes next knows what was going on.

    Attributes:
        id: The same on both hosts, and another one for each migration.
        direction: ``outgoing`` on the source, ``incoming`` on the destination.
        peer: The other host's identity.
        mode: ``live`` or ``cold``.
        phase: ``moving``; then ``moved`` on the destination, where it lives and only clearing up is left, and after a
            cold migration on the source as well, which has but an old copy then; ``departed`` on a source that keeps
            the definition of an instance that lives elsewhere: it must not be started.
        start: It was active when the migration began, so it is to be so afterwards.
        paused: The same, and it was paused.
        started_s: When it began, in seconds since 1970.
        volumes: ``pool/name`` of volumes made for it on the destination (``incoming``), or to be deleted on the source
            when it has gone (``outgoing``).
    """

    id: str
    direction: str
    peer: str
    mode: str
    phase: str = MOVING
    start: bool = False
    paused: bool = False
    started_s: float | None = None
    volumes: tuple[str, ...] = ()


class MigrationProgress(NamedTuple):
    """How far a migration has come. Numbers that the hypervisor does not tell are None.

    Attributes:
        phase: ``setup``, ``disks``, ``memory``, ``post_copy``, ``paused`` (waiting for the source), ``finishing``.
        percent: 0 to 100.
        total_bytes, done_bytes, left_bytes: Of memory and copied disks together.
        rate: Bytes a second.
        dirty_rate: Bytes a second that the guest changes.
        iteration: How often the whole memory has been gone through.
        expected_downtime_ms: How long the guest would stand still if it were ended now.
        elapsed_s: Seconds since it began.
    """

    phase: str
    percent: float | None = None
    total_bytes: int | None = None
    done_bytes: int | None = None
    left_bytes: int | None = None
    rate: int | None = None
    dirty_rate: int | None = None
    iteration: int | None = None
    expected_downtime_ms: int | None = None
    elapsed_s: float | None = None


class Migration(NamedTuple):
    """What a host knows of one of its instances that is, or was, being moved.

    ``progress`` is None where no job is going on: then ``record`` is of one that was cut short, or of a source that
    kept the definition. ``record`` is None for a job that somebody else started.
    """

    record: MigrationRecord | None
    progress: MigrationProgress | None = None


class DiskMove(NamedTuple):
    """What becomes of one disk.

    Attributes:
        device: Its name in the instance.
        how: ``shared``: stays where it is; ``copy``: is copied whole; ``incremental``: only what differs from an image
            that the destination has as well; ``remade``: the destination makes it anew (a cloud-init seed).
        source: ``pool/name``, or the path where it is in no pool.
        destination: The same where it is going to be.
        size_bytes: What is to be copied at most.
    """

    device: str
    how: str
    source: str
    destination: str
    size_bytes: int = 0


@dataclass
class MigrationPlan:
    """How one instance is to be moved, as the drivers of both ends found out.

    Attributes:
        mode: ``live`` or ``cold``.
        problems: Everything that keeps it from being moved, in words; nothing is done while there is any.
        warnings: What is worth knowing, and keeps nobody.
        record: What both hosts keep with it.
        private: What the driver of these hosts wants to remember from planning to moving.
    """

    name: str
    mode: str
    wishes: MigrationWishes
    record: MigrationRecord
    disks: list[DiskMove] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    private: Any = None


class MigrationResult(NamedTuple):
    """What a migration took. Numbers that the hypervisor does not tell are None.

    Attributes:
        total_ms: From the first byte to the end.
        downtime_ms: How long the guest stood still.
        memory_bytes, disk_bytes: What was sent.
        iterations: How often the whole memory was gone through.
        post_copy: It was switched to post-copy.
    """

    total_ms: int | None = None
    downtime_ms: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    iterations: int | None = None
    post_copy: bool = False
