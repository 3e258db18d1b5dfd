# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as results: what a playbook's ``rescue:`` finds, and words for people."""

from __future__ import annotations

from typing import Any

from ..errors import AnyvirtError, InvalidInput, TimeoutExpired, UnexpectedError


def error_as_dict(error: BaseException) -> dict[str, Any]:
    """What ``rescue:`` finds under ``error``."""
    described: dict[str, Any] = {
        "kind": getattr(error, "kind", UnexpectedError.kind),
        "cause": str(error),
        "step": getattr(error, "step", None),
        "rolled_back": getattr(error, "rolled_back", None),
        "undone": list(getattr(error, "undone", ())),
        "not_undone": list(getattr(error, "not_undone", ())),
    }
    if isinstance(error, InvalidInput):
        described["problems"] = [problem._asdict() for problem in error.problems]
    if isinstance(error, TimeoutExpired):
        described["last_seen"] = error.last_seen
    return described


def message_of(error: AnyvirtError) -> str:
    """The error in words, with the step in which it happened and what became of the steps before."""
    text = str(error)
    if error.step is not None:
        text = f"{error.step}: {text}"
    if error.not_undone:
        return f"{text}. Not undone: {'; '.join(error.not_undone)}"
    if error.rolled_back:
        return f"{text}. What was done is taken back: {'; '.join(error.undone)}"
    return text
