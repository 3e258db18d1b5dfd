# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filling in what the driver decides by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from ...errors import AnyvirtError, HypervisorUnavailable
from ...model.instance import CDROM, DISK, SEED, Boot, Console, Cpu, Disk, Instance, Nic
from ...model.mac import with_addresses
from ...model.units import GIB, MIB
from ..needs import needed_features
from .devices import device_name, device_number, free_number, numbers_of
from .extras import HVM, wanted_domain_type
from .filtering import filtering_findings
from .findings import raise_first
from .host import HostMixin
from .images import is_file, look_at
from .places import PlacesMixin
from .syntax import BUS

ROOT, SWAP, DATA = "root", "swap", "data"


class CompleteMixin(PlacesMixin, HostMixin):
    """Defaults, as they will be read back."""

    def complete(self, instance: Instance) -> Instance:
        for _option, feature in needed_features(instance):
            self.require(feature)
        raise_first(filtering_findings(instance))
        like = self._template_of(instance)
        kind = wanted_domain_type(instance, like)
        cpu, boot = instance.cpu or Cpu(), instance.boot or Boot()
        max_vcpus = instance.vcpus if instance.max_vcpus is None else instance.max_vcpus
        disks = self._wanted_disks(instance, like, kind)
        disks = self.complete_disks(instance, disks, (), kind)
        data = instance.cloud_init
        return replace(
            instance,
            max_memory_mb=instance.memory_mb if instance.max_memory_mb is None else instance.max_memory_mb,
            max_vcpus=max_vcpus,
            disks=disks,
            pool=next((disk.pool for disk in disks if disk.owned), instance.pool),
            nics=self.complete_nics(instance.name, instance.nics or []),
            boot=_complete_boot(boot, kind, like.boot if like is not None else None),
            cpu=complete_cpu(cpu, max_vcpus),
            console=Console(serial=True, vnc=True),
            autostart=bool(instance.autostart),
            description=instance.description or "",
            metadata=dict(instance.metadata or {}),
            locked=bool(instance.locked),
            protected=bool(instance.protected),
            security_groups=None if instance.security_groups is None else sorted(set(instance.security_groups)),
            project=instance.project or None,
            allow_project_net_traffic=bool(instance.allow_project_net_traffic),
            cloud_init_fingerprint=instance.cloud_init_fingerprint if data is None else data.fingerprint(),
            hypervisor={**instance.hypervisor, "domain_type": kind},
        )

    def complete_disks(
        self, instance: Instance, disks: Iterable[Disk], taken: Collection[int], domain_type: str
    ) -> list[Disk]:
        """Copies with devices, and the volumes of those that are to be made.

        Args:
            taken: Numbers of devices that the instance has already.
        """
        disks = list(disks)
        numbers = {*taken, *numbers_of(disks)}
        completed = []
        for wanted in disks:
            number = device_number(wanted.device)
            if number is None:
                number = free_number(wanted.kind, domain_type == HVM, numbers)
            numbers.add(number)
            disk = replace(wanted, bus=BUS, device=wanted.device or device_name(str(number)))
            if disk.read_only is None:
                disk.read_only = disk.kind == CDROM
            if disk.volume is not None:
                disk.pool = disk.pool or instance.pool or self.default_repository()
            elif disk.kind == DISK:
                self._plan_volume(instance, disk)
            completed.append(disk)
        return completed

    def complete_nics(self, name: str, nics: Sequence[Nic], taken: Collection[str] = ()) -> list[Nic]:
        """Copies with an address each."""
        asked = [None if nic.mac is None else nic.mac.lower() for nic in nics]
        macs = with_addresses(self.host_identity, name, asked, taken)
        return [
            replace(nic, mac=mac, addresses=sorted(nic.addresses) if nic.addresses else None)
            for nic, mac in zip(nics, macs)
        ]

    def _plan_volume(self, instance: Instance, disk: Disk) -> None:
        disk.owned = True
        disk.volume = f"{instance.name}.{SEED if disk.role == SEED else disk.device}"
        disk.pool = disk.pool or instance.pool
        if disk.image is not None:
            self._complete_from_image(disk, disk.image)
        disk.pool = disk.pool or self.default_repository()

    def _complete_from_image(self, disk: Disk, image: str) -> None:
        """Where and how large a disk made from an image is; one that is not there is complained of elsewhere."""
        if is_file(image):
            file = look_at(image)
            disk.size_bytes = disk.size_bytes or (None if file is None else file.size_bytes)
            return
        try:
            source = self.find_image(image, disk.pool).record
        except HypervisorUnavailable:
            raise
        except AnyvirtError:
            return
        disk.size_bytes = disk.size_bytes or int(source["virtual_size"])
        disk.pool = disk.pool or self.pool_of(source)  # where it can be cloned without copying it

    # -- templates --------------------------------------------------------------------------------------------------

    def _template_of(self, instance: Instance) -> Instance | None:
        """What the instance's template is like; None where it has none, or one that is not there."""
        name = instance.hypervisor.get("template")
        if name is None:
            return None
        found = self.places().templates(name)
        return found[0].like if len(found) == 1 else None

    def _wanted_disks(self, instance: Instance, like: Instance | None, kind: str) -> list[Disk]:
        """The disks, with those of image, flavor, template and seed among them. A flavor has no say where the disks
        are given."""
        disks = [replace(disk) for disk in instance.disks or []]
        flavor = instance.flavor if instance.disks is None else None
        root_bytes = flavor.root_gb * GIB if flavor is not None and flavor.root_gb else None
        has_root = any(disk.role == ROOT or (disk.image and disk.image == instance.image) for disk in disks)
        if not has_root and (instance.image or (root_bytes and not disks)):
            disks.insert(0, Disk(role=ROOT, image=instance.image, size_bytes=root_bytes))
        if flavor is not None and flavor.swap_mb and not any(disk.role == SWAP for disk in disks):
            disks.append(Disk(role=SWAP, size_bytes=flavor.swap_mb * MIB))
        if like is not None:
            disks = merge_template(disks, like.disks or [])
        if instance.cloud_init is not None and not any(disk.role == SEED for disk in disks):
            disks.append(seed_disk(kind))
        if not any(disk.role == ROOT for disk in disks):
            first = next((disk for disk in disks if disk.kind == DISK and disk.role == DATA), None)
            if first is not None:
                first.role = ROOT
        return disks


