# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making instances."""

from __future__ import annotations

import random
import time
from typing import NamedTuple

from ...errors import AlreadyExists, HypervisorError, InvalidInput, Problem
from ...model.instance import DISK, Disk, Instance, Nic
from ...undo import UndoStack
from ..members import is_filtered
from .complete import ROOT
from .devices import device_number
from .errors import code_of
from .extras import AUTOSTART, HVM, merged, wanted_domain_type
from .images import is_file
from .metadata import Record, declared_addresses, new_id, read_record, with_record
from .places import Template
from .records import NULL, Object, is_instance
from .remains import is_leftover
from .storage import GONE, Made, NewVolume
from .templates import TemplatesMixin
from .vmfields import new_vif, new_vm

_TURNS = 5
"""How often two spawns of one name step back from each other before they give up."""
_STEP_BACK_S = (0.1, 0.6)


class _Contested(AlreadyExists):
    """Another spawn of this name has begun at the same moment."""


class _Parts(NamedTuple):
    """What a new instance is made of.

    Attributes:
        disks: Each with the volume to be made for it, or the one there is already.
        nics: Each with its network's reference.
        affinity: The host that it is to run on; the null reference for any.
    """

    disks: list[tuple[Disk, NewVolume | str | None]]
    nics: list[tuple[Nic, str]]
    template: Template | None
    affinity: str


