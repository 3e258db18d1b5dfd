# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving VMs: XenAPI's own tasks do it, and take back what they did when they fail.

Within a pool, VM.pool_migrate moves a guest whose disks its new host sees. VM.migrate_send moves disks as well, also to
another pool, where the server makes the VM anew and removes it here, as one step. A VM that is off and whose disks stay
is moved by binding it to another host.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from ...errors import HypervisorUnavailable, InstanceMigrating, InstanceNotFound, InvalidUri, MigrationFailed
from ...model import power_state
from ...model.migration import ABORT, COLD, LIVE, MigrationPlan, MigrationProgress, MigrationResult
from ...undo import Undo, UndoStack
from ..migration import MigrationDriver
from ..migrationchecks import require_replaceable
from ..oversight import Oversight
from .arrivals import ArrivalMixin
from .errors import code_of
from .guests import NOT_YET
from .migrationdisks import is_copy, is_nobodys
from .migrationjobs import Job, MigrationJobsMixin, job_of
from .migrationroutes import BETWEEN, WITHIN, Route
from .migrationscope import MigrationScopeMixin
from .records import NULL, Object, state_of
from .storage import MARKED_ALREADY
from .transport import TransportError
from .travels import TRAVEL, Travel, read_travel, travel_text

_GUEST_BOOTS_S = 30.0
"""How long a guest may take until its tools let it be moved."""
_TOO_MANY = "TOO_MANY_STORAGE_MIGRATES"
_AGAIN_S = 1.0
_BEGINS_S, _PAUSE_S = 3.0, 0.2
"""How long the server may take to begin what it was asked for by a call whose answer got lost."""


