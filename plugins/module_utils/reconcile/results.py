# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What virt_instance returns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..model import power_state
from .compare import Change
from .failures import error_as_dict, message_of
from .instances import Planned
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
    if planned.error is not None:
        result["msg"] = message_of(planned.error)
        result["error"] = error_as_dict(planned.error)
    return result


def _change_as_dict(change: Change, applied: str) -> dict[str, Any]:
    return {"option": change.option, "old": plain(change.old), "new": plain(change.new), "applied": applied}


def diff_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Before and after of one instance's result, for ``--diff``."""
    name = result["name"]
    return {
        "before_header": f"instance {name}",
        "after_header": f"instance {name}",
        "before": to_yaml(result["before"]) if result.get("before") else "",
        "after": to_yaml(result["after"]) if result.get("after") else "",
    }


def to_yaml(data: Any, indent: str = "") -> str:
    """Plain data as YAML, for people; hosts need not have a YAML library."""
    lines = []
    if isinstance(data, Mapping):
        for key in sorted(data):
            value = data[key]
            if isinstance(value, (Mapping, list)) and value:
                inner = indent + ("  " if isinstance(value, Mapping) else "")
                lines.append(f"{indent}{key}:\n{to_yaml(value, inner)}")
            else:
                lines.append(f"{indent}{key}: {_scalar(value)}\n")
    else:
        for item in data:
            if isinstance(item, (Mapping, list)) and item:
                text = to_yaml(item, indent + "  ")
                lines.append(f"{indent}- {text[len(indent) + 2 :]}")
            else:
                lines.append(f"{indent}- {_scalar(item)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    """JSON is YAML; plain words need no quotes."""
    if isinstance(value, str) and _WORD.fullmatch(value) and value.lower() not in _WORDS_THAT_MEAN_SOMETHING:
        return value
    return json.dumps(value, ensure_ascii=False)


_WORD = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS_THAT_MEAN_SOMETHING = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
