# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning migrations: what is to be moved how, and all that keeps it from being moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, tostring

from ...errors import IncompatibleCpu, Unsupported
from ...model.instance import Instance
from ...model.migration import COLD, LIVE, MigrationPlan, MigrationWishes
from ..migration import MigrationDriver
from ..migrationchecks import (
    group_problems,
    host_problems,
    mode_for,
    place_problems,
    records,
    room_problems,
    state_problems,
    unmet_wishes,
)
from .domain import Domain
from .domain_filters import PACKET_ENGINES
from .domain_nics import apply_nics, read_nics
from .element import attribute_of, set_text
from .errors import CPU_INCOMPATIBLE, NO_DOMAIN, NO_SUPPORT, code_of
from .migrationcold import ColdCopyMixin
from .migrationdevices import bound_displays, forgotten_parts, lost_writes, pending_nics, stationary_parts
from .migrationdisks import DiskPlan, live_copies, pending_disks, redirect
from .migrationjobs import MigrationJobsMixin
from .migrationparameters import copy_problems
from .migrationreach import reach_problems
from .migrationrecord import MovingRecord
from .migrationxen import live_problems

if TYPE_CHECKING:
    import libvirt

_HOSTS_OWN = ("host-passthrough", "maximum")


@dataclass
class LibvirtPlan:
    """What is known of an instance from planning to moving.

    Attributes:
        config: Its configuration on the source.
        disks: What becomes of its disks.
        emulator: The path of the program that runs it there, where that is another one.
        autostart: It starts with its host.
        passing: It is transient.
        snapshots: libvirt's descriptions of its snapshots, parents first.
        current_snapshot: The name of the one that it goes on from.
    """

    config: Domain
    disks: DiskPlan
    emulator: str | None = None
    autostart: bool = False
    passing: bool = False
    snapshots: tuple[str, ...] = ()
    current_snapshot: str | None = None

    def remember(self, moving: MovingRecord | None) -> None:
        """Take over what a migration that was cut short has changed about it, and has kept in its record."""
        if moving is None:
            return
        self.passing = self.passing or moving.passing
        if moving.snapshots and not self.snapshots:
            self.snapshots, self.current_snapshot = moving.snapshots, moving.current_snapshot

    def redirect(self, domain: Domain, networks: Mapping[str, str]) -> None:
        """Let a description of it, with our record, name what the destination has.

        Args:
            networks: Networks and bridges there, by their names here.
        """
        redirect(domain, self.disks)
        nics = read_nics(domain.root)
        for nic in nics:
            nic.network, nic.bridge = (None if at is None else networks.get(at, at) for at in (nic.network, nic.bridge))
        apply_nics(domain.root, nics)
        if self.emulator is not None:
            set_text(domain.root, "devices/emulator", self.emulator)


