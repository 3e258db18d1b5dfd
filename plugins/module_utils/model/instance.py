# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance: a virtual machine or container, in terms that no single hypervisor owns.

One class serves for what *is* and for what is *wanted*: a field that is None is unknown in the former and not mentioned
in the latter, and what is not mentioned is left alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import power_state
from .flavor import Flavor
from .migration import MigrationRecord
from .resize import ResizeRecord

DISK = "disk"
CDROM = "cdrom"

SEED = "seed"
"""The role of the disk that brings cloud-init its data."""


@dataclass
class IoLimits:
    """What a guest may ask of a disk, each second; None or 0 is no limit. ``total`` stands for reading and writing
    together, and excludes the other two of its kind."""

    total_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    total_iops: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None


@dataclass
class Disk:
    """A disk or CD-ROM of an instance.

    Exactly one of these says where its data is: ``image`` (a copy-on-write child of that file is made for the
    instance), ``volume`` (an existing one in ``pool``), ``path`` (an existing file or block device on the host), or
    only ``size_bytes`` (a new blank volume). A CD-ROM may have none: an empty drive.

    Attributes:
        device: Name in the guest's order, e.g. ``vda``; given by the driver when None.
        kind: ``disk`` or ``cdrom``.
        owned: The instance's own spawn made it, so removing the instance may remove it.
        role: What it is for: ``root``, ``swap``, ``seed`` (cloud-init) or ``data``.
        cache: How the host caches it: ``none``, ``writeback``, ``writethrough``, ``directsync``, ``unsafe``.
        discard: What becomes of blocks that the guest gives back: ``unmap`` or ``ignore``.
        serial: Its serial number, as the guest sees it.
        boot_order: Its place among the devices that the guest boots from, from 1.
        shareable: Several instances may write to it at once.
        passphrase: Opens an encrypted volume; only ever wanted, never read back.
        encrypted: Its volume is encrypted, and the hypervisor opens it for the guest. Read only; None where it is not.
    """

    device: str | None = None
    kind: str = DISK
    role: str = "data"
    image: str | None = None
    volume: str | None = None
    pool: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    format: str | None = None
    bus: str | None = None
    read_only: bool | None = None
    owned: bool = False
    cache: str | None = None
    discard: str | None = None
    serial: str | None = None
    boot_order: int | None = None
    shareable: bool | None = None
    limits: IoLimits | None = None
    passphrase: str | None = field(default=None, repr=False)
    encrypted: bool | None = None


@dataclass
class Nic:
    """A network interface: on a ``network`` of the hypervisor or on a ``bridge`` of the host, one of the two.

    ``addresses`` are those that the guest may use, where a firewall looks after it: single ones or networks in CIDR
    notation. An empty list takes back what was declared; then they are those that DHCP gives it.
    """

    network: str | None = None
    bridge: str | None = None
    mac: str | None = None
    model: str | None = None
    addresses: list[str] | None = None


@dataclass
class Boot:
    """How the guest starts.

    Attributes:
        kernel, initrd: Paths on the host for a direct kernel boot.
        cmdline: The kernel's command line.
        order: Device kinds to try, of ``disk``, ``cdrom``, ``network``.
        firmware: ``bios`` or ``uefi``.
        init: The first program of a container.
    """

    kernel: str | None = None
    initrd: str | None = None
    cmdline: str | None = None
    order: list[str] | None = None
    firmware: str | None = None
    init: str | None = None


@dataclass
class Cpu:
    """The guest's processor: ``mode`` is ``default``, ``host-model``, ``host-passthrough`` or ``custom`` (with
    ``model``)."""

    mode: str | None = None
    model: str | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None


@dataclass
class Console:
    """How people reach the guest: a serial console kept in a log, and VNC."""

    serial: bool | None = None
    vnc: bool | None = None
    vnc_listen: str | None = None
    vnc_port: int | None = None


@dataclass
class CloudInit:
    """Data for cloud-init's NoCloud source; the texts go into a seed disk and nowhere else."""

    user_data: str = ""
    meta_data: str = ""
    network_config: str = ""

    def fingerprint(self) -> str:
        """Tells whether the seed is the one wanted, without keeping its secrets."""
        digest = hashlib.sha256()
        for part in (self.user_data, self.meta_data, self.network_config):
            data = part.encode()
            digest.update(b"%d:" % len(data) + data)
        return digest.hexdigest()


