# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out the plans of many instances: side by side, and none hindered by the failure of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from ..errors import AnyvirtError, HypervisorUnavailable, UnexpectedError
from .instances import Planned

DEFAULT_WORKERS = 8


def carry_out(planned: Sequence[Planned], workers: int) -> None:
    """Run every plan and wait for what it waits for; failures are noted in ``Planned.error``."""
    todo = [item for item in planned if item.error is None and (item.plan or item.wait)]
    gone: list[AnyvirtError] = []
    _side_by_side(todo, lambda item: _carry_out_one(item, gone), workers)


def _side_by_side(items: Sequence[Planned], work: Callable[[Planned], None], workers: int) -> None:
    workers = min(workers, len(items))
    if workers <= 1:
        for item in items:
            work(item)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes long to import, and few tasks need it

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work, item) for item in items]:
            future.result()


def _carry_out_one(item: Planned, gone: list[AnyvirtError]) -> None:
    if gone:
        item.error = HypervisorUnavailable(f"not tried, since the hypervisor went away: {gone[0]}")
        return
    try:
        if item.wait is not None:
            item.wait.prepare()
        item.plan.run()
    except AnyvirtError as error:
        item.error = error
        if isinstance(error, HypervisorUnavailable):
            gone.append(error)
        return
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