class MigrationPlansMixin(ColdCopyMixin, MigrationJobsMixin, MigrationDriver):
    """On the source: before anything is done."""

    def plan_migrations(
        self,
        destination: MigrationDriver,
        instances: Mapping[str, Instance],
        wishes: MigrationWishes,
        probing: bool,
    ) -> dict[str, MigrationPlan]:
        if not isinstance(destination, MigrationPlansMixin) or destination.kind != self.kind:
            raise Unsupported(
                f"instances of {self.options.uri} cannot be moved to {destination.options.uri}, which is another kind "
                "of hypervisor"
            )
        configs = {name: self.fresh_document(name) for name in instances}
        impossible = {name: live_problems(self.kind, config) for name, config in configs.items()}
        modes = {
            name: mode_for(self, instance, wishes, can_live=not impossible[name])
            for name, instance in instances.items()
        }
        disks = self.plan_disks(destination, configs, instances, modes, wishes, probing)
        place, groups = place_problems(destination, instances, wishes), group_problems(self, destination, instances)
        hosts = {
            mode: host_problems(self, destination, mode, compares_cpu=False)
            + unmet_wishes(self, destination, wishes, mode)
            + (self._reach_problems(destination, wishes) if mode == LIVE else [])
            for mode in set(modes.values())
        }
        plans = {}
        for name, instance in instances.items():
            mode, config = modes[name], configs[name]
            plan = MigrationPlan(name, mode, wishes, records(self, destination, instance, mode)[0])
            private = LibvirtPlan(config, disks[name], autostart=bool(instance.autostart))
            plan.private, plan.disks = private, list(disks[name].moves)
            plan.record = replace(plan.record, volumes=disks[name].left_volumes)
            plan.problems += hosts[mode] + state_problems(instance, mode)
            plan.problems += impossible[name] if mode == LIVE else []
            plan.problems += self._examine(destination, plan)
            plan.problems += disks[name].problems + place.get(name, []) + groups.get(name, [])
            plan.warnings += disks[name].warnings
            plans[name] = plan
        for name, problems in room_problems(destination, instances, plans).items():
            plans[name].problems += problems
        for plan in plans.values():
            plan.problems = list(dict.fromkeys(plan.problems))  # some things are seen from two sides
        return plans

    def _examine(self, destination: MigrationPlansMixin, plan: MigrationPlan) -> list[str]:
        """What libvirt's QEMU driver would refuse to move, and what the destination has not got for it."""
        private: LibvirtPlan = plan.private
        problems = []
        handle, name = self.lookup(plan.name), plan.name
        with self.guard(f"read instance {name!r}", name):
            private.passing = not handle.isPersistent()
            if self.kind == "qemu":
                private.snapshots, private.current_snapshot = self.snapshots_of(handle)
            private.remember(private.config.record.moving)
            active = bool(handle.isActive())
            running = Domain.parse(handle.XMLDesc(self.migratable)) if active and plan.mode == LIVE else None
        loses_snapshots = plan.mode == LIVE or any(copy.is_flattened for copy in private.disks.copies)
        if private.snapshots and private.disks.copies and loses_snapshots:
            problems.append("it has snapshots, which are not copied with its disks; delete them or share its storage")
        if plan.mode != LIVE:
            problems += forgotten_parts(private.config.root)
        if running is not None:
            problems += [f"{problem}; move it cold" for problem in stationary_parts(running.root)]
            problems += copy_problems(plan.wishes, private.disks)
            problems += lost_writes(running.root, frozenset(live_copies(private.disks)))
            problems += pending_disks(private.config, running)
            problems += pending_nics(private.config, running)
            problems += self._processor_problems(destination, running)
        if plan.record.start:
            plan.warnings += bound_displays((private.config if running is None else running).root)
        return problems + self._filter_problems(destination, plan) + self._place_emulator(destination, private)

    def _reach_problems(self, destination: MigrationPlansMixin, wishes: MigrationWishes) -> list[str]:
        """Why this host could not send anything to the destination, as far as that can be told."""
        return reach_problems(self.options, destination.options, destination.name_for_itself(), wishes)

    def name_for_itself(self) -> str:
        """What the host calls itself, which is where libvirt on another one sends guests to if nothing says more."""
        return self._hostname()

    def _filter_problems(self, destination: MigrationPlansMixin, plan: MigrationPlan) -> list[str]:
        """Why the guest could not be filtered there. What packet engines have here is removed only where they can be
        reached: the guest is not here any more then, so nothing passes by mistake."""
        engine = plan.private.config.record.filtering.engine
        if engine is None:
            return []
        if engine in PACKET_ENGINES and not self.is_on_this_host:
            plan.warnings.append(
                f"its filters on the source stay until virt_secgroup runs on that host: they are those of {engine}"
            )
            if plan.mode == COLD and plan.record.start:
                plan.warnings.append(
                    f"if it cannot be moved, it stays off on the source until a task on that host starts it: {engine} "
                    "has to filter it before"
                )
        problem = destination.engine_problem(engine)
        return [] if problem is None else [f"on the destination: {problem}"]

    def _place_emulator(self, destination: MigrationPlansMixin, private: LibvirtPlan) -> list[str]:
        """Find out what runs it there."""
        config = private.config
        kind = Instance(config.name, boot=config.to_instance().boot, hypervisor=config.extras())
        try:
            there = destination.host_facts(kind).emulator
        except Unsupported as error:
            return [f"on the destination: {error}"]
        try:
            here = self.host_facts(kind).emulator
        except Unsupported:  # somebody has upgraded it while the instance ran
            return []
        if there is not None and there != here and config.root.findtext("devices/emulator") == here:
            private.emulator = there
        return []

    @property
    def migratable(self) -> int:
        """The flags for a running domain's description that another host understands."""
        return int(self.libvirt.VIR_DOMAIN_XML_MIGRATABLE | self.libvirt.VIR_DOMAIN_XML_SECURE)

    def _processor_problems(self, destination: MigrationPlansMixin, running: Domain) -> list[str]:
        """Why the guest would miss something of its processor there (Nova's compare_cpu)."""
        cpu = running.root.find("cpu")
        if self.kind != "qemu" or cpu is None:
            return []
        mode = cpu.get("mode")
        if mode in _HOSTS_OWN:
            try:
                destination.compare_cpu(self.get_cpu_info())
            except IncompatibleCpu as error:
                return [f"its processor is this host's own (cpu.mode {mode}): {error}; move it cold"]
        problem = destination.lacking_processor(running, cpu) if cpu.find("model") is not None else None
        return [] if problem is None else [f"{problem}; move it cold"]

    def lacking_processor(self, running: Domain, cpu: Element) -> str | None:
        """Why a guest that runs elsewhere cannot have its processor here; None when it can."""
        arch = attribute_of(running.root, "os/type", "arch")
        flags = self.libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
        text = tostring(cpu, encoding="unicode")
        with self.guard("compare the guest's processor with the host's"):
            try:
                self.conn.compareHypervisorCPU(None, arch, None, running.type, text, flags)
            except self.libvirt.libvirtError as error:
                if code_of(error) == CPU_INCOMPATIBLE:
                    return f"the destination cannot give it its processor: {error}"
                if code_of(error) != NO_SUPPORT:  # of some architectures libvirt knows no processors
                    raise
        return None

    def snapshots_of(self, handle: libvirt.virDomain) -> tuple[tuple[str, ...], str | None]:
        """libvirt's descriptions of a domain's snapshots, parents first, and the name of the current one.

        Raises:
            libvirtError: as libvirt says it.
        """
        try:
            found = handle.listAllSnapshots(self.libvirt.VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL)
            texts = tuple(snapshot.getXMLDesc(0) for snapshot in found)  # without passwords: they go into a record
            current = handle.snapshotCurrent(0).getName() if handle.hasCurrentSnapshot(0) else None
        except self.libvirt.libvirtError as error:
            if code_of(error) not in (NO_SUPPORT, NO_DOMAIN):
                raise
            return (), None
        return texts, current
