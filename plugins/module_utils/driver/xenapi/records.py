# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""XenAPI's records as the collection's model: pure functions, no calls.

Records are as they come over the wire: whole numbers are texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...model import power_state
from ...model.instance import CDROM, DISK, Boot, Console, Cpu, Disk, Instance, InstanceInfo, Nic
from ...model.storage import VolumeUse
from ...model.units import KIB, MIB
from .devices import device_name
from .extras import AUTOSTART, CORES, HVM, domain_type, read_extras
from .metadata import BY_BRIDGE, KEY, Record, VolumeRecord, read_record, read_volume_record, resize_of

Object = Mapping[str, Any]
"""A record of XenAPI."""

Objects = Mapping[str, Object]
"""By reference."""

NULL = "OpaqueRef:NULL"
ROOT = "root"

_STATES = {
    "Halted": power_state.SHUTOFF,
    "Paused": power_state.PAUSED,
    "Running": power_state.RUNNING,
    "Suspended": power_state.SUSPENDED,
}
_ORDER = {"c": "disk", "d": "cdrom", "n": "network"}
ROUNDED_BYTES = 4 * MIB
"""By how much a storage repository may make a disk larger than asked for."""


@dataclass
class Survey:
    """The records that tell all of some VMs."""

    vbds: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    """By their VM's reference; ``vifs`` likewise."""
    vifs: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    vdis: Objects = field(default_factory=dict)
    srs: Objects = field(default_factory=dict)
    networks: Objects = field(default_factory=dict)
    metrics: Objects = field(default_factory=dict)
    host_names: Mapping[str, str] = field(default_factory=dict)
    """By reference."""
    autostart: bool = False
    """Whether the pool starts those VMs with its hosts that are marked so."""


def is_instance(vm: Object) -> bool:
    """Whether it is none of the other things that XenAPI keeps as VMs."""
    return not (vm["is_a_template"] or vm["is_a_snapshot"] or vm["is_control_domain"])


def state_of(vm: Object) -> int:
    """The power state."""
    return _STATES.get(vm["power_state"], power_state.NOSTATE)


def starts_with_host(vm: Object, pool: Object) -> bool:
    """Whether the VM starts with its host: it is marked so, and so is the pool."""
    return all(owner["other_config"].get(AUTOSTART) == "true" for owner in (vm, pool))


def in_order(devices: Sequence[Object], field_name: str) -> list[Object]:
    """VBDs by their ``userdevice`` or VIFs by their ``device``: numbers first, as numbers."""

    def key(device: Object) -> tuple[int, str]:
        text = device[field_name]
        return (int(text), "") if text.isdecimal() else (1 << 30, text)

    return sorted(devices, key=key)


def to_info(vm: Object, metrics: Object | None, autostart: bool) -> InstanceInfo:
    """What a listing tells of a VM."""
    state = state_of(vm)
    active = state in power_state.ACTIVE
    # What waits for the next start is what one that is off has.
    record = None if active else read_record(vm)
    waiting = {} if record is None else {name: size for name, size in record.deferred.items() if isinstance(size, int)}
    max_mb, vcpus = waiting.get("max_memory_mb"), waiting.get("vcpus")
    return InstanceInfo(
        name=vm["name_label"],
        state=state,
        max_mem_kib=max_mb * KIB if max_mb is not None else int(vm["memory_static_max"]) // KIB,
        mem_kib=present_memory_kib(vm, metrics) if active else 0,
        num_cpu=vcpus if vcpus is not None else present_vcpus(vm, metrics) if active else int(vm["VCPUs_at_startup"]),
        cpu_time_ns=None if active else 0,
        autostart=autostart,
    )


def present_memory_kib(vm: Object, metrics: Object | None) -> int:
    """What an active VM has of memory now; its target as long as nobody has measured it."""
    measured = 0 if metrics is None else int(metrics["memory_actual"])
    return (measured or int(vm["memory_target"]) or int(vm["memory_dynamic_max"])) // KIB


def present_vcpus(vm: Object, metrics: Object | None) -> int:
    """How many virtual processors an active VM has now."""
    return (0 if metrics is None else int(metrics["VCPUs_number"])) or int(vm["VCPUs_at_startup"])


