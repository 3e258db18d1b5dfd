# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-playbook for tests: with this checkout as the collection, in a terminal or without one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from importable import CHECKOUT, TESTS
from screen import Recording, record

PLAYBOOK = TESTS / "unit" / "plugins" / "action" / "playbook"
"""What lies beside a play: a module and an action that take their time, and a program that is called as ssh is."""


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
            "ANSIBLE_ASYNC_DIR": str(folder / "async"),
            "ANYVIRT_URI": f"fake://{folder}/fake",
        }

    def command(self, hosts: str, variables: dict[str, Any], tasks: list[dict[str, Any]]) -> list[str]:
        kept = {"copy": {"content": "{{ done | to_json }}", "dest": f"{self.folder}/{{{{ inventory_hostname }}}}.json"}}
        play = {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables},
            "tasks": [*tasks, kept],
        }
        path = self.folder / "play.yml"
        path.write_text(json.dumps([play]), encoding="utf-8")
        return [sys.executable, "-m", "ansible.cli.playbook", "-i", f"{hosts},", str(path)]

    def watch(
        self, *tasks: dict[str, Any], hosts: str = "web1", variables: dict[str, Any] | None = None, columns: int = 100
    ) -> Recording:
        """Run it in a terminal."""
        recording = record(self.command(hosts, variables or {}, list(tasks)), self.environment, columns)
        assert recording.code == 0, recording.text
        return recording

    def silently(self, *tasks: dict[str, Any]) -> str:
        """Run it with its output in a file."""
        command = self.command("web1", {}, list(tasks))
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def result(self, host: str = "web1") -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / f"{host}.json").read_text(encoding="utf-8"))
        return result
