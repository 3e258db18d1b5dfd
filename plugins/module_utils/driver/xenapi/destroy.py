# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing instances."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from ...errors import AnyvirtError, InvalidInput, Problem
from ...model import power_state
from ...model.instance import SEED
from ...undo import UndoStack
from ..base import ALL, NONE, OWN
from .host import NOT_FOR_DISKS
from .instances import choose
from .kept import KeptStatesMixin
from .metadata import Record, VolumeRecord, read_record, read_volume_record
from .query import REF, any_of
from .records import NULL, Object, Objects, is_instance, state_of
from .remains import RemainsMixin, is_leftover


@dataclass
class _Doomed:
    """What goes with an instance, and which volumes that were made for it stay.

    Attributes:
        snapshots: Of the VM; VMs themselves.
        vdis: All that are to be deleted.
        kept: Those that stay, and are nobody's from then on; those that an earlier removal, which was cut short, was to
            take along are among them.
    """

    snapshots: dict[str, Object] = field(default_factory=dict)
    vdis: dict[str, Object] = field(default_factory=dict)
    kept: dict[str, Object] = field(default_factory=dict)


class DestroyMixin(RemainsMixin, KeptStatesMixin):
    """The end of instances."""

    def destroy(self, name: str, delete_volumes: str = OWN) -> list[str]:
        if delete_volumes not in (OWN, ALL, NONE):
            raise InvalidInput([Problem("delete_volumes", f"{delete_volumes!r} is not one of {OWN}, {ALL}, {NONE}")])
        with self.guard(f"look up instance {name!r}", name):
            vms = self.vms_named([name])
        removed: list[str] = []
        for ref, vm in vms.items():
            if is_leftover(vm, name):
                removed += self.remove_leftover(ref, vm)
        instances = {ref: vm for ref, vm in vms.items() if is_instance(vm) and vm["name_label"] == name}
        if not instances:
            return removed + self.finish_removal(name)
        [(ref, vm)] = choose(instances).items()
        return removed + self._remove(ref, vm, delete_volumes)

    def _remove(self, ref: str, vm: Object, delete_volumes: str) -> list[str]:
        name, state = vm["name_label"], state_of(vm)
        with self.guard(f"look at what belongs to instance {name!r}", name):
            going = self._find_doomed(ref, vm, delete_volumes)
            record = read_record(vm)
            if record is not None and record.resize:
                going.vdis.update(self._kept_only(record.id))
        with UndoStack() as done:
            self._mark(vm, going, done)
            if state in power_state.ACTIVE:
                self.cut_off(ref, name)
                paused = state == power_state.PAUSED
                done.push("start the instance anew", lambda: self.start_vm(ref, name, paused))
            for snapshot, its_record in going.snapshots.items():
                self.destroy_vm(snapshot, its_record["name_label"])
            self.destroy_vm(ref, name)
        try:
            words = [f"snapshot {snapshot['name_label']}" for snapshot in going.snapshots.values()]
            return [f"instance {name}", *words, *self.delete_all(going.vdis)]
        except AnyvirtError as error:
            error.rolled_back = False
            error.not_undone.append(f"instance {name}: it is removed; removing it again deletes what is left of it")
            raise

    def start_vm(self, ref: str, name: str, paused: bool) -> None:
        """Start a VM that is off, on the host that the URI names if it names one."""
        self._on_chosen_host("start", ref, name, paused)

    def resume_vm(self, ref: str, name: str, paused: bool) -> None:
        """Let a VM that is suspended go on, there too."""
        self._on_chosen_host("resume", ref, name, paused)

    def _on_chosen_host(self, verb: str, ref: str, name: str, paused: bool) -> None:
        chosen = self.chosen_host()
        with self.guard(f"{verb} instance {name!r}", name):
            if chosen is None:
                self.run_task(f"VM.{verb}", ref, paused, False)
            else:
                self.run_task(f"VM.{verb}_on", ref, chosen[0], paused, False)

    # -- what goes along --------------------------------------------------------------------------------------------

    def _find_doomed(self, ref: str, vm: Object, delete_volumes: str) -> _Doomed:
        record = read_record(vm) or Record()
        going = _Doomed()
        if vm["snapshots"]:
            going.snapshots = dict(self.fetch_refs("VM", vm["snapshots"]))
        machines = [ref, *going.snapshots]
        vbds = self.fetch_devices("VBD", machines)
        known = {vbd for machine in (vm, *going.snapshots.values()) for vbd in machine["VBDs"]}
        saved = [machine["suspend_VDI"] for machine in (vm, *going.snapshots.values())]
        on_them = {vbd["VDI"] for those in vbds.values() for vbd in those}
        vdis, own = self._read_vdis({*on_them, *saved} - {NULL}, vm, record)
        free = {one: vdi for one, vdi in {**vdis, **own}.items() if not set(vdi["VBDs"]) - known}
        writable = {
            vbd["VDI"]
            for those in vbds.values()
            for vbd in those
            if vbd["type"] == "Disk" and vbd["mode"] == "RW" and vbd["VDI"] in free
        }
        of_snapshots = {
            vbd["VDI"]
            for snapshot in going.snapshots
            for vbd in vbds[snapshot]
            if vbd["type"] == "Disk" and vbd["VDI"] in free and free[vbd["VDI"]]["is_a_snapshot"]
        }
        for one, vdi in free.items():
            kept = read_volume_record(vdi)
            is_own = one in own or (kept is not None and bool(record.id) and kept.owner == record.id)
            always = one in saved or (is_own and (record.unfinished or (kept is not None and kept.role == SEED)))
            is_others = delete_volumes == ALL and one in writable and self._is_disposable(vdi)
            if always or (delete_volumes != NONE and (is_own or one in of_snapshots or is_others)):
                going.vdis[one] = vdi
            elif is_own or (kept is not None and kept.doomed):
                going.kept[one] = vdi
        going.vdis.update(self._snapshots_of(going.vdis))
        return going

    def _kept_only(self, owner: str) -> Objects:
        """What a resize of the instance has kept, and what a killed one left of its copies."""
        return {ref: vdi for ref, vdi in self.kept_states(owner).items() if vdi["is_a_snapshot"] or not vdi["VBDs"]}

    def _snapshots_of(self, vdis: Objects) -> Objects:
        """The snapshots of volumes, which are of no use without them; those that others made stay. The server does not
        tell them any more of a volume that was reverted since."""
        makings = set()
        for vdi in vdis.values():
            kept = read_volume_record(vdi)
            if kept is not None and vdi["uuid"] in (kept.vdi, kept.holder):
                makings.add(kept.making)
        found = {}
        for ref, vdi in self.fetch("VDI").items() if makings - {None} else ():
            kept = read_volume_record(vdi) if vdi["is_a_snapshot"] and not vdi["VBDs"] else None
            if kept is not None and kept.snapshot is not None and kept.snapshot_of in makings:
                found[ref] = vdi
        return found

    def _read_vdis(self, refs: set[str], vm: Object, record: Record) -> tuple[Objects, Objects]:
        """The virtual disks of these references, and those made for the instance that may hang on nothing: of a spawn
        cut short, and seeds that were to be there at the next start."""
        if record.unfinished:
            self.settle("VDI.create", "VDI.clone", "VDI.copy")
            return self.fetch_refs("VDI", refs), dict(self.find_made(record.id))
        seed = any_of("name__label", [f"{vm['name_label']}.{SEED}"])
        conditions = [seed, any_of(REF, refs)] if refs else [seed]
        found = self.fetch("VDI", None if None in conditions else " or ".join(filter(None, conditions)))
        records = {ref: read_volume_record(vdi) for ref, vdi in found.items() if not vdi["is_a_snapshot"]}
        own = {ref for ref, kept in records.items() if kept is not None and record.id and kept.owner == record.id}
        return (
            {ref: vdi for ref, vdi in found.items() if ref in refs},
            {ref: vdi for ref, vdi in found.items() if ref in own},
        )

    def _mark(self, vm: Object, going: _Doomed, done: UndoStack) -> None:
        """Write down what is going to be deleted, and that the rest is nobody's."""
        name, own = vm["name_label"], {vm["uuid"], (read_record(vm) or Record()).id}
        marks: list[tuple[str, Object, VolumeRecord | None]] = []
        for ref, vdi in going.vdis.items():
            kept = read_volume_record(vdi) or VolumeRecord(vm["uuid"], name)
            if not kept.doomed or kept.instance != name:
                marks.append((ref, vdi, replace(kept, doomed=True, instance=name)))
        for ref, vdi in going.kept.items():
            its = read_volume_record(vdi)
            marks.append((ref, vdi, None if its is None or its.owner in own else replace(its, doomed=False)))
        for ref, vdi, record in marks:
            done.push(f"take a mark off the volume {vdi['name_label']}", partial(self._write_back, ref, vdi))
            with self.guard(f"mark the volume {vdi['name_label']!r}"):
                self.write_volume_record(ref, vdi, record)

    def _write_back(self, ref: str, vdi: Object) -> None:
        with self.guard(f"take a mark off the volume {vdi['name_label']!r}"):
            self.call("VDI.set_other_config", ref, vdi["other_config"])

    def _is_disposable(self, vdi: Object) -> bool:
        """Whether a virtual disk is one that was made to be used by one VM, and can be deleted."""
        repository = self.places().srs.get(vdi["SR"])
        is_device = repository is not None and repository["type"] in NOT_FOR_DISKS
        return bool(vdi["managed"]) and not (vdi["sharable"] or vdi["read_only"] or is_device)
