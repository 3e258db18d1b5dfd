# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interrupting virt_migrate, in every way in which the end of a play reaches a module: the source runs the instance as
before, and nothing of it is on the destination."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from importable import TESTS

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake import dial
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.fake.migrationdriver import FakeMigrationDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import InstanceNotFound
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import VolumeKey

RunModule = Callable[..., "dict[str, Any]"]

CODE = """
import json, signal, sys
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore some
sys.path.insert(0, sys.argv[1])
import importable
importable.make_importable()
from ansible.module_utils.testing import patch_module_args
from ansible_collections.anyvirt.compute.plugins.modules import virt_migrate
with patch_module_args(json.loads(sys.argv[2])):
    virt_migrate.main()
"""
SOON_S = 20.0


def until(is_true: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + SOON_S
    while not is_true():
        assert time.monotonic() < deadline_s, f"not within {SOON_S:g} s: {what}"
        time.sleep(0.02)


class Running:
    """A module at work, in a process and session of its own."""

    def __init__(self, folder: Path, output: int, **options: Any) -> None:
        ends = {"uri": f"fake://{folder}", "dest": f"fake://{folder}?host=second"}
        command = [sys.executable, "-c", CODE, str(TESTS), json.dumps({**ends, **options})]
        self.folder = folder
        self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, start_new_session=True)

    def job(self) -> bool:
        return any((self.folder / "hosts" / "fake1" / "jobs").glob("*.json"))

    def end(self) -> None:
        try:
            self.process.wait(SOON_S)
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def at_home(instance_module: RunModule, folder: Path) -> dict[str, bytes]:
    """An instance that takes a minute to be moved, and the files then."""
    instance_module(name="web1", memory_mb=600, disks=[{"size": "1G"}], state="running")
    (folder / "hosts/fake1/host.json").write_text(json.dumps({"migration_mib_s": 10}), encoding="utf-8")
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((folder / "hosts").rglob("*.json"))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_by_a_signal(folder: Path, at_home: dict[str, bytes], number: signal.Signals) -> None:
    reading, writing = os.pipe()
    module = Running(folder, writing, name="web1")
    os.close(writing)
    until(module.job, "a job")
    os.kill(module.process.pid, number)
    with open(reading, encoding="utf-8") as output:
        result = json.load(output)
    module.end()
    assert result["error"]["kind"] == "migration_aborted"
    assert result["error"]["rolled_back"] is True
    assert number.name in result["msg"]
    assert files(folder) == at_home


def test_by_the_end_of_whoever_waits_for_the_result(folder: Path, at_home: dict[str, bytes]) -> None:
    """As over ssh without a terminal: there is no signal."""
    reading, writing = os.pipe()
    module = Running(folder, writing, name="web1")
    os.close(writing)
    until(module.job, "a job")
    os.close(reading)
    module.end()
    assert files(folder) == at_home


def test_by_the_end_of_its_terminal(folder: Path, at_home: dict[str, bytes]) -> None:
    """As over ssh with a terminal, whose session may not be the module's own."""
    ours, theirs = pty.openpty()
    module = Running(folder, theirs, name="web1")
    os.close(theirs)
    until(module.job, "a job")
    os.close(ours)
    module.end()
    assert files(folder) == at_home


def test_while_the_guest_shuts_down(folder: Path, instance_module: RunModule) -> None:
    instance_module(name="web1", memory_mb=64, state="running")
    orders = {"guests": {"web1": {"ignores_acpi": True}}, "log_calls": True}
    (folder / "faults.json").write_text(json.dumps(orders), encoding="utf-8")
    before = files(folder)
    reading, writing = os.pipe()
    module = Running(folder, writing, name="web1", mode="cold")
    os.close(writing)
    log = folder / "calls.log"
    until(lambda: log.exists() and '"shutdown"' in log.read_text(), "the guest is asked to shut down")
    os.kill(module.process.pid, signal.SIGTERM)
    with open(reading, encoding="utf-8") as output:
        result = json.load(output)
    module.end()
    assert result["error"]["kind"] == "migration_aborted"
    assert any("may still do so" in warning for warning in result["instance"]["warnings"])
    assert files(folder) == before


def test_of_many_none_is_begun_any_more(folder: Path, at_home: dict[str, bytes], instance_module: RunModule) -> None:
    instance_module(name="web2", memory_mb=64, state="running")
    before = files(folder)
    reading, writing = os.pipe()
    module = Running(folder, writing, all=True)
    os.close(writing)
    until(module.job, "a job")
    os.kill(module.process.pid, signal.SIGTERM)
    with open(reading, encoding="utf-8") as output:
        result = json.load(output)
    module.end()
    assert [item["error"]["kind"] for item in result["instances"]] == ["migration_aborted"] * 2
    assert result["instances"][1]["msg"] == "not tried: interrupted by SIGTERM"
    assert files(folder) == before


def test_a_kill_leaves_nothing_that_the_next_run_does_not_mend(
    folder: Path, at_home: dict[str, bytes], migrate_module: RunModule
) -> None:
    module = Running(folder, subprocess.DEVNULL, name="web1")
    until(module.job, "a job")
    module.process.kill()
    module.process.wait()
    assert migrate_module(name="web1", state="status")["instance"]["status"]["phase"] == "cut_short"
    assert migrate_module(name="web1", state="aborted")["changed"]
    assert files(folder) == at_home


def test_an_abort_from_elsewhere(folder: Path, at_home: dict[str, bytes], migrate_module: RunModule) -> None:
    reading, writing = os.pipe()
    module = Running(folder, writing, name="web1")
    os.close(writing)
    until(module.job, "a job")
    status = migrate_module(name="web1", state="status")["instance"]["status"]
    assert status["phase"] == "moving"
    assert status["progress"]["left_bytes"] > 0
    followed = migrate_module(name="web1", mode="cold", resize={"memory_mb": 700}, _ansible_check_mode=True)
    assert "keeps its size" in str(followed["warnings"])
    assert (followed["instance"]["power_state"], followed["instance"]["after"]["memory_mb"]) == ("running", 600)
    assert migrate_module(name="web1", state="aborted")["changed"]
    with open(reading, encoding="utf-8") as output:
        assert json.load(output)["error"]["kind"] == "migration_aborted"
    module.end()
    assert files(folder) == at_home


@pytest.mark.parametrize("mode", ["live", "cold"])
def test_what_another_task_has_finished_meanwhile_is_done(
    folder: Path,
    instance_module: RunModule,
    migrate_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    """Two tasks move one instance; the one that waits for the other looks when that has cleared up."""
    instance_module(name="web1", memory_mb=200, disks=[{"size": "1M"}], state="running")
    dial.write_volume(str(folder), VolumeKey("default", "web1-vda.qcow2"), 0, b"data")
    dial.write_host(str(folder), migration_mib_s=100)
    dial.write_faults(str(folder), faults=[{"operation": "migration_copy", "delay_s": 2}])
    reading, writing = os.pipe()
    module = Running(folder, writing, name="web1", mode=mode)
    os.close(writing)
    until(module.job, "a job")

    def too_late(*_arguments: object) -> None:
        module.end()
        raise InstanceNotFound("web1")

    monkeypatch.setattr(FakeMigrationDriver, "migrate_instance", too_late)
    answer = migrate_module(name="web1", mode=mode)
    assert not answer.get("failed"), answer["msg"]
    assert answer["instance"]["steps"][0].startswith("take over")
    assert answer["instance"]["power_state"] == "running"
    with open(reading, encoding="utf-8") as output:
        assert json.load(output)["changed"]
