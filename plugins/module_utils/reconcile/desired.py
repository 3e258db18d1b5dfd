# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task wants of one instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ..driver.base import OWN
from ..model.flavor import Flavor
from ..model.instance import Cpu, Disk, Instance

PRESENT = "present"
RUNNING = "running"
STOPPED = "stopped"
PAUSED = "paused"
SUSPENDED = "suspended"
REBOOTED = "rebooted"
ABSENT = "absent"
RESIZE_CONFIRMED = "resize_confirmed"
RESIZE_REVERTED = "resize_reverted"

ENDS_OF_RESIZE = (RESIZE_CONFIRMED, RESIZE_REVERTED)
"""States in which nothing but an earlier resize is looked at."""

LIVE = "live"
NEXT_BOOT = "next_boot"
RESTART = "restart"

CUSTOM = "custom"
"""The processor mode that names a model."""

FOR_STATE = "state"
FOR_CONSOLE = "console"
FOR_ADDRESS = "address"


def topology_option(cpu: Cpu) -> str | None:
    """The first option that says something about sockets, cores and threads."""
    return next((option for option in ("sockets", "cores", "threads") if getattr(cpu, option) is not None), None)


def topology_size(cpu: Cpu) -> int:
    """The number of virtual processors that sockets, cores and threads come to."""
    return (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1)


class Shutdown(NamedTuple):
    """How an instance is stopped.

    Attributes:
        method: ``acpi``, ``agent`` or ``forced``; None takes what the hypervisor can do best.
        timeout_s: Seconds that the guest gets.
        force_after_timeout: Then the power is taken away, instead of an error.
        given: The task says something about it.
    """

    method: str | None = None
    timeout_s: float = 120.0
    force_after_timeout: bool = False
    given: bool = False


class Wait(NamedTuple):
    """What to wait for once everything is done: a console line that fits ``pattern``, or an address."""

    what: str = FOR_STATE
    pattern: str | None = None
    timeout_s: float = 300.0


@dataclass
class Desired:
    """What a task wants of one instance.

    Attributes:
        where: What stands in front of its options' names in messages.
        instance: The fields that the task mentions, except those below.
        flavor: The flavor asked for; its sizes are in ``instance`` already where nothing overrides them.
        root_bytes: Size of the root disk; ``root_option`` is the option that asks for it.
        swap_bytes: Size of the swap disk; 0 for none. ``swap_option`` is the option that says so, or empty.
        disks: As declared; the root and swap disks of flavor and image are not among them.
        first_is_root: The first of ``disks`` is the root disk.
        metadata: Keys to set, or to remove where the value is None.
        revertible: Other sizes are given so that they can be taken back; ``confirm_window_s``: for how long.
    """

    where: str
    instance: Instance
    state: str = PRESENT
    flavor: Flavor | None = None
    root_bytes: int | None = None
    root_option: str = "root_gb"
    swap_bytes: int = 0
    swap_option: str = ""
    disks: list[Disk] | None = None
    first_is_root: bool = False
    metadata: dict[str, str | None] | None = None
    apply: str = LIVE
    revertible: bool = False
    confirm_window_s: float | None = None
    shutdown: Shutdown = field(default_factory=Shutdown)
    wait: Wait = field(default_factory=Wait)
    delete_volumes: str = OWN
    purge_networks: bool = False
    override_lock: bool = False

    @property
    def name(self) -> str:
        """The instance's name."""
        return self.instance.name
