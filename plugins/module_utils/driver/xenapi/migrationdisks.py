# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the disks of VMs that move: pure functions over what was read, and one that reads it.

Storage motion leaves behind what is kept with a disk, and all of its snapshots but those of the whole VM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ...errors import AnyvirtError
from ...model.migration import COPY, SHARED, DiskMove, MigrationWishes
from .deferred import waiting_seed
from .devices import device_name
from .metadata import foreign_keys, read_record, read_volume_record, with_record
from .places import is_disk
from .query import any_of
from .records import Object, Objects
from .travels import Travel, read_travel

if TYPE_CHECKING:
    from .migrationscope import MigrationScopeMixin

_THICK = frozenset({"lvm", "lvmoiscsi", "lvmohba"})
"""Types of storage repositories in which a disk takes all of its size."""
_MOVABLE = "VDI_SNAPSHOT"
"""What a type of storage repository has to be able to do so that storage motion can use it."""
_OF_SERVER = frozenset({"content_id", "maps_to"})
"""Keys that the server itself keeps with a virtual disk: what is in it right now, and its copy on the way. They are
true of that one disk; another one that has its first key would be taken for it by the next storage motion."""


@dataclass
class DiskFacts:
    """What was read of the disks of some VMs.

    Attributes:
        vbds: By reference; ``vdis`` and ``srs`` likewise.
        of_snapshots: Virtual disks of snapshots of whole VMs.
        waiting: Seed disks that are there, and that VMs get at their next start only, by the VMs' uuids.
        immovable: Types of storage repositories from which nothing can be moved, and to which, at either end.
    """

    vbds: Objects
    vdis: Objects
    srs: Objects
    of_snapshots: frozenset[str]
    waiting: Mapping[str, Object]
    immovable: tuple[frozenset[str], frozenset[str]]

    def names(self) -> set[str]:
        """Those of all virtual disks."""
        return {vdi["name_label"] for vdi in self.vdis.values()}

    def of(self, vm: Object) -> Iterator[tuple[Object, str, Object]]:
        """A VM's drives that something is in: VBD, reference of its VDI, and that."""
        for ref in vm["VBDs"]:
            vbd = self.vbds.get(ref)
            if vbd is not None and vbd["VDI"] in self.vdis:
                yield vbd, vbd["VDI"], self.vdis[vbd["VDI"]]

    def key(self, vdi: Object) -> str:
        """``pool/name``."""
        return f"{self.srs[vdi['SR']]['name_label']}/{vdi['name_label']}"


@dataclass
class DiskPlan:
    """How a VM's disks get there.

    Attributes:
        moves: For people.
        rooms: Bytes that are needed right away in storage repositories there.
        where: Each virtual disk's storage repository on the destination; those that stay are among them.
        kept: What is kept with those that are moved, by their places in the VM.
        media: What is in its drives, as pool and name on the destination, by place.
        problems: What keeps them from getting there, whatever host it is.
        problems_of_host: What keeps them from getting to this host, which is named.
    """

    moves: list[DiskMove] = field(default_factory=list)
    rooms: dict[str, int] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    media: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    problems_of_host: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_moved(self) -> bool:
        """Whether any disk changes its place."""
        return any(move.how == COPY for move in self.moves)


def is_nobodys(vdi: Object) -> bool:
    """Whether no machine has a virtual disk, and nobody has said what it is."""
    return is_disk(vdi) and not vdi["VBDs"] and not set(vdi["other_config"]) - _OF_SERVER


def is_copy(destination: MigrationScopeMixin, travel: Travel, vdi: Object) -> bool:
    """Whether a virtual disk of the destination, which is nobody's, is what a migration has made there."""
    repository = destination.places().srs.get(vdi["SR"])
    is_there = repository is not None and repository["uuid"] in travel.repositories
    return is_there and f"{destination.pool_of(vdi)}/{vdi['name_label']}" in travel.made


def portable(vdi: Object) -> dict[str, str]:
    """What is kept with a virtual disk, as it is to be kept with a copy that takes its place elsewhere."""
    record = read_volume_record(vdi)
    kept = {key: value for key, value in foreign_keys(vdi["other_config"]).items() if key not in _OF_SERVER}
    return with_record(kept, None if record is None else replace(record, vdi=None, holder=None, parent=None))


