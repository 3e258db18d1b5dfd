# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress in words: one line for each piece of work."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Iterator

from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.channel import State
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import BYTES, Report

_WINDOW_S = 10.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_ELLIPSIS = "..."
_LEAST_NAME = 20


class Pace:
    """How fast each piece of work went in the last seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def take(self, state: State) -> None:
        """Remember how far all have come; those that are no longer named are forgotten."""
        named = {report.what for report in state.reports}
        self._seen = {what: seen for what, seen in self._seen.items() if what in named}
        for report in state.reports:
            seen = self._seen.setdefault(report.what, deque())
            if seen and (report.done < seen[-1][1] or state.time_s < seen[-1][0]):
                seen.clear()  # it began anew
            if not seen or state.time_s > seen[-1][0]:
                seen.append((state.time_s, report.done))
            while len(seen) > 2 and state.time_s - seen[1][0] >= _WINDOW_S:
                seen.popleft()

    def per_second(self, what: str) -> float | None:
        """None until it is known."""
        seen = self._seen.get(what)
        if not seen or len(seen) < 2:
            return None
        (first_s, first), (last_s, last) = seen[0], seen[-1]
        return (last - first) / (last_s - first_s)


def lines_of(host: str, state: State, pace: Pace) -> list[str]:
    """One line for each piece of work, safe to show and as long as it likes."""
    return [line(host, report, pace.per_second(report.what)) for report in state.reports]


def line(host: str, report: Report, per_second: float | None) -> str:
    """One line: what, where, how far, how fast, how long; its parts separated by tabs, for ``fitted``."""
    return "\t".join((harmless(f"{host}: {report.what}"), *_figures(report, per_second)))


def fitted(parts: str, columns: int) -> str:
    """The line in so many columns: its name is cut short, but not too short while there are figures to leave out."""
    name, *figures = parts.split("\t")
    while len(figures) > 1 and columns - width("  ".join(figures)) - 2 < _LEAST_NAME:
        del figures[1]
    end = "".join(f"  {figure}" for figure in figures)
    if columns - width(end) < 1:
        return shortened(name + end, columns)
    return shortened(name, columns - width(end)) + end


def _figures(report: Report, per_second: float | None) -> Iterator[str]:
    total = report.total
    if total:
        yield f"{min(100, report.done * 100 // total):3}%"
        yield f"{amount(min(report.done, total), report.unit)} of {amount(total, report.unit)}"
    else:
        yield amount(report.done, report.unit)
    if per_second is not None:
        yield f"{amount(per_second, report.unit)}/s"
        if total and per_second > 0:
            yield f"{duration(max(0, total - report.done) / per_second)} left"
    if report.note:
        yield harmless(report.note)


def amount(number: float, unit: str) -> str:
    """So many bytes, or so many of another unit, in words."""
    if unit != BYTES:
        return f"{number:.0f} {harmless(unit)}"
    exponent = 0
    while number >= 1023.95 and exponent < len(_UNITS) - 1:
        number /= 1024
        exponent += 1
    return f"{number:.{1 if exponent else 0}f} {_UNITS[exponent]}"


def duration(seconds: float) -> str:
    """In the two largest units that it has."""
    whole = round(min(seconds, 359999))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def harmless(text: str) -> str:
    """Without anything that a terminal would obey, or that would turn the writing direction."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def width(text: str) -> int:
    """Columns that harmless text takes in a terminal."""
    return sum(_width(c) for c in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def shortened(text: str, columns: int) -> str:
    """At most so many columns of it; what is left out is in its middle, since paths and URLs tell most at their end."""
    if width(text) <= columns:
        return text
    dots = _ELLIPSIS[: max(0, columns)]
    room = columns - len(dots)
    return _beginning(text, room // 3) + dots + _beginning(text[::-1], room - room // 3)[::-1]


def _beginning(text: str, columns: int) -> str:
    kept = 0
    for character in text:
        columns -= _width(character)
        if columns < 0:
            break
        kept += 1
    return text[:kept]
