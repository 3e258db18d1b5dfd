# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking what is asked, before anything is done, and filling in what the driver decides."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from ...errors import (
    AlreadyExists,
    AnyvirtError,
    ImageNotFound,
    InvalidInput,
    NetworkNotFound,
    PoolNotFound,
    Problem,
    SecurityGroupNotFound,
)
from ...model.instance import Boot, Console, Cpu, Instance, Nic
from ...model.mac import with_addresses
from ...model.secgroup import NO_FIREWALL
from ..imagepath import image_path_problems
from .records import macs_of
from .storage import StorageMixin
from .store import GROUPS, INSTANCES, Record, View, is_file_name

Finding = tuple[Problem, type[AnyvirtError]]

_CPU_MODES = ("default", "host-model", "host-passthrough", "custom")
_FIRMWARES = ("bios", "uefi")

DEFAULT_FIREWALL = "nwfilter"
"""The filters are the same, whatever they are called: a playbook that names an engine runs here too."""

_FIREWALLS = (DEFAULT_FIREWALL, "nftables", "iptables", NO_FIREWALL)

MAX_NAME_BYTES = 200
"""Longer names would leave no room for those of the volumes made after them."""

_LOCALHOST = "127.0.0.1"


class ChecksMixin(StorageMixin):
    """Syntax, what the host lacks, and defaults."""

    def check_parameter_syntax(self, instance: Instance) -> list[Problem]:
        problems = []
        if not is_file_name(instance.name) or len(instance.name.encode()) > MAX_NAME_BYTES:
            problems.append(
                Problem(
                    "name",
                    f"must be printable, at most {MAX_NAME_BYTES} bytes long, without slashes and a leading dot",
                )
            )
        cpu, boot = instance.cpu, instance.boot
        if cpu and cpu.mode and cpu.mode not in _CPU_MODES:
            problems.append(Problem("cpu.mode", f"{cpu.mode!r} is not one of {', '.join(_CPU_MODES)}"))
        if boot and boot.firmware and boot.firmware not in _FIRMWARES:
            problems.append(Problem("boot.firmware", f"{boot.firmware!r} is not one of {', '.join(_FIRMWARES)}"))
        if instance.firewall is not None and instance.firewall not in _FIREWALLS:
            problems.append(Problem("firewall", f"{instance.firewall!r} is not one of {', '.join(_FIREWALLS)}"))
        for number, disk in enumerate(instance.disks or []):
            for option, value in (("volume", disk.volume), ("pool", disk.pool)):
                if value is not None and not is_file_name(value):
                    problems.append(Problem(f"disks[{number}].{option}", f"{value!r} cannot be its name"))
        problems += image_path_problems(instance)
        if instance.pool is not None and not is_file_name(instance.pool):
            problems.append(Problem("pool", f"{instance.pool!r} cannot be a pool's name"))
        return problems

    def validate_parameters(self, instances: Sequence[Instance]) -> dict[str, list[Problem]]:
        found: dict[str, list[Problem]] = {}
        with self._read("validate") as view:
            for instance in instances:
                known = view.get(INSTANCES, instance.name) if is_file_name(instance.name) else None
                problems = [problem for problem, _kind in self._findings(view, instance, known)]
                if problems:
                    found[instance.name] = problems
        return found

    def complete(self, instance: Instance) -> Instance:
        memory_mb, vcpus, boot, console = instance.memory_mb, instance.vcpus, instance.boot, instance.console
        boot = boot or Boot()
        console = console or Console()
        cloud_init = instance.cloud_init
        return replace(
            with_firewall(instance),
            max_memory_mb=memory_mb if instance.max_memory_mb is None else instance.max_memory_mb,
            max_vcpus=vcpus if instance.max_vcpus is None else instance.max_vcpus,
            disks=self._complete_disks(instance),
            nics=self._name_nics(instance.name, instance.nics or [], ()),
            boot=replace(boot, firmware=boot.firmware or "bios"),
            cpu=replace(instance.cpu, mode=instance.cpu.mode or "default") if instance.cpu else Cpu(mode="default"),
            console=_complete_console(console),
            autostart=bool(instance.autostart),
            description=instance.description or "",
            metadata=dict(instance.metadata or {}),
            locked=bool(instance.locked),
            protected=bool(instance.protected),
            cloud_init_fingerprint=cloud_init.fingerprint() if cloud_init else instance.cloud_init_fingerprint,
        )

    def _name_nics(self, name: str, nics: Sequence[Nic], taken: Collection[str]) -> list[Nic]:
        """Copies with a model and a MAC address each."""
        macs = with_addresses(self.host_identity, name, [nic.mac for nic in nics], taken)
        return [
            replace(nic, mac=mac, model=nic.model or "virtio", addresses=sorted(nic.addresses or ()) or None)
            for nic, mac in zip(nics, macs)
        ]

    def _require(self, view: View, instance: Instance) -> None:
        """Raise the error of the first thing that the host lacks for a new instance."""
        problems = self.check_parameter_syntax(instance)
        problems += [
            Problem(option, "is needed for a new instance")
            for option in ("memory_mb", "vcpus")
            if not getattr(instance, option)
        ]
        if problems:
            raise InvalidInput(problems)
        self._raise_first(self._findings(view, instance, None))

    def _raise_first(self, findings: Sequence[Finding]) -> None:
        for problem, kind in findings:
            raise InvalidInput([problem]) if issubclass(kind, InvalidInput) else kind(str(problem))

    def _findings(self, view: View, instance: Instance, known: Record | None) -> list[Finding]:
        """What the host lacks for the mentioned values; what an existing instance has already is not looked for."""
        found: list[Finding] = []
        pools = self._pools(view)
        if instance.pool is not None and not self._pool_is_ready(pools, instance.pool, instance):
            found.append((Problem("pool", f"there is no active pool {instance.pool!r}"), PoolNotFound))
        no_image: list[Finding] = []
        if instance.image is not None and known is None:
            no_image.extend(self._image_findings(view, "image", instance.image, instance.pool, None))
        found.extend(no_image or self._disk_problems(view, instance, known))
        boot = instance.boot or Boot()
        for option in ("kernel", "initrd"):
            path = getattr(boot, option)
            if path is not None and not self._has_file(path):
                found.append((Problem(f"boot.{option}", f"there is no file {path!r}"), ImageNotFound))
        found.extend(self._nic_findings(view, instance))
        found.extend(group_findings(view, instance, known))
        return found

    def _nic_findings(self, view: View, instance: Instance) -> list[Finding]:
        found: list[Finding] = []
        wanted = {nic.mac for nic in instance.nics or [] if nic.mac}
        owners: dict[str, Any] = {}
        if wanted:
            for name, record in view.all(INSTANCES).items():
                if name != instance.name:
                    owners.update(dict.fromkeys(wanted & macs_of(record), name))
        for number, nic in enumerate(instance.nics or []):
            where = f"nics[{number}]"
            problem = self._network_problem(nic.network, nic.bridge)
            if problem is not None:
                option = "network" if nic.network is not None else "bridge"
                found.append((Problem(f"{where}.{option}", problem), NetworkNotFound))
            if nic.mac is not None:
                if nic.mac in owners:
                    taken = f"{nic.mac} is taken by instance {owners[nic.mac]!r}"
                    found.append((Problem(f"{where}.mac", taken), AlreadyExists))
                owners.setdefault(nic.mac, instance.name)
        return found


def with_firewall(instance: Instance) -> Instance:
    """A copy whose options about filtering are as they are kept."""
    groups, firewall = instance.security_groups, instance.firewall
    return replace(
        instance,
        firewall=DEFAULT_FIREWALL if firewall is None and groups is not None else firewall,
        security_groups=None if groups is None else sorted(groups),
        project=instance.project or None,
    )


def group_findings(view: View, instance: Instance, known: Record | None) -> list[Finding]:
    """Groups that an instance is to be put into and that do not exist."""
    has = (known["config"].get("security_groups") if known else None) or ()
    return [
        (
            Problem("security_groups", f"there is no security group {name!r}; virt_secgroup makes one"),
            SecurityGroupNotFound,
        )
        for name in instance.security_groups or ()
        if name not in has and (not is_file_name(name) or view.get(GROUPS, name) is None)
    ]


def _complete_console(console: Console) -> Console:
    vnc = console.vnc is not False
    return replace(
        console,
        serial=console.serial is not False,
        vnc=vnc,
        vnc_listen=(console.vnc_listen or _LOCALHOST) if vnc else None,
    )
