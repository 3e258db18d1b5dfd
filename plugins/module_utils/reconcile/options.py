# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a task wants out of a module's options, and finds every problem of every instance first."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..driver.base import ACPI, AGENT, ALL, FORCED, NONE, OWN
from ..errors import InvalidInput, Problem
from ..model.flavor import Flavor
from ..model.instance import Boot, CloudInit, Console, Cpu, Instance
from ..model.units import GIB, MIB
from . import desired as want
from .desired import Desired, Shutdown, Wait
from .devices import read_disks, read_networks
from .entries import read_entries, read_metadata, told_once, without_none
from .filtering import read_filtering
from .flavors import MEMORY_MB, ROOT_GB, SWAP_MB, VCPUS, read_flavor, read_flavors
from .validate import Reader

STATES = (
    *(want.PRESENT, want.RUNNING, want.STOPPED, want.PAUSED, want.SUSPENDED, want.REBOOTED, want.ABSENT),
    *want.ENDS_OF_RESIZE,
)
_RUNS_AFTERWARDS = (want.PRESENT, want.RUNNING, want.REBOOTED, want.RESIZE_REVERTED)
_SIZES = ("flavor", "memory_mb", "max_memory_mb", "vcpus", "max_vcpus", "root_gb", "disks")

_TASK_WIDE = {"name", "instances", "flavors", "workers"}


def read_desired(params: Mapping[str, Any], driver_name: str) -> list[Desired]:
    """What the task wants, an entry for each instance.

    Args:
        params: The module's options.
        driver_name: The option of this name holds what only that kind of hypervisor knows.

    Raises:
        InvalidInput: with all that is wrong.
    """
    problems: list[Problem] = []
    Reader(params, "", problems).whole("workers", 1, 64)
    flavors = read_flavors(params, problems)
    readers = read_entries(params, "instances", _TASK_WIDE, problems)
    wanted = [_read_instance(reader, flavors, driver_name) for reader in readers]
    _find_duplicates(wanted, problems)
    if problems:
        raise InvalidInput(told_once(problems, params, "instances"))
    return wanted


def check_options(params: Mapping[str, Any]) -> None:
    """Find what is wrong with options that Ansible could not make sense of, and say it with their places.

    Raises:
        InvalidInput: with all that is wrong.
    """
    read_desired(params, "")


def _read_instance(reader: Reader, flavors: Mapping[str, Flavor], driver_name: str) -> Desired:
    name = reader.name("name")
    if name is None and not reader.given("name"):
        reader.complain("name", "is missing")
    instance = Instance(name or "")
    wanted = Desired(reader.where, instance)
    wanted.state = reader.choice("state", STATES) or want.PRESENT
    read_size(reader, wanted, flavors)
    instance.image = reader.path_or_name("image")
    instance.pool = reader.name("pool")
    instance.pool_path = reader.path("pool_path")
    if instance.pool_path is not None and not reader.given("pool"):
        reader.complain("pool_path", "says where to create the pool, so it needs the option pool")
    wanted.disks = read_disks(reader, instance.pool)
    _find_root(reader, wanted)
    instance.nics = read_networks(reader)
    instance.boot = _read_boot(reader)
    instance.cpu = _read_cpu(reader, instance)
    instance.console = _read_console(reader)
    instance.autostart = reader.truth("autostart")
    instance.description = reader.text("description", lines=True)
    instance.locked = reader.truth("locked")
    instance.protected = reader.truth("protected")
    read_filtering(reader, instance)
    wanted.metadata = read_metadata(reader)
    instance.cloud_init = _read_cloud_init(reader, instance.name)
    instance.hypervisor = dict(without_none(reader.mapping(driver_name) or {}))
    _read_manner(reader, wanted)
    return wanted


def read_size(reader: Reader, wanted: Desired, flavors: Mapping[str, Flavor]) -> None:
    """The options that say how large an instance is."""
    instance = wanted.instance
    flavor = wanted.flavor = read_flavor(reader, flavors)
    instance.flavor = flavor
    instance.memory_mb = reader.whole("memory_mb", *MEMORY_MB)
    instance.vcpus = reader.whole("vcpus", *VCPUS)
    instance.max_memory_mb = reader.whole("max_memory_mb", *MEMORY_MB)
    instance.max_vcpus = reader.whole("max_vcpus", *VCPUS)
    root_gb = reader.whole("root_gb", *ROOT_GB)
    swap_mb = reader.whole("swap_mb", *SWAP_MB)
    wanted.swap_option = "" if swap_mb is None else "swap_mb"
    if flavor is not None:
        instance.memory_mb = flavor.memory_mb if instance.memory_mb is None else instance.memory_mb
        instance.vcpus = flavor.vcpus if instance.vcpus is None else instance.vcpus
        if root_gb is None and flavor.root_gb:
            root_gb, wanted.root_option = flavor.root_gb, "flavor"
        if swap_mb is None and flavor.swap_mb:
            swap_mb, wanted.swap_option = flavor.swap_mb, "flavor"
    wanted.root_bytes = root_gb * GIB if root_gb else None
    wanted.swap_bytes = (swap_mb or 0) * MIB
    for option, most in (("memory_mb", "max_memory_mb"), ("vcpus", "max_vcpus")):
        now, limit = getattr(instance, option), getattr(instance, most)
        if now is not None and limit is not None and limit < now:
            reader.complain(most, f"must not be less than {option}: {limit} and {now}")


