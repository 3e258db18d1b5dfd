# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be checked before a migration on any hypervisor, through the contract alone.

It descends from Nova's check_can_live_migrate_destination and compare_cpu, and Ganeti's VersionsSafeForMigration. All
problems are told, not only the first. Functions about several instances take them all, and cost a constant number of
calls; their answers have the names of those with problems.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from ..errors import IncompatibleCpu, InstanceMigrating, Problem, Unsupported
from ..model import migration as words
from ..model import power_state
from ..model.host import CpuInfo
from ..model.instance import SEED, Instance
from ..model.migration import DiskMove, MigrationPlan, MigrationRecord, MigrationWishes
from ..model.units import format_shortage
from .base import ComputeDriver
from .firewall import FirewallDriver
from .migration import MigrationDriver, Promise
from .storage import StorageDriver

Problems = dict[str, list[str]]

COPIED = ("copy", "incremental")
"""What is done to disks whose old volume is of no use afterwards."""

MADE = (*COPIED, "remade")
"""What is done to disks that get a new volume on the destination."""


# -- how --------------------------------------------------------------------------------------------------------------


def mode_for(driver: ComputeDriver, instance: Instance, wishes: MigrationWishes, can_live: bool = True) -> str:
    """``live`` or ``cold``: what was wished for or, with ``auto``, live for what is active and can.

    Args:
        can_live: Whether the driver moves instances of this one's kind live.
    """
    if wishes.mode != words.AUTO:
        return wishes.mode
    live = can_live and instance.power_state in power_state.ACTIVE and driver.supports("migration_live")
    return words.LIVE if live else words.COLD


def state_problems(instance: Instance, mode: str) -> list[str]:
    """Why an instance cannot be moved as it is."""
    state = instance.power_state
    if instance.unfinished:
        return ["it is unfinished: its spawn was cut short; remove it and make it again"]
    if instance.resize is not None:
        return ["a resize waits to be confirmed, and what was kept for it is not moved; confirm or revert it first"]
    if state == power_state.SUSPENDED:
        return ["it is suspended, and its saved memory is not moved; resume it or power it off first"]
    if mode == words.LIVE and state not in power_state.ACTIVE:
        return [f"it is {power_state.name(state)}, and only what runs can be moved live; use mode auto or cold"]
    return []


def unmet_wishes(source: ComputeDriver, destination: ComputeDriver, wishes: MigrationWishes, mode: str) -> list[str]:
    """Wishes that one end cannot fulfil. What only live migrations have does not count for cold ones."""
    found = []
    for option, feature in _needed(wishes, mode):
        for driver in (source, destination):
            try:
                driver.require(feature)
            except Unsupported as error:
                found.append(f"{option}: {error}")
                break
    return found


def _needed(wishes: MigrationWishes, mode: str) -> Iterator[tuple[str, str]]:
    """Options that are used, each with the feature that both drivers need for it."""
    yield "mode", f"migration_{mode}"
    if wishes.bandwidth_mib_s is not None:
        yield "bandwidth", "migration_bandwidth"
    if wishes.timeout_s is not None and wishes.on_timeout != words.CONTINUE:
        # A cold one that takes too long can only be given up: see Oversight.
        yield "on_timeout", f"migration_{wishes.on_timeout if mode == words.LIVE else words.ABORT}"
    if not wishes.persist:
        yield "persist", "migration_transient"
    if mode != words.LIVE:
        return
    if wishes.storage == words.COPY:
        yield "storage", "migration_copy"
    if wishes.post_copy:
        yield "post_copy", "migration_post_copy"
    if wishes.auto_converge:
        yield "auto_converge", "migration_auto_converge"
    if wishes.compression:
        yield "compression", "migration_compression"
    if wishes.parallel is not None:
        yield "parallel", "migration_parallel"
    if wishes.max_downtime_ms is not None:
        yield "max_downtime_ms", "migration_downtime"
    if wishes.transport != words.NATIVE:
        yield "transport", f"migration_{wishes.transport}"
    if wishes.manager == words.SOURCE:
        yield "manager", "migration_by_source"


# -- the hosts --------------------------------------------------------------------------------------------------------


