# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filling in what the driver decides by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ...model.instance import CDROM, DISK, Boot, Console, Cpu, Disk, Instance, Nic
from ...model.mac import stable_mac
from ...model.units import GIB, MIB
from ..imagepath import is_path
from ..needs import needed_features
from .console import ConsoleMixin
from .domain_consoles import LOOPBACK
from .domain_disks import ROOT, SEED, free_device
from .domain_filters import NWFILTER
from .domain_system import BIOS, DEFAULT
from .host import HostMixin
from .hostfacts import HostFacts
from .images import ImagesMixin, facts_here
from .instances import InstancesMixin
from .merge import parse_snippet

DEFAULT_POOL = "default"
CONTAINER_INIT = "/sbin/init"


class CompleteMixin(ConsoleMixin, HostMixin, ImagesMixin, InstancesMixin):
    """Defaults, as they will be read back."""

    def complete(self, instance: Instance) -> Instance:
        for _option, feature in needed_features(instance):
            self.require(feature)
        host = self.host_facts(instance)
        cpu = instance.cpu or Cpu()
        data = instance.cloud_init
        disks = self.complete_disks(instance, _wanted_disks(instance), host, _template_devices(instance))
        return replace(
            instance,
            max_memory_mb=instance.memory_mb if instance.max_memory_mb is None else instance.max_memory_mb,
            max_vcpus=instance.vcpus if instance.max_vcpus is None else instance.max_vcpus,
            disks=disks,
            pool=next((disk.pool for disk in disks if disk.owned), instance.pool),
            nics=self.complete_nics(instance.name, instance.nics or []),
            boot=_complete_boot(instance.boot or Boot(), host),
            cpu=replace(cpu, mode=cpu.mode or ("custom" if cpu.model else DEFAULT)),
            console=self._complete_console(instance.name, instance.console or Console()),
            autostart=bool(instance.autostart),
            description=instance.description or "",
            metadata=dict(instance.metadata or {}),
            locked=bool(instance.locked),
            protected=bool(instance.protected),
            firewall=(instance.firewall or NWFILTER) if instance.security_groups is not None else instance.firewall,
            security_groups=None if instance.security_groups is None else sorted(instance.security_groups),
            project=instance.project or None,
            cloud_init_fingerprint=instance.cloud_init_fingerprint if data is None else data.fingerprint(),
            hypervisor={
                **instance.hypervisor,
                "type": host.domain_type,
                "os_type": host.os_type,
                **({} if host.machine is None else {"machine": host.machine}),
            },
        )

    def complete_disks(
        self, instance: Instance, disks: Iterable[Disk], host: HostFacts, taken: Collection[str]
    ) -> list[Disk]:
        """Copies with devices, buses, and the volumes of those that are to be made."""
        disks = list(disks)
        devices = {*taken, *(disk.device for disk in disks if disk.device)}
        completed = []
        for wanted in disks:
            bus = wanted.bus or _bus_of(wanted.device) or _default_bus(wanted.kind, host)
            device = wanted.device or free_device(bus, devices)
            devices.add(device)
            disk = replace(wanted, bus=bus, device=device)
            if disk.read_only is None:
                disk.read_only = disk.kind == CDROM
            if disk.volume is not None:
                disk.pool = disk.pool or instance.pool or DEFAULT_POOL
            elif disk.path is None and (disk.role == SEED or disk.kind != CDROM):
                self._plan_volume(instance, disk)
            completed.append(disk)
        return completed

    def _plan_volume(self, instance: Instance, disk: Disk) -> None:
        disk.owned = True
        disk.pool = disk.pool or instance.pool or DEFAULT_POOL
        if disk.role == SEED:
            disk.format, disk.volume = "raw", f"{instance.name}.seed.iso"
            return
        disk.format = disk.format or "qcow2"
        disk.volume = f"{instance.name}.{disk.device}.{'img' if disk.format == 'raw' else disk.format}"
        if disk.image is not None and is_path(disk.image) and disk.size_bytes is None and self.shares_our_kernel:
            facts = facts_here(disk.image)
            disk.size_bytes = None if facts is None else facts.size_bytes

    def complete_nics(self, name: str, nics: Sequence[Nic], taken: Collection[str] = ()) -> list[Nic]:
        """Copies with a model and an address each."""
        macs = {*taken, *(nic.mac for nic in nics if nic.mac)}
        model = "virtio" if self.kind == "qemu" else None
        completed = []
        index = len(taken)
        # A container and a virtual machine may have the same name, and NICs on one network.
        owner = f"lxc/{name}" if self.kind == "lxc" else name
        for nic in nics:
            mac = None if nic.mac is None else nic.mac.lower()
            while mac is None:
                candidate = stable_mac(self.host_identity(), owner, index)
                index += 1
                mac = None if candidate in macs else candidate
            macs.add(mac)
            completed.append(replace(nic, mac=mac, model=nic.model or model, addresses=nic.addresses or None))
        return completed

    def _complete_console(self, name: str, console: Console) -> Console:
        has_log = self.console_log_path(name) is not None
        vnc = self.kind == "qemu" if console.vnc is None else console.vnc
        return replace(
            console,
            serial=(has_log or self.kind != "qemu") if console.serial is None else console.serial,
            vnc=vnc,
            vnc_listen=(console.vnc_listen or LOOPBACK) if vnc else None,
            vnc_port=console.vnc_port if vnc else None,
        )


