# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An order for things that name each other. Its cost grows with the number of things and of names, not faster."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def rings_in_order(naming: Mapping[str, Collection[str]]) -> list[list[str]]:
    """What names others comes before these. Things that name each other, directly or not, are in one list; a thing that
    is in no such ring is alone in its own.

    Args:
        naming: Which of the others each thing names. Its order is kept where nothing else decides.
    """
    named_by: dict[str, list[str]] = {name: [] for name in naming}
    for name, others in naming.items():
        for other in others:
            named_by[other].append(name)
    place = {name: number for number, name in enumerate(naming)}
    placed: set[str] = set()
    return [
        sorted(_reach(name, named_by, placed), key=place.__getitem__)
        for name in reversed(_finished(naming, place))
        if name not in placed
    ]


def _finished(naming: Mapping[str, Collection[str]], place: Mapping[str, int]) -> list[str]:
    """All of them, each when everything has been visited that can be reached from it; what comes last is named by
    nothing but its own ring."""
    finished: list[str] = []
    seen: set[str] = set()
    for start in reversed(list(naming)):
        path = [] if start in seen else [(start, iter(sorted(naming[start], key=place.__getitem__)))]
        seen.add(start)
        while path:
            name, others = path[-1]
            following = next((other for other in others if other not in seen), None)
            if following is None:
                finished.append(name)
                path.pop()
            else:
                seen.add(following)
                path.append((following, iter(sorted(naming[following], key=place.__getitem__))))
    return finished


def _reach(start: str, following: Mapping[str, Collection[str]], seen: set[str]) -> list[str]:
    """What can be reached without what has been ``seen``, which it then has."""
    found, waiting = [start], [start]
    seen.add(start)
    while waiting:
        for other in following[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                found.append(other)
                waiting.append(other)
    return found