def host_problems(
    source: ComputeDriver,
    destination: ComputeDriver,
    mode: str,
    cpu: CpuInfo | None = None,
    compares_cpu: bool = True,
    compares_versions: bool = True,
) -> list[str]:
    """What keeps any instance from going from one of these hosts to the other.

    A running guest never goes to an older version of its hypervisor, which may not understand the state that it is sent
    (Nova's DestinationHypervisorTooOld, Ganeti's VersionsSafeForMigration).

    Args:
        cpu: The processor that the guest sees; None: the source's own.
        compares_cpu: False where the driver knows each guest's processor, and compares that by itself.
        compares_versions: The same of hypervisors, of which one may have been sold under several names.
    """
    if source.host_identity() == destination.host_identity():
        return ["the destination is the host that it is on"]
    here, there = source.get_host_stats(), destination.get_host_stats()
    is_same_type = not compares_versions or here.hypervisor_type == there.hypervisor_type
    if source.name != destination.name or not is_same_type:
        return [f"{here.hostname} runs {here.hypervisor_type} and {there.hostname} runs {there.hypervisor_type}"]
    found = []
    cpu = cpu or here.cpu_info
    if cpu.arch != there.cpu_info.arch:
        found.append(f"a guest for {cpu.arch} cannot run on {there.hostname}, which is {there.cpu_info.arch}")
    if mode != words.LIVE:
        return found
    if compares_versions and version(there.hypervisor_version) < version(here.hypervisor_version):
        found.append(
            f"{there.hostname} has version {there.hypervisor_version} of {there.hypervisor_type}, older than "
            f"{here.hypervisor_version} on {here.hostname}; move it cold or upgrade the destination"
        )
    if not found and compares_cpu and destination.supports("compare_cpu"):
        try:
            destination.compare_cpu(cpu)
        except IncompatibleCpu as error:
            found.append(f"{error}; move it cold")
    return found


def version(text: str) -> tuple[int, ...]:
    """A dotted version as something that can be compared."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


# -- room -------------------------------------------------------------------------------------------------------------


def room_problems(
    destination: MigrationDriver,
    instances: Mapping[str, Instance],
    plans: Mapping[str, MigrationPlan],
    spare_mb: int = 0,
    spare_room: Mapping[str, int] = MappingProxyType({}),
) -> Problems:
    """Memory and room in pools that the destination has not got for all of them together, and for those that were
    planned before them: whoever comes first, by name, is served first. Memory counts for those that are to be active
    there.

    Args:
        spare_mb: MiB that are taken, but only by what earlier tries to move these have left there.
        spare_room: The same of pools, in bytes.
    """
    stats = destination.get_host_stats()
    pools = {pool.name: pool.available_bytes + spare_room.get(pool.name, 0) for pool in stats.pools if pool.active}
    for name in plans:
        destination.promised.pop(name, None)
    for promise in destination.promised.values():
        for pool, size_bytes in promise.rooms.items():
            if pool in pools:
                pools[pool] = max(0, pools[pool] - size_bytes)
    free_mb, before = stats.memory_mb_free + spare_mb, sum(one.memory_mb for one in destination.promised.values())
    found: Problems = {}
    for name, plan in sorted(plans.items()):
        problems = []
        needs_mb = (instances[name].memory_mb or 0) if plan.record.start else 0
        shortage = memory_problem(stats.hostname, free_mb, before, needs_mb)
        if shortage is not None:
            problems.append(shortage)
            needs_mb = 0
        before += needs_mb
        rooms = {}
        for pool, size_bytes in _wanted_room(plan.disks).items():
            room = pools.get(pool)
            if room is not None and size_bytes > room:
                problems.append(
                    f"in the pool {pool!r} of {stats.hostname} its disks need {format_shortage(size_bytes, room)}"
                )
            elif room is not None:
                pools[pool] = room - size_bytes
                rooms[pool] = size_bytes
        destination.promised[name] = Promise(needs_mb, rooms)
        if problems:
            found[name] = problems
    return found


def memory_problem(hostname: str, free_mb: int, others_mb: int, needs_mb: int) -> str | None:
    """Why one that needs so much memory has no room on a host.

    Args:
        free_mb: MiB that are free now.
        others_mb: How many of them are for others that are moved there.
    """
    if not needs_mb or others_mb + needs_mb <= free_mb:
        return None
    others = f", {others_mb} MiB of which are for others that are moved there" if others_mb else ""
    return f"{hostname} has {free_mb} MiB of memory left{others}; it needs {needs_mb} MiB"


def _wanted_room(disks: Iterable[DiskMove]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for disk in disks:
        pool, slash, _name = disk.destination.partition("/")
        if disk.how in MADE and pool and slash:
            wanted[pool] = wanted.get(pool, 0) + disk.size_bytes
    return wanted


# -- what it needs there ----------------------------------------------------------------------------------------------


def mapped(instance: Instance, wishes: MigrationWishes) -> Instance:
    """The instance as it is to be on the destination: with that host's networks, bridges and pools."""

    def renamed(names: Mapping[str, str], name: str | None) -> str | None:
        return None if name is None else names.get(name, name)

    return replace(
        instance,
        pool=renamed(wishes.pools, instance.pool),
        disks=None
        if instance.disks is None
        else [replace(disk, pool=renamed(wishes.pools, disk.pool)) for disk in instance.disks],
        nics=None
        if instance.nics is None
        else [
            replace(nic, network=renamed(wishes.networks, nic.network), bridge=renamed(wishes.networks, nic.bridge))
            for nic in instance.nics
        ],
    )


