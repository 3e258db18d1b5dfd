# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rates that hosts record of their VMs (round robin databases), and counters made of them.

A host keeps each rate, averaged, in archives: the last minutes finely, the last year coarsely. XenAPI has no counters;
what a VM has read or sent since it was started is the rates' integral over that time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree

from .wire import parse_xml

PATH = "/rrd_updates"
"""Where a host tells them."""


class Archive(NamedTuple):
    """How long a rate is kept at what resolution, in seconds."""

    step_s: int
    span_s: int


ARCHIVES = (
    Archive(5, 10 * 60),
    Archive(60, 2 * 60 * 60),
    Archive(60 * 60, 7 * 24 * 60 * 60),
    Archive(24 * 60 * 60, 365 * 24 * 60 * 60),
)
"""From fine to coarse."""

Column = tuple[str, str]
"""A VM's UUID and the name of one of its rates, such as ``vbd_xvda_read``."""


@dataclass
class Rates:
    """What one archive tells.

    Attributes:
        end_s: The host's time of the newest values, in seconds since 1970.
        times_s: When each of the steps that the values are averages of ended, ascending.
        columns: The values, as many as there are times; NaN for what is not known.
    """

    step_s: int
    end_s: int
    times_s: Sequence[int] = ()
    columns: Mapping[Column, Sequence[float]] = field(default_factory=dict)


def query(archive: Archive, start_s: int | None, uuid: str | None) -> dict[str, str]:
    """What to ask a host for.

    Args:
        start_s: From when on, by the host's clock; None for as much as the archive has.
        uuid: The only VM that is wanted; None for all of that host.
    """
    # A start that lies at the archive's very beginning makes the host take the next coarser one.
    start = archive.step_s - archive.span_s if start_s is None else start_s
    wanted = {"cf": "AVERAGE", "interval": str(archive.step_s), "start": str(start)}
    return wanted if uuid is None else {**wanted, "vm_uuid": uuid}


def read_rates(answer: bytes, uuids: Collection[str]) -> Rates:
    """The rates of some VMs in a host's answer.

    Raises:
        ElementTree.ParseError: it is not such an answer.
    """
    root = parse_xml(answer)
    try:
        return _read_rates(root, uuids)
    except (ValueError, IndexError) as error:
        raise ElementTree.ParseError(f"no recorded rates: {error}") from error


def needed(age_s: float) -> Sequence[Archive]:
    """The archives that reach back so far together, from fine to coarse: each continues the next."""
    for count, archive in enumerate(ARCHIVES, 1):
        if age_s < archive.span_s - archive.step_s:
            return ARCHIVES[:count]
    return ARCHIVES


def total(known: Sequence[Rates], column: Column, since_s: float) -> float | None:
    """The integral of a rate from a time on; None when there is no such rate.

    Args:
        known: From coarse to fine, so that each tells what the one before it does not: what is newer, and averages that
            it did not know enough for, as that of the hour in whose second half a VM was started.
    """
    if not any(column in rates.columns for rates in known):
        return None
    total_of, gaps = 0.0, [(since_s, math.inf)]
    for rates in known:
        left: list[tuple[float, float]] = []
        for gap in gaps:
            total_of += _fill(gap, rates, column, left)
        gaps = left
    return total_of


def _fill(gap: tuple[float, float], rates: Rates, column: Column, left: list[tuple[float, float]]) -> float:
    """The integral of a rate over the part of a time that an archive knows; the other parts of it go to ``left``."""
    found, (at_s, until_s) = 0.0, gap
    first = bisect_right(rates.times_s, at_s)
    for time_s, value in zip(rates.times_s[first:], rates.columns.get(column, ())[first:]):
        begin_s, end_s = max(time_s - rates.step_s, at_s), min(time_s, until_s)
        if begin_s >= end_s or not math.isfinite(value):
            continue
        if begin_s > at_s:
            left.append((at_s, begin_s))
        found += value * (end_s - begin_s)
        at_s = end_s
    if at_s < until_s:
        left.append((at_s, until_s))
    return found


def latest(known: Sequence[Rates], column: Column) -> float | None:
    """The newest value that is known."""
    for rates in reversed(known):
        for value in reversed(rates.columns.get(column, ())):
            if math.isfinite(value):
                return value
    return None


def _column(entry: str, uuids: Collection[str]) -> Column | None:
    """A legend's entry, such as ``AVERAGE:vm:UUID:vbd_xvda_read``; None when it is not wanted."""
    parts = entry.split(":", 3)
    return (parts[2], parts[3]) if len(parts) == 4 and parts[1] == "vm" and parts[2] in uuids else None


def _read_rates(root: ElementTree.Element, uuids: Collection[str]) -> Rates:
    numbers = {name: int(root.findtext(f"meta/{name}") or "") for name in ("step", "end")}
    columns = [_column(entry.text or "", uuids) for entry in root.iterfind("meta/legend/entry")]
    wanted = [(index, column) for index, column in enumerate(columns) if column is not None]
    times: list[int] = []
    values: dict[Column, list[float]] = {column: [] for _index, column in wanted}
    for row in reversed(root.findall("data/row")):  # the newest comes first
        cells = row.findall("v")
        times.append(int(row.findtext("t") or ""))
        for index, column in wanted:
            values[column].append(float(cells[index].text or "nan"))
    return Rates(numbers["step"], numbers["end"], times, values)
