# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking what is asked, before anything is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...errors import (
    AlreadyExists,
    AnyvirtError,
    ImageNotFound,
    InvalidInput,
    NetworkNotFound,
    PoolNotFound,
    Problem,
    SecurityGroupNotFound,
    Unsupported,
    VolumeInUse,
    VolumeNotFound,
)
from ...model.instance import CDROM, Boot, Disk, Instance, Nic
from ..imagepath import is_path
from .cachedimages import CachedImagesMixin
from .complete import DEFAULT_POOL, CompleteMixin
from .domain_filters import ENGINES
from .filtering import FilteringMixin
from .hostfacts import canonical_machine
from .inventory import Inventory
from .merge import has_snippet
from .syntax import syntax_problems

Finding = tuple[Problem, type[AnyvirtError]]


class CheckMixin(CompleteMixin, CachedImagesMixin, FilteringMixin):
    """Syntax, and what the host lacks."""

    def check_parameter_syntax(self, instance: Instance) -> list[Problem]:
        return syntax_problems(self.kind, instance) + self.unmet_needs(instance)

    def differing_extras(self, current: Instance, desired: Instance) -> set[str]:
        wanted, differing = desired.hypervisor, set()
        machine = wanted.get("machine")
        if machine is not None and machine != current.hypervisor.get("machine"):
            arch = self.host_facts(current).arch
            if canonical_machine(self.capabilities_xml(), arch, machine) != current.hypervisor.get("machine"):
                differing.add("machine")
        for key in ("type", "os_type"):
            if wanted.get(key) is not None and wanted[key] != current.hypervisor.get(key):
                differing.add(key)
        document = self.documents.get(current.name)
        if document is not None and not all(has_snippet(document.root, text) for text in wanted.get("xml") or ()):
            differing.add("xml")
        return differing  # a template is for the beginning only

    def validate_parameters(self, instances: Sequence[Instance]) -> dict[str, list[Problem]]:
        host = Inventory(self)
        found: dict[str, list[Problem]] = {}
        for instance in instances:
            problems = [problem for problem, _kind in self._findings(host, instance)]
            if problems:
                found[instance.name] = problems
        return found

    def require_host_has(self, instance: Instance) -> None:
        """Raise the error of the first thing that the host lacks for a new instance."""
        problems = self.check_parameter_syntax(instance)
        if problems:
            raise InvalidInput(problems)
        raise_first(self._findings(Inventory(self), instance))

    def require_nics(self, name: str, nics: Sequence[Nic]) -> None:
        """Raise the error of the first thing that the host lacks for these NICs of an instance."""
        raise_first(self._nic_findings(Inventory(self), Instance(name, nics=list(nics))))

    def _findings(self, host: Inventory, instance: Instance) -> Iterator[Finding]:
        """What the host lacks for the mentioned values; what an existing instance has already is not looked for."""
        document = self.documents.get(instance.name)
        known = None if document is None else document.to_instance()
        had = {disk.path for disk in known.disks or []} if known is not None else set()
        makes_pool = instance.pool_path is not None
        if instance.pool is not None and instance.pool not in host.pools and not makes_pool:
            yield Problem("pool", f"there is no active pool {instance.pool!r}"), PoolNotFound
        if instance.image is not None and known is None:
            yield from _image_findings(host, "image", instance.image)
        for number, disk in enumerate(instance.disks or []):
            if known is None or (disk.path not in had and not _has_disk(known, disk)):
                yield from self._disk_findings(host, instance, number, disk)
        boot, has = instance.boot or Boot(), (known and known.boot) or Boot()
        for option in ("kernel", "initrd"):
            path = getattr(boot, option)
            if path and path != getattr(has, option) and not host.has_file(path):
                yield Problem(f"boot.{option}", f"there is no file {path!r}"), ImageNotFound
        yield from self._nic_findings(host, instance)
        yield from self._filter_findings(host, instance)

    def _filter_findings(self, host: Inventory, instance: Instance) -> Iterator[Finding]:
        if instance.firewall in ENGINES and instance.security_groups is not None:
            problem = self.engine_problem(instance.firewall)
            if problem is not None:
                yield Problem("firewall", problem), Unsupported
        for group in instance.security_groups or ():  # sorted, so no number of theirs is the task's
            if group not in host.security_groups:
                what = f"there is no security group {group!r}; make it with virt_secgroup"
                yield Problem("security_groups", what), SecurityGroupNotFound

    def _disk_findings(self, host: Inventory, instance: Instance, number: int, disk: Disk) -> Iterator[Finding]:
        where = f"disks[{number}]"
        pool = disk.pool or instance.pool or DEFAULT_POOL
        is_made = disk.owned or (disk.volume is None and disk.path is None and disk.kind != CDROM)
        if (is_made or disk.volume is not None) and pool not in host.pools:
            if pool != instance.pool:
                yield Problem(f"{where}.pool", f"there is no active pool {pool!r}"), PoolNotFound
        elif disk.volume is not None and not disk.owned and not host.has_volume(pool, disk.volume):
            what = f"there is no volume {disk.volume!r} in the pool {pool!r}"
            yield Problem(f"{where}.volume", what), VolumeNotFound
        elif disk.volume is not None and not disk.owned:
            yield from self.image_findings(where, disk, pool, disk.volume)
        elif disk.path is not None and not disk.owned and not host.has_file(disk.path):
            yield Problem(f"{where}.path", f"there is no file {disk.path!r}"), ImageNotFound
        if disk.image is not None and disk.image != instance.image:
            yield from _image_findings(host, f"{where}.image", disk.image)

    def image_findings(self, where: str, disk: Disk, pool: str, volume: str) -> Iterator[Finding]:
        """Why a volume cannot be a new disk: it is an image that others are made from, and would be written to."""
        is_written = disk.kind != CDROM and not disk.read_only
        if is_written and self.find_image(volume, [pool]) is not None:
            what = f"{pool}/{volume} is an image of the cache, which nobody may write to; name it as the image"
            yield Problem(f"{where}.volume", what), VolumeInUse

    def _nic_findings(self, host: Inventory, instance: Instance) -> Iterator[Finding]:
        used: dict[str, str] = {}
        for number, nic in enumerate(instance.nics or []):
            where = f"nics[{number}]"
            if nic.network is not None and nic.network not in host.networks:
                yield Problem(f"{where}.network", f"there is no active network {nic.network!r}"), NetworkNotFound
            if nic.bridge is not None and host.bridges is not None and nic.bridge not in host.bridges:
                yield Problem(f"{where}.bridge", f"there is no bridge {nic.bridge!r}"), NetworkNotFound
            if nic.mac is None:
                continue
            mac = nic.mac.lower()
            owner = used.get(mac) or next((one for one in host.owners(mac) if one != instance.name), None)
            if owner is not None:
                yield Problem(f"{where}.mac", f"{mac} is taken by instance {owner!r}"), AlreadyExists
            used[mac] = instance.name


def _image_findings(host: Inventory, option: str, image: str) -> Iterator[Finding]:
    if not is_path(image):
        if not host.has_image(image):
            what = f"there is no image {image!r} in any pool's image cache; fetch it with virt_image"
            yield Problem(option, what), ImageNotFound
    elif not host.has_file(image):
        yield Problem(option, f"there is no file {image!r}"), ImageNotFound


def _has_disk(known: Instance, disk: Disk) -> bool:
    return disk.volume is not None and any(
        (old.volume, old.pool) == (disk.volume, disk.pool) for old in known.disks or []
    )


def raise_first(findings: Iterator[Finding]) -> None:
    """Raise the first one as the error that it is."""
    for problem, kind in findings:
        raise kind(str(problem))