def place_problems(destination: StorageDriver, instances: Mapping[str, Instance], wishes: MigrationWishes) -> Problems:
    """What the destination lacks or has already: networks, bridges, pools, kernels, features; names and MAC addresses
    that are taken. What an earlier, failed try has left there does not count, nor does a definition that stayed when it
    was moved from there: whoever moves it removes these first.

    Security groups and what is in the pools are not looked for: see ``group_problems`` and the drivers.
    """
    found: Problems = {name: [] for name in instances}
    for name, there in destination.get_instances(instances).items():
        left = there.migration
        if left is None or (left.direction != words.INCOMING and left.phase != words.DEPARTED):
            found[name].append(f"there is an instance named {name!r} on the destination already")
    arriving = {name: mapped(instance, wishes) for name, instance in instances.items()}
    for name, problems in destination.validate_parameters([_outside(item) for item in arriving.values()]).items():
        found[name] += [_on_destination(problem) for problem in problems]
    pools = destination.get_pools() if destination.supports("pools") else None
    for name, instance in arriving.items():
        found[name] += [_on_destination(problem) for problem in destination.unmet_needs(instance)]
        wanted = {disk.pool for disk in instance.disks or () if disk.pool is not None and disk.role != SEED}
        for pool in sorted(wanted if pools is not None else ()):
            if pools is not None and (pool not in pools or not pools[pool].active):
                found[name].append(f"there is no active pool {pool!r} on the destination; map it with pools or make it")
    return {name: problems for name, problems in found.items() if problems}


def _outside(instance: Instance) -> Instance:
    """Of an instance, what others on its host have to give it or must not have as well."""
    boot = None if instance.boot is None else replace(instance.boot, init=None)
    return Instance(instance.name, nics=instance.nics, boot=boot)


def _on_destination(problem: Problem) -> str:
    """With the option's name as the users of modules know it, and what they can do about a network."""
    option = re.sub(r"^nics(?=\[)", "networks", problem.option)
    advice = "; map it with networks or make it" if option.endswith((".network", ".bridge")) else ""
    return f"on the destination: {Problem(option, problem.message)}{advice}"


def group_problems(source: FirewallDriver, destination: FirewallDriver, instances: Mapping[str, Instance]) -> Problems:
    """Security groups of the instances that mean something else on the destination, or nothing anywhere. Those that
    are not there are taken over."""
    grouped = {name: instance.security_groups for name, instance in instances.items() if instance.security_groups}
    if not grouped or not source.supports("firewall") or not destination.supports("firewall"):
        return {}
    here, there = source.get_security_groups(), destination.get_security_groups()
    found: Problems = {}
    for name, groups in grouped.items():
        for group in groups:
            if group not in here and group not in there:
                found.setdefault(name, []).append(f"its security group {group!r} does not exist; make it first")
            elif group in here and group in there and here[group].rules != there[group].rules:
                found.setdefault(name, []).append(
                    f"the security group {group!r} has other rules on the destination; "
                    "make them the same with virt_secgroup first"
                )
    return found


# -- records ----------------------------------------------------------------------------------------------------------


def records(
    source: ComputeDriver, destination: ComputeDriver, instance: Instance, mode: str
) -> tuple[MigrationRecord, MigrationRecord]:
    """What the source and the destination are to keep with an instance whose migration begins now; both still without
    volumes."""
    outgoing = MigrationRecord(
        id=str(uuid.uuid4()),
        direction=words.OUTGOING,
        peer=destination.host_identity(),
        mode=mode,
        start=instance.power_state in power_state.ACTIVE,
        paused=instance.power_state == power_state.PAUSED,
        started_s=time.time(),
    )
    return outgoing, incoming_record(outgoing, source)


def incoming_record(
    outgoing: MigrationRecord, source: ComputeDriver, disks: Iterable[DiskMove] = ()
) -> MigrationRecord:
    """The destination's record of a migration, given the source's."""
    return replace(
        outgoing, direction=words.INCOMING, peer=source.host_identity(), phase=words.MOVING, volumes=made_volumes(disks)
    )


def require_replaceable(name: str, present: MigrationRecord | None, replacing: str | None) -> None:
    """Raise InstanceMigrating unless a new record may be kept: there is none, or it is the one that is replaced."""
    found = None if present is None else present.id
    is_departing = present is None or (present.direction == words.OUTGOING and present.phase == words.MOVING)
    if found == replacing and is_departing:
        return
    if present is None:
        raise InstanceMigrating(
            f"the migration of instance {name!r} that was cut short was ended by somebody else meanwhile; run the task "
            "again"
        )
    raise InstanceMigrating(
        f"a migration of instance {name!r} is recorded already: it is {present.direction}, its other host is "
        f"{present.peer}"
    )


def copied_volumes(disks: Iterable[DiskMove]) -> tuple[str, ...]:
    """``pool/name`` of the source's volumes that are of no use when the instance has gone."""
    return tuple(disk.source for disk in disks if disk.how in COPIED and _is_key(disk.source))


def made_volumes(disks: Iterable[DiskMove]) -> tuple[str, ...]:
    """``pool/name`` of the volumes that are made on the destination."""
    return tuple(disk.destination for disk in disks if disk.how in MADE and _is_key(disk.destination))


def _is_key(text: str) -> bool:
    return not text.startswith("/") and "/" in text
