# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress as people see it: ansible-playbook in a terminal, with modules that take their time."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from screen import Recording
from watchedplay import Play

ENDED = re.compile(r"^(changed|ok|skipping|failed): ", re.MULTILINE)
MARKS = ("\x1b[J", "debian-12")
"""Of progress: neither is in the output of a play without."""


def work(seconds: float | str = 1, what: str = "debian-12", **keywords: Any) -> dict[str, Any]:
    """A task that takes so long."""
    return {"name": "work", "slow_work": {"seconds": seconds, "what": what}, "register": "done", **keywords}


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path / "play")


def percents(recording: Recording, host: str = "web1") -> list[int]:
    """What a person saw of that host's progress, one after another."""
    found = [
        int(match[1])
        for screen in recording.screens()
        for line in screen
        if (match := re.match(rf"{host}: debian-12 +(\d+)%", line))
    ]
    return [percent for number, percent in enumerate(found) if found[number - 1 : number] != [percent]]


def in_words(lines: list[str]) -> list[str]:
    return [line.rstrip() for line in lines if line.strip()]


class TestOnATerminal:
    def test_a_line_grows_and_leaves_nothing_behind(self, play: Play) -> None:
        recording = play.watch(work(2), columns=80)  # as wide as Ansible thinks that files are
        seen = percents(recording)
        assert len(seen) >= 3, recording.text
        assert seen == sorted(seen)
        assert re.search(r"web1: debian-12 +\d+%  \d+\.\d MiB of 20\.0 MiB  \d+\.\d MiB/s  \ds left", recording.text)
        result = play.result()
        assert result["worked"] == 2
        (play.folder / "web1.json").unlink()
        silent = play.silently(work(2))
        assert not any(mark in silent for mark in MARKS)
        assert in_words(recording.screens()[-1]) == in_words(silent.splitlines())
        assert result == play.result()
        assert not list(play.folder.glob(".ansible/tmp/ansible-*"))

    def test_several_hosts_share_the_lines(self, play: Play) -> None:
        recording = play.watch(work("{{ 4 if inventory_hostname == 'web2' else 2 }}"), hosts="web1,web2")
        screens = ["\n".join(screen) for screen in recording.screens()]
        assert any(re.search(r"^web[12]: .*%.*\nweb[12]: .*%", screen, re.MULTILINE) for screen in screens)
        assert len(percents(recording, "web1")) >= 2
        assert percents(recording, "web2")[-1] >= 70
        for screen in recording.screens():
            for line in screen:
                assert not (ENDED.match(line) and "%" in line), screen  # nothing is mixed
        last = recording.screens()[-1]
        assert not any("%" in line for line in last)
        assert sum(line.startswith("changed: ") for line in last) == 4

    def test_long_and_evil_names_in_a_narrow_terminal(self, play: Play) -> None:
        recording = play.watch(work(1, "a\x1b]0;title\x07b\u202ec\nd-and-so-on-for-a-very-long-time"), columns=60)
        lines = [line for screen in recording.screens() for line in screen if "%" in line]
        assert lines
        assert all(line.startswith("web1: a?]") and len(line) < 60 for line in lines), lines
        assert re.search(r"\.\.\.\S*time  +\d+% .* left$", lines[-1])
        assert "\x1b]" not in recording.text

    def test_over_ssh(self, play: Play) -> None:
        ssh = {"ansible_connection": "ssh", "ansible_ssh_executable": str(play.folder / "fake-ssh")}
        recording = play.watch(work(3.5), variables={**ssh, "ansible_pipelining": True})
        assert len(percents(recording)) >= 2, recording.text
        assert not list(play.folder.glob(".ansible/tmp/ansible-tmp-*"))

    @pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user without a password")
    def test_with_become(self, play: Play) -> None:
        su = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_allow_same_user": True}
        recording = play.watch(work(1.5), variables={**su, "ansible_become_flags": ""})
        assert len(percents(recording)) >= 2, recording.text


class TestSilence:
    """Where nobody may see progress, or it cannot be shown."""

    def test_tasks_that_are_not_watched(self, play: Play) -> None:
        recording = play.watch(work(check_mode=True), work(no_log=True), {**work(), "async": 10, "poll": 1})
        assert not any(mark in recording.text for mark in MARKS)
        assert play.result()["worked"] == 1

    def test_when_showing_fails_the_task_does_not(self, play: Play) -> None:
        action = play.folder / "action_plugins/slow_work.py"
        spoilt = "import WatchedAction, _folder\nopen(_folder(), 'w').close()"  # a file where the notes would be
        action.write_text(action.read_text(encoding="utf-8").replace("import WatchedAction", spoilt), encoding="utf-8")
        recording = play.watch(work())
        assert not any(mark in recording.text for mark in MARKS)
        assert play.result()["worked"] == 1