class MigrationMoveMixin(ArrivalMixin, MigrationJobsMixin):
    """The way of a VM from beginning to end."""

    def begin_migration(self, plan: MigrationPlan, replacing: str | None = None) -> Undo:
        """As the contract says.

        Raises:
            InstanceMigrating: somebody else has begun to move it.
        """
        self.require(f"migration_{plan.mode}")
        route: Route = plan.private
        name, ref = plan.name, route.ref
        with self.guard(f"begin to move instance {name!r}", name):
            if replacing is None:
                self._note(ref, name, route.travel)
            else:
                self._note_again(ref, name, route.travel, replacing)
            if plan.mode == COLD and self._is_bound_there(route):
                # Or it would count as moved as soon as it is off.
                self.call("VM.set_affinity", ref, route.resident)
        return partial(self._take_back, route, name)

    def _note(self, ref: str, name: str, travel: Travel) -> None:
        """Write down the migration, unless there is one."""
        try:
            self.call("VM.add_to_other_config", ref, TRAVEL, travel_text(travel))
        except self.api.library.Failure as failure:
            if code_of(failure) != MARKED_ALREADY:
                raise
            if read_travel(self.call("VM.get_record", ref)) is not None:
                raise InstanceMigrating(
                    f"instance {name!r} is being moved by somebody else, or that was cut short; run the task again"
                ) from failure
            # What is there is about the VM that this one is a copy of.
            self.call("VM.remove_from_other_config", ref, TRAVEL)
            self.call("VM.add_to_other_config", ref, TRAVEL, travel_text(travel))

    def _note_again(self, ref: str, name: str, travel: Travel, replacing: str) -> None:
        """Write down the migration in place of one that was cut short, whose traces go first."""
        vm = self.call("VM.get_record", ref)
        before = read_travel(vm)
        require_replaceable(name, None if before is None else before.seen_from(self.host_identity()), replacing)
        if before is None or job_of(vm) is not None:
            raise InstanceMigrating(f"instance {name!r} is being moved at the moment; abort that first")
        self.put_back_kept(ref, vm, before)
        self.remove_copies(before)
        # Its keys can only be replaced all together, and to take one away before it is added leaves a moment without.
        now = self.call("VM.get_other_config", ref)
        if now.get(TRAVEL) != vm["other_config"][TRAVEL]:
            raise InstanceMigrating(f"instance {name!r} is being moved by somebody else; run the task again")
        self.call("VM.set_other_config", ref, {**now, TRAVEL: travel_text(travel)})

    def accept_instance(self, source: MigrationDriver, plan: MigrationPlan) -> Undo:
        """As the contract says: the server makes all that is to be there by itself, but for security groups."""
        route: Route = plan.private
        if self.shares_pool and isinstance(source, MigrationMoveMixin):
            return partial(source.bind_again, route, plan.name)
        here, there = self.get_security_groups(), source.get_security_groups()
        with UndoStack() as done:
            for group in route.groups:
                if group not in here and group in there:
                    undo = self.define_security_group(there[group])
                    done.push(f"remove the security group {group} from the destination", undo)
        return partial(done.take_back, f"what was prepared for {plan.name!r}")

    def migrate_instance(
        self, destination: MigrationDriver, plan: MigrationPlan, oversight: Oversight
    ) -> MigrationResult:
        """As the contract says."""
        there = self.facing(destination)
        began = time.monotonic()
        try:
            ref, vm = self.lookup(plan.name)
        except InstanceNotFound:
            if not self._has_left(plan, there):
                raise
            return MigrationResult()
        travel = read_travel(vm)
        if travel is None:
            raise MigrationFailed(f"instance {plan.name!r} is not being moved: begin_migration has not been called")
        job = job_of(vm)
        try:
            with self.guard(f"move instance {plan.name!r}", plan.name):
                if job is not None:
                    self.follow_job(ref, job, oversight)
                elif plan.private is not None:
                    self._move(plan.private, plan, oversight)
        except HypervisorUnavailable:
            if not self._goes_on(travel, ref, oversight):
                raise
        except MigrationFailed as error:
            if not self._arrived(travel, ref):
                raise
            oversight.warnings.append(f"{plan.name}: it has arrived, and the server could not clear up: {error}")
        if not self._arrived(travel, ref):
            raise MigrationFailed(f"the migration of instance {plan.name!r} has ended, and it has not arrived")
        self._settle(travel, ref, there)
        return MigrationResult(total_ms=round((time.monotonic() - began) * 1000))

    @staticmethod
    def _has_left(plan: MigrationPlan, there: MigrationScopeMixin) -> bool:
        """Whether a migration that was to be followed has brought it to the destination before anybody looked."""
        record = there.get_instances([plan.name]).get(plan.name)
        return record is not None and record.migration is not None and record.migration.id == plan.record.id

    # -- moving -----------------------------------------------------------------------------------------------------

    def _move(self, route: Route, plan: MigrationPlan, oversight: Oversight) -> None:
        """Let the server do it, again while its guest only boots or the server has too much to do."""
        if plan.mode == COLD and not route.is_sent:
            return
        deadline = time.monotonic() + _GUEST_BOOTS_S
        job = Job(BETWEEN if route.is_sent else WITHIN, "")
        while True:
            try:
                self._run_job(job, self._parameters(route, plan.mode), oversight)
                return
            except MigrationFailed as error:
                code = code_of(error)
                if code != _TOO_MANY and not (code in NOT_YET and time.monotonic() < deadline):
                    raise
            if oversight.heed(MigrationProgress("setup")) == ABORT:
                raise oversight.aborted()
            time.sleep(_AGAIN_S)

    def _parameters(self, route: Route, mode: str) -> tuple[Any, ...]:
        options = {"compress": "true"} if route.compress else {}
        if not route.is_sent:
            return (route.ref, route.host, {"live": "true", **options})
        return (route.ref, self.send_token(route), mode == LIVE, route.disks.where, route.vif_map, options)

    def _run_job(self, job: Job, parameters: tuple[Any, ...], oversight: Oversight) -> None:
        task = self.start_task(f"VM.{job.operation}", *parameters)
        try:
            self.see_through(task, job, oversight)
        except TransportError:
            raise  # it goes on, and nobody is there to be told
        except BaseException:
            if not task.is_over:
                self.cancel_task(task)
            raise
        finally:
            if task.is_over:
                self.tasks.forget(task)

    def _goes_on(self, travel: Travel, ref: str, oversight: Oversight) -> bool:
        """Whether the server has done it, or does, although the connection broke; then it is followed to its end."""
        deadline = time.monotonic() + _BEGINS_S
        while not self._arrived(travel, ref):
            vm = self._record_of(ref)
            job = None if vm is None else job_of(vm)
            if job is not None:
                with self.guard(f"move instance {oversight.name!r}", oversight.name):
                    self.follow_job(ref, job, oversight)
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
        return True

    # -- afterwards -------------------------------------------------------------------------------------------------

    def _arrived(self, travel: Travel, ref: str) -> bool:
        """Whether a VM is at the destination, or nothing keeps it from being there any more."""
        vm = self._record_of(ref)
        if not travel.within:
            return vm is None and self.partner_vm(travel.vm) is not None
        if vm is None:
            return False
        if travel.mode == COLD:
            return self._are_disks_seen(vm)
        return bool(self.partner is not None and vm["resident_on"] == self.partner.own_host())

    def _are_disks_seen(self, vm: Object) -> bool:
        """Whether the destination's host sees all disks of a VM that does not run."""
        partner = self.partner
        if partner is None or state_of(vm) in power_state.ACTIVE:
            return False
        with self.guard("see where the disks are"):
            vbds = self.fetch_refs("VBD", vm["VBDs"])
            vdis = self.fetch_refs("VDI", {vbd["VDI"] for vbd in vbds.values() if vbd["type"] == "Disk"})
        return all(partner.own_host() in partner.places().hosts_of(vdi["SR"]) for vdi in vdis.values())

    def _record_of(self, ref: str) -> Object | None:
        with self.guard("see where the instance is"):
            return self.fetch_refs("VM", [ref]).get(ref)

    def _take_back(self, route: Route, name: str) -> None:
        """Undo the beginning. What has arrived stays, with its record: the next run brings it to its end.

        Raises:
            MigrationFailed: it has arrived.
        """
        vm, travel = self._record_of(route.ref), route.travel
        if self._is_there(vm, route.ref) if travel.within else vm is None and self.partner_vm(travel.vm) is not None:
            raise MigrationFailed(f"instance {name!r} is on the destination already; run the task again, which ends it")
        self.remove_copies(travel)
        self.end_record(route.ref, name)
        if travel.mode == COLD and self._is_bound_there(route):
            with self.guard(f"bind instance {name!r} to its host again", name):
                self.call("VM.set_affinity", route.ref, route.affinity)

    def _is_bound_there(self, route: Route) -> bool:
        """Whether a VM that runs was bound to the destination's host before."""
        there = None if self.partner is None else self.partner.own_host()
        return route.travel.within and route.resident != NULL and route.affinity == there

    def bind_again(self, route: Route, name: str) -> None:
        """Bind a VM that is off to the host that it was bound to before; of no use where that has its disks no more."""
        vm = self._record_of(route.ref)
        if vm is not None and self._is_there(vm, route.ref) and state_of(vm) not in power_state.ACTIVE:
            with self.guard(f"bind instance {name!r} to its host again", name):
                self.call(
                    "VM.set_affinity", route.ref, route.resident if self._is_bound_there(route) else route.affinity
                )

    def _is_there(self, vm: Object | None, ref: str) -> bool:
        """Whether a VM of this pool belongs to the destination's host."""
        there = None if self.partner is None else self.partner.own_host()
        return vm is not None and there is not None and self.homes({ref: vm})[ref] == there

    def remove_copies(self, travel: Travel) -> list[str]:
        """Remove copies that a migration has left at the destination when the way there was cut off: disks of the names
        that it was to make, which were not there when it began, and which nobody uses or has said anything about."""
        there = self.partner
        if there is None or not travel.made:
            return []
        there.forget_places()
        names = {key.partition("/")[2] for key in travel.made}
        found = {
            one.ref: one.record
            for those in there.places().vdis(names).values()
            for one in those
            if is_nobodys(one.record) and is_copy(there, travel, one.record)
        }
        return there.delete_all(found)

    def _settle(self, travel: Travel, ref: str, there: MigrationDriver) -> None:
        if not isinstance(there, ArrivalMixin):
            raise InvalidUri("dest: it is no XenServer")
        with there.guard("look at what has arrived"):
            new = ref if travel.within else there.call("VM.get_by_uuid", travel.vm)
            vm = there.call("VM.get_record", new)
        there.settle_arrived(new, vm)
