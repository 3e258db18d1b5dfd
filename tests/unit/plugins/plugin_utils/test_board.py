# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several workers show their lines together, and Ansible's own output goes on above them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from screen import Screen

from ansible_collections.anyvirt.compute.plugins.plugin_utils import board, terminal
from ansible_collections.anyvirt.compute.plugins.plugin_utils.board import Board

MakeBoard = Callable[[str], Board]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "size", lambda: os.terminal_size((40, 24)))
    monkeypatch.setattr(board, "_INTERVAL_S", 0)


@pytest.fixture
def screen() -> Screen:
    return Screen("TASK [work] ***\n")


@pytest.fixture
def make_board(tmp_path: Path, screen: Screen) -> MakeBoard:
    return lambda name: Board(str(tmp_path), name, screen.feed)


@pytest.fixture
def no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_QUIET_S", 0)


@pytest.mark.usefixtures("no_silence")
def test_lines_of_several_workers_come_and_go(screen: Screen, make_board: MakeBoard) -> None:
    one, two = make_board("1"), make_board("2")
    one.pin(["web1: disk\t10%"])
    two.pin(["web2: disk\t20%", "web2: other\t30%"])
    assert screen.lines() == ["TASK [work] ***", "", "web1: disk  10%", "web2: disk  20%", "web2: other  30%"]
    two.leave()
    assert screen.lines() == ["TASK [work] ***"]
    screen.feed("changed: [web2]\n")
    one.pin(["web1: disk\t40%"])
    assert screen.lines() == ["TASK [work] ***", "changed: [web2]", "", "web1: disk  40%"]
    one.leave()
    assert screen.lines() == ["TASK [work] ***", "changed: [web2]"]


def test_who_leaves_has_the_terminal_for_a_moment(screen: Screen, make_board: MakeBoard) -> None:
    one, two = make_board("1"), make_board("2")
    two.pin(["web2\t1%"])
    two.leave()
    one.pin(["web1\t1%"])
    assert screen.lines() == ["TASK [work] ***"]


def test_what_else_is_written_does_not_mix_with_the_lines(screen: Screen, make_board: MakeBoard) -> None:
    one = make_board("1")
    one.pin(["web1: disk\t10%"])
    screen.feed("ok: [web9]\n")
    one.pin(["web1: disk\t20%"])
    assert screen.lines() == ["TASK [work] ***", "ok: [web9]", "", "web1: disk  20%"]


def test_nothing_is_written_for_a_task_that_has_nothing_to_show(screen: Screen, make_board: MakeBoard) -> None:
    one = make_board("1")
    one.pin([])
    one.leave()
    assert screen.lines() == ["TASK [work] ***"]


def test_more_lines_than_the_terminal_has(
    screen: Screen, make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "size", lambda: os.terminal_size((40, 6)))
    make_board("1").pin([f"web{number}\t1%" for number in range(9)])
    assert screen.lines()[2:] == ["web0  1%", "web1  1%", "and 7 more"]


def test_lines_of_a_worker_that_died_go_away(tmp_path: Path, screen: Screen, make_board: MakeBoard) -> None:
    dead, one = make_board("1"), make_board("2")
    dead.pin(["dead\t1%"])
    long_ago = time.time() - 60
    os.utime(tmp_path / "1.lines", (long_ago, long_ago))
    one.pin(["web1\t1%"])
    assert screen.lines()[2:] == ["web1  1%"]


class TestTheTerminal:
    @pytest.fixture
    def pair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()  # the size is asked for
        for name in ("CI", "AWX_ISOLATED_DATA_DIR", terminal.SWITCH):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        ours, theirs = os.openpty()
        monkeypatch.setattr(terminal, "_stdout", theirs)
        yield
        os.close(ours)
        os.close(theirs)

    @pytest.mark.usefixtures("pair")
    def test_its_size_is_guessed_where_it_tells_none(self) -> None:
        assert terminal.size() == (80, 24)

    @pytest.mark.usefixtures("pair")
    @pytest.mark.parametrize(
        ("name", "value"),
        [("CI", "true"), ("AWX_ISOLATED_DATA_DIR", "/x"), ("ANYVIRT_PROGRESS", "No"), ("TERM", "dumb")],
    )
    def test_there_is_none_for_logs_and_for_people_who_want_none(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str
    ) -> None:
        monkeypatch.setenv(name, value)
        assert terminal.size() is None

    def test_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(terminal, "_stdout", None)
        assert terminal.size() is None
