# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What XenAPI can never do with an instance's values, told without asking it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import Problem
from ...model.instance import CDROM, Boot, Disk, Instance
from .devices import device_number
from .extras import HVM, extras_problems, text_problems, wanted_domain_type

MAX_NAME_BYTES = 200
"""Longer names leave no room for those of the volumes made after them."""
BOOT_LETTERS = {"disk": "c", "cdrom": "d", "network": "n"}
BUS = "xen"
"""The only bus: disks of guests without drivers for it are emulated by the hypervisor's own choice."""

_FIRMWARES = ("bios", "uefi")
_DEFAULT_CPU = "default"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def syntax_problems(instance: Instance) -> list[Problem]:
    """What is wrong with the values."""
    return [
        *_name_problems(instance),
        *text_problems("description", instance.description),
        *_disks_problems(instance),
        *(
            Problem(f"nics[{number}].model", "cannot be chosen: XenServer decides it from the guest's drivers")
            for number, nic in enumerate(instance.nics or [])
            if nic.model is not None
        ),
        *_boot_problems(instance),
        *_cpu_problems(instance),
        *_console_problems(instance),
        *extras_problems(instance),
    ]


def name_problems(option: str, name: str) -> Iterator[Problem]:
    """What is wrong with a new name."""
    if not name.strip() or _CONTROL.search(name):
        yield Problem(option, "must not be empty nor have control characters in it")
    if len(name.encode()) > MAX_NAME_BYTES:
        yield Problem(option, f"must not be longer than {MAX_NAME_BYTES} bytes")


def _name_problems(instance: Instance) -> Iterator[Problem]:
    yield from name_problems("name", instance.name)
    for option in ("pool", "image"):
        value = getattr(instance, option)
        if value is not None and (not value.strip() or _CONTROL.search(value)):
            yield Problem(option, f"{value!r} cannot be its name")


def _disks_problems(instance: Instance) -> Iterator[Problem]:
    devices: dict[str, int] = {}
    for number, disk in enumerate(instance.disks or []):
        yield from disk_problems(f"disks[{number}]", disk)
        if disk.device is not None:
            if disk.device in devices:
                yield Problem(f"disks[{number}].device", f"is the device of disks[{devices[disk.device]}] too")
            devices.setdefault(disk.device, number)


def disk_problems(where: str, disk: Disk) -> Iterator[Problem]:
    if disk.bus not in (None, BUS):
        yield Problem(f"{where}.bus", f"{disk.bus!r} is not {BUS}, the only bus that there is")
    if disk.format is not None:
        yield Problem(f"{where}.format", "cannot be chosen: storage repositories have formats of their own")
    if disk.device is not None and device_number(disk.device) is None:
        yield Problem(f"{where}.device", f"{disk.device!r} is not a name such as xvda or xvdb")
    if disk.kind == CDROM and disk.read_only is False:
        yield Problem(f"{where}.read_only", "a CD-ROM cannot be written to")
    for option in ("volume", "pool", "image"):
        value = getattr(disk, option)
        if value is not None and (not value.strip() or _CONTROL.search(value)):
            yield Problem(f"{where}.{option}", f"{value!r} cannot be its name")


def _boot_problems(instance: Instance) -> Iterator[Problem]:
    boot, kind = instance.boot or Boot(), wanted_domain_type(instance)
    for word in boot.order or []:
        if word not in BOOT_LETTERS:
            yield Problem("boot.order", f"{word!r} is not one of {', '.join(BOOT_LETTERS)}")
    if boot.firmware is not None and boot.firmware not in _FIRMWARES:
        yield Problem("boot.firmware", f"{boot.firmware!r} is not one of {', '.join(_FIRMWARES)}")
    if boot.init:
        yield Problem("boot.init", "only containers have it; give boot.cmdline an init= instead")
    if kind == HVM and boot.kernel:
        yield Problem("boot.kernel", "is for guests of domain_type pv or pvh; an hvm one boots from its disks")
    if boot.kernel:
        for option in ("order", "firmware"):
            if getattr(boot, option):
                yield Problem(f"boot.{option}", "makes no sense beside a kernel, which is booted directly")


def _cpu_problems(instance: Instance) -> Iterator[Problem]:
    cpu = instance.cpu
    if cpu is None:
        return
    if cpu.mode not in (None, _DEFAULT_CPU) or cpu.model:
        yield Problem("cpu.mode", "cannot be chosen: a pool gives its guests what all of its hosts have")
    if cpu.threads not in (None, 1):
        yield Problem("cpu.threads", "guests see no threads; use sockets and cores")
    count = instance.max_vcpus or instance.vcpus
    for option in ("sockets", "cores"):
        parts = getattr(cpu, option)
        if parts is not None and count is not None and count % parts:
            yield Problem(f"cpu.{option}", f"{count} vCPUs cannot be {parts} {option} of equal size")


def _console_problems(instance: Instance) -> Iterator[Problem]:
    console = instance.console
    if console is None:
        return
    for option in ("serial", "vnc"):
        if getattr(console, option) is False:
            yield Problem(f"console.{option}", "cannot be taken away: XenServer gives it to each guest that can use it")
