# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts between which guests are moved, looked at behind the drivers' backs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import libvirt

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Boot, Disk, Instance, Nic
from ansible_collections.anyvirt.compute.plugins.module_utils.model.units import MIB
from contract.platforms.base import Snapshot
from contract.platforms.libvirt_qemu import QemuPlatform
from lab.console import wait_for_line
from lab.counting import Counting, counting
from lab.echo import Talk, talk
from lab.hosts import BRIDGE
from lab.lan import GuestLan

ADDRESS = "10.88.0.9"
ECHO_PORT = 7007
TICK_MS = 50
TOLERANCE_S = 0.25
"""How much longer than its downtime a guest may seem to stand still: it has to be given a processor again, and its line
has to reach the log."""
SHARED_POOL = "shared"
_BOOT_TIMEOUT_S = 180.0
_MARK_OF_PROCESS = b"guest=%s,"


class Place(NamedTuple):
    """What one host has of an instance: ``state`` is libvirt's, None where it has no domain."""

    state: int | None
    processes: int
    is_persistent: bool = False


class MovingHosts:
    """Two or more hosts with a network in common.

    Attributes:
        platforms: In a fixed order; console ``n`` of a counter is that of host ``n``.
    """

    def __init__(self, platforms: Sequence[QemuPlatform]) -> None:
        self.platforms = platforms
        self.lan = GuestLan([platform.lab for platform in platforms])

    def close(self) -> None:
        """Take the network away."""
        self.lan.close()

    def logs(self, name: str) -> list[Path]:
        """The guest's console logs on all hosts."""
        inner = f"/var/log/libvirt/qemu/{name}.anyvirt-console.log"
        return [platform.lab.outer_path(inner) for platform in self.platforms]

    def places(self, name: str) -> list[Place]:
        """What each host has of the instance."""
        return [_place(platform, name) for platform in self.platforms]

    def running_on(self, name: str) -> list[int]:
        """The hosts that run the guest; one QEMU process on each, and none elsewhere."""
        places = self.places(name)
        return [
            where
            for where, place in enumerate(places)
            if place.state == libvirt.VIR_DOMAIN_RUNNING and place.processes == 1
        ]

    def processes(self, name: str) -> int:
        """How many QEMU processes there are of it on all hosts together."""
        return sum(place.processes for place in self.places(name))

    def pictures(self) -> list[Snapshot]:
        """Everything that is on each host."""
        return [_picture(platform) for platform in self.platforms]

    @contextmanager
    def watched(self, name: str) -> Iterator[tuple[Counting, Talk]]:
        """Its counter and a connection to it, both seen at work."""
        with counting(*self.logs(name)) as counter, talk(self.lan.network, ADDRESS, ECHO_PORT) as talking:
            counter.goes_on()
            talking.goes_on()
            yield counter, talking


def _picture(platform: QemuPlatform) -> Snapshot:
    with platform.connection() as connection:
        for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
            pool.refresh()  # another host may have changed what is in it
        bindings = sorted(binding.portDev() for binding in connection.listAllNWFilterBindings())
    return {**platform.snapshot(), "bindings": len(bindings)}


def _place(platform: QemuPlatform, name: str) -> Place:
    processes = _processes(platform, name)
    with platform.connection() as connection:
        for domain in connection.listAllDomains():
            if domain.name() == name:
                return Place(domain.state()[0], processes, bool(domain.isPersistent()))
    return Place(None, processes)


def _processes(platform: QemuPlatform, name: str) -> int:
    namespace = os.readlink(f"/proc/{platform.lab.machine.init_pid}/ns/pid")
    found = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if os.readlink(folder / "ns/pid") == namespace:
                found += _MARK_OF_PROCESS % name.encode() in (folder / "cmdline").read_bytes()
        except OSError:  # gone meanwhile
            continue
    return found


def moving_instance(platform: QemuPlatform, name: str, *words: str, **over: object) -> Instance:
    """A guest that counts on its console and, where it has a NIC, answers by TCP.

    Args:
        words: More for the kernel's command line.
    """
    usual = platform.small(name)
    assert usual.boot is not None
    work = (f"TICK_MS={TICK_MS}", f"ECHO_PORT={ECHO_PORT}", f"STATIC_ADDRESS={ADDRESS}/24", *words)
    boot = Boot(kernel=usual.boot.kernel, initrd=usual.boot.initrd, cmdline=" ".join((usual.boot.cmdline or "", *work)))
    fields: dict[str, object] = {"boot": boot, "nics": [Nic(bridge=BRIDGE, addresses=[ADDRESS])], **over}
    return platform.small(name, **fields)


def two_disks(platform: QemuPlatform, pool: str) -> list[Disk]:
    """A copy-on-write child of the test image, whose boots are counted, and a blank one."""
    return [
        Disk(role="root", image=platform.image, pool=pool, cache="none"),
        Disk(size_bytes=8 * MIB, pool=pool, cache="none"),
    ]


def wait_for_work(hosts: MovingHosts, name: str, where: int) -> None:
    """Wait until a guest that was just started counts."""
    wait_for_line(hosts.logs(name)[where], "ANYVIRT TICK 3 ", _BOOT_TIMEOUT_S)
