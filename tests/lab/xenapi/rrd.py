# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Round robin archives of constant rates, and the XML in which hosts tell them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

SAMPLE_S = 5


@dataclass(frozen=True)
class Archive:
    """Averages over steps of `step_s` seconds, of the last `rows` steps."""

    step_s: int
    rows: int

    @property
    def samples(self) -> int:
        return self.step_s // SAMPLE_S

    def end(self, now: float) -> int:
        """When the last full step ended."""
        return int(now) // self.step_s * self.step_s


ARCHIVES = (Archive(5, 120), Archive(60, 120), Archive(3600, 168), Archive(86400, 366))
"""From fine to coarse."""


@dataclass(frozen=True)
class Source:
    """One rate, constant since the time `started`; before that nothing was sampled."""

    legend: str
    value: float
    started: float

    def known_after(self, archive: Archive) -> float:
        """The end of a step must be later than this: else more than half of its samples are unknown, and so is it.

        A sample is known when the guest ran in any of its five seconds.
        """
        needed = max((archive.samples + 1) // 2, 1)
        return self.started + (needed - 1) * SAMPLE_S


def choose(start: float, interval: int, now: float) -> Archive:
    """The finest archive with steps of at least `interval` seconds that reaches back to `start`; else the longest."""
    coarse_enough = [archive for archive in ARCHIVES if archive.step_s >= interval] or [ARCHIVES[-1]]
    for archive in coarse_enough:
        if start > archive.end(now) - archive.rows * archive.step_s:
            return archive
    return coarse_enough[-1]


def xport(sources: Sequence[Source], start: float, archive: Archive, now: float) -> str:
    """The averages after `start`, the newest first."""
    end, step = archive.end(now), archive.step_s
    first = max(int(start) // step * step + step, end - (archive.rows - 1) * step)
    times = range(end, first - 1, -step)
    legend = "".join(f"<entry>{escape(source.legend)}</entry>" for source in sources)
    meta = (
        f"<meta><start>{min(first, end)}</start><step>{step}</step><end>{end}</end>"
        f"<rows>{len(times)}</rows><columns>{len(sources)}</columns><legend>{legend}</legend></meta>"
    )
    return f'<?xml version="1.0"?><xport>{meta}<data>{"".join(_rows(sources, times, archive))}</data></xport>'


def _rows(sources: Sequence[Source], times: range, archive: Archive) -> Iterator[str]:
    columns = [(f"<v>{source.value:.4f}</v>", source.known_after(archive)) for source in sources]
    for time in times:
        cells = "".join([cell if time > known_after else "<v>NaN</v>" for cell, known_after in columns])
        yield f"<row><t>{time}</t>{cells}</row>"
