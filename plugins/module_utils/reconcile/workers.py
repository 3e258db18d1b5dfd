# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries out plans side by side, so that none is hindered by the failure of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Protocol, TypeVar

from ..errors import AnyvirtError, HypervisorUnavailable
from .plan import Plan

DEFAULT_WORKERS = 8


class Planned(Protocol):
    """An object with a plan; ``error`` is why it cannot be done, or why it failed."""

    plan: Plan
    error: AnyvirtError | None


P = TypeVar("P", bound=Planned)


def run_chains(chains: Sequence[Sequence[P]], run: Callable[[P], None], workers: int) -> None:
    """Call ``run`` for all items: one after the other within a chain, chains side by side.

    Args:
        run: Does an item's work. What it raises is noted as the item's error; once that is HypervisorUnavailable,
            nothing more is tried.
        workers: How many chains are worked on at once.
    """
    gone: list[AnyvirtError] = []

    def run_chain(chain: Sequence[P]) -> None:
        for item in chain:
            _run_one(item, run, gone)

    workers = min(workers, len(chains))
    if workers <= 1:
        for chain in chains:
            run_chain(chain)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes long to import, and few tasks need it

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(run_chain, chain) for chain in chains]:
            future.result()


def _run_one(item: P, run: Callable[[P], None], gone: list[AnyvirtError]) -> None:
    if gone:
        item.error = HypervisorUnavailable(f"not tried, since the hypervisor went away: {gone[0]}")
        return
    try:
        run(item)
    except AnyvirtError as error:
        item.error = error
        if isinstance(error, HypervisorUnavailable):
            gone.append(error)
