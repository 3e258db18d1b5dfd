# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``state: verified``: what the kernel really has, beside what is declared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..driver.firewall import FirewallDriver
from ..errors import AnyvirtError, FilterDrift
from ..model.secgroup import Drift, project_group
from .secgroup_options import DesiredFirewall
from .secgroup_world import World

_SAID = 10
"""How much drift a message tells; the result tells all of it."""

_GROUP = "group "
"""How the subject of a group's drift begins."""


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        drift: What is, or was before the repair, otherwise than declared.
        changed: It was repaired, or would be in check mode.
        error: There is drift, and it stays.
    """

    drift: Sequence[Drift] = ()
    changed: bool = False
    error: AnyvirtError | None = None

    def as_dict(self) -> dict[str, Any]:
        """What the result tells of it."""
        return {"drift": [drift._asdict() for drift in self.drift], "repaired": self.changed}


def verify(driver: FirewallDriver, wanted: DesiredFirewall, world: World, check_mode: bool) -> Verified:
    """Compare, and repair where that is asked for: all of the host then, since that is one transaction."""
    names = {item.name for item in wanted.groups if item.name in world.groups} if wanted.groups else None
    if names is not None and not names:
        return Verified()
    found = _drift(driver, world, names)
    if not found:
        return Verified()
    if not wanted.repair:
        return Verified(found, error=FilterDrift(f"{_say(found)}; repair: true makes it as declared"))
    if check_mode:
        return Verified(found, changed=True)
    try:
        driver.restore_filters()
        left = _drift(driver, world, names)
    except AnyvirtError as error:
        error.step = "make all filters as declared"
        return Verified(found, error=error)
    if left:
        return Verified(left, changed=True, error=FilterDrift(f"after all filters were made anew: {_say(left)}"))
    return Verified(found, changed=True)


def _drift(driver: FirewallDriver, world: World, names: Collection[str] | None) -> list[Drift]:
    """What concerns these groups: they themselves, the members that their rules are about, and the instances in them,
    with the projects of these."""
    if names is None:
        return driver.verify_filters()
    instances = sorted({instance for name in names for instance in world.uses[name].instances})
    found = driver.verify_filters(instances)
    near = set(names).union(*(world.groups[name].refers_to for name in names))
    if any(drift.subject.startswith(_GROUP + project_group("")) for drift in found):
        members = driver.get_instances(instances).values()
        near |= {project_group(item.project) for item in members if item.project and item.allow_project_net_traffic}
    return [drift for drift in found if not drift.subject.startswith(_GROUP) or drift.subject[len(_GROUP) :] in near]


def _say(drift: Sequence[Drift]) -> str:
    said = [
        f"{item.subject}{'' if item.instance is None else f' of {item.instance}'}: {item.problem}"
        for item in drift[:_SAID]
    ]
    more = f"; and {len(drift) - _SAID} more" if len(drift) > _SAID else ""
    return f"the filters are not as declared: {'; '.join(said)}{more}"
