# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is and what it has left."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class CpuInfo:
    """The host's processor, as guests may see it.

    Attributes:
        arch: Architecture, e.g. ``x86_64``.
        model: Name of the processor model.
        vendor: Who made it.
        sockets, cores, threads: Topology; ``cores`` are per socket, ``threads`` per core.
        features: Names of the CPU flags.
    """

    arch: str
    model: str = ""
    vendor: str = ""
    sockets: int = 1
    cores: int = 1
    threads: int = 1
    features: list[str] = field(default_factory=list)


@dataclass
class PoolStats:
    """A storage pool's room, in bytes. ``available_bytes`` may be less than total minus used."""

    name: str
    type: str
    active: bool
    total_bytes: int
    used_bytes: int
    available_bytes: int


@dataclass
class HostStats:
    """A host's capacity and what of it is taken (Nova's available resource).

    Attributes:
        hypervisor_type: e.g. ``QEMU``, ``LXC``, ``Xen``, ``fake``.
        hypervisor_version: Dotted, e.g. ``7.2.22``.
        vcpus: Processors of the host.
        vcpus_used: Sum of the active instances' virtual processors; may exceed ``vcpus`` (overcommit).
        memory_mb: Memory of the host in MiB.
        memory_mb_used: MiB that are not free for new instances.
        memory_mb_free: MiB that are.
        local_gb, local_gb_used, local_gb_free: Room in all active storage pools, in GiB with two decimals.
        instances, running_instances: How many are defined, and how many of them are active.
        enabled: New instances may come here; an administrator can forbid that (XenServer's maintenance mode).
    """

    hostname: str
    hypervisor_type: str
    hypervisor_version: str
    vcpus: int
    vcpus_used: int
    memory_mb: int
    memory_mb_used: int
    memory_mb_free: int
    local_gb: float
    local_gb_used: float
    local_gb_free: float
    instances: int
    running_instances: int
    cpu_info: CpuInfo
    pools: list[PoolStats] = field(default_factory=list)
    enabled: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain data for results."""
        return asdict(self)
