# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What killed spawns and removals leave, so that the next run can finish the work.

Before a VM is destroyed, each virtual disk that goes with it is marked as doomed. A clone of a template is named after
its instance from the first moment, with a suffix, and no instance until it is whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from functools import partial

from ...errors import HypervisorUnavailable, NotFound
from .errors import code_of, details_of
from .metadata import read_record, read_volume_record
from .query import any_of
from .records import Object, Objects, is_instance
from .storage import GONE, StorageMixin

CREATING = ".anyvirt-creating"
"""Behind an instance's name, that of the template's clone that is to become it."""

WRONG_STATE = "VM_BAD_POWER_STATE"


def is_leftover(vm: Object, name: str) -> bool:
    """Whether a VM is a template's clone that did not become the instance of this name."""
    if not vm["is_a_template"] or vm["is_a_snapshot"]:
        return False
    record = read_record(vm)
    unfinished = record is not None and record.unfinished
    return vm["name_label"] == name + CREATING or (vm["name_label"] == name and unfinished)


class RemainsMixin(StorageMixin):
    """Finding and removing them."""

    def find_remains(self, names: Collection[str]) -> set[str]:
        if not names:
            return set()
        with self.guard("look for what earlier runs have left"):
            vms = self.vms_named(names)
            doomed = self._doomed()
        there = {vm["name_label"] for vm in vms.values() if is_instance(vm)}
        left = {name for name in names if any(is_leftover(vm, name) for vm in vms.values())}
        return ((set(names) & doomed.keys()) | left) - there

    def finish_removal(self, name: str) -> list[str]:
        """Delete the volumes that were doomed with an instance that is no more; what was removed, in words."""
        with self.guard("look for what earlier runs have left"):
            doomed = self._doomed().get(name, {})
        return self.delete_all(doomed)

    def remove_leftover(self, ref: str, vm: Object) -> list[str]:
        """Remove a template's clone with the disks that were cloned for it; what was removed, in words.

        As long as it has no record all of its disks are clones; then those are that say so.
        """
        record = read_record(vm)
        with self.guard(f"look at {vm['name_label']!r}"):
            if record is not None:
                its: Objects = dict(self.find_made(record.id))
            else:
                vbds = self.fetch_devices("VBD", [ref])[ref]
                its = self.fetch_refs("VDI", (vbd["VDI"] for vbd in vbds if vbd["type"] == "Disk"))
        # Who clones a VM while one of its disks is being cloned for us gets our mark, too.
        removed = self.delete_all({one: vdi for one, vdi in its.items() if not set(vdi["VBDs"]) - set(vm["VBDs"])})
        self.destroy_vm(ref, str(vm["name_label"]))
        return [f"unfinished clone {vm['name_label']}", *removed]

    def vms_named(self, names: Collection[str]) -> Objects:
        """The VMs of these names, with clones that are to become them. To be used within ``guard``."""
        wanted = {*names, *(name + CREATING for name in names)}
        return {
            ref: vm for ref, vm in self.fetch("VM", any_of("name__label", wanted)).items() if vm["name_label"] in wanted
        }

    def delete_all(self, vdis: Objects) -> list[str]:
        """Delete virtual disks; what was removed, in words."""
        removed = []
        for ref, vdi in vdis.items():
            self.when_free(partial(self.delete_vdi, ref, vdi["name_label"]))
            removed.append(f"volume {self.pool_of(vdi)}/{vdi['name_label']}")
        if removed:
            self.places().forget_vdis()
        return removed

    def destroy_vm(self, ref: str, name: str) -> None:
        """Destroy a VM that is off or suspended; fine when it is gone. One that somebody who is gone has asked to be
        started goes off again."""

        def destroy() -> None:
            try:
                self.run_task("VM.destroy", ref)
            except self.api.library.Failure as failure:
                if code_of(failure) != WRONG_STATE:
                    raise
                self._hard_shutdown(ref)
                self.run_task("VM.destroy", ref)

        try:
            with self.guard(f"remove {name!r}", name), self._unless_gone():
                self.when_free(destroy)
        except HypervisorUnavailable:
            if not self._is_gone(ref):
                raise

    def _is_gone(self, ref: str) -> bool:
        """Whether a VM was destroyed by a call whose answer got lost."""
        self.settle("VM.destroy")
        try:
            with self.guard("see whether it is gone"):
                self.call("VM.get_uuid", ref)
        except NotFound:
            return True
        return False

    def cut_off(self, ref: str, name: str) -> None:
        """Take the power away from a VM; fine when it is off or gone."""
        with self.guard(f"power off instance {name!r}", name), self._unless_gone():
            self.when_free(lambda: self._hard_shutdown(ref))

    def _hard_shutdown(self, ref: str) -> None:
        try:
            self.run_task("VM.hard_shutdown", ref)
        except self.api.library.Failure as failure:
            if code_of(failure) != WRONG_STATE or details_of(failure)[-1].lower() != "halted":
                raise

    @contextlib.contextmanager
    def _unless_gone(self) -> Iterator[None]:
        try:
            yield
        except self.api.library.Failure as failure:
            if code_of(failure) != GONE:
                raise

    def _doomed(self) -> dict[str, dict[str, Object]]:
        """The virtual disks that are doomed and nothing uses, by the name of their instance."""
        found: dict[str, dict[str, Object]] = {}
        for ref, vdi in self.fetch("VDI").items():
            kept = read_volume_record(vdi)
            if kept is not None and kept.doomed and not vdi["VBDs"]:
                found.setdefault(kept.instance, {})[ref] = vdi
        return found
