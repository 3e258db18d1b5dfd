# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the simulated pool consists of, and how long things take in it."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True)
class PoolSettings:
    """Sizes of the pool and its clock. Times are seconds; real pools take some hundred times as long."""

    hosts: int = 2
    host_cpus: int = 8
    host_memory_mb: int = 16384
    host_overhead_mb: int = 128  # what the hypervisor itself takes of each host
    dom0_memory_mb: int = 1024
    sr_bytes: int = 200 * GIB
    extra_vms: int = 0  # halted VMs besides, for benches

    username: str = "root"
    password: str = "lab-secret"

    start_s: float = 0.02
    boot_s: float = 0.05  # from the start of a guest until it and its tools are up
    shutdown_s: float = 0.05
    suspend_s: float = 0.05
    resume_s: float = 0.05
    migrate_s: float = 0.1  # the memory
    mirror_s: float = 0.05  # each disk that is moved to another SR
    copy_s: float = 0.02

    # A guest that has not reacted to a request to shut down after this time never will.
    shutdown_ack_timeout_s: float = 60.0
    # The same for a request to let go of a disk.
    detach_timeout_s: float = 60.0
    # How long a call waits for an object that another operation has, until OTHER_OPERATION_IN_PROGRESS.
    busy_timeout_s: float = 2.0