def seed_disk(domain_type: str) -> Disk:
    """The disk for cloud-init's data. The firmware of HVM guests has no disks that are read-only."""
    return Disk(kind=DISK, role=SEED, read_only=domain_type != HVM)


def merge_template(disks: Sequence[Disk], brought: Sequence[Disk]) -> list[Disk]:
    """The disks of an instance made from a template: those that the template brings, of the size that the task gives
    the first, the second and so on of its own, and then the rest of these."""
    own = list(disks)
    whole: list[Disk] = []
    for disk in brought:
        asked = _asked_as(own, disk)
        if asked is not None:
            own.remove(asked)
        if disk.kind == CDROM:
            whole.append(replace(disk, owned=False))
            continue
        role = DATA if any(one.kind == DISK for one in whole) else ROOT
        size_bytes = (asked.size_bytes if asked is not None else None) or disk.size_bytes
        whole.append(replace(disk, owned=True, volume=None, role=role, size_bytes=size_bytes))
    return whole + own


def disks_too_small(disks: Sequence[Disk], brought: Sequence[Disk]) -> Iterator[tuple[int, Disk]]:
    """Which of a task's disks are to be smaller than the template's that they are made of: their indexes and those."""
    own = list(enumerate(disks))
    for disk in brought:
        asked = _asked_as([one for _number, one in own], disk)
        pair = next((pair for pair in own if pair[1] is asked), None)
        if asked is None or pair is None:
            continue
        own.remove(pair)
        if disk.volume is not None and asked.size_bytes and disk.size_bytes and asked.size_bytes < disk.size_bytes:
            yield pair[0], disk


def complete_cpu(cpu: Cpu, max_vcpus: int | None) -> Cpu:
    """The processors' arrangement, where one is asked for."""
    if max_vcpus is None or not (cpu.sockets or cpu.cores):
        return Cpu(mode=cpu.mode or "default")
    cores = cpu.cores or max(1, max_vcpus // (cpu.sockets or 1))
    return Cpu(mode=cpu.mode or "default", sockets=max(1, max_vcpus // cores), cores=cores, threads=1)


def _asked_as(own: Sequence[Disk], brought: Disk) -> Disk | None:
    """The one of a task's disks that is to be a disk which the template brings: that of its device, or the first that
    may have any."""
    named = next((disk for disk in own if disk.device == brought.device), None)
    if named is not None or brought.kind == CDROM:
        return named
    return next((disk for disk in own if disk.device is None and _is_blank(disk)), None)


def _is_blank(disk: Disk) -> bool:
    return disk.kind == DISK and disk.role not in (SWAP, SEED) and disk.volume is None and disk.image is None


def _complete_boot(boot: Boot, domain_type: str, like: Boot | None) -> Boot:
    if like is not None:
        asked = {option: value for option, value in vars(boot).items() if value is not None}
        boot = replace(like, **asked)
    if domain_type != HVM:
        return replace(boot, order=None, firmware=None)
    return replace(boot, firmware=boot.firmware or "bios", order=boot.order or ["disk", "cdrom", "network"])
