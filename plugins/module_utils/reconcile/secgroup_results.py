# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What virt_secgroup answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ..errors import AnyvirtError
from ..model.secgroup import SecurityGroup
from .failures import error_as_dict, message_of
from .outcome import add_failure, diff_of, outcome_of
from .secgroup_options import PRESENT
from .secgroup_plans import PlannedGroup, Unit
from .secgroup_rules import rule_as_dict
from .task import Task


@dataclass
class PlannedForHost:
    """What is to be done for all groups at once, and what comes of it.

    Attributes:
        key: Its name among the results. ``what``: its name for people.
        before, after: In the words of the module's options.
        look: Says what it is like now, in the same words.
    """

    key: str
    what: str
    before: Any
    after: Any
    look: Callable[[], Any]
    unit: Unit = field(default_factory=Unit)


def result_of(planned: Sequence[PlannedGroup], for_host: Sequence[PlannedForHost], task: Task) -> dict[str, Any]:
    """The task's result, from those of the groups and of what is for all of them."""
    results = [_group_result(item) for item in planned]
    errors = [item.unit.error for item in planned]
    outcome = outcome_of(results, errors, "group", task.params.get("name") is not None, task.diff_mode)
    failures = [(item.what, item.unit.error) for item in for_host if item.unit.error is not None]
    for item in for_host:
        result = _host_result(item)
        outcome[item.key] = result
        outcome["changed"] = outcome["changed"] or result["changed"]
        if task.diff_mode and result["changed"]:
            kind, _space, name = item.what.partition(" ")
            outcome["diff"].append(diff_of({**result, "name": name}, kind))
    add_failures(outcome, failures)
    return outcome


def add_failures(outcome: dict[str, Any], failures: Sequence[tuple[str, AnyvirtError]]) -> None:
    """More failures than those of the groups."""
    for what, error in failures:
        message = f"{what}: {message_of(error)}"
        outcome["msg"] = f"{outcome['msg']}; {message}" if outcome.get("failed") else message
        outcome.setdefault("error", error_as_dict(error))
        outcome["failed"] = True


def group_as_dict(group: SecurityGroup | None) -> dict[str, Any] | None:
    """A group in the words of the module's options."""
    if group is None:
        return None
    words: dict[str, Any] = {
        "name": group.name,
        "state": PRESENT,
        "rules": [rule_as_dict(rule) for rule in group.rules],
    }
    if group.description:
        words["description"] = group.description
    return words


def _group_result(item: PlannedGroup) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": item.wanted.name,
        "changed": bool(item.steps),
        "changes": [{"option": option, "old": old, "new": new} for option, old, new in item.changes],
        "steps": [step.say for step in item.steps],
        "after": group_as_dict(item.after),
    }
    if item.steps:
        result["before"] = group_as_dict(item.before)
    if item.unit.error is not None:
        add_failure(result, item.unit.error, item.after != item.before or item.unit.error.rolled_back is False)
    return result


def _host_result(item: PlannedForHost) -> dict[str, Any]:
    result: dict[str, Any] = {
        "changed": bool(item.unit.plan),
        "steps": item.unit.plan.lines(),
        "before": item.before,
        "after": item.after,
    }
    if item.unit.error is not None:
        add_failure(result, item.unit.error, item.after != item.before or item.unit.error.rolled_back is False)
        result.pop("changes", None)
    return result
