# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress as people see it: ansible-playbook in a terminal, with modules that take their time."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from importable import CHECKOUT
from screen import Recording, record

PLAYBOOK = Path(__file__).parent / "playbook"
ENDED = re.compile(r"^(changed|ok|skipping|failed): ", re.MULTILINE)
MARKS = ("\x1b[J", "debian-12")
"""Of progress: neither is in the output of a play without."""


class Play:
    """One task on some hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(PLAYBOOK, folder, dirs_exist_ok=True)
        collection = folder / "collections/ansible_collections/anyvirt/compute"
        collection.parent.mkdir(parents=True)
        collection.symlink_to(CHECKOUT)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEVEL_WARNING": "0",
            "ANYVIRT_URI": f"fake://{folder}/fake",
        }

    def command(self, hosts: str, variables: dict[str, Any], task: dict[str, Any]) -> list[str]:
        options = task.pop("options", {})
        tasks = [
            {"name": "work", "slow_work": options, "register": "done", **task},
            {"copy": {"content": "{{ done | to_json }}", "dest": f"{self.folder}/{{{{ inventory_hostname }}}}.json"}},
        ]
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables},
            "tasks": tasks,
        }
        path = self.folder / "play.yml"
        path.write_text(json.dumps([play]), encoding="utf-8")
        return [sys.executable, "-m", "ansible", "playbook", "-i", f"{hosts},", str(path)]

    def watch(
        self, hosts: str = "web1", variables: dict[str, Any] | None = None, columns: int = 100, **task: Any
    ) -> Recording:
        """Run it in a terminal."""
        recording = record(self.command(hosts, variables or {}, task), self.environment, columns)
        assert recording.code == 0, recording.text
        return recording

    def silently(self, **task: Any) -> str:
        """Run it with its output in a file."""
        command = self.command("web1", {}, task)
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def result(self, host: str = "web1") -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / f"{host}.json").read_text(encoding="utf-8"))
        return result


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


def without_progress(lines: list[str]) -> list[str]:
    return [line for line in lines if line]


class TestOnATerminal:
    def test_a_line_grows_and_goes_away(self, play: Play) -> None:
        recording = play.watch(options={"seconds": 2.5})
        seen = percents(recording)
        assert len(seen) >= 3, recording.text
        assert seen == sorted(seen)
        assert re.search(r"web1: debian-12 +\d+%  \d+\.\d MiB of 25\.0 MiB  \d+\.\d MiB/s  \ds left", recording.text)
        silent = play.silently(options={"seconds": 0})
        assert without_progress(recording.screens()[-1]) == without_progress(silent.splitlines())

    def test_several_hosts_share_the_lines(self, play: Play) -> None:
        recording = play.watch(
            "web1,web2", options={"seconds": "{{ 4 if inventory_hostname == 'web2' else 2 }}", "what": "debian-12"}
        )
        screens = ["\n".join(screen) for screen in recording.screens()]
        assert any(re.search(r"^web[12]: .*%.*\nweb[12]: .*%", screen, re.MULTILINE) for screen in screens)
        assert len(percents(recording, "web1")) >= 2
        assert percents(recording, "web2")[-1] >= 70
        for screen in recording.screens():
            for line in screen:
                assert not (ENDED.match(line) and "%" in line), screen  # nothing is mixed
        last = recording.screens()[-1]
        assert not any("%" in line for line in last)
        assert [line for line in last if line.startswith("changed: ")] == ["changed: [web1]", "changed: [web2]"] * 2

    def test_a_narrow_terminal_shows_the_figures_first(self, play: Play) -> None:
        recording = play.watch(columns=60, options={"what": "an-image-with-a-very-long-name-indeed" * 3})
        lines = [line for screen in recording.screens() for line in screen if "%" in line]
        assert lines
        assert all(len(line) < 60 for line in lines)
        assert any(line.startswith("web1: ") and "..." in line and "left" in line for line in lines)

    def test_names_cannot_command_the_terminal(self, play: Play) -> None:
        recording = play.watch(options={"what": "a\x1b]0;title\x07b\u202ec\nd"})
        assert "web1: a?]0;title?b?c d" in recording.text
        assert "\x1b]" not in recording.text

    def test_over_ssh(self, play: Play) -> None:
        ssh = {"ansible_connection": "ssh", "ansible_ssh_executable": str(play.folder / "fake-ssh")}
        recording = play.watch(variables={**ssh, "ansible_pipelining": True}, options={"seconds": 4})
        assert len(percents(recording)) >= 2, recording.text
        assert not list(play.folder.glob(".ansible/tmp/ansible-tmp-*"))

    @pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user without a password")
    def test_with_become(self, play: Play) -> None:
        su = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_allow_same_user": True}
        recording = play.watch(variables={**su, "ansible_become_flags": ""}, options={"seconds": 2})
        assert len(percents(recording)) >= 2, recording.text

    def test_results_are_the_same_with_and_without(self, play: Play) -> None:
        play.watch(options={"seconds": 1})
        with_progress = play.result()
        play.silently(options={"seconds": 1})
        assert with_progress == play.result()
        assert with_progress["worked"] == 1
        assert not list(play.folder.glob(".ansible/tmp/ansible-*"))


class TestSilence:
    """Where nobody can see progress, or nobody may."""

    @pytest.mark.parametrize(
        "task",
        [{"check_mode": True}, {"no_log": True}, {"async": 10, "poll": 1}],
        ids=["check mode", "no_log", "async"],
    )
    def test_tasks_that_are_not_watched(self, play: Play, task: dict[str, Any]) -> None:
        recording = play.watch(options={"seconds": 1}, **task)
        assert not any(mark in recording.text for mark in MARKS)

    @pytest.mark.parametrize(
        "variable", [{"CI": "true"}, {"TERM": "dumb"}, {"ANYVIRT_PROGRESS": "off"}, {"AWX_ISOLATED_DATA_DIR": "/x"}]
    )
    def test_logs_and_people_who_do_not_want_it(self, play: Play, variable: dict[str, str]) -> None:
        play.environment.update(variable)
        recording = play.watch(options={"seconds": 1})
        assert not any(mark in recording.text for mark in MARKS)

    def test_output_in_a_file(self, play: Play) -> None:
        assert not any(mark in play.silently(options={"seconds": 1}) for mark in MARKS)

    def test_a_folder_that_cannot_be_used_harms_nothing(self, play: Play, spoil: Callable[[Play], None]) -> None:
        spoil(play)
        recording = play.watch(options={"seconds": 1})
        assert not any(mark in recording.text for mark in MARKS)
        assert play.result()["worked"] == 1


@pytest.fixture
def spoil() -> Callable[[Play], None]:
    """Have the folder of the notes be a file."""

    def run(play: Play) -> None:
        action = play.folder / "action_plugins/slow_work.py"
        action.write_text(
            action.read_text(encoding="utf-8").replace(
                "import WatchedAction", "import WatchedAction, _folder\nopen(_folder(), 'w').close()"
            ),
            encoding="utf-8",
        )

    return run