def _find_root(reader: Reader, wanted: Desired) -> None:
    """The first declared disk is the root disk where nothing else of the task makes one."""
    disks = wanted.disks
    if not disks or wanted.instance.image is not None:
        return
    if wanted.root_bytes is not None and wanted.root_option == "root_gb":
        return
    first = disks[0]
    if first.kind == "disk":
        first.role = "root"
        wanted.first_is_root = True
        wanted.root_bytes = None


def _read_boot(reader: Reader) -> Boot | None:
    given = reader.mapping("boot")
    if given is None:
        return None
    inner = reader.inner("boot", given)
    boot = Boot(
        kernel=inner.path_or_empty("kernel"),
        initrd=inner.path_or_empty("initrd"),
        cmdline=inner.text("cmdline"),
        firmware=inner.choice("firmware", ("bios", "uefi")),
        init=inner.path("init"),
    )
    order = inner.entries("order")
    if order is not None:
        boot.order = [str(device) for device in order]
        for number, device in enumerate(boot.order):
            if device not in ("disk", "cdrom", "network"):
                inner.complain(f"order[{number}]", f"has to be one of disk, cdrom, network, not {device!r}")
            elif device in boot.order[:number]:
                inner.complain(f"order[{number}]", f"{device!r} is there twice")
    if boot.kernel == "" and (boot.initrd or boot.cmdline):
        inner.complain("kernel", "is taken away, so initrd and cmdline make no sense beside it")
    if boot.kernel and boot.init:
        inner.complain("init", "is for containers, which have no kernel of their own; give one of kernel and init")
    return boot


def _read_cpu(reader: Reader, instance: Instance) -> Cpu | None:
    given = reader.mapping("cpu")
    if given is None:
        return None
    inner = reader.inner("cpu", given)
    cpu = Cpu(
        mode=inner.choice("mode", ("default", "host-model", "host-passthrough", "custom")),
        model=inner.text("model"),
        sockets=inner.whole("sockets", 1, 4096),
        cores=inner.whole("cores", 1, 4096),
        threads=inner.whole("threads", 1, 64),
    )
    if cpu.mode == "custom" and not cpu.model:
        inner.complain("model", "is needed with mode custom")
    if cpu.model and cpu.mode is None:
        cpu.mode = "custom"
    if cpu.model and cpu.mode != "custom":
        inner.complain("model", f"makes no sense with mode {cpu.mode}; use mode custom")
    topology = want.topology_option(cpu)
    if topology is not None:
        count = want.topology_size(cpu)
        limit = instance.max_vcpus or instance.vcpus
        if limit is not None and count != limit:
            option = "max_vcpus" if instance.max_vcpus else "vcpus"
            inner.complain(
                topology,
                f"sockets x cores x threads is {count}, but {option} is {limit}",
            )
    return cpu


def _read_console(reader: Reader) -> Console | None:
    given = reader.mapping("console")
    if given is None:
        return None
    inner = reader.inner("console", given)
    console = Console(
        serial=inner.truth("serial"),
        vnc=inner.truth("vnc"),
        vnc_listen=inner.text("vnc_listen"),
        vnc_port=inner.whole("vnc_port", 5900, 65535),
    )
    if console.vnc_listen is not None:
        import ipaddress  # takes long to import, and few tasks need it

        try:
            ipaddress.ip_address(console.vnc_listen)
        except ValueError:
            inner.complain("vnc_listen", f"has to be an IP address, not {console.vnc_listen!r}")
    if console.vnc is None and (console.vnc_listen is not None or console.vnc_port is not None):
        console.vnc = True
    if console.vnc is False:
        for option in ("vnc_listen", "vnc_port"):
            if inner.given(option):
                inner.complain(option, "makes no sense beside vnc: false")
    return console


