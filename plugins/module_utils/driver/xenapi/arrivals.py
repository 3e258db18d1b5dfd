# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done where a VM has arrived: all that the server does not bring along is put back, and the record goes.

Each step can be done again: whoever is killed in between has it done by the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...errors import VolumeNotFound
from ...model import power_state
from ...undo import UndoStack
from .errors import code_of
from .extras import AUTOSTART
from .metadata import KEY, read_record, read_volume_record, with_record
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object, Objects, state_of
from .storage import GONE, MARKED_ALREADY
from .travels import TRAVEL, Travel, read_travel

_NOT_EMPTY = "VBD_NOT_EMPTY"


class ArrivalMixin(MigrationScopeMixin):
    """The destination's side of what happens after the move."""

    def settle_arrived(self, ref: str, vm: Object) -> None:
        """Give a VM that has arrived its place and what is kept with its disks. One that is off is where it is to
        start: with that a cold migration within a pool is done."""
        travel = read_travel(vm)
        if travel is None:
            return
        self.promised.pop(vm["name_label"], None)
        self.forget_places()
        self.put_back_kept(ref, vm, travel)
        self._bind(ref, vm, travel)

    def finish_destination(self, name: str) -> None:
        ref, vm = self.lookup(name)
        travel = read_travel(vm)
        if travel is None:
            return
        self.settle_arrived(ref, vm)
        self._put_back_media(vm, travel)
        if vm["other_config"].get(AUTOSTART) == "true":
            self.let_pool_start_vms(UndoStack())
        self._end_travel(ref, vm, travel)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _bind(self, ref: str, vm: Object, travel: Travel) -> None:
        """Bind the VM to its new host, where it was bound to the old one or would otherwise be of no host."""
        own = self.own_host()
        off = state_of(vm) not in power_state.ACTIVE
        if own is None or vm["affinity"] == own or not (off or travel.pinned):
            return
        with self.guard(f"bind instance {vm['name_label']!r} to its host", vm["name_label"]):
            self.call("VM.set_affinity", ref, own)

    def put_back_kept(self, ref: str, vm: Object, travel: Travel) -> None:
        """Storage motion makes new virtual disks, with nothing of ours."""
        if not travel.kept:
            return
        name = vm["name_label"]
        with self.guard(f"put back what is kept with the disks of instance {name!r}", name):
            vbds = self.fetch_refs("VBD", vm["VBDs"])
            vdis = self.fetch_refs("VDI", {vbd["VDI"] for vbd in vbds.values()} - {NULL})
            for vbd in vbds.values():
                kept, vdi = travel.kept.get(vbd["userdevice"]), vdis.get(vbd["VDI"])
                if kept is None or vdi is None:
                    continue
                is_known = read_volume_record(vdi) is not None
                for key, value in kept.items():
                    if key not in vdi["other_config"] or (key == KEY and not is_known):
                        self._keep_with_disk(vbd["VDI"], vdi, key, value)

    def _keep_with_disk(self, ref: str, vdi: Object, key: str, value: str) -> None:
        """Key by key, so that what others write meanwhile stays."""
        if key in vdi["other_config"]:
            self.call("VDI.remove_from_other_config", ref, key)
        try:
            self.call("VDI.add_to_other_config", ref, key, value)
        except self.api.library.Failure as failure:
            if code_of(failure) != MARKED_ALREADY:
                raise

    def _put_back_media(self, vm: Object, travel: Travel) -> None:
        """Put in again what storage motion has taken out. A medium that is gone meanwhile leaves its drive empty."""
        if not travel.media:
            return
        name = vm["name_label"]
        with self.guard(f"look at the drives of instance {name!r}", name):
            vbds: Objects = self.fetch_refs("VBD", vm["VBDs"])
        for ref, vbd in vbds.items():
            place = travel.media.get(vbd["userdevice"])
            if place is None or len(place) != 2 or not vbd["empty"]:
                continue
            pool, volume = place
            try:
                medium = self.find_volume(volume, pool).ref
            except VolumeNotFound:
                continue
            with self.guard(f"put the medium {pool}/{volume} into instance {name!r}", name):
                try:
                    self.run_task("VBD.insert", ref, medium)
                except self.api.library.Failure as failure:
                    if code_of(failure) != _NOT_EMPTY:
                        raise

    def _end_travel(self, ref: str, vm: Object, travel: Travel) -> None:
        """Take the record of the migration away; ours names the pools as they are called here from now on. That is one
        step, or a pool could be renamed twice, and the only one for which the keys are written whole."""
        name = vm["name_label"]
        with self.guard(f"end the migration of instance {name!r}", name):
            now: Mapping[str, str] = self.call("VM.get_other_config", ref) if travel.pools else {}
            record = read_record({**vm, "other_config": now})
            if record is not None and record.pool in travel.pools:
                kept = {key: value for key, value in now.items() if key != TRAVEL}
                renamed = replace(record, pool=travel.pools[record.pool])
                self.call("VM.set_other_config", ref, with_record(kept, renamed))
                return
        self.end_record(ref, name)

    def end_record(self, ref: str, name: str) -> None:
        """Forget that a VM is being moved; fine when it is gone."""
        with self.guard(f"end the migration of instance {name!r}", name):
            try:
                self.call("VM.remove_from_other_config", ref, TRAVEL)
            except self.api.library.Failure as failure:
                if code_of(failure) != GONE:
                    raise
