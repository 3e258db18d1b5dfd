# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts that the Makefile runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from importable import CHECKOUT

TOOLS = CHECKOUT / "tools"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


class TestStage:
    def test_the_copy_follows_the_checkout(self, tmp_path: Path) -> None:
        stage = load("stage")
        checkout, target = tmp_path / "checkout", tmp_path / "copy"
        write(checkout / "galaxy.yml", "name: compute")
        write(checkout / "plugins/old/gone.py", "")
        assert stage.synchronise(checkout, target) == (2, 0)
        assert stage.synchronise(checkout, target) == (0, 0)

        write(checkout / "galaxy.yml", "name: something else")
        (checkout / "plugins/old/gone.py").unlink()
        assert stage.synchronise(checkout, target) == (1, 1)
        assert (target / "galaxy.yml").read_text() == "name: something else"
        assert not (target / "plugins").exists()

    def test_what_tools_leave_stays(self, tmp_path: Path) -> None:
        stage = load("stage")
        checkout, target = tmp_path / "checkout", tmp_path / "copy"
        write(checkout / "galaxy.yml", "")
        write(checkout / "build/never", "")
        write(checkout / "tests/output/never", "")
        write(target / "tests/output/junit.xml", "")
        assert stage.synchronise(checkout, target) == (1, 0)
        assert (target / "tests/output/junit.xml").exists()
        assert not (target / "build").exists()

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        stage = load("stage")
        checkout, target = tmp_path / "checkout", tmp_path / "copy"
        write(checkout / "real", "")
        (checkout / "link").symlink_to("real")
        assert stage.synchronise(checkout, target) == (2, 0)
        assert stage.synchronise(checkout, target) == (0, 0)
        assert (target / "link").is_symlink()

    def test_git_decides_what_belongs_to_it(self, tmp_path: Path) -> None:
        stage = load("stage")
        write(tmp_path / ".gitignore", "*.log\n")
        write(tmp_path / "kept", "")
        write(tmp_path / "left.log", "")
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
        assert stage.files_of(tmp_path) == [Path(".gitignore"), Path("kept")]


class TestRunSteps:
    MAKEFILE = "good:\n\t@true\nbad:\n\t@false\nlater:\n\t@echo must not run\n"

    def run(self, folder: Path, *steps: str) -> subprocess.CompletedProcess[str]:
        write(folder / "Makefile", self.MAKEFILE)
        command = [sys.executable, str(TOOLS / "run_steps.py"), *steps]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    def test_all_pass(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "good", "good")
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "steps: 2 passed, 0 failed, 0 skipped"

    def test_the_first_failure_ends_the_run(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "good", "bad", "later")
        assert done.returncode == 1
        assert "must not run" not in done.stdout
        assert "later          not run" in done.stdout
        assert done.stdout.splitlines()[-1] == "steps: 1 passed, 1 failed, 1 skipped"

    def test_side_by_side(self, tmp_path: Path) -> None:
        write(tmp_path / "Makefile", "first:\n\t@touch first; until [ -e second ]; do sleep 0.01; done; echo met\n")
        with (tmp_path / "Makefile").open("a") as makefile:
            makefile.write("second:\n\t@touch second; until [ -e first ]; do sleep 0.01; done; echo met\n")
        command = [sys.executable, str(TOOLS / "run_steps.py"), "first+second"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0
        assert done.stdout.count("met") == 2
        assert done.stdout.splitlines()[-1] == "steps: 2 passed, 0 failed, 0 skipped"

    def test_a_failure_beside_others_ends_the_run_after_them(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "bad+good", "later")
        assert done.returncode == 1
        assert "must not run" not in done.stdout
        assert done.stdout.splitlines()[-1] == "steps: 1 passed, 1 failed, 1 skipped"


class TestSupportTable:
    class Support(NamedTuple):
        works: bool
        note: str = ""

    def test_equal_notes_share_a_number(self) -> None:
        table = load("support_table")
        notes: list[str] = []
        supports = [self.Support(True), self.Support(False, "b"), self.Support(True, "a"), self.Support(False, "b")]
        assert [table._cell(support, notes) for support in supports] == ["yes", "no (1)", "yes (2)", "no (1)"]
        assert notes == ["b", "a"]


class TestIntegration:
    def test_a_target_names_its_drivers(self, tmp_path: Path) -> None:
        targets = tmp_path / "tests/integration/targets"
        write(targets / "one/aliases", "drivers/fake\ndrivers/libvirt\n")
        write(targets / "two/aliases", "drivers/libvirt\n")
        write(targets / "setup/meta/main.yml", "")
        integration = load("integration")
        assert integration.targets_for(tmp_path, "fake") == ["one"]
        assert integration.targets_for(tmp_path, "libvirt") == ["one", "two"]
        assert integration.targets_for(tmp_path, "xen") == []


class TestFindPython:
    @pytest.mark.parametrize("broken", ["exit 127", "exit 0", "echo nonsense >&2; exit 1"])
    def test_an_interpreter_that_does_not_run_is_refused(self, tmp_path: Path, broken: str) -> None:
        wrapper = tmp_path / "python3"
        write(wrapper, f"#!/bin/sh\n{broken}\n")
        wrapper.chmod(0o755)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": str(wrapper)}
        done = subprocess.run(
            [str(TOOLS / "find-python.sh"), "3.10"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "python3-venv" in done.stderr
