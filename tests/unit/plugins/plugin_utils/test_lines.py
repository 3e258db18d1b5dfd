# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress in words."""

from __future__ import annotations

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.channel import State
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import Report
from ansible_collections.anyvirt.compute.plugins.plugin_utils import lines
from ansible_collections.anyvirt.compute.plugins.plugin_utils.lines import Pace

MIB = 1 << 20


def state(time_s: float, done: int, total: int | None = 100 * MIB, what: str = "disk") -> State:
    return State(time_s, [Report(what, done, total)])


def words(*states: State) -> str:
    """What is shown after these."""
    pace = Pace()
    for one in states:
        pace.take(one)
    [line] = lines.lines_of("web1", states[-1], pace)
    return lines.fitted(line, 100)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([state(5, 0)], "web1: disk    0%  0 B of 100.0 MiB"),
        ([state(5, 0), state(7, 20 * MIB)], "web1: disk   20%  20.0 MiB of 100.0 MiB  10.0 MiB/s  8s left"),
        ([state(5, 0), state(7, 0)], "web1: disk    0%  0 B of 100.0 MiB  0 B/s"),
        ([state(5, 0, None), state(7, 3 * MIB, None)], "web1: disk  3.0 MiB  1.5 MiB/s"),
        ([state(5, 0, 0)], "web1: disk  0 B"),
        ([state(5, 0), state(6, 101 * MIB)], "web1: disk  100%  100.0 MiB of 100.0 MiB  101.0 MiB/s  0s left"),
        ([State(5, [Report("pages", 3, 4, "pages")])], "web1: pages   75%  3 pages of 4 pages"),
        ([State(5, [Report("move", 3, 4, note="pass\n2")])], "web1: move   75%  3 B of 4 B  pass 2"),
    ],
)
def test_a_line(states: list[State], expected: str) -> None:
    assert words(*states) == expected


def test_the_rate_is_that_of_the_last_seconds() -> None:
    slow = [state(second, second * MIB) for second in range(60)]
    fast = [state(60 + second, (60 + second * 2) * MIB, 1000 * MIB) for second in range(12)]
    assert "  2.0 MiB/s  " in words(*slow, *fast)


def test_work_that_begins_anew_has_no_rate_yet() -> None:
    assert "/s" not in words(state(1, 0), state(2, 50 * MIB), state(3, 0))


def test_work_that_ended_is_forgotten() -> None:
    pace = Pace()
    for one in (state(1, 0), state(2, 50 * MIB), State(3, []), state(4, 60 * MIB)):
        pace.take(one)
    assert pace.per_second("disk") is None


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (1.5 * 2**30, "1.5 GiB"),
        (2.0**62, "4096.0 PiB"),
    ],
)
def test_amounts(number: float, expected: str) -> None:
    assert lines.amount(number, "bytes") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (1e300, "99h59m")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert lines.duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Übergröße-映像", "Übergröße-映像"),
        ("\x1b[2Jgone\x07", "?[2Jgone?"),
        ("a\nb\rc\td", "a b c d"),
        ("\x9b31m", "?31m"),
        ("left\u202eright", "left?right"),
        ("\udcff", "?"),
    ],
)
def test_no_name_commands_the_terminal(text: str, expected: str) -> None:
    assert lines.harmless(text) == expected


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("debian", 6, "debian"),
        ("debian-12", 8, "d...n-12"),
        ("映像映像", 7, "...像"),
        ("映像映像", 6, "...像"),
        ("e\u0301" * 4, 4, "e\u0301" * 4),
        ("web1: https://example.com/debian-13.qcow2", 30, "web1: htt...om/debian-13.qcow2"),
        ("debian", 2, ".."),
        ("debian", 0, ""),
    ],
)
def test_names_are_cut_by_the_columns_that_they_take(text: str, columns: int, expected: str) -> None:
    assert lines.shortened(text, columns) == expected


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, "web1: debian-12   33%  1.0 MiB of 3.0 MiB  1.5 MiB/s  1s left"),
        (59, "web1: debian-12   33%  1.5 MiB/s  1s left"),
        (40, "web1: debian-12   33%  1s left"),
        (20, "web...ebian-12   33%"),
    ],
)
def test_figures_give_way_in_a_narrow_terminal(columns: int, expected: str) -> None:
    assert lines.fitted(lines.line("web1", Report("debian-12", MIB, 3 * MIB), 1.5 * MIB), columns) == expected


@pytest.mark.parametrize("columns", range(1, 60))
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    line = lines.line("web1", Report("映像" * 20, MIB, 3 * MIB), 1.5 * MIB)
    assert lines.width(lines.fitted(line, columns)) <= columns
