# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt can never do with an instance's values, told without asking it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import Problem
from ...model.instance import Disk, Instance
from ..imagepath import image_path_problems
from .disksyntax import UNPRINTABLE, disk_problems
from .merge import SnippetError, check_snippet, parse_snippet

MAX_NAME_BYTES = 200
"""Longer names leave no room for those of the files made after them."""

TYPES = {"qemu": ("kvm", "qemu"), "xen": ("xen",), "lxc": ("lxc",)}
OS_TYPES = {"qemu": ("hvm",), "xen": ("xen", "xenpvh", "hvm"), "lxc": ("exe",)}
CPU_MODES = ("default", "host-model", "host-passthrough", "custom")
FIRMWARES = ("bios", "uefi")
BOOT_DEVICES = ("disk", "cdrom", "network")
EXTRAS = ("type", "machine", "os_type", "xml", "template")

_WORD = re.compile(r"[A-Za-z0-9_.+-]+")


def syntax_problems(kind: str, instance: Instance) -> list[Problem]:
    """What is wrong with the values for a kind of hypervisor (``qemu``, ``lxc`` or ``xen``)."""
    return [
        *_name_problems(instance),
        *image_path_problems(instance),
        *(
            problem
            for number, disk in enumerate(instance.disks or [])
            for problem in _disk_problems(kind, number, disk)
        ),
        *_nic_problems(kind, instance),
        *_boot_problems(kind, instance),
        *_cpu_problems(kind, instance),
        *_console_problems(instance),
        *_extra_problems(kind, instance),
    ]


def _choice(option: str, value: str | None, choices: tuple[str, ...]) -> Iterator[Problem]:
    if value is not None and value not in choices:
        yield Problem(option, f"{value!r} is not one of {', '.join(choices)}")


def _name_problems(instance: Instance) -> Iterator[Problem]:
    name = instance.name
    if not name or name.startswith(".") or UNPRINTABLE.search(name) or not name.strip():
        yield Problem("name", "must have no slashes or control characters and not begin with a dot")
    if len(name.encode()) > MAX_NAME_BYTES:
        yield Problem("name", f"must not be longer than {MAX_NAME_BYTES} bytes")
    for option in ("pool",):
        value = getattr(instance, option)
        if value is not None and (not value or UNPRINTABLE.search(value)):
            yield Problem(option, f"{value!r} cannot be its name")


def _disk_problems(kind: str, number: int, disk: Disk) -> Iterator[Problem]:
    for option, message in disk_problems(kind, disk):
        yield Problem(f"disks[{number}].{option}", message)


def _nic_problems(kind: str, instance: Instance) -> Iterator[Problem]:
    for number, nic in enumerate(instance.nics or []):
        if nic.model is not None:
            if kind == "lxc":
                yield Problem(f"nics[{number}].model", "containers' network interfaces have no model")
            elif not _WORD.fullmatch(nic.model):
                yield Problem(f"nics[{number}].model", f"{nic.model!r} cannot be the name of a model")


def _boot_problems(kind: str, instance: Instance) -> Iterator[Problem]:
    boot = instance.boot
    if boot is None:
        return
    for word in boot.order or []:
        yield from _choice("boot.order", word, BOOT_DEVICES)
    yield from _choice("boot.firmware", boot.firmware, FIRMWARES)
    if boot.init and kind != "lxc":
        yield Problem("boot.init", "only containers have it; give boot.cmdline an init= instead")
    if kind == "lxc":
        for option in ("order", "firmware"):
            if getattr(boot, option):
                yield Problem(f"boot.{option}", "containers have none")


def _cpu_problems(kind: str, instance: Instance) -> Iterator[Problem]:
    cpu = instance.cpu
    if cpu is None:
        return
    yield from _choice("cpu.mode", cpu.mode, CPU_MODES)
    if kind != "qemu" and (cpu.mode not in (None, "default") or cpu.model or cpu.sockets or cpu.cores or cpu.threads):
        yield Problem("cpu", f"cannot be chosen for guests of libvirt's {kind} driver")
        return
    if cpu.mode == "custom" and not cpu.model:
        yield Problem("cpu.model", "is needed with mode custom")
    if cpu.model and cpu.mode not in (None, "custom"):
        yield Problem("cpu.model", f"makes no sense with mode {cpu.mode}")
    counts = [count for count in (cpu.sockets, cpu.cores, cpu.threads) if count is not None]
    total = (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1)
    if len(counts) == 3 and instance.max_vcpus is not None and total != instance.max_vcpus:
        yield Problem("cpu", f"sockets x cores x threads is {total}, and max_vcpus {instance.max_vcpus}")


def _console_problems(instance: Instance) -> Iterator[Problem]:
    console = instance.console
    if console is None or console.vnc_port is None:
        return
    if not 5900 <= console.vnc_port <= 65535:
        yield Problem("console.vnc_port", "must be between 5900 and 65535")


def _extra_problems(kind: str, instance: Instance) -> Iterator[Problem]:
    extras = instance.hypervisor
    for name in extras:
        if name not in EXTRAS:
            yield Problem(f"hypervisor.{name}", f"there is no such option; there are {', '.join(EXTRAS)}")
    yield from _choice("hypervisor.type", extras.get("type"), TYPES[kind])
    yield from _choice("hypervisor.os_type", extras.get("os_type"), OS_TYPES[kind])
    machine = extras.get("machine")
    if machine is not None and not _WORD.fullmatch(str(machine)):
        yield Problem("hypervisor.machine", f"{machine!r} cannot be the name of a machine type")
    for number, snippet in enumerate(extras.get("xml") or ()):
        try:
            check_snippet(snippet)
        except SnippetError as error:
            yield Problem(f"hypervisor.xml[{number}]", str(error))
    if extras.get("template") is not None:
        try:
            if parse_snippet(extras["template"]).tag != "domain":
                yield Problem("hypervisor.template", "must be a whole <domain>")
        except SnippetError as error:
            yield Problem("hypervisor.template", str(error))
