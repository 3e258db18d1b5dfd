# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that change what an instance is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..model import power_state
from ..model.instance import Instance
from . import resizes
from .compare import Change, Comparison
from .compare_nics import nic_as_dict
from .creation import with_macs
from .desired import NEXT_BOOT, Desired
from .plan import Step
from .planned import Planned, say_change
from .planning import PlannerBase

UNFELT = frozenset(
    {
        *("metadata", "autostart", "description", "locked", "protected", "flavor", "image", "pool"),
        *("firewall", "security_groups", "project", "allow_project_net_traffic"),
    }
)
"""Fields that no guest ever feels, so they are in force at once whatever ``apply`` says."""


class UpdatesPlanner(PlannerBase):
    """Plans changes of instances that are there."""

    def live(self, current: Instance, found: Comparison, wanted: Desired) -> set[str]:
        """The changed fields that are in force at once."""
        live = self.driver.live_options(current, found.desired, found.fields)
        if wanted.apply != NEXT_BOOT:
            return live
        # A disk cannot be told to grow later, and guests do not mind that it has grown already.
        only_grows = found.grows and not any(change.field == "disks" and change.old is None for change in found.changes)
        return live & (UNFELT | found.unfelt | ({"disks"} if only_grows else set()))

    def update_off(
        self, planned: Planned, current: Instance, found: Comparison, resized: set[str], goal: str
    ) -> list[Step]:
        """All changes, of an instance that is off by then: first those that can be taken back."""
        off = replace(current, power_state=power_state.SHUTOFF)
        if not resized and not resizes.is_to_finish(planned.wanted, current):
            return self.update(off, found, found.changes, found.fields)
        self.driver.require("resize_revertible")
        driver, name = self.driver, current.name
        grown, _new = resizes.without_growth(current, found.desired)
        desired = replace(found.desired, disks=grown if "disks" in resized else None)
        record = planned.resize = resizes.record_of(planned.wanted, current, desired, goal)
        if current.resize is None and record.sizes:
            driver.require_keepable(name, [device for device, _size in record.sizes])
        is_part = [
            change.field in resized and not (change.field == "disks" and change.old is None) for change in found.changes
        ]
        what = ", ".join(say_change(change) for change, part in zip(found.changes, is_part) if part)
        say = f"resize {name} so that it can be taken back: {what}" if what else f"finish the resize of {name}"
        steps = [Step(say, lambda: driver.resize_revertibly(off, desired, resized, record))]
        rest = [change for change, part in zip(found.changes, is_part) if not part]
        if rest:
            values = {size: getattr(found.desired, size) for size in resized - {"disks"}}
            resized_now = replace(off, **values, disks=grown if "disks" in resized else off.disks)
            steps += self.update(resized_now, found, rest, {change.field for change in rest})
        return steps

    def update(self, current: Instance, found: Comparison, changes: Sequence[Change], live: set[str]) -> list[Step]:
        """Those changes."""
        fields = {change.field for change in changes}
        if not fields:
            return []
        driver, desired = self.driver, found.desired
        self._complete(current, found)
        what = ", ".join(say_change(change) for change in changes)
        later = sorted({change.option for change in changes if change.field not in live})
        note = f" (at its next start: {', '.join(later)})" if later else ""
        return [
            Step(
                f"change {current.name}: {what}{note}",
                lambda: driver.update_instance(current, desired, fields, live),
            )
        ]

    def _complete(self, current: Instance, found: Comparison) -> None:
        """Give new NICs their addresses."""
        nics = found.desired.nics
        if "nics" not in found.fields or nics is None:
            return
        taken = [nic.mac for nic in current.nics or [] if nic.mac]
        found.desired.nics = with_macs(current.name, nics, taken, self.identity)
        named = (new for nic, new in zip(nics, found.desired.nics) if nic.mac is None)
        for number, change in enumerate(found.changes):
            is_new = change.field == "nics" and change.old is None and isinstance(change.new, dict)
            if is_new and "mac" not in change.new:
                found.changes[number] = change._replace(new=nic_as_dict(next(named)))
