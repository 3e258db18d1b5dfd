# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a task from the results of its objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import AnyvirtError
from .failures import error_as_dict, message_of
from .yamltext import to_yaml


def add_failure(result: dict[str, Any], error: AnyvirtError, was_changed: bool) -> None:
    """Make the result of one object that of a failure; ``was_changed`` says that something of it stays changed."""
    result["msg"] = message_of(error)
    result["error"] = error_as_dict(error)
    result["changed"] = was_changed
    if not was_changed:
        result["changes"] = []


def outcome_of(
    results: Sequence[dict[str, Any]],
    errors: Sequence[AnyvirtError | None],
    kind: str,
    one: bool,
    diff_mode: bool,
) -> dict[str, Any]:
    """A task's result.

    Args:
        results: Of each object, with ``name``, ``changed``, ``before`` and ``after``.
        errors: Of each object, None where it went well.
        kind: What the objects are, e.g. ``volume``; the result has them under its plural, and ``one`` under it.
    """
    outcome: dict[str, Any] = {"changed": any(result["changed"] for result in results), f"{kind}s": list(results)}
    if one:
        outcome[kind] = results[0]
    if diff_mode:
        outcome["diff"] = [diff_of(result, kind) for result in results if result["changed"]]
    failures = [(str(result["name"]), error) for result, error in zip(results, errors) if error is not None]
    if failures:
        outcome.update(_failure(failures, len(results), kind))
    return outcome


def diff_of(result: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Before and after of one object's result, for ``--diff``."""
    header = f"{kind} {result['name']}"
    return {
        "before_header": header,
        "after_header": header,
        "before": to_yaml(result["before"]) if result.get("before") else "",
        "after": to_yaml(result["after"]) if result.get("after") else "",
    }


def _failure(failures: Sequence[tuple[str, AnyvirtError]], count: int, kind: str) -> dict[str, Any]:
    first = failures[0][1]
    if count == 1:
        message = message_of(first)
    else:
        each = "; ".join(f"{name}: {message_of(error)}" for name, error in failures)
        message = f"{len(failures)} of {count} {kind}s failed: {each}"
    return {"failed": True, "msg": message, "error": error_as_dict(first)}
