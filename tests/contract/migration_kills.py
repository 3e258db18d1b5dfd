# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of virt_migrate in processes that are killed right before one of the libvirt calls that change something.

Usage as a program: a pickled dictionary of ``params``, ``options``, ``number`` and ``processes`` on standard input.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from contract.moving import TESTS, answer, options_of, task_params

if TYPE_CHECKING:
    from contract.platforms.base import Platform

_COMMAND = [
    sys.executable,
    "-c",
    "import sys; sys.path.insert(0, sys.argv[1]); from contract.migration_kills import main; main()",
]


def die_at_change(source: Platform, destination: Platform, number: int, **params: Any) -> bool:
    """A task whose process dies at the ``number``-th change; False where it makes fewer."""
    from contract.host_runners import processes_of

    given = task_params(source, destination, **params)
    options = options_of(source, destination, given)
    task = {"params": given, "options": options, "number": number, "processes": processes_of(source, destination)}
    done = subprocess.run([*_COMMAND, str(TESTS)], input=pickle.dumps(task), capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), (done.stdout, done.stderr.decode())
    return done.returncode != 0


def main() -> None:
    """What such a process does."""
    import importable  # noqa: F401

    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.engines import EnginesMixin
    from contract.host_runners import runner_by
    from contract.platforms.libvirt_calls import LibvirtCalls, writes

    class DeadlyCalls(LibvirtCalls):
        left: int

        def _note(self, name: str) -> None:
            if writes(name):
                with self._lock:
                    self.left -= 1
                    if self.left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

    task = pickle.loads(sys.stdin.buffer.read())
    EnginesMixin.runner = runner_by(task["processes"])  # type: ignore[method-assign,assignment]
    DeadlyCalls.left = task["number"]
    DeadlyCalls()
    result = answer(task["params"], task["options"])
    assert not result.get("failed"), result
