# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks of virt_migrate as playbooks write them, through the reconciler and the drivers, here or in a process that is
killed.

Usage as a program: a pickled dictionary of ``options``, ``params``, ``moment`` and ``prefix`` on standard input.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from contract.platforms.base import Platform
    from contract.platforms.calls import Record

TESTS = Path(__file__).resolve().parents[1]
_COMMAND = [
    sys.executable,
    "-c",
    "import sys; sys.path.insert(0, sys.argv[1]); from contract.moving import main; main()",
]


class Move(NamedTuple):
    """What a task answered, and what it asked of both hosts."""

    result: dict[str, Any]
    calls: Record

    @property
    def changed(self) -> bool:
        """Whether it did anything."""
        return bool(self.result["changed"])

    @property
    def one(self) -> dict[str, Any]:
        """What it says of its only instance."""
        (found,) = self.result["instances"]
        entry: dict[str, Any] = found
        return entry

    @property
    def kind(self) -> str | None:
        """The kind of error; None when the task went well."""
        return self.result["error"]["kind"] if self.result.get("failed") else None


def migrate(
    source: Platform,
    destination: Platform,
    *,
    check: bool = False,
    interrupted: Callable[[], str | None] = lambda: None,
    **params: Any,
) -> Move:
    """A task with these options."""
    given = task_params(source, destination, **params)
    with source.calls.recording() as calls:
        return Move(answer(given, options_of(source, destination, given), check, interrupted), calls)


def moved(source: Platform, destination: Platform, **params: Any) -> Move:
    """The same, which is expected to go well."""
    move = migrate(source, destination, **params)
    assert move.kind is None, (move.result.get("msg"), move.result)
    return move


def task_params(source: Platform, destination: Platform, **params: Any) -> dict[str, Any]:
    """The module's options."""
    return {"uri": source.uri, "dest": destination.uri, **params}


def options_of(source: Platform, destination: Platform, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """How both ends are reached."""
    return {"source": source.options(uri=params["uri"]), "dest": destination.options(uri=params["dest"])}


def answer_of(source: Platform, destination: Platform, **params: Any) -> dict[str, Any]:
    """What a task with these options answers; nobody counts its calls, so that it can run beside another one."""
    given = task_params(source, destination, **params)
    return answer(given, options_of(source, destination, given))


def answer(
    params: Mapping[str, Any],
    options: Mapping[str, Any],
    check: bool = False,
    interrupted: Callable[[], str | None] = lambda: None,
) -> dict[str, Any]:
    """What the module would answer."""
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.migrationuri import get_migration_driver
    from ansible_collections.anyvirt.compute.plugins.module_utils.errors import AnyvirtError
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.failures import error_as_dict
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.migrations import migrate_instances
    from ansible_collections.anyvirt.compute.plugins.module_utils.reconcile.task import Task

    task = Task(
        params,
        check,
        True,
        lambda: get_migration_driver(options["source"]),
        lambda warning: None,
        lambda: get_migration_driver(options["dest"]),
        interrupted,
    )
    try:
        return migrate_instances(task)
    except AnyvirtError as error:  # as module.py does
        return {
            "failed": True,
            "changed": False,
            "instances": [],
            "msg": str(error),
            "error": error_as_dict(error),
        }


def migrate_and_die(source: Platform, destination: Platform, moment: str, **params: Any) -> None:
    """A task whose process is killed at that moment of its migration."""
    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner

    given = task_params(source, destination, **params)
    task = {
        "params": given,
        "options": options_of(source, destination, given),
        "moment": moment,
        "prefix": Runner.prefix,
    }
    done = subprocess.run([*_COMMAND, str(TESTS)], input=pickle.dumps(task), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, (done.stdout, done.stderr.decode())


def main() -> None:
    """What such a process does."""
    import importable  # noqa: F401

    from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.firewall.tools import Runner
    from contract.moments import at_moment

    task = pickle.loads(sys.stdin.buffer.read())
    Runner.prefix = task["prefix"]
    with ExitStack() as stack:
        stack.enter_context(at_moment(task["moment"], lambda: os.kill(os.getpid(), signal.SIGKILL)))
        print(answer(task["params"], task["options"]))