def _read_cloud_init(reader: Reader, name: str) -> CloudInit | None:
    given = reader.mapping("cloud_init")
    if given is None:
        return None
    inner = reader.inner("cloud_init", given)
    texts = {}
    for option in ("user_data", "meta_data", "network_config"):
        value = given.get(option)
        if isinstance(value, (dict, list)):
            if option == "meta_data" and isinstance(value, dict):
                value = {"instance-id": name, "local-hostname": name, **value}
            text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"  # which is YAML too
            texts[option] = f"#cloud-config\n{text}" if option == "user_data" else text
        elif value is None or isinstance(value, str):
            texts[option] = value or ""
        else:
            inner.complain(option, "has to be a text or a dictionary")
    if len(texts) < 3:
        return None
    if not texts["meta_data"]:
        texts["meta_data"] = f"instance-id: {json.dumps(name)}\nlocal-hostname: {json.dumps(name)}\n"
    return CloudInit(**texts)


def _read_manner(reader: Reader, wanted: Desired) -> None:
    """How to do it."""
    wanted.apply = reader.choice("apply", (want.LIVE, want.NEXT_BOOT, want.RESTART)) or want.LIVE
    _read_revertible(reader, wanted)
    wanted.delete_volumes = reader.choice("delete_volumes", (OWN, ALL, NONE)) or OWN
    wanted.purge_networks = reader.truth("purge_networks") or False
    wanted.override_lock = reader.truth("override_lock") or False
    if wanted.purge_networks and wanted.instance.nics is None:
        reader.complain("purge_networks", "needs networks, which tells what stays")
    wanted.shutdown = read_shutdown(reader)
    given = reader.mapping("wait")
    if given is not None:
        wanted.wait = _read_wait(reader.inner("wait", given), wanted)


def _read_revertible(reader: Reader, wanted: Desired) -> None:
    wanted.revertible = reader.truth("revertible") or False
    wanted.confirm_window_s = reader.seconds("confirm_window")
    if wanted.revertible and not any(reader.given(option) for option in _SIZES):
        reader.complain("revertible", f"is about other sizes, so it needs one of {', '.join(_SIZES)}")
    if reader.given("confirm_window") and not wanted.revertible:
        reader.complain("confirm_window", "needs revertible: true; no other resize waits to be confirmed")


def read_shutdown(reader: Reader) -> Shutdown:
    """The option ``shutdown``."""
    given = reader.mapping("shutdown")
    if given is None:
        return Shutdown()
    inner = reader.inner("shutdown", given)
    method = inner.choice("method", (ACPI, AGENT, FORCED))
    force = inner.truth("force_after_timeout") or False
    if method == FORCED and inner.given("timeout"):
        inner.complain("timeout", "makes no sense beside method forced, which waits for nobody")
    return Shutdown(method, inner.seconds("timeout") or Shutdown().timeout_s, force, True)


def _read_wait(reader: Reader, wanted: Desired) -> Wait:
    what = reader.choice("for", (want.FOR_STATE, want.FOR_CONSOLE, want.FOR_ADDRESS))
    pattern = reader.text("pattern")
    timeout_s = reader.seconds("timeout")
    if what is None:
        what = want.FOR_CONSOLE if pattern is not None else want.FOR_STATE
    if what == want.FOR_CONSOLE:
        if pattern is None and not reader.given("pattern"):
            reader.complain("pattern", "is needed: which line of the console to wait for")
        try:
            re.compile(pattern or "")
        except re.error as error:
            reader.complain("pattern", f"is not a regular expression: {error}")
    elif pattern is not None:
        reader.complain("pattern", f"makes no sense with for: {what}")
    if what == want.FOR_STATE and timeout_s is not None:
        reader.complain("timeout", "makes no sense with for: state; what a guest gets to stop is shutdown.timeout")
    if what != want.FOR_STATE and wanted.state not in _RUNS_AFTERWARDS:
        reader.complain("for", f"{what} never comes with state {wanted.state}, in which nothing runs")
    return Wait(what, pattern, timeout_s or Wait().timeout_s)


def _find_duplicates(wanted: list[Desired], problems: list[Problem]) -> None:
    names: dict[str, str] = {}
    macs: dict[str, str] = {}
    for item in wanted:
        place = f"{item.where}name"
        if item.name in names and item.name:
            problems.append(Problem(place, f"{item.name!r} is the name of {names[item.name]} too"))
        names.setdefault(item.name, place.rpartition(".")[0] or place)
        for number, nic in enumerate(item.instance.nics or ()):
            place = f"{item.where}networks[{number}].mac"
            if nic.mac in macs:
                problems.append(Problem(place, f"{nic.mac} is the address of {macs[nic.mac]} too"))
            elif nic.mac is not None:
                macs[nic.mac] = place
