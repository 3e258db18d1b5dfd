# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file through which a module's progress comes out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.transfer import channel
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.channel import Channel, State, decode, encode
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import SILENT, Progress, Report


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(channel, "time", clock)
    return clock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.touch()
    return path


def reports(file: Path) -> list[Report] | None:
    state = decode(file.read_bytes())
    return None if state is None else state.reports


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(channel.ENVIRONMENT, raising=False)
    assert channel.asked_for() is SILENT


def test_who_asked_is_told_and_child_processes_are_not(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.setenv(channel.ENVIRONMENT, str(file))
    with channel.asked_for().measure("disk", 10) as meter:
        meter.advance(3)
        assert reports(file) == [Report("disk", 0, 10)]
    assert channel.ENVIRONMENT not in os.environ
    assert reports(file) == []


def test_it_is_written_a_few_times_a_second_at_most(clock: Clock, file: Path) -> None:
    written = []
    with Progress(Channel(str(file)).tell).measure("disk", 1000) as meter:
        for _turn in range(1000):
            clock.now += 0.001
            meter.advance(1)
            state = decode(file.read_bytes())
            if state not in written:
                written.append(state)
    assert len(written) == 5  # in one second, the first of all included
    assert reports(file) == []


def test_several_works_at_once(clock: Clock, file: Path) -> None:
    progress = Progress(Channel(str(file)).tell)
    with progress.measure("one", 10), progress.measure("two", unit="files") as two:
        clock.now += 1
        two.reach(5, 7)
        assert reports(file) == [Report("one", 0, 10), Report("two", 5, 7, "files")]
    assert reports(file) == []


def test_short_works_between_writings_are_not_written(clock: Clock, file: Path) -> None:
    progress = Progress(Channel(str(file)).tell)
    with progress.measure("long"):
        before = file.read_bytes()
        for number in range(100):
            with progress.measure(f"short {number}"):
                pass
        assert file.read_bytes() == before


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe"])
def test_what_is_no_file_of_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "other").touch()
        path.symlink_to("other")
    elif kind == "pipe":
        os.mkfifo(path)
    with Progress(Channel(str(path)).tell).measure("disk") as meter:
        meter.advance(1)
    assert path.exists() != (kind == "missing")
    assert kind != "link" or (tmp_path / "other").read_bytes() == b""


def test_a_shorter_state_over_a_longer_one() -> None:
    longer = encode(State(1.0, [Report("a long name", 1000, 2000)]))
    shorter = encode(State(2.0, []))
    assert decode(shorter + longer[len(shorter) :]) == State(2.0, [])


def test_a_state_has_a_largest_size() -> None:
    many = [
        Report("\U0001f600" * 1000, 1 << 60, 1 << 61, note="\U0001f600" * 1000)
        for _number in range(channel.MAX_REPORTS)
    ]
    assert len(encode(State(1.0, many))) <= channel.MAX_BYTES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[1, []]",
        b"\n",
        b"{}\n",
        b"[1]\n",
        b"[1, 2]\n",
        b'["x", []]\n',
        b'[1, [["what", "many", null, "bytes"]]]\n',
        b'[1, [["what", 1e999, null, "bytes"]]]\n',
        b"[1, [[]]]\n",
        b"\xff\xfe\n",
        b"[" * 16000 + b"\n",
    ],
)
def test_what_is_no_state(data: bytes) -> None:
    assert decode(data) is None
