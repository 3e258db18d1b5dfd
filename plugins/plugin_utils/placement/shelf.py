# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in the order in which they are preferred, arranged so that full ones cost next to nothing.

They stand in short rows. Each row knows the most that any host in it has left of each resource, so a row where nothing
fits is passed in one step. With rows of about the square root of their number, finding a host among a thousand takes
some dozens of steps, and so does putting one elsewhere when its load has changed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .state import State

_ROW = 32


class Shelf:
    """The open hosts of one kind."""

    def __init__(self, state: State, hosts: Sequence[int]) -> None:
        self._state = state
        self._ranks = {host: state.rank(host) for host in hosts}
        ordered = sorted(self._ranks.values())
        self._rows = [ordered[start : start + _ROW] for start in range(0, len(ordered), _ROW)]
        self._room = [self._most_of(row) for row in self._rows]

    def fitting(self, need: Sequence[tuple[int, int]]) -> Iterator[int]:
        """The hosts that have room for ``need``, in order."""
        state = self._state
        for row, room in zip(self._rows, self._room):
            state.steps += 1
            if not _holds(room, need):
                continue
            for _load, host in row:
                state.steps += 1
                if _holds(state.free[host], need):
                    yield host

    def update(self, host: int) -> None:
        """Put ``host`` where it belongs since its load or its room changed."""
        new, old = self._state.rank(host), self._ranks[host]
        self._ranks[host] = new
        self._remove(old)
        self._insert(new)

    def _remove(self, rank: tuple[float, int]) -> None:
        number = self._row_of(rank)
        row = self._rows[number]
        del row[bisect_left(row, rank)]
        if row or len(self._rows) == 1:
            self._measure(number)
        else:
            del self._rows[number], self._room[number]

    def _insert(self, rank: tuple[float, int]) -> None:
        number = self._row_of(rank)
        row = self._rows[number]
        insort(row, rank)
        if len(row) > 2 * _ROW:
            self._rows[number : number + 1] = [row[:_ROW], row[_ROW:]]
            self._room.insert(number, ())
            self._measure(number + 1)
        self._measure(number)

    def _row_of(self, rank: tuple[float, int]) -> int:
        """The row that has it, or would have it."""
        low, high = 0, len(self._rows) - 1
        while low < high:
            self._state.steps += 1
            middle = (low + high) // 2
            if self._rows[middle][-1] < rank:
                low = middle + 1
            else:
                high = middle
        return low

    def _measure(self, number: int) -> None:
        self._room[number] = self._most_of(self._rows[number])

    def _most_of(self, row: list[tuple[float, int]]) -> tuple[int, ...]:
        self._state.steps += len(row)
        free = self._state.free
        return tuple(map(max, zip(*[free[host] for _load, host in row]))) if row else ()


def _holds(room: Sequence[int], need: Sequence[tuple[int, int]]) -> bool:
    """Whether there is enough; asked most often of all, so it makes no generator."""
    for resource, amount in need:  # noqa: SIM110
        if room[resource] < amount:
            return False
    return True
