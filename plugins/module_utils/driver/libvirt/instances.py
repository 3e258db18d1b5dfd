# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading instances."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from ...model import power_state
from ...model.instance import Instance, InstanceInfo
from ..uri import ConnectionOptions
from .domain import Domain
from .domain_disks import ROOT
from .errors import NO_DOMAIN, code_of
from .hostfacts import HostFacts, host_facts
from .pending import pending_options
from .recordkeeping import parse_configuration
from .states import to_power_state
from .stats import StatsMixin

if TYPE_CHECKING:
    import libvirt

_READERS = 4


class Seen(NamedTuple):
    """A domain as listings tell it."""

    domain: libvirt.virDomain
    state: int
    autostart: bool
    persistent: bool


class InstancesMixin(StatsMixin):
    """What instances there are and what they are.

    ``documents`` holds the configuration of each instance that was read, as of then; ``forget`` drops what has changed.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.documents: dict[str, Domain] = {}
        self._host_facts: dict[tuple[str | None, ...], HostFacts] = {}

    def forget(self, name: str) -> None:
        """The instance's configuration is not what it was."""
        self.documents.pop(name, None)

    def host_facts(self, instance: Instance | None = None) -> HostFacts:
        """What the host can give to a new instance, or to this one."""
        wanted = instance.hypervisor if instance is not None else {}
        boot = instance.boot if instance is not None else None
        kernel_boot = boot is not None and bool(boot.kernel)
        key = (*(wanted.get(name) for name in ("type", "os_type", "machine")), str(kernel_boot))
        if key not in self._host_facts:
            self._host_facts[key] = host_facts(self.kind, self.capabilities_xml(), wanted, kernel_boot)
        return self._host_facts[key]

    def list_instances(self) -> list[str]:
        with self.guard("list the instances"):
            domains = self.conn.listAllDomains(0)
        return sorted(domain.name() for domain in domains if not self.is_host_itself(domain))

    def list_instances_detail(self, names: Collection[str] | None = None) -> list[InstanceInfo]:
        if names is not None and not names:
            return []
        with self.guard("list the instances"):
            seen = self._survey(names)
            sizes = self._sizes(seen)
        found = []
        for name in sorted(sizes):
            most, present, vcpus, cpu_time = sizes[name]
            active = seen[name].state in power_state.ACTIVE
            found.append(
                InstanceInfo(
                    name=name,
                    state=seen[name].state,
                    max_mem_kib=most,
                    mem_kib=present if active else 0,
                    num_cpu=vcpus,
                    cpu_time_ns=cpu_time if active else 0,
                    autostart=seen[name].autostart,
                    persistent=seen[name].persistent,
                )
            )
        return found

    def get_info(self, name: str) -> InstanceInfo:
        domain = self.lookup(name)
        with self.guard(f"read instance {name!r}", name):
            code, most, present, vcpus, cpu_time = self.info_of(domain)
            state = to_power_state(code)
            if state in power_state.OFF and self.supports("suspend") and domain.hasManagedSaveImage():
                state = power_state.SUSPENDED
            active = state in power_state.ACTIVE
            return InstanceInfo(
                name=name,
                state=state,
                max_mem_kib=most,
                mem_kib=present if active else 0,
                num_cpu=vcpus,
                cpu_time_ns=cpu_time if active else 0,
                autostart=bool(domain.isPersistent() and domain.autostart()),
                persistent=bool(domain.isPersistent()),
            )

    def get_instances(self, names: Collection[str] | None = None) -> dict[str, Instance]:
        if names is not None and not names:
            return {}
        with self.guard("list the instances"):
            seen = self._survey(names)
        names = sorted(seen)
        from concurrent.futures import ThreadPoolExecutor  # takes long to import, and facts do without

        # The daemon answers several at once, and most of the time goes by on the way to it and back.
        with ThreadPoolExecutor(_READERS) as readers:
            instances = readers.map(lambda name: self._read_instance(name, seen[name]), names)
            return {name: instance for name, instance in zip(names, instances) if instance is not None}

    # -- parts of reading -------------------------------------------------------------------------------------------

    def _survey(self, names: Collection[str] | None) -> dict[str, Seen]:
        """The domains with all that listings tell of them, in a constant number of calls."""
        lib = self.libvirt
        wanted = None if names is None else frozenset(names)
        domains = {
            domain.name(): domain
            for domain in self.conn.listAllDomains(0)
            if not self.is_host_itself(domain) and (wanted is None or domain.name() in wanted)
        }
        if not domains:
            return {}
        running = self._listed(lib.VIR_CONNECT_LIST_DOMAINS_RUNNING)
        paused = self._listed(lib.VIR_CONNECT_LIST_DOMAINS_PAUSED)
        off = self._listed(lib.VIR_CONNECT_LIST_DOMAINS_SHUTOFF)
        autostart = self._listed(lib.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
        persistent = self._listed(lib.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
        saved = self._listed(lib.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE) if self.supports("suspend") else frozenset()
        seen = {}
        for name, domain in domains.items():
            if name in running:
                state = power_state.RUNNING
            elif name in paused:
                state = power_state.PAUSED
            elif name in off:
                state = power_state.SUSPENDED if name in saved else power_state.SHUTOFF
            else:  # crashed, shutting down, suspended by the guest: rare, or gone since
                state = self._rare_state(domain, name in saved)
            seen[name] = Seen(domain, state, name in autostart, name in persistent)
        return seen

    def _listed(self, flags: int) -> frozenset[str]:
        return frozenset(domain.name() for domain in self.conn.listAllDomains(flags))

    def _rare_state(self, domain: libvirt.virDomain, saved: bool) -> int:
        try:
            return to_power_state(domain.state()[0], saved)
        except self.libvirt.libvirtError as error:
            if code_of(error) != NO_DOMAIN:
                raise
            return power_state.NOSTATE

    def _sizes(self, seen: dict[str, Seen]) -> dict[str, tuple[int, int, int, int]]:
        """Maximum and present memory in KiB, vCPUs and processor time. QEMU tells it of all in one call, the other
        hypervisors of each."""
        if self.kind != "qemu":
            return dict(self._sizes_one_by_one(seen.values()))
        lib = self.libvirt
        groups = lib.VIR_DOMAIN_STATS_CPU_TOTAL | lib.VIR_DOMAIN_STATS_BALLOON | lib.VIR_DOMAIN_STATS_VCPU
        sizes = {}
        for domain, stats in self.conn.getAllDomainStats(groups, 0):
            most = stats.get("balloon.maximum", 0)
            sizes[domain.name()] = (
                most,
                stats.get("balloon.current", most),
                stats.get("vcpu.current", 0),
                stats.get("cpu.time", 0),
            )
        return {name: size for name, size in sizes.items() if name in seen}

    def _sizes_one_by_one(self, seen: Iterable[Seen]) -> Iterable[tuple[str, tuple[int, int, int, int]]]:
        for one in seen:
            try:
                most, present, vcpus, cpu_time = self.info_of(one.domain)[1:5]
            except self.libvirt.libvirtError as error:
                if code_of(error) != NO_DOMAIN:
                    raise
                continue  # it went meanwhile
            yield one.domain.name(), (most, present, vcpus, cpu_time)

    def _read_instance(self, name: str, seen: Seen) -> Instance | None:
        lib, domain = self.libvirt, seen.domain
        active = seen.state in power_state.ACTIVE
        try:
            text = domain.XMLDesc(lib.VIR_DOMAIN_XML_INACTIVE | lib.VIR_DOMAIN_XML_SECURE)
            config = parse_configuration(domain, text)
            running = Domain.parse(domain.XMLDesc(0)) if active else None
        except lib.libvirtError as error:
            if code_of(error) == NO_DOMAIN:
                return None  # it went meanwhile
            with self.guard(f"read the configuration of instance {name!r}"):
                raise
        self.documents[name] = config
        instance = config.to_instance()
        if running is not None and not seen.persistent:
            # What libvirt calls the configuration of a transient one is how it was started.
            instance.disks = running.to_instance().disks
        self._measure_disks(domain, instance)
        moving = config.record.moving
        instance.autostart = seen.autostart or (moving is not None and moving.autostart)
        instance.power_state = seen.state
        instance.persistent = seen.persistent
        if running is not None and seen.persistent:
            instance.pending = pending_options(running, config)
        return instance

    def _measure_disks(self, domain: libvirt.virDomain, instance: Instance) -> None:
        """Find out the sizes of disks whose volumes are not the instance's own: of a root disk nothing else tells
        whether it is to grow. Only QEMU's driver can; a disk that is not there has no size."""
        if self.kind != "qemu":
            return
        for disk in instance.disks or []:
            foreign = disk.role == ROOT or (disk.volume is not None and not disk.owned)
            if foreign and disk.size_bytes is None and disk.path is not None:
                with contextlib.suppress(self.libvirt.libvirtError):
                    disk.size_bytes = int(domain.blockInfo(disk.device)[0])