def seed_disk() -> Disk:
    """The CD for cloud-init's data."""
    return Disk(kind=CDROM, role=SEED)


def _wanted_disks(instance: Instance) -> list[Disk]:
    """The disks, with those of image, flavor and seed among them. A flavor has no say where the disks are given."""
    disks = [replace(disk) for disk in instance.disks or []]
    flavor = instance.flavor if instance.disks is None else None
    root_bytes = flavor.root_gb * GIB if flavor is not None and flavor.root_gb else None
    has_root = any(disk.role == ROOT or (disk.image and disk.image == instance.image) for disk in disks)
    if not has_root and (instance.image or (root_bytes and not disks)):
        disks.insert(0, Disk(role=ROOT, image=instance.image, size_bytes=root_bytes))
    if flavor is not None and flavor.swap_mb and not any(disk.role == "swap" for disk in disks):
        disks.append(Disk(role="swap", size_bytes=flavor.swap_mb * MIB))
    if instance.cloud_init is not None and not any(disk.role == SEED for disk in disks):
        disks.append(seed_disk())
    if not any(disk.role == ROOT for disk in disks):
        first = next((disk for disk in disks if disk.kind == DISK and disk.role == "data"), None)
        if first is not None:
            first.role = ROOT
    return disks


def _template_devices(instance: Instance) -> set[str]:
    template = instance.hypervisor.get("template")
    if template is None:
        return set()
    return {target.get("dev", "") for target in parse_snippet(template).findall("devices/disk/target")}


def _bus_of(device: str | None) -> str | None:
    """The bus that a device's name speaks of; ``sd`` may be any."""
    if device is None:
        return None
    return next(
        (bus for prefix, bus in (("vd", "virtio"), ("hd", "ide"), ("xvd", "xen")) if device.startswith(prefix)), None
    )


def _default_bus(kind: str, host: HostFacts) -> str:
    if host.domain_type == "xen":
        return "ide" if kind == CDROM and host.os_type == "hvm" else "xen"
    if kind != CDROM:
        return "virtio"
    if host.arch not in ("x86_64", "i686"):
        return "scsi"
    # The kernels of cloud images often know the old IDE chip of this board and no SATA; other boards have no IDE.
    return "ide" if "i440fx" in (host.machine or "") else "sata"


def _complete_boot(boot: Boot, host: HostFacts) -> Boot:
    if host.os_type == "exe":
        return replace(boot, init=boot.init or CONTAINER_INIT)
    if host.os_type == "hvm":
        return replace(boot, firmware=boot.firmware or BIOS, order=boot.order or ["disk"])
    return boot
