# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the plans of many instances, and waits for their guests."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import AnyvirtError, UnexpectedError
from .planned import Planned
from .workers import run_chains


def carry_out(planned: Sequence[Planned], workers: int) -> None:
    """Run every plan and wait for what it waits for; failures are noted in ``Planned.error``."""
    todo = [item for item in planned if item.error is None and (item.plan or item.wait)]
    run_chains([[item] for item in todo], _carry_out_one, workers)


def _carry_out_one(item: Planned) -> None:
    if item.wait is not None:
        item.wait.prepare()
    item.plan.run()
    if item.wait is None:
        return
    try:
        item.addresses = item.wait.wait()
    except AnyvirtError as error:
        _left_as_it_is(item, error)
    except Exception as error:  # a bug in one instance's wait is no reason to lose the others' results
        unexpected = UnexpectedError(f"something went wrong that should not: {type(error).__name__}: {error}")
        _left_as_it_is(item, unexpected)


def _left_as_it_is(item: Planned, error: AnyvirtError) -> None:
    """What is waited for comes after the plan, which stands: people want to look at a guest that does not come up."""
    error.step = f"wait for {item.wanted.wait.what} of {item.name}"
    if item.plan:
        error.rolled_back = False
    item.error = error