def read_disks(source: MigrationScopeMixin, destination: MigrationScopeMixin, vms: Mapping[str, Object]) -> DiskFacts:
    """All that is to be known of the disks of these VMs: a constant number of calls."""
    with source.guard("read the disks of instances"):
        refs = [ref for vm in vms.values() for ref in vm["VBDs"]]
        snapshots = [ref for vm in vms.values() for ref in vm["snapshots"]]
        vbds = source.fetch_refs("VBD", refs)
        saved = {vm["suspend_VDI"] for vm in vms.values()}
        vdis = source.fetch_refs("VDI", {vbd["VDI"] for vbd in vbds.values()} | saved)
        srs = source.fetch("SR")
        of_snapshots = {vbd["VDI"] for those in source.fetch_devices("VBD", snapshots).values() for vbd in those}
        waiting = _read_waiting(source, vms)
    immovable = (_immovable_types(source), _immovable_types(destination))
    return DiskFacts(vbds, vdis, srs, frozenset(of_snapshots), waiting, immovable)


def _immovable_types(end: MigrationScopeMixin) -> frozenset[str]:
    with end.guard("read what kinds of storage repositories can do"):
        kinds = end.fetch("SM").values()
    return frozenset(kind["type"] for kind in kinds if _MOVABLE not in {*kind["capabilities"], *kind["features"]})


def _read_waiting(source: MigrationScopeMixin, vms: Mapping[str, Object]) -> Objects:
    seeds = {vm["uuid"]: waiting_seed(read_record(vm)) for vm in vms.values()}
    wanted = {uuid: seed.vdi for uuid, seed in seeds.items() if seed is not None}
    if not wanted:
        return {}
    found = {vdi["uuid"]: vdi for vdi in source.fetch("VDI", any_of("uuid", wanted.values())).values()}
    return {uuid: found[seed] for uuid, seed in wanted.items() if seed in found}