class SpawnMixin(TemplatesMixin):
    """The beginning of instances."""

    def spawn(self, instance: Instance, power_on: bool = True, paused: bool = False) -> None:
        self.require("spawn")
        if paused:
            self.require("start_paused")
        instance = self.complete(instance)
        record = _new_record(instance)
        parts = self._plan_parts(instance, record)
        for turn in range(_TURNS):
            try:
                self._make(instance, record, parts, power_on, paused)
                return
            except _Contested:
                if turn == _TURNS - 1:
                    raise
            except HypervisorError as error:
                if code_of(error) == GONE:
                    self.forget_places()
                raise
            time.sleep(random.uniform(*_STEP_BACK_S))
            self._require_new_name(instance.name)

    # -- what it is made of -----------------------------------------------------------------------------------------

    def _plan_parts(self, instance: Instance, record: Record) -> _Parts:
        """Look up what is there, and say what is going to be made. Changes nothing.

        Raises:
            AlreadyExists: the name, or that of a volume to be made, is taken.
        """
        problems = [
            Problem(option, "is needed for a new instance")
            for option in ("memory_mb", "vcpus")
            if not getattr(instance, option)
        ]
        if wanted_domain_type(instance) == HVM:
            problems += [
                Problem(f"disks[{number}].read_only", "guests of domain_type hvm cannot start with read-only disks")
                for number, disk in enumerate(instance.disks or [])
                if disk.kind == DISK and disk.read_only
            ]
        if problems:
            raise InvalidInput(problems)
        self._require_new_name(instance.name)
        self._read_volumes_anew(instance)
        self.require_pool_has(instance)
        affinity, template = instance.hypervisor.get("affinity"), instance.hypervisor.get("template")
        chosen = self.chosen_host()
        host = self.find_host(affinity).ref if affinity else NULL if chosen is None else chosen[0]
        return _Parts(
            [(disk, self.part_for(instance, disk, record, number)) for number, disk in enumerate(instance.disks or [])],
            [(nic, self.find_network(nic).ref) for nic in instance.nics or []],
            None if template is None else self.find_template(template),
            host,
        )

    def _require_new_name(self, name: str) -> None:
        with self.guard(f"look up instance {name!r}"):
            vms = self.vms_named([name]).values()
        for vm in vms:
            if is_instance(vm):
                raise AlreadyExists(f"there is an instance named {name!r} already")
            if is_leftover(vm, name):
                raise AlreadyExists(
                    f"there is an instance named {name!r} in the making already, or an earlier run has left it; "
                    "removing it takes that away"
                )

    def _read_volumes_anew(self, instance: Instance) -> None:
        """Ask for the volumes that the disks name and for images not known so far, in one call, and refuse to make a
        volume that is there: once it is owned by an unfinished instance it would be taken for what a killed spawn
        left."""
        disks, places = instance.disks or [], self.places()
        made = {(disk.pool, disk.volume) for disk in disks if disk.owned}
        images = {disk.image for disk in disks if disk.image is not None and not is_file(disk.image)}
        names = {disk.volume for disk in disks if disk.volume is not None}
        names.update(image for image in images if not places.vdis([image])[image])
        if not names:
            return
        for name, found in places.vdis(names, fresh=True).items():
            for pool in (self.pool_of(one.record) for one in found):
                if (pool, name) in made:
                    raise AlreadyExists(f"there is a volume {name!r} in the storage pool {pool!r} already")

    def part_for(self, instance: Instance, disk: Disk, record: Record, number: int) -> NewVolume | str | None:
        """The volume to be made for a disk, or the one that is there already; None for an empty drive.

        Args:
            number: Of the disk among the declared ones, for messages.
        """
        if disk.owned:
            return self.plan_volume(instance, disk, record.id, f"disks[{number}].size")
        if disk.volume is None or disk.pool is None:
            return None
        return self.find_volume(disk.volume, disk.pool).ref

    # -- making it --------------------------------------------------------------------------------------------------

    def _make(self, instance: Instance, record: Record, parts: _Parts, power_on: bool, paused: bool) -> None:
        name = instance.name
        with UndoStack() as done:
            there: set[str] = set()
            if parts.template is not None:
                made, there = self.clone_template(parts.template, instance, record, parts.affinity, done)
            else:
                made = self._create(instance, record, parts.affinity, done)
            ref = str(made.ref)
            vm = self._claim(name, ref)
            for disk, part in parts.disks:
                if str(device_number(disk.device)) not in there:
                    self._add_disk(ref, disk, part, done)
            with self.guard(f"give instance {name!r} its network interfaces", name):
                for number, (nic, network) in enumerate(parts.nics):
                    self.call("VIF.create", new_vif(ref, nic, network, number, is_filtered(instance)))
            if parts.template is not None:
                self.finish_clone(made, name)
            if instance.autostart:
                self.let_pool_start_vms(done)
            if power_on:
                self._start(ref, name, paused, done)
            self._finish(ref, name, vm["uuid"], record)

    def _create(self, instance: Instance, record: Record, affinity: str, done: UndoStack) -> Made:
        name, made = instance.name, Made()

        def remove() -> None:
            """Of the VM perhaps nobody has told us that it was made."""
            for ref in self._find_by_record(name, record.id) if made.ref is None else [made.ref]:
                self.destroy_vm(ref, name)

        done.push(f"remove the VM {name}", remove)
        with self.guard(f"make the VM {name!r}"):
            made.ref = str(self.call("VM.create", new_vm(instance, record, affinity)))
        self.labels[made.ref] = name
        return made

    def _find_by_record(self, name: str, record_id: str) -> list[str]:
        with self.guard(f"look for what was made of instance {name!r}"):
            vms = self.find_vms([name])
        records = {ref: read_record(vm) for ref, vm in vms.items()}
        return [ref for ref, record in records.items() if record is not None and record.id == record_id]

    def _claim(self, name: str, ref: str) -> Object:
        """Make sure that nobody else has begun to make this instance: XenAPI lets VMs have equal names. Who sees
        another steps back, so that who sees none is alone."""
        with self.guard(f"look up instance {name!r}", name):
            vms = self.vms_named([name])
        others = [vm for one, vm in vms.items() if one != ref and (is_instance(vm) or is_leftover(vm, name))]
        if others:
            records = [read_record(vm) for vm in others if is_instance(vm)]
            alive = any(record is None or not record.unfinished for record in records)
            raise (AlreadyExists if alive else _Contested)(f"there is an instance named {name!r} already")
        return vms[ref]

    def _add_disk(self, ref: str, disk: Disk, part: NewVolume | str | None, done: UndoStack) -> None:
        vdi = self.make_volume(part, done) if isinstance(part, NewVolume) else part
        vbd = self.attach(ref, disk, vdi, bootable=disk.role == ROOT and disk.kind == DISK)
        if isinstance(part, NewVolume):
            done.push(f"detach the disk {disk.device}", lambda: self._detach(vbd))

    def _detach(self, vbd: str) -> None:
        with self.guard("detach a disk"):
            self.call("VBD.destroy", vbd)

    def _start(self, ref: str, name: str, paused: bool, done: UndoStack) -> None:
        started = Made()

        def stop() -> None:
            if started.is_lost:
                self.settle("VM.start", "VM.start_on")
            self.cut_off(ref, name)

        done.push("stop the instance", stop)
        with self.noticing(started):
            self.start_vm(ref, name, paused)

    def let_pool_start_vms(self, done: UndoStack) -> None:
        """VMs that start with their host do so only where the pool says so too."""
        with self.guard("read the pool"):
            ref, pool = self.pool()
        before = pool["other_config"].get(AUTOSTART)
        if before != "true":
            done.push("let the pool start no VMs with their hosts", lambda: self._set_pool_autostart(ref, before))
            self._set_pool_autostart(ref, "true")

    def _set_pool_autostart(self, ref: str, value: str | None) -> None:
        """What others keep with the pool meanwhile stays."""
        with self.guard("change whether the pool starts VMs with their hosts"):
            now = self.call("pool.get_other_config", ref)
            new = merged(now, {AUTOSTART: value})
            if new != now:
                self.call("pool.set_other_config", ref, new)

    def _finish(self, ref: str, name: str, uuid: str, record: Record) -> None:
        """Write the record without its mark; what the server and others have added meanwhile stays."""
        with self.guard(f"write the record of instance {name!r}", name):
            now = self.call("VM.get_other_config", ref)
            record.unfinished, record.vm_uuid = False, uuid
            self.call("VM.set_other_config", ref, with_record(now, record))


def _new_record(instance: Instance) -> Record:
    return Record(
        id=new_id(),
        flavor=instance.flavor,
        image=instance.image,
        pool=instance.pool,
        metadata=dict(instance.metadata or {}),
        locked=bool(instance.locked),
        protected=bool(instance.protected),
        cloud_init_fingerprint=instance.cloud_init_fingerprint,
        unfinished=True,
        firewall=instance.firewall,
        security_groups=instance.security_groups,
        project=instance.project,
        allow_project_net_traffic=bool(instance.allow_project_net_traffic),
        addresses=declared_addresses(instance.nics or ()),
    )
