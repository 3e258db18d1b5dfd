# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What virt_instance returns."""

from __future__ import annotations

from typing import Any

from ..model import power_state
from .compare import Change
from .planned import Planned
from .views import instance_as_dict, pending_as_dict, plain


def planned_as_dict(planned: Planned, extras_option: str) -> dict[str, Any]:
    """The result for one instance."""
    after = planned.after
    result: dict[str, Any] = {
        "name": planned.name,
        "changed": bool(planned.plan),
        "power_state": None if after is None else power_state.name(after.power_state),
        "changes": [_change_as_dict(change, applied) for change, applied in planned.changes],
        "pending": {} if after is None else pending_as_dict(after, extras_option),
        "power_cycled": planned.power_cycled,
        "steps": planned.plan.lines(),
        "after": None if after is None else instance_as_dict(after, extras_option),
    }
    if planned.plan:
        result["before"] = None if planned.before is None else instance_as_dict(planned.before, extras_option)
    if planned.removed:
        result["removed"] = list(planned.removed)
    return result


def _change_as_dict(change: Change, applied: str) -> dict[str, Any]:
    return {"option": change.option, "old": plain(change.old), "new": plain(change.new), "applied": applied}