class DiskPlanner:
    """Plans the disks of VMs that go to one host.

    Args:
        host: The reference of the host; what it is connected with tells which disks it sees.
        within: It is in the same pool.
    """

    def __init__(
        self, facts: DiskFacts, destination: MigrationScopeMixin, host: str, within: bool, wishes: MigrationWishes
    ) -> None:
        self._facts = facts
        self._destination = destination
        self._host = host
        self._name = str(destination.places().hosts[host]["name_label"])
        self._within = within
        self._wishes = wishes

    def plan(self, vm: Object) -> DiskPlan:
        """How the disks of one VM get there."""
        plan, media = DiskPlan(), []
        for vbd, ref, vdi in self._facts.of(vm):
            if vbd["type"] == "CD":
                media.append((vbd, vdi))
            else:
                self._plan_disk(plan, vm, vbd, ref, vdi)
        if not self._within or plan.is_moved:
            for vbd, vdi in media:
                self._plan_medium(plan, vbd, vdi)
        saved = self._facts.vdis.get(vm["suspend_VDI"])
        if saved is not None and self._within and not plan.is_moved and not self._is_seen(saved["SR"]):
            plan.problems.append("its saved memory is where the destination does not see it; resume it first")
        seed = self._facts.waiting.get(vm["uuid"])
        if seed is not None and not (self._within and self._is_seen(seed["SR"])):
            plan.problems.append(
                f"new data for cloud-init waits for its next start, on the volume {self._facts.key(seed)}, which does "
                "not go with it; start it anew first"
            )
        if plan.is_moved and self._wishes.delete_volumes == "none":
            plan.problems.append(
                "delete_volumes: none: XenServer moves volumes, so that nothing of them stays; use own"
            )
        for place in sorted(plan.media, key=int):
            plan.warnings.append(f"the medium in {device_name(place)} is taken out on the way and put in again there")
        return plan

    def _plan_disk(self, plan: DiskPlan, vm: Object, vbd: Object, ref: str, vdi: Object) -> None:
        device, key = device_name(vbd["userdevice"]), self._facts.key(vdi)
        if self._stays(vdi):
            plan.moves.append(DiskMove(device, SHARED, key, key))
            plan.where[ref] = vdi["SR"]
            return
        if self._wishes.storage == SHARED:
            plan.problems.append(f"storage: shared: the destination does not see the volume {key}; use copy or auto")
            return
        plan.problems += self._disk_problems(vm, vdi, key)
        target = self._target(plan, vdi)
        if target is None:
            return
        if target[0] == vdi["SR"]:
            plan.problems.append(
                f"storage: copy: the destination has the pool of {key} too, and no volume is copied to where it is; "
                "map the pool with pools, or use auto"
            )
            return
        sr, repository = target
        there = f"{repository['name_label']}/{vdi['name_label']}"
        plan.problems += self._kind_problems(vdi, repository)
        taken = [other for other in self._named_there(vdi["name_label"]) if other["SR"] == sr]
        if not all(self._is_left_over(vm, other) for other in taken):
            plan.problems.append(f"there is a volume {there} on the destination already")
        move = DiskMove(device, COPY, key, there, int(vdi["virtual_size"]))
        used = max(0, int(vdi["physical_utilisation"]))
        plan.moves.append(move)
        plan.rooms[sr] = plan.rooms.get(sr, 0) + (move.size_bytes if repository["type"] in _THICK else used)
        plan.where[ref] = sr
        plan.kept[vbd["userdevice"]] = portable(vdi)

    def _stays(self, vdi: Object) -> bool:
        """Whether the destination sees a disk where it is, and it is not to be copied all the same."""
        return self._within and self._is_seen(vdi["SR"]) and self._wishes.storage != COPY

    def _is_seen(self, sr: str) -> bool:
        return self._host in self._destination.places().hosts_of(sr)

    def _target(self, plan: DiskPlan, vdi: Object) -> tuple[str, Object] | None:
        """The storage repository that a disk is copied to."""
        pool = self._mapped(vdi)
        try:
            found = self._destination.find_pool(pool, near=self._name)
        except AnyvirtError as error:
            plan.problems.append(f"on the destination: {error}; map the pool with pools")
            return None
        if not self._is_seen(found.ref):
            plan.problems_of_host.append(f"{self._name} is not connected with the pool {pool!r}; map it with pools")
            return None
        return found.ref, found.record

    def _mapped(self, vdi: Object) -> str:
        name = str(self._facts.srs[vdi["SR"]]["name_label"])
        return self._wishes.pools.get(name, name)

    def _disk_problems(self, vm: Object, vdi: Object, key: str) -> Iterator[str]:
        """What keeps a disk from being copied."""
        if vdi["sharable"] or set(vdi["VBDs"]) - set(vm["VBDs"]):
            yield f"the volume {key} is one that other machines use too, and cannot move with one of them"
        if set(vdi["snapshots"]) - self._facts.of_snapshots:
            yield f"the volume {key} has snapshots, which do not travel; delete them first"
        if vdi.get("cbt_enabled"):
            yield f"the volume {key} has changed block tracking on, for a backup; turn it off first"
        if vdi["on_boot"] == "reset":
            yield f"the volume {key} is reset at each start, and such volumes do not travel"

    def _kind_problems(self, vdi: Object, repository: Object) -> Iterator[str]:
        """Repositories of types that storage motion cannot use."""
        ends = ("from", self._facts.srs[vdi["SR"]]), ("to", repository)
        for (where, one), types in zip(ends, self._facts.immovable):
            if one["type"] in types:
                yield f"the pool {one['name_label']!r} is of a kind ({one['type']}) {where} which nothing can be moved"

    def _named_there(self, name: str) -> list[Object]:
        # One question for the disks of all VMs.
        return [found.record for found in self._destination.places().vdis({name, *self._facts.names()})[name]]

    def _is_left_over(self, vm: Object, vdi: Object) -> bool:
        """Whether a disk is what an earlier migration of the same VM has left, which is cleared away first."""
        travel = read_travel(vm)
        if is_nobodys(vdi):
            return travel is not None and is_copy(self._destination, travel, vdi)
        if self._within:
            return False
        with self._destination.guard("see whose volume it is"):
            vbds = self._destination.fetch_refs("VBD", vdi["VBDs"])
            owners = self._destination.fetch_refs("VM", {vbd["VM"] for vbd in vbds.values()}).values()
        return bool(owners) and all(owner["uuid"] == vm["uuid"] for owner in owners)

    def _plan_medium(self, plan: DiskPlan, vbd: Object, vdi: Object) -> None:
        """Between pools storage motion takes media out; those that the destination has are put in again."""
        if self._within:
            if not self._is_seen(vdi["SR"]):
                device = device_name(vbd["userdevice"])
                plan.problems.append(
                    f"the medium in {device} is where the destination does not see it; take it out first"
                )
            return
        pool = self._mapped(vdi)
        there = [one for one in self._named_there(vdi["name_label"]) if self._destination.pool_of(one) == pool]
        if len(there) != 1 or not self._is_seen(there[0]["SR"]):
            device = device_name(vbd["userdevice"])
            plan.warnings.append(f"the medium in {device} is not on the destination, so the drive is empty there")
        else:
            plan.media[vbd["userdevice"]] = [pool, vdi["name_label"]]
