# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading instances: one call for each class of records needed, however many instances there are."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable

from ...errors import InstanceAmbiguous, InstanceNotFound, InvalidPowerState
from ...model import power_state
from ...model.instance import Instance, InstanceInfo
from ...model.migration import INCOMING, OUTGOING, MigrationRecord
from ...model.units import MIB
from ..uri import ConnectionOptions
from .connection import ConnectionMixin
from .deferred import overlay, show_unplugged
from .extras import differing
from .metadata import read_record
from .query import REF, any_of
from .records import NULL, Object, Objects, Survey, is_instance, starts_with_host, state_of, to_info, to_instance
from .travels import Travel, has_ended, read_travel


class InstancesMixin(ConnectionMixin):
    """What instances there are and what they are.

    Attributes:
        least_memory_mb: By name, down to how much a running guest's memory can be taken away, as it was last read.
        scope: Chooses those of the VMs that are shown; is told whether they were asked for by name. None: all.
        remaining: Of VMs that move between pools, those that the other end has as well; None: nobody knows.
        partner_identity: That of the end from which VMs come within this pool, whatever it was called when they left.
    """

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.least_memory_mb: dict[str, int] = {}
        self.scope: Callable[[Objects, bool], Objects] | None = None
        self.remaining: Callable[[Objects], Collection[str]] | None = None
        self.partner_identity: str | None = None
        self._known_identity: str | None = None
        self._looks = threading.local()
        """``seen``: what this thread has read during one look, by class, with the condition that there was."""

    @contextmanager
    def one_look(self) -> Iterator[None]:
        self._looks.seen = {}
        try:
            yield
        finally:
            self._looks.seen = None

    def list_instances(self) -> list[str]:
        with self.guard("list the instances"):
            return sorted({vm["name_label"] for vm in self.find_vms().values()})

    def list_instances_detail(self, names: Collection[str] | None = None) -> list[InstanceInfo]:
        with self.guard("list the instances"):
            vms = _without_shadowed(self.find_vms(names))
            if not vms:
                return []
            metrics = self.fetch_of("VM_metrics", vms.values(), "metrics", whole=names is None)
            _ref, pool = self.pool()
        infos = [to_info(vm, metrics.get(vm["metrics"]), starts_with_host(vm, pool)) for vm in vms.values()]
        return sorted(infos, key=lambda info: info.name)

    def get_info(self, name: str) -> InstanceInfo:
        _ref, vm = self.lookup(name)
        with self.guard(f"read instance {name!r}", name):
            metrics = self.fetch_of("VM_metrics", [vm], "metrics") if state_of(vm) in power_state.ACTIVE else {}
            _ref, pool = self.pool()
        return to_info(vm, metrics.get(vm["metrics"]), starts_with_host(vm, pool))

    def get_instances(self, names: Collection[str] | None = None) -> dict[str, Instance]:
        with self.guard("read the instances"):
            vms = self.find_vms(names)
            if not vms:
                return {}
            chosen = choose(vms, strictly=names is not None)
            survey = self.survey(chosen, whole=names is None)
        found = {vm["name_label"]: self._read_instance(ref, vm, survey) for ref, vm in chosen.items()}
        for ref, migration in self.migrations_of(chosen).items():
            found[chosen[ref]["name_label"]].migration = migration
        return dict(sorted(found.items()))

    def differing_extras(self, current: Instance, desired: Instance) -> set[str]:
        return differing(current.hypervisor, desired.hypervisor)

    # -- what the other parts of the driver build on ----------------------------------------------------------------

    def lookup(self, name: str) -> tuple[str, Object]:
        """The VM's reference and record.

        Raises:
            InstanceNotFound: there is none.
            InstanceAmbiguous: there are several, and it cannot be told which one is meant.
        """
        with self.guard(f"look up instance {name!r}", name):
            vms = self.find_vms([name])
        if not vms:
            raise InstanceNotFound(name)
        [(ref, vm)] = choose(vms).items()
        return ref, vm

    def lookup_active(self, name: str) -> tuple[str, Object]:
        """The same of one that has to be active.

        Raises:
            InvalidPowerState: it is not.
        """
        ref, vm = self.lookup(name)
        state = state_of(vm)
        if state not in power_state.ACTIVE:
            raise InvalidPowerState(f"instance {name!r} is {power_state.name(state)}, which this is not possible for")
        return ref, vm

    def find_vms(self, names: Collection[str] | None = None) -> Objects:
        """The VMs that are instances, or those of them that have one of ``names``."""
        if names is None:
            found = self.fetch("VM")
        elif names:
            found = self.fetch("VM", self._narrowed("VM", "name__label", names))
        else:
            return {}
        wanted = None if names is None else frozenset(names)
        vms = {
            ref: vm for ref, vm in found.items() if is_instance(vm) and (wanted is None or vm["name_label"] in wanted)
        }
        return vms if self.scope is None else self.scope(vms, names is not None)

    def pool(self) -> tuple[str, Object]:
        """The reference and the record of the pool."""
        [(ref, pool)] = self.fetch("pool").items()
        return ref, pool

    def fetch(self, kind: str, condition: str | None = None) -> Objects:
        """All records of a class, or those that fulfil a condition, in one call."""
        seen, key = self._seen(), kind if condition is None else f"{kind} where {condition}"
        found: Objects | None = None if seen is None else seen.get(key)
        if found is None:
            method = f"{kind}.get_all_records"
            found = self.call(method) if condition is None else self.call(f"{method}_where", condition)
            if seen is not None:
                seen[key] = found
        self.labels.update({ref: record["name_label"] for ref, record in found.items() if "name_label" in record})
        return found

    def fetch_refs(self, kind: str, refs: Iterable[str]) -> Objects:
        """The records with these references, as far as they exist, in one call."""
        wanted = {ref for ref in refs if ref != NULL}
        if not wanted:
            return {}
        found = self.fetch(kind, self._narrowed(kind, REF, wanted))
        return {ref: record for ref, record in found.items() if ref in wanted}

    def fetch_of(self, kind: str, owners: Iterable[Object], field: str, whole: bool = False) -> Objects:
        """The records to which ``field`` of ``owners`` refers.

        Args:
            whole: These are all owners there are, so that reading all records is no more than is needed.
        """
        return self.fetch(kind) if whole else self.fetch_refs(kind, (owner[field] for owner in owners))

    def fetch_devices(self, kind: str, vms: Collection[str], whole: bool = False) -> dict[str, list[Object]]:
        """The VBDs or VIFs of these VMs, by the VM's reference."""
        found: dict[str, list[Object]] = {ref: [] for ref in vms}
        condition = None if whole else self._narrowed(kind, "VM", vms)
        for device in (self.fetch(kind, condition) if vms else {}).values():
            if device["VM"] in found:
                found[device["VM"]].append(device)
        return found

    def survey(self, vms: Objects, whole: bool = False) -> Survey:
        """All records that tell of these VMs: a constant number of calls.

        Args:
            whole: These are all instances.
        """
        vbds = self.fetch_devices("VBD", vms.keys(), whole)
        vifs = self.fetch_devices("VIF", vms.keys(), whole)
        vdis = self.fetch_of("VDI", [vbd for those in vbds.values() for vbd in those], "VDI", whole)
        active = [vm for vm in vms.values() if state_of(vm) in power_state.ACTIVE]
        hosts = self.fetch_of("host", vms.values(), "affinity", whole)
        _ref, pool = self.pool()
        return Survey(
            vbds=vbds,
            vifs=vifs,
            vdis=vdis,
            srs=self.fetch_of("SR", vdis.values(), "SR", whole),
            networks=self.fetch_of("network", [vif for those in vifs.values() for vif in those], "network", whole),
            metrics=self.fetch_of("VM_metrics", active, "metrics", whole),
            host_names={ref: host["name_label"] for ref, host in hosts.items()},
            autostart=starts_with_host(pool, pool),
        )

    def migrations_of(self, vms: Objects) -> dict[str, MigrationRecord]:
        """What is recorded of these VMs' migrations, by the VM's reference: at most one call."""
        travels = {ref: travel for ref, travel in ((ref, read_travel(vm)) for ref, vm in vms.items()) if travel}
        leaving = {ref: vms[ref] for ref, travel in travels.items() if not travel.within}
        remaining = self.remaining(leaving) if leaving and self.remaining is not None else leaving
        return {
            ref: self._migration_of(vms[ref], travel, travel.within or ref not in remaining)
            for ref, travel in travels.items()
        }

    def _migration_of(self, vm: Object, travel: Travel, is_alone: bool) -> MigrationRecord:
        record = travel.seen_from(self.host_identity(), is_alone)
        if record.direction == OUTGOING and is_alone and has_ended(vm, travel):
            return replace(record, start=False, paused=False)
        if travel.within and record.direction == INCOMING and self.partner_identity is not None:
            return replace(record, peer=self.partner_identity)
        return record

    def _narrowed(self, kind: str, field: str, values: Collection[str]) -> str | None:
        """The condition for reading no more than is wanted; None where all have been read or are to be read."""
        return None if kind in (self._seen() or ()) else any_of(field, values)

    def _seen(self) -> dict[str, Objects] | None:
        """What this thread has read during its look; None outside of one."""
        seen: dict[str, Objects] | None = getattr(self._looks, "seen", None)
        return seen

    def _read_instance(self, ref: str, vm: Object, survey: Survey) -> Instance:
        instance = to_instance(ref, vm, survey)
        self.least_memory_mb[instance.name] = -(-int(vm["memory_static_min"]) // MIB)
        show_unplugged(instance, survey.vbds.get(ref, ()))
        record = read_record(vm)
        if record is not None:
            overlay(instance, record)
        return instance


def choose(vms: Objects, strictly: bool = True) -> dict[str, Object]:
    """One VM for each name: where several have it, the one that our record says is meant.

    Args:
        strictly: Complain of a name that fits several; otherwise none of these is chosen.

    Raises:
        InstanceAmbiguous: nothing tells which one is meant.
    """
    named: dict[str, list[str]] = {}
    for ref, vm in vms.items():
        named.setdefault(vm["name_label"], []).append(ref)
    chosen: dict[str, Object] = {}
    for name, refs in named.items():
        marked = [ref for ref in refs if read_record(vms[ref]) is not None] if len(refs) > 1 else refs
        if len(marked) == 1:
            chosen[marked[0]] = vms[marked[0]]
        elif strictly:
            raise InstanceAmbiguous(_several(name, [vms[ref] for ref in refs], len(marked)))
    return chosen


def _without_shadowed(vms: Objects) -> Objects:
    """The VMs without those whose name means another one of them: what is told by name is never theirs."""
    chosen = choose(vms, strictly=False)
    meant = {vm["name_label"] for vm in chosen.values()}
    return {ref: vm for ref, vm in vms.items() if ref in chosen or vm["name_label"] not in meant}


def _several(name: str, vms: Collection[Mapping[str, Any]], marked: int) -> str:
    uuids = ", ".join(sorted(vm["uuid"] for vm in vms))
    whose = f"{marked} of them" if marked else "none of them"
    return (
        f"{len(vms)} VMs are named {name!r}, and {whose} made by this collection, so nothing tells which is meant; "
        f"rename all but one (their UUIDs: {uuids})"
    )
