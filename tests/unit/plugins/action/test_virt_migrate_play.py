# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play with virt_migrate: what a person sees of it, and what Ctrl-C does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watchedplay import Play

SOON_S = 40.0


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """A host that sends 20 MiB a second, and 60 MiB to send."""
    made = Play(tmp_path / "play")
    host = made.folder / "fake/hosts/fake1"
    host.mkdir(parents=True)
    (host / "host.json").write_text(json.dumps({"migration_mib_s": 20}), encoding="utf-8")
    return made


def tasks(play: Play, memory_mb: int) -> list[dict[str, Any]]:
    return [
        {"anyvirt.compute.virt_instance": {"name": "db1", "memory_mb": memory_mb, "state": "running"}},
        {
            "anyvirt.compute.virt_migrate": {"name": "db1", "dest": f"fake://{play.folder}/fake?host=other"},
            "register": "done",
        },
    ]


def homes(play: Play) -> list[str]:
    return [path.parts[-3] for path in (play.folder / "fake/hosts").glob("*/instances/db1.json")]


def test_a_person_sees_how_far_it_is(play: Play) -> None:
    recording = play.watch(*tasks(play, 60), columns=110)
    line = r"web1: migrate db1 +\d+%  \d+\.\d MiB of 60\.0 MiB  .*/s  \ds left  pass 1, downtime \d+ ms"
    assert re.search(line, recording.text), recording.text
    assert play.result()["instance"]["changed"]
    assert homes(play) == ["other"]


@pytest.mark.parametrize("connection", ["local", "ssh"])
def test_ctrl_c_leaves_it_where_it_was(play: Play, connection: str) -> None:
    variables: dict[str, Any] = {}
    if connection == "ssh":
        variables = {"ansible_connection": "ssh", "ansible_ssh_executable": str(play.folder / "fake-ssh")}
    command = play.command("web1", variables, tasks(play, 6000))
    process = subprocess.Popen(
        command, env=play.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        jobs = play.folder / "fake/hosts/fake1/jobs"
        until(lambda: jobs.is_dir() and any(jobs.glob("*.json")))
        process.send_signal(signal.SIGINT)
        process.wait(SOON_S)
        until(lambda: not any(jobs.glob("*.json")))
    finally:
        process.kill()
        process.wait()
    assert homes(play) == ["fake1"]
    record = json.loads((play.folder / "fake/hosts/fake1/instances/db1.json").read_text(encoding="utf-8"))
    assert "migration" not in record
    assert record["running"]


def until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + SOON_S
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