@dataclass
class Instance:
    """A virtual machine or container.

    Attributes:
        memory_mb: Memory that the guest has, in MiB.
        max_memory_mb: MiB to which it can grow without a restart.
        vcpus, max_vcpus: The same for virtual processors.
        flavor: The flavor that it was made from or resized to; recorded with it.
        image: Path of the image that the root disk was made from; recorded with it.
        pool: Storage pool for volumes made for it. ``pool_path``: where to create that pool when it is missing.
        disks, nics: In the order in which the guest sees them.
        metadata: The user's own keys and values, kept with the instance.
        locked: Refuses changes. ``protected``: refuses removal.
        firewall: What filters its traffic: ``nwfilter``, ``nftables``, ``iptables``, whatever else the driver has, or
            ``none``. None where nothing was ever said, and nothing filters it.
        security_groups: Their names. An empty list lets nothing in and everything out. Wherever it is not None, the
            instance is filtered, unless ``firewall`` is ``none``.
        project: Whose it is. ``allow_project_net_traffic``: lets in all that comes from its project's instances.
        cloud_init: Wanted seed data; never read back.
        cloud_init_fingerprint: Which data the present seed was made from.
        hypervisor: What only one kind of hypervisor knows, by that driver's own keys (the module's ``libvirt:``
            option).
        power_state: A code of ``model.power_state``; read only.
        persistent: False for a machine that is gone once it is off; read only.
        unfinished: A spawn of it was cut short; it is to be removed and made again. Read only.
        migration: It is being moved, or was when that was cut short, or lives elsewhere by now. Read only.
        resize: A resize that waits to be confirmed or reverted. Read only.
        pending: Options whose configured value differs from the running one: ``{"memory_mb": (running, configured)}``.
            Read only. The fields themselves hold the configured values.
    """

    name: str
    memory_mb: int | None = None
    max_memory_mb: int | None = None
    vcpus: int | None = None
    max_vcpus: int | None = None
    flavor: Flavor | None = None
    image: str | None = None
    pool: str | None = None
    pool_path: str | None = None
    disks: list[Disk] | None = None
    nics: list[Nic] | None = None
    boot: Boot | None = None
    cpu: Cpu | None = None
    console: Console | None = None
    autostart: bool | None = None
    description: str | None = None
    metadata: dict[str, str] | None = None
    locked: bool | None = None
    protected: bool | None = None
    firewall: str | None = None
    security_groups: list[str] | None = None
    project: str | None = None
    allow_project_net_traffic: bool | None = None
    cloud_init: CloudInit | None = None
    cloud_init_fingerprint: str | None = None
    hypervisor: dict[str, Any] = field(default_factory=dict)
    power_state: int = power_state.NOSTATE
    persistent: bool = True
    unfinished: bool = False
    migration: MigrationRecord | None = None
    resize: ResizeRecord | None = None
    pending: dict[str, tuple[Any, Any]] = field(default_factory=dict)


class InstanceInfo(NamedTuple):
    """What a bulk listing tells of an instance (Nova's InstanceInfo, with the memory in KiB as libvirt counts it).

    ``cpu_time_ns`` is None for a running instance where a listing does not tell it: some hypervisors record only rates,
    and adding these up costs more than a listing. The diagnostics do it.
    """

    name: str
    state: int
    max_mem_kib: int
    mem_kib: int
    num_cpu: int
    cpu_time_ns: int | None
    autostart: bool | None = None
    persistent: bool = True


class Address(NamedTuple):
    """An address of an instance; ``source`` tells who said so: ``lease``, ``agent``, ``arp`` or ``metrics``.

    ``prefix`` is None where only the address itself is told. ``expires_s`` is when a lease ends, in seconds since 1970,
    or 0 where that is not known. A guest that starts renews its lease, which then differs in it from what it was.
    """

    mac: str
    address: str
    prefix: int | None
    source: str
    expires_s: int = 0


class BlockStats(NamedTuple):
    """Counters of a disk since the instance started, in Nova's order."""

    rd_req: int
    rd_bytes: int
    wr_req: int
    wr_bytes: int
    errs: int


class InterfaceStats(NamedTuple):
    """Counters of a network interface since the instance started, in Nova's order."""

    rx_bytes: int
    rx_packets: int
    rx_errs: int
    rx_drop: int
    tx_bytes: int
    tx_packets: int
    tx_errs: int
    tx_drop: int


class VncConsole(NamedTuple):
    """Where a VNC viewer connects to.

    ``url`` is set where the console is not plain VNC at that port, but VNC through an HTTP server that wants to know
    who asks.
    """

    host: str
    port: int
    url: str | None = None
