# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out changes of instances: at once where the guest is off or can take it, and otherwise noted for later."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...model import power_state
from ...model.instance import Disk, Instance
from ...undo import UndoStack
from ..members import is_filtered
from .complete import complete_cpu
from .deferred import defer, overlay, present, waiting_options
from .diskchanges import Part
from .extras import AUTOSTART, CORES, HOSTNAME, MAPPINGS, domain_type, merged
from .live import UNFELT, split_extras
from .metadata import Record, declared_addresses, new_id, read_record, with_record
from .nicchanges import NicChangesMixin
from .records import NULL, Object, Survey, to_instance
from .seeds import SeedsMixin
from .sizes import SizesMixin
from .vifaddresses import UNLOCKED, lock_for
from .vmfields import Fields, boot_fields
from .xenstore import network_records, without_networking

_PLAIN = ("flavor", "image", "pool", "metadata", "locked", "protected", "firewall", "security_groups")
"""What is in the record as the instance has it."""
OF_FILTERING = ("firewall", "security_groups", "nics")
"""Options that say how a guest is filtered."""
_ORDER = ("domain_type", "HVM_boot_policy")
"""Fields to be set first: the server lets others follow from them."""


@dataclass
class Work:
    """A change of an instance.

    Attributes:
        actual: The instance as XenAPI has it.
        record: The one that the VM gets; the VM's own still says ``was``.
        desired: With the values of all options in ``now``.
        now: Options that are changed at once.
        new_disks: Those of the desired disks that are new.
        growing: Disks that are to become larger.
    """

    ref: str
    vm: Object
    survey: Survey
    actual: Instance
    record: Record
    was: Record | None
    desired: Instance
    now: set[str]
    new_disks: list[Part]
    growing: list[Disk]

    @property
    def is_off(self) -> bool:
        """Whether there is no guest that could feel anything."""
        return self.actual.power_state in power_state.OFF

    @property
    def is_running(self) -> bool:
        """Whether there is a guest that can be given something."""
        return self.actual.power_state in power_state.EXECUTING

    @property
    def name(self) -> str:
        """The instance's."""
        return self.actual.name

    @property
    def outcome(self) -> Instance:
        """What of its filtering the instance has afterwards, and its NICs."""
        changing = [option for option in OF_FILTERING if option in self.now]
        return replace(self.actual, **{option: getattr(self.desired, option) for option in changing})


