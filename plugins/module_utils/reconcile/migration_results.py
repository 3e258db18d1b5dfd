# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What virt_migrate returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import AnyvirtError
from ..model import power_state
from ..model.instance import Instance
from ..model.migration import MigrationResult
from .failures import error_as_dict, message_of
from .migration_ends import Ends
from .migration_item import Item
from .migration_situation import ARRIVED, HERE, MOVING, REFUSED, THERE, End
from .outcome import outcome_of
from .task import Task
from .views import instance_as_dict, plain


def moved_result(
    ends: Ends, items: Sequence[Item], task: Task, only_told: bool, members_error: AnyvirtError | None = None
) -> dict[str, Any]:
    """The result of a task that moves instances.

    Args:
        only_told: Nothing was to be changed.
        members_error: Why the members of security groups are not known on both hosts.
    """
    results = []
    for item in items:
        for warning in item.warnings:
            task.warn(warning)
        result = _moved_as_dict(ends, item, task.check_mode)
        result["changed"] = result["changed"] and not only_told
        results.append(result)
    outcome = _outcome(results, items, task)
    if members_error is not None:
        words = f"the members of security groups are not known on both hosts: {message_of(members_error)}"
        outcome["msg"] = "; ".join(part for part in (outcome.get("msg"), words) if part)
        outcome.setdefault("error", error_as_dict(members_error))
        outcome["failed"] = True
    return outcome


def aborted_result(items: Sequence[Item], changed: dict[str, bool], task: Task) -> dict[str, Any]:
    """The result of a task that aborts migrations."""
    results = []
    for item in items:
        for warning in item.warnings:
            task.warn(warning)
        result: dict[str, Any] = {"name": item.name, "changed": changed[item.name], "steps": item.plan.lines()}
        if item.removed:
            result["removed"] = list(item.removed)
        _add_failure(result, item, task.check_mode)
        results.append(result)
    return _outcome(results, items, task)


def status_result(items: Sequence[Item], task: Task, silent: AnyvirtError | None) -> dict[str, Any]:
    """The result of a task that asks how far migrations are.

    Args:
        silent: Why the destination could not be asked.
    """
    if silent is not None:
        task.warn(f"the destination cannot be asked, so this is what the source knows: {silent}")
    results = [{"name": item.name, "changed": False, "status": _status_as_dict(item)} for item in items]
    one = task.params.get("name") is not None
    return outcome_of(results, [None] * len(results), "instance", one, False)


def _outcome(results: Sequence[dict[str, Any]], items: Sequence[Item], task: Task) -> dict[str, Any]:
    one = task.params.get("name") is not None
    return outcome_of(results, [item.error for item in items], "instance", one, task.diff_mode)


# -- one instance ---------------------------------------------------------------------------------------------------


def _moved_as_dict(ends: Ends, item: Item, check_mode: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": item.name,
        "changed": bool(item.steps),
        "from": _where(ends, item),
        "to": ends.to_uri,
        "mode": _mode(item),
        "steps": item.steps,
        "disks": [disk._asdict() for disk in item.migration.disks] if item.migration is not None else [],
        "problems": list(item.problems) or ([str(item.error)] if item.error is not None and not item.steps else []),
        "warnings": list(item.warnings),
        **_numbers(item.result),
    }
    if item.after is not None:
        result["power_state"] = power_state.name(item.after.power_state)
    if item.steps:
        result["before"] = _on_host(result["from"], item.instance, ends)
        arrived = item.error is None
        result["after"] = _on_host(ends.to_uri if arrived else result["from"], item.after, ends)
    if item.removed:
        result["removed"] = list(item.removed)
    _add_failure(result, item, check_mode)
    return result


def _where(ends: Ends, item: Item) -> str | None:
    """The host that it was on; None where nobody could tell."""
    if item.situation.what in (HERE, MOVING):
        return ends.from_uri
    if item.situation.what == ARRIVED and item.source.instance is not None:
        return ends.from_uri
    return ends.to_uri if item.situation.what in (ARRIVED, THERE) else None


def _mode(item: Item) -> str | None:
    if item.migration is not None:
        return item.migration.mode
    record = item.source.record or item.destination.record
    return record.mode if record is not None and item.situation.what in (MOVING, ARRIVED) else None


def _numbers(found: MigrationResult | None) -> dict[str, Any]:
    """What the migration took; what the hypervisor does not tell is left out."""
    if found is None:
        return {}
    sizes = [size for size in (found.memory_bytes, found.disk_bytes) if size is not None]
    numbers = {**found._asdict(), "bytes": sum(sizes) if sizes else None}
    return {key: value for key, value in numbers.items() if value is not None}


def _on_host(host: str | None, instance: Instance | None, ends: Ends) -> dict[str, Any] | None:
    return None if instance is None else {"host": host, **instance_as_dict(instance, ends.source.name)}


def _add_failure(result: dict[str, Any], item: Item, check_mode: bool) -> None:
    error = item.error
    if error is None:
        return
    result["msg"] = message_of(error)
    result["error"] = error_as_dict(error)
    result["changed"] = not check_mode and (error.rolled_back is False or bool(item.removed or item.cleared))


# -- status ---------------------------------------------------------------------------------------------------------


def _status_as_dict(item: Item) -> dict[str, Any]:
    situation, source, destination = item.situation, item.source, item.destination
    status: dict[str, Any] = {
        "phase": _phase(item),
        "source": _end_as_dict(source),
        "destination": _end_as_dict(destination),
    }
    error = situation.error or item.error
    if error is not None:
        status["message"] = str(error)
    record = source.record or destination.record
    if record is not None:
        status["record"] = plain(record)
    job = source.migration if source.has_job else destination.migration
    if job is not None and job.progress is not None:
        status["progress"] = {key: value for key, value in job.progress._asdict().items() if value is not None}
    return status


def _phase(item: Item) -> str:
    """In one word: ``none`` (it is on the source), ``moving``, ``cut_short``, ``arrived`` (and not yet cleared up),
    ``there``, ``missing``, ``unclear``."""
    what = item.situation.what
    if what == REFUSED:
        missing = item.source.instance is None and item.destination.instance is None
        return "missing" if missing else "unclear"
    if what == HERE:
        return "cut_short" if item.situation.clear else "none"
    return str(what)


def _end_as_dict(end: End) -> dict[str, Any] | None:
    if end.instance is None:
        return None
    return {"host": end.host, "power_state": power_state.name(end.instance.power_state)}