def to_instance(ref: str, vm: Object, survey: Survey) -> Instance:
    """The instance as XenAPI has it configured; what waits in our record for the next start is not in it."""
    record = read_record(vm)
    known = record or Record()
    memory_mb = int(vm["memory_dynamic_max"]) // MIB
    instance = Instance(
        name=vm["name_label"],
        memory_mb=memory_mb,
        max_memory_mb=int(vm["memory_static_max"]) // MIB,
        vcpus=int(vm["VCPUs_at_startup"]),
        max_vcpus=int(vm["VCPUs_max"]),
        flavor=known.flavor,
        image=known.image,
        pool=known.pool,
        disks=read_disks(survey.vbds.get(ref, ()), survey, record),
        nics=[_read_nic(vif, survey.networks, known) for vif in in_order(survey.vifs.get(ref, ()), "device")],
        boot=_read_boot(vm),
        cpu=_read_cpu(vm),
        console=Console(serial=True, vnc=True),
        autostart=survey.autostart and vm["other_config"].get(AUTOSTART) == "true",
        description=vm["name_description"],
        metadata=dict(known.metadata),
        locked=known.locked,
        protected=known.protected,
        firewall=known.firewall,
        security_groups=known.security_groups,
        project=known.project,
        allow_project_net_traffic=known.allow_project_net_traffic,
        cloud_init_fingerprint=known.cloud_init_fingerprint,
        hypervisor=read_extras(vm, survey.host_names),
        power_state=state_of(vm),
        unfinished=known.unfinished,
        resize=resize_of(known),
    )
    if instance.power_state in power_state.ACTIVE:
        has = present_vcpus(vm, survey.metrics.get(vm["metrics"]))
        if has != instance.vcpus:
            instance.pending["vcpus"] = (has, instance.vcpus)
    return instance


def read_disks(vbds: Sequence[Object], survey: Survey, record: Record | None) -> list[Disk]:
    """The disks and CD drives of one VM, in the guest's order."""
    disks = [_read_disk(vbd, survey, record) for vbd in in_order(vbds, "userdevice") if vbd["type"] != "Floppy"]
    if not any(disk.role == ROOT for disk in disks):
        first = next((disk for disk in disks if disk.kind == DISK and disk.role == "data"), None)
        if first is not None:
            first.role = ROOT
    return disks


def size_of(vdi: Object, kept: VolumeRecord | None) -> int:
    """The disk's size in bytes: what was asked for, as long as the VDI is only what a repository makes of that."""
    has = int(vdi["virtual_size"])
    asked = kept.size_bytes if kept is not None else None
    return asked if asked is not None and 0 <= has - asked <= ROUNDED_BYTES else has


def device_uses(vdis: Objects, vbds: Objects, vms: Objects) -> dict[str, list[VolumeUse]]:
    """Which machines have these virtual disks, by the disk's reference; all disks are in the answer. Templates count,
    since the machines made from them need the disks; transfers, for which a control domain has a disk, do not."""
    found: dict[str, list[VolumeUse]] = {ref: [] for ref in vdis}
    for vbd in vbds.values():
        vm = vms.get(vbd["VM"])
        if vbd["VDI"] in found and vm is not None and not (vm["is_control_domain"] or vm["is_a_snapshot"]):
            active = state_of(vm) not in power_state.OFF
            device = device_name(vbd["userdevice"])
            found[vbd["VDI"]].append(VolumeUse(vm["name_label"], device, active, vbd["mode"] == "RO"))
    return found


def _read_disk(vbd: Object, survey: Survey, record: Record | None) -> Disk:
    disk = Disk(
        device=device_name(vbd["userdevice"]),
        kind=CDROM if vbd["type"] == "CD" else DISK,
        bus="xen",
        read_only=vbd["mode"] == "RO",
    )
    vdi = survey.vdis.get(vbd["VDI"])
    if vdi is None:
        return disk
    kept = read_volume_record(vdi)
    disk.volume = vdi["name_label"]
    repository = survey.srs.get(vdi["SR"])
    disk.pool = None if repository is None else repository["name_label"]
    if disk.kind == DISK:
        disk.size_bytes = size_of(vdi, kept)
        disk.shareable = True if vdi["sharable"] else None
    if kept is not None and record is not None and kept.owner == record.id:
        disk.owned, disk.role, disk.image = True, kept.role, kept.image
    elif vbd["bootable"]:
        disk.boot_order = 1
    return disk


def _read_nic(vif: Object, networks: Objects, record: Record) -> Nic:
    network, mac = networks.get(vif["network"]), vif["MAC"].lower()
    nic = Nic(mac=mac, addresses=record.addresses.get(mac))
    if network is not None:
        if vif["other_config"].get(KEY) == BY_BRIDGE:
            nic.bridge = network["bridge"]
        else:
            nic.network = network["name_label"]
    return nic


def _read_boot(vm: Object) -> Boot:
    if domain_type(vm) != HVM:
        return Boot(kernel=vm["PV_kernel"] or None, initrd=vm["PV_ramdisk"] or None, cmdline=vm["PV_args"] or None)
    params = vm["HVM_boot_params"]
    order = [_ORDER[letter] for letter in params.get("order", "") if letter in _ORDER]
    return Boot(order=order or None, firmware=params.get("firmware", "bios"))


def _read_cpu(vm: Object) -> Cpu:
    cpu = Cpu(mode="default")
    cores, most = vm["platform"].get(CORES, ""), int(vm["VCPUs_max"])
    if cores.isdecimal() and int(cores) and most % int(cores) == 0:
        cpu.sockets, cpu.cores, cpu.threads = most // int(cores), int(cores), 1
    return cpu