class ApplyMixin(NicChangesMixin, SeedsMixin, SizesMixin):
    """The ways in which all of an instance changes."""

    def begin(self, ref: str, vm: Object) -> Work:
        """A change of nothing yet."""
        name = vm["name_label"]
        with self.guard(f"read instance {name!r}", name):
            survey = self.survey({ref: vm})
        was = read_record(vm)
        record = read_record(vm) or Record(id=new_id(), vm_uuid=vm["uuid"])
        actual = to_instance(ref, vm, survey)
        return Work(ref, vm, survey, actual, record, was, Instance(name), set(), [], [])

    def configured(self, work: Work) -> Instance:
        """The instance with what waits for its next start."""
        instance = replace(work.actual, pending=dict(work.actual.pending))
        overlay(instance, work.record)
        return instance

    def include_waiting(self, work: Work) -> None:
        """Let the change of an instance that is off take in what has been waiting for that; the seed still waits."""
        waiting, options = waiting_options(work.actual, work.record)
        extras = {**waiting.hypervisor, **work.desired.hypervisor}
        for key in set(waiting.hypervisor) & set(work.desired.hypervisor) & set(MAPPINGS):
            extras[key] = {**waiting.hypervisor[key], **work.desired.hypervisor[key]}
        values = {option: getattr(waiting, option) for option in options - work.now}
        work.desired = replace(work.desired, **{**values, "hypervisor": extras})
        work.now |= options
        seed = work.record.deferred.get("cloud_init")
        work.record.deferred = {} if seed is None else {"cloud_init": seed}

    def leave_waiting(self, work: Work, options: set[str]) -> None:
        """Note what a guest that is there gets at its next start, and forget what it is getting now."""
        waiting = work.record.deferred
        kept = {option: value for option, value in waiting.items() if option not in work.now or option == "cloud_init"}
        later = options - work.now
        if "hypervisor" in waiting:
            kept["hypervisor"] = waiting["hypervisor"]
        desired = replace(work.desired)
        if "hypervisor" in options:
            unfelt, felt = split_extras(work.desired.hypervisor)
            desired = replace(desired, hypervisor=felt)
            work.desired = replace(work.desired, hypervisor=unfelt)
            work.now.add("hypervisor")
            later.add("hypervisor")
        work.now |= later & UNFELT
        work.record.deferred = defer(kept, work.actual, desired, later)

    def carry_out(self, work: Work, done: UndoStack) -> None:
        """Do what is to be done now, and write the record."""
        name, ref, vm = work.name, work.ref, work.vm
        if work.new_disks:
            self.add_disks(ref, vm, work.new_disks, work.is_running and "disks" in work.now, done)
        if "cloud_init" in work.now:
            instance = replace(work.actual, pool=work.desired.pool or work.actual.pool)
            instance.cloud_init = work.desired.cloud_init
            self.change_seed(ref, vm, instance, work.record, work.survey, done)
        if "nics" in work.now:
            self.change_nics(ref, vm, work.desired.nics or [], is_filtered(work.outcome), done)
        self._change_filtering(work, done)
        with self.guard(f"change instance {name!r}", name):
            self._change_sizes_now(work, done)
            self._set_fields_now(work, done)
            self._write_config(work, done)
        if "autostart" in work.now and work.desired.autostart:
            self.let_pool_start_vms(done)
        for disk in work.growing:
            self.grow_disk(ref, vm, disk, work.survey, done)
        if work.new_disks or "cloud_init" in work.now:
            self.forget_places()

    def apply_waiting(self, ref: str, vm: Object, done: UndoStack) -> bool:
        """Put into force what has been waiting for a VM to be off.

        Returns:
            Whether a seed disk is of no use any more once the VM has started.
        """
        record = read_record(vm)
        if record is None or not record.deferred:
            return False
        work = self.begin(ref, vm)
        self.include_waiting(work)
        swapped = self.swap_seed(ref, vm, work.record, work.survey, done)
        self.carry_out(work, done)
        return swapped

    # -- parts of it ------------------------------------------------------------------------------------------------

    def _change_filtering(self, work: Work, done: UndoStack) -> None:
        """The record is written later: who is killed in between has it done again by the next run."""
        if work.now.isdisjoint(OF_FILTERING):
            return
        after = work.outcome
        if is_filtered(after):
            locks = {nic.mac or "": lock_for(nic) for nic in after.nics or []}
        elif is_filtered(work.actual):
            locks = {nic.mac or "": UNLOCKED for nic in after.nics or []}
        else:
            return
        self.change_locks(work.ref, work.name, locks, done)

    def _change_sizes_now(self, work: Work, done: UndoStack) -> None:
        ref, vm, desired = work.ref, work.vm, work.desired
        if work.is_off:
            self.change_sizes(ref, vm, desired, work.now, done)
            return
        if "memory_mb" in work.now and desired.memory_mb is not None:
            self.change_running_memory(ref, vm, desired.memory_mb, done)
        if "vcpus" in work.now and desired.vcpus is not None:
            self.change_running_vcpus(ref, vm, present(work.actual, "vcpus"), desired.vcpus, done)

    def _set_fields_now(self, work: Work, done: UndoStack) -> None:
        vm, fields = work.vm, self._changed_fields(work)
        changed = {field: value for field, value in fields.items() if vm[field] != value}
        if not changed:
            return
        before = {field: vm[field] for field in changed}
        done.push("put back the configuration", lambda: self._put_back_fields(work.ref, work.name, before))
        self._write_fields(work.ref, vm, changed)

    def _write_fields(self, ref: str, now: Object, values: Fields) -> None:
        for field in sorted(values, key=lambda field: field not in _ORDER):
            if now[field] != values[field]:
                self.call(f"VM.set_{field}", ref, values[field])

    def _put_back_fields(self, ref: str, name: str, before: Fields) -> None:
        with self.guard(f"put back the configuration of instance {name!r}", name):
            self._write_fields(ref, self.call("VM.get_record", ref), before)

    def _changed_fields(self, work: Work) -> Fields:
        """The fields of the VM that follow from what changes now, but for sizes and other_config."""
        vm, desired, now = work.vm, work.desired, work.now
        extras = desired.hypervisor if "hypervisor" in now else {}
        fields: Fields = {
            field: merged(vm[field], extras.get(option))
            for option, field in MAPPINGS.items()
            if field != "other_config"
        }
        if "description" in now:
            fields["name_description"] = desired.description or ""
        if "affinity" in extras:
            fields["affinity"] = self.find_host(extras["affinity"]).ref if extras["affinity"] else NULL
        if work.is_off:
            fields.update(_boot_changes(work, extras))
            fields["platform"] = _with_cpu(fields["platform"], work)
        if "nics" in now and HOSTNAME in vm["xenstore_data"]:
            kept = without_networking(fields["xenstore_data"])
            fields["xenstore_data"] = {**kept, **network_records(desired.nics or [])}
        return fields

    def _write_config(self, work: Work, done: UndoStack) -> None:
        """Write other_config: our record, and what else of it changes."""
        for option in work.now.intersection(_PLAIN):
            setattr(work.record, option, getattr(work.desired, option))
        if "project" in work.now:
            work.record.project = work.desired.project or None
        if "allow_project_net_traffic" in work.now:
            work.record.allow_project_net_traffic = bool(work.desired.allow_project_net_traffic)
        if "nics" in work.now:
            work.record.addresses = declared_addresses(work.desired.nics or ())
        fresh: dict[str, str] = self.call("VM.get_other_config", work.ref)
        record = self._merge_record(work, fresh)
        new = dict(fresh) if record is None else with_record(fresh, record)
        if "hypervisor" in work.now:
            new = merged(new, work.desired.hypervisor.get("other_config"))
        if "autostart" in work.now:
            new = merged(new, {AUTOSTART: True if work.desired.autostart else None})
        if new == fresh:
            return
        touched = {key: fresh.get(key) for key in {*fresh, *new} if fresh.get(key) != new.get(key)}
        done.push("put back what is recorded with the VM", lambda: self._put_back_config(work, touched))
        self.call("VM.set_other_config", work.ref, new)

    @staticmethod
    def _merge_record(work: Work, fresh: dict[str, str]) -> Record | None:
        """The VM's present record with what this change changes; None where it needs none."""
        before = work.was or Record(id=work.record.id, vm_uuid=work.record.vm_uuid)
        changed = {name: value for name, value in vars(work.record).items() if value != getattr(before, name)}
        now = read_record({**work.vm, "other_config": fresh})
        if now is None and not (changed or work.new_disks):
            return None  # made by others, and nothing that we would have to know of it
        return replace(now or before, **changed)

    def _put_back_config(self, work: Work, touched: dict[str, str | None]) -> None:
        with self.guard(f"put back what is recorded with instance {work.name!r}", work.name):
            now = self.call("VM.get_other_config", work.ref)
            old = merged(now, touched)
            if old != now:
                self.call("VM.set_other_config", work.ref, old)


