# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing what an instance is."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace

from ...errors import InvalidInput, InvalidPowerState, Problem
from ...model import power_state
from ...model.instance import Instance, Nic
from ...model.units import MIB
from ...undo import Undo, UndoStack
from ..needs import needed_features
from .apply import OF_FILTERING, Work
from .filtering import address_findings, filtering_findings, group_findings
from .findings import raise_first
from .live import live_options
from .power import PowerMixin
from .records import state_of


class UpdateMixin(PowerMixin):
    """Configuration and running guest, changed together or apart."""

    def live_options(self, current: Instance, desired: Instance, options: Collection[str]) -> set[str]:
        live = live_options(current, desired, options)
        is_too_little = (desired.memory_mb or 0) < self.least_memory_mb.get(current.name, 0)
        return live - {"memory_mb"} if is_too_little and current.power_state not in power_state.OFF else live

    def update_instance(
        self, current: Instance, desired: Instance, options: Collection[str], live: Collection[str]
    ) -> Undo:
        name, done = current.name, UndoStack()
        work = self._plan_update(name, desired, set(options), set(live))
        with done:
            self.carry_out(work, done)
        return lambda: done.take_back(f"the changes of {name!r}")

    def balloon_memory(self, name: str, memory_mb: int) -> None:
        """As the contract says. What it is configured to have waits for the next start."""
        self.require("memory_live")
        ref, vm = self.lookup(name)
        state = state_of(vm)
        if state not in power_state.EXECUTING:
            raise InvalidPowerState(
                f"instance {name!r} is {power_state.name(state)}; only a running guest can be given memory"
            )
        most = int(vm["memory_static_max"]) // MIB
        if not 0 < memory_mb <= most:
            raise InvalidInput([Problem("memory_mb", f"must be between 1 and its maximum of {most}")])
        work = self.begin(ref, vm)
        work.desired.memory_mb = memory_mb
        work.now = {"memory_mb"}
        configured = self.configured(work).memory_mb
        with UndoStack() as done:
            work.record.deferred.pop("memory_mb", None)
            if configured != memory_mb:
                work.record.deferred["memory_mb"] = configured
            self.carry_out(work, done)

    def plug_vifs(self, name: str, nics: Sequence[Nic]) -> None:
        current = self._current(name)
        self._put_nics(current, [*(current.nics or []), *nics])

    def unplug_vifs(self, name: str, macs: Collection[str]) -> None:
        gone = {mac.lower() for mac in macs}
        current = self._current(name)
        kept = [nic for nic in current.nics or [] if nic.mac not in gone]
        if len(kept) != len(current.nics or []):
            self._put_nics(current, kept)

    # -- parts of an update -----------------------------------------------------------------------------------------

    def _current(self, name: str) -> Instance:
        ref, vm = self.lookup(name)
        return self.configured(self.begin(ref, vm))

    def _put_nics(self, current: Instance, nics: list[Nic]) -> None:
        is_live = current.power_state in power_state.EXECUTING
        self.require("nics_live" if is_live else "nics")
        self.update_instance(current, Instance(current.name, nics=nics), {"nics"}, {"nics"} if is_live else set())

    def _plan_update(self, name: str, desired: Instance, options: set[str], live: set[str]) -> Work:
        """Look up what is there, and say what is going to be done. Changes nothing."""
        for option, feature in needed_features(desired):
            if option.partition("[")[0].partition(".")[0] in options:
                self.require(feature)
        _require_sizes(desired, options)
        ref, vm = self.lookup(name)
        work = self.begin(ref, vm)
        configured = self.configured(work)
        if "nics" in options:
            desired = replace(desired, nics=self.complete_new_nics(name, desired.nics or [], configured.nics or []))
        if desired.security_groups is not None:
            desired = replace(desired, security_groups=sorted(set(desired.security_groups)))
        if not options.isdisjoint(OF_FILTERING):
            values = {option: getattr(desired, option) for option in OF_FILTERING if option in options}
            self._require_filtering(replace(configured, **values))
        work.desired = desired
        if "disks" in options:
            instance = replace(work.actual, pool=desired.pool or configured.pool)
            work.growing = self.require_growth(instance, desired, work.is_off)
            work.new_disks = self.plan_new_disks(instance, desired.disks or [], work.record)
        if work.is_off:
            work.now = set(options)
            self.include_waiting(work)
        else:
            work.now = set(options) & (live | {"cloud_init"})
            self.leave_waiting(work, set(options))
        return work

    def _require_filtering(self, instance: Instance) -> None:
        """Raise what keeps the instance that is to be from being filtered as it says."""
        raise_first(
            itertools.chain(
                filtering_findings(instance),
                address_findings(instance),
                group_findings(instance, self.groups_for([instance])),
            )
        )


def _require_sizes(desired: Instance, options: set[str]) -> None:
    problems = [
        Problem(option, "must be more than zero")
        for option in ("memory_mb", "max_memory_mb", "vcpus", "max_vcpus")
        if option in options and (getattr(desired, option) or 0) <= 0
    ]
    if problems:
        raise InvalidInput(problems)