def _boot_changes(work: Work, extras: dict[str, Any]) -> Fields:
    """What of the fields for booting follows from the change; others stay as they are."""
    actual, now = work.actual, work.now
    if "boot" not in now and not {"domain_type", "bootloader"} & extras.keys():
        return {}
    boot = work.desired.boot if "boot" in now else actual.boot
    target = replace(actual, boot=boot, hypervisor={**actual.hypervisor, **extras})
    had_kernel, has_kernel = (bool(one is not None and one.kernel) for one in (actual.boot, boot))
    if had_kernel != has_kernel and "domain_type" not in extras:
        target.hypervisor.pop("domain_type")
    before, after = boot_fields(actual), boot_fields(target)
    changed = {field: value for field, value in after.items() if value != before[field]}
    if changed.get("HVM_boot_params"):
        changed["HVM_boot_params"] = {**work.vm["HVM_boot_params"], **changed["HVM_boot_params"]}
    if changed.get("domain_type") == domain_type(work.vm):
        del changed["domain_type"]
    return changed


def _with_cpu(platform: dict[str, str], work: Work) -> dict[str, str]:
    """The processors' arrangement. One that does not fit their number any more would keep the guest from starting."""
    most = work.desired.max_vcpus if "max_vcpus" in work.now else work.actual.max_vcpus
    cores = platform.get(CORES)
    if "cpu" in work.now and work.desired.cpu is not None:
        wanted = complete_cpu(work.desired.cpu, most).cores
        cores = None if wanted is None else str(wanted)
    elif cores is not None and cores.isdecimal() and int(cores) and (most or 0) % int(cores):
        cores = None
    return merged(platform, {CORES: cores})
